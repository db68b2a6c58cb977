// What an embedding program or testpmd says a stream is to do.
import { PollmodeError } from "../../errors.ts";
import type { Port } from "../../ethdev/port.ts";

/** One receive or transmit queue. */
export interface QueueRef {
  /** Whose. */
  port: Port;
  /** From 0 on. */
  queue: number;
}

/** What a stream is told beside its mode. */
export interface StreamOptions {
  /** Where it receives; not for the modes that only send. */
  rx?: QueueRef;
  /** Where it sends; not for the modes that only receive. */
  tx?: QueueRef;
  /** mac, csum, txonly, flowgen: destination, 6 bytes. Default 02:00:00:00:00:NN, NN being the port that sends. */
  ethPeer?: Uint8Array | undefined;
  /** txonly, flowgen: bytes of the frame without CRC, 60 to what the port has at most (txonly 64, flowgen 60). */
  frameBytes?: number | undefined;
  /**
   * txonly, flowgen: bytes of each segment, 1 to an mbuf's data room; 42 in all at least. flowgen sends one frame of
   * the sum without 4 bytes of CRC, as testpmd's does.
   */
  txpkts?: readonly number[] | undefined;
  /** flowgen: number of flows, 1 to 2^31 - 1 (1024). */
  flows?: number | undefined;
  /** txonly: source addresses change from packet to packet (--txonly-multi-flow). */
  multiFlow?: boolean | undefined;
  /** txonly, flowgen: one packet a burst carries the time; 60 bytes at least. See `latency`. */
  stamp?: boolean | undefined;
  /** Modes that receive: the age of stamped packets goes into the lcore's latency histogram. */
  latency?: boolean | undefined;
  /** csum: who makes checksums; a list: the port these. Default: the port that sends, where it has txChecksum. */
  checksum?: "port" | "software" | readonly ChecksumName[] | undefined;
  /** csum: checksums in VXLAN, GRE and IP in IP are made anew, too; of such packets all in software. */
  tunnels?: boolean | undefined;
  /** noisy: what it does to memory and how long packets wait. */
  noisy?: NoisyOptions | undefined;
  /** 1: received packets, 2: sent ones, 3: both are kept for drainVerbose(). 0: none. */
  verbose?: number | undefined;
  /** Counts bursts by their size (--record-burst-stats). */
  recordBursts?: boolean | undefined;
  /** seq-send, seq-check: see sequence.ts. */
  sequence?: SequenceOptions | undefined;
}

/** What csum may leave to a port. */
export type ChecksumName = "ip" | "tcp" | "udp";

/** The mode noisy, which behaves as a program with much memory does. Defaults: 0. */
export interface NoisyOptions {
  /** Packets that wait in a FIFO before they are sent; 0: none wait. */
  bufferPackets?: number;
  /** The FIFO is emptied when nothing was sent for so long; 0: never. */
  flushMs?: number;
  /** MiB of memory that are read and written at random. */
  memoryMib?: number;
  /** Cache lines of it that are written for each packet. */
  writes?: number;
  /** Cache lines of it that are read for each packet. */
  reads?: number;
  /** Pairs of cache lines for each packet, of which one is read and then the other written. */
  readWrites?: number;
}

/** Numbered frames of a test: src/forward/sequence.ts. */
export interface SequenceOptions {
  /** Arena offset of a Progress block that sender and checker share. */
  progress: number;
  /** Bytes of the shortest frame. */
  sizeMin: number;
  /** Bytes of the longest frame. */
  sizeMax: number;
  /** Frames under way at most. */
  window: number;
  /** Frames to be sent in all. */
  total: number;
  /** Destination of the frames, 6 bytes. Default 02:00:00:00:00:00. */
  destination?: Uint8Array;
}

export function bound(what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  const message = `${what} ${value} is not between ${min} and ${max}`;
  throw new PollmodeError("FORWARD_OPTION", message, "choose one in between");
}

/** The destination of what the stream sends by `port`, 6 bytes. */
export function peerOf({ ethPeer }: StreamOptions, port: Port): Uint8Array {
  return ethPeer ?? Uint8Array.of(2, 0, 0, 0, 0, port.id);
}

export function checkPeer({ ethPeer }: StreamOptions): void {
  if (ethPeer === undefined || ethPeer.length === 6) return;
  const message = `a peer's address has ${ethPeer.length} bytes`;
  throw new PollmodeError("FORWARD_OPTION", message, "give the 6 bytes of a MAC address");
}

/** A MAC address as the words that hot code keeps: its first 4 bytes, its other 2. */
export function macWords(mac: Uint8Array): { low: number; high: number } {
  const bytes = Buffer.from(mac);
  return { low: bytes.readUInt32LE(0), high: bytes.readUInt16LE(4) };
}
