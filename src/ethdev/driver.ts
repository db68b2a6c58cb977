// The driver contract, control side: about ten functions. The hot side is the driver's rx and tx bursts in
// src/hot/dispatch.ts, which work on the queue blocks that a driver fills in.
import type { InterruptLine, PciFunction } from "../bus/pci-function.ts";
import type { Devargs } from "../eal/devargs.ts";
import type { Poller } from "../libc/poller.ts";
import type { Arena } from "../memory/arena.ts";
import type { MbufPool } from "../memory/pool.ts";
import type { Zone } from "../memory/zone.ts";
import type { FlowDevice } from "./flow.ts";

/** What a driver gets to work with. */
export interface DriverContext {
  readonly arena: Arena;
  /** Memory that no peer and no device sees. */
  readonly private: Zone;
  /** Memory that peers and devices may be given. */
  readonly dma: Zone;
  readonly pool: MbufPool;
  readonly poller: Poller;
  /** Opens the PCI function of a device that is bound to vfio-pci, uio_pci_generic or igb_uio. The driver closes it. */
  openPci(address: string): PciFunction;
  /** Resolves when no lcore is within a burst that began before the call. Rejects if one is stalled. */
  quiesce(): Promise<void>;
  warn(text: string): void;
}

/** What a port's device is and can do. */
export interface DeviceInfo {
  /** `net_tap`. */
  readonly driver: string;
  /** Receive queues that configure() may ask for. */
  readonly rxQueuesMax: number;
  /** Transmit queues that configure() may ask for. */
  readonly txQueuesMax: number;
  /** Largest frame, without CRC, that the device sends and receives. */
  readonly frameBytesMax: number;
  /** Descriptors of a ring: limits, and the number it must be a multiple of. Undefined: not to be chosen. */
  readonly descriptors?: { readonly min: number; readonly max: number; readonly multiple: number };
  /** What configure() may turn on. Absent: none. */
  readonly offloads?: readonly OffloadName[];
  /** Receive-side scaling. Absent: it spreads nothing. */
  readonly rss?: RssLimits;
  /** Whether a receive queue can wake a sleeping lcore. */
  readonly rxInterrupts?: boolean;
}

/**
 * rxChecksum: OL_FLAGS tell whether IPv4, TCP and UDP checksums are right. txChecksum: TX_*_CKSUM are obeyed.
 * vlanStrip: 802.1Q tags go to VLAN_TCI. vlanInsert: TX_VLAN is obeyed.
 */
export type OffloadName = "rxChecksum" | "txChecksum" | "vlanStrip" | "vlanInsert";

/** What a packet's RSS hash is taken over, by the packet's type. */
export type RssType = "ipv4" | "ipv4-tcp" | "ipv4-udp" | "ipv6" | "ipv6-tcp" | "ipv6-udp";

/** What a device's receive-side scaling takes. */
export interface RssLimits {
  /** Bytes of the hash's key. */
  readonly keyBytes: number;
  /** Entries of the redirection table. */
  readonly tableEntries: number;
  /** Packets that it can hash. */
  readonly types: readonly RssType[];
}

/** Receive-side scaling: which queue a packet goes to, by a Toeplitz hash of its addresses and ports. */
export interface RssConfig {
  /** As many bytes as the device's RssLimits say. Default: Microsoft's key, whose hashes are published. */
  readonly key?: Uint8Array;
  /** Queue by the hash's low bits; repeated until the table is full. Default: all receive queues in turn. */
  readonly table?: readonly number[];
  /** Which packets are spread. Default: all types that the device has. */
  readonly types?: readonly RssType[];
}

/** What Port.configure() sets. What the device has not throws NOT_SUPPORTED or names the limit. */
export interface DeviceConfig {
  /** Receive queues, from 1 on. */
  readonly rxQueues: number;
  /** Transmit queues, from 1 on. */
  readonly txQueues: number;
  /** Descriptors of a receive ring. Default: the driver's. */
  readonly rxDescriptors?: number;
  /** Descriptors of a transmit ring. Default: the driver's. */
  readonly txDescriptors?: number;
  /** Offloads to turn on. Default: those that cost nothing on this device. */
  readonly offloads?: readonly OffloadName[];
  /** Default with several receive queues: as RssConfig says. */
  readonly rss?: RssConfig;
  /** Receive queues can wake a sleeping lcore (--rx-interrupt). */
  readonly rxInterrupts?: boolean;
}

