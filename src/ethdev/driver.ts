// The driver contract, control side: about ten functions. The hot side is the driver's rx and tx bursts in
// src/hot/dispatch.ts, which work on the queue blocks that a driver fills in.
import type { Devargs } from "../eal/devargs.ts";
import type { Poller } from "../libc/poller.ts";
import type { Arena } from "../memory/arena.ts";
import type { MbufPool } from "../memory/pool.ts";
import type { Zone } from "../memory/zone.ts";

/** What a driver gets to work with. */
export interface DriverContext {
  readonly arena: Arena;
  /** Memory that no peer and no device sees. */
  readonly private: Zone;
  /** Memory that peers and devices may be given. */
  readonly dma: Zone;
  readonly pool: MbufPool;
  readonly poller: Poller;
  /** Resolves when no lcore is within a burst that began before the call. Rejects if one is stalled. */
  quiesce(): Promise<void>;
  warn(text: string): void;
}

export interface DeviceInfo {
  readonly driver: string;
  readonly rxQueuesMax: number;
  readonly txQueuesMax: number;
  /** Largest frame, without CRC, that the device sends and receives. */
  readonly frameBytesMax: number;
}

export interface DeviceConfig {
  readonly rxQueues: number;
  readonly txQueues: number;
}

export interface LinkStatus {
  readonly up: boolean;
  /** Mbit/s; 0 where it means nothing. */
  readonly speed: number;
  readonly duplex: "full" | "half";
}

/** What a device tells its port. */
export interface DeviceEvents {
  link(status: LinkStatus): void;
  error(error: Error): void;
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
  setPromiscuous?(on: boolean): Promise<void>;
  setAllMulticast?(on: boolean): Promise<void>;
  setMac?(mac: Uint8Array): Promise<void>;
  setMtu?(mtu: number): Promise<void>;
}

export interface Driver {
  /** As in devargs: `net_null`. */
  readonly name: string;
  /** One line for --help: its arguments. */
  readonly usage: string;
  probe(devargs: Devargs, context: DriverContext, events: DeviceEvents): Promise<EthDevice>;
}
