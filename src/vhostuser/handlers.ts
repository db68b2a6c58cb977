// What the owner of a back-end (the net_vhost driver) provides: the features to offer, and what to do about the peer.
import type { PollmodeError } from "../errors.ts";
import type { BackendRegion } from "./memory-table.ts";
import type { BackendVring } from "./vring.ts";

/** What a handler throws is the peer's refusal; a promise is waited for before the peer gets its answer. */
export interface VhostUserBackendHandlers {
  featuresSet(features: bigint): void | Promise<void>;
  /**
   * The whole table, while no ring runs. Regions that stay are the same objects as before. A new region's `fd` is the
   * handler's from this call on, whether it throws or not. If it throws, the table from before stays in force.
   */
  memoryChanged(regions: readonly BackendRegion[]): void | Promise<void>;
  vringStarted(index: number, vring: BackendVring): void | Promise<void>;
  /** When it has settled, nothing touches the ring any more. Returns the base to go on from. */
  vringStopped(index: number): number | Promise<number>;
  /** A running ring's call fd is another one now; the old one is closed when this has settled. */
  callChanged(index: number, callFd: number | undefined): void | Promise<void>;
  status?(status: number): void | Promise<void>;
  mtuSet?(mtu: number): void | Promise<void>;
  /** Broadcast a RARP of this MAC address. */
  rarp?(mac: Uint8Array): void | Promise<void>;
  /** A request was refused and the connection goes on. */
  refused?(error: PollmodeError): void;
  /** Once, when all rings are stopped. No reason: it was closed here. */
  closed(reason: PollmodeError | undefined): void | Promise<void>;
}

export interface VhostUserBackendOptions {
  /** The socket's path, for messages. */
  name: string;
  /** Virtio features to offer; PROTOCOL_FEATURES is added. */
  features: bigint;
  /** Offer NET_MTU and RARP only with a handler for them. */
  protocolFeatures: bigint;
  queuePairsMax: number;
  handlers: VhostUserBackendHandlers;
}