/** Counters of the device itself, where it keeps them. */
export interface DeviceStats {
  /** Frames the device dropped because no descriptor or FIFO space was free. */
  readonly rxMissed: number;
  /** Frames with CRC, length, alignment and similar errors. */
  readonly rxErrors: number;
  readonly txErrors: number;
}

/** A link as the device sees it. */
export interface LinkStatus {
  /** Frames can pass. */
  readonly up: boolean;
  /** Mbit/s; 0 where it means nothing. */
  readonly speed: number;
  /** `half`: it does not send while it receives. */
  readonly duplex: "full" | "half";
  /** Speed and duplex were negotiated with the other end. */
  readonly autoneg?: boolean;
}

/** What a device tells its port. */
export interface DeviceEvents {
  link(status: LinkStatus): void;
  error(error: Error): void;
  /** What the device receives from has come to its end: a file was read. */
  end?(): void;
}

/**
 * One device. `configure` is called while it is stopped, then `start` and `stop` in turn, and `close` once. A method
 * that is not there is something the device has not; the port says so by a named error.
 */
export interface EthDevice {
  readonly info: DeviceInfo;
  /** 6 bytes. */
  readonly mac: Uint8Array;
  /** Arena offsets of queue blocks, after `configure`. */
  readonly rxQueues: readonly number[];
  readonly txQueues: readonly number[];
  configure(config: DeviceConfig): Promise<void>;
  start(): Promise<void>;
  /** The lcores no longer run its queues when this is called. All mbufs go back to the pool. */
  stop(): Promise<void>;
  close(): Promise<void>;
  link(): LinkStatus;
  /** Counters of its own beside those of the queue blocks, by name. */
  xstats?(): Record<string, number>;
  stats?(): DeviceStats;
  /** Sets the device's own counters to 0. */
  clearStats?(): void;
  /** Administrative state of the link. Down: nothing is received or sent; link() says so. */
  setLink?(up: boolean): Promise<void>;
  setPromiscuous?(on: boolean): Promise<void>;
  setAllMulticast?(on: boolean): Promise<void>;
  setMac?(mac: Uint8Array): Promise<void>;
  /** Bytes of an IP packet: the frame without its 14 bytes of header. */
  setMtu?(mtu: number): Promise<void>;
  /** Further unicast addresses that are received. */
  addMac?(mac: Uint8Array): Promise<void>;
  removeMac?(mac: Uint8Array): Promise<void>;
  /** Groups that are received; replaces the list before. */
  setMulticast?(macs: readonly Uint8Array[]): Promise<void>;
  /** Filters on: of tagged frames only those whose VLAN was let in are received. */
  setVlanFilter?(on: boolean): Promise<void>;
  /** Lets a VLAN (0 to 4095) in, or no longer. */
  setVlan?(vlan: number, on: boolean): Promise<void>;
  /**
   * Turns the offload vlanStrip on or off while the device is started, or before. No tag is lost on the way: packets
   * that the device has already written say whether they had one.
   */
  setVlanStrip?(on: boolean): Promise<void>;
  setRss?(rss: RssConfig): Promise<void>;
  /** As it stands in the device. */
  rss?(): Required<RssConfig>;
  /**
   * What wakes an lcore that sleeps on receive queue `queue`; after `configure` with rxInterrupts, and the same until
   * the next one: an lcore goes on waiting for it while the port is stopped and started.
   */
  rxInterrupt?(queue: number): InterruptLine;
  /** Rules by which received packets are treated otherwise. */
  readonly flow?: FlowDevice;
}

export interface PciId {
  readonly vendor: number;
  readonly device: number;
  /** As people call it: `82574L`. */
  readonly chip: string;
}

export interface Driver {
  /** As in devargs: `net_null`. */
  readonly name: string;
  /** One line for --help: its arguments. */
  readonly usage: string;
  /** Which PCI devices it drives; absent for virtual devices. */
  readonly ids?: readonly PciId[];
  /** The PCI device stays with its kernel driver, and is not bound to VFIO or UIO. */
  readonly keepsKernelDriver?: boolean;
  probe(devargs: Devargs, context: DriverContext, events: DeviceEvents): Promise<EthDevice>;
}
