// What is forwarded and how: testpmd's global variables as one plain object. options.ts fills it in from the command
// line, Session changes it by setters, topology.ts makes streams of it.
import type { RssType } from "../../ethdev/driver.ts";
import type { ChecksumName, ModeName } from "../../forward/streams.ts";

export type Topology = "paired" | "chained" | "loop";

/** A forwarding mode's name, or `app=FILE`: a module whose default export is an AppFactory. */
export type ForwardMode = ModeName | `app=${string}`;

/** The forwarding mode `noisy`: testpmd's --noisy-… options. */
export interface NoisyConfig {
  /** Packets that wait in a FIFO before they are sent; 0: none wait. */
  bufferPackets: number;
  /** The FIFO is emptied when nothing has been sent for so long. */
  flushMs: number;
  /** Memory that is read and written at random, MiB. */
  memoryMib: number;
  /** Per packet. */
  writes: number;
  reads: number;
  readWrites: number;
}

/** The mode `csum`: testpmd's `csum` commands, for one port that sends. */
export interface CsumConfig {
  readonly tunnels: boolean;
  /** Checksums that are made in software although the port can. */
  readonly software: readonly ChecksumName[];
}

export interface ForwardConfig {
  mode: ForwardMode;
  /** Packets a burst. */
  burst: number;
  /** Forwarding lcores asked for; as many work as there are streams for. */
  nbCores: number;
  /** lcores that may forward, in the order in which streams are dealt to them. */
  corelist: readonly number[];
  /** Forwarding ports, in the order that the topology goes by. */
  portlist: readonly number[];
  /** Of the portlist, so many from its beginning forward. */
  nbPorts: number;
  topology: Topology;
  /** Queues and descriptors of each port. Descriptors: undefined leaves the driver's own number. */
  rxq: number;
  txq: number;
  rxd: number | undefined;
  txd: number | undefined;
  /** Largest frame with its CRC, bytes; undefined leaves the MTU as it is. */
  maxPktLen: number | undefined;
  /** Bytes of each segment that txonly and flowgen send. */
  txpkts: readonly number[];
  /** Destination by the port that sends, 6 bytes; others have 02:00:00:00:00:NN. */
  ethPeers: Map<number, Uint8Array>;
  /** flowgen: number of flows. */
  flows: number;
  /** txonly: the source address changes from packet to packet. */
  multiFlow: boolean;
  /** txonly and flowgen send the time, other modes measure how old it is. */
  stamp: boolean;
  noisy: NoisyConfig;
  /** By port; others look into no tunnel, and make all checksums that they can. */
  csum: ReadonlyMap<number, CsumConfig>;
  /** What packets are hashed over, of what a port has of these; empty: --disable-rss. */
  rssTypes: readonly RssType[];
  rxChecksum: boolean;
  vlanStrip: boolean;
  vlanFilter: boolean;
  /** Packets that wait in receive queues are dropped before forwarding starts. */
  flushRx: boolean;
  flowIsolate: boolean;
  /** Says at port start how the links are. */
  linkCheck: boolean;
  /** Waits for them first, up to 9 s. */
  linkWait: boolean;
  rxInterrupt: boolean;
  /** 0: silent; 1: received packets, 2: sent ones, 3: both are printed. */
  verbose: number;
  recordBurstStats: boolean;
  /** Names of xstats that `show port stats` adds. */
  displayXstats: readonly string[];
}
