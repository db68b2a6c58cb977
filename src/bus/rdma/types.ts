// What this folder gives and takes: an RDMA device, its limits, and the objects that are created on it.
import type { CompChannel } from "./objects.ts";

/** One RDMA device, as sysfs shows it. */
export interface RdmaDeviceInfo {
  /** `mlx5_0`, the kernel's name of the RDMA device; udev may have renamed it (`rocep3s0`). */
  readonly ibdev: string;
  /** `/dev/infiniband/uverbs0`. */
  readonly uverbs: string;
  /** `0000:03:00.0`; undefined of a device that is no PCI function (a scalable function, a software device). */
  readonly pci: string | undefined;
  /** Network interfaces of the device's port in this network namespace; several of a bond. */
  readonly netdevs: readonly string[];
  /** PCI vendor and device IDs: 0x15b3, 0x1019; of a scalable function its PCI function's; 0 where there is none. */
  readonly vendor: number;
  readonly device: number;
  /** The virtual function's physical function, `0000:03:00.0`; undefined of what is no VF. */
  readonly physicalFunction: string | undefined;
}

/** What the device says it can do (ibv_query_device_ex). */
export interface RdmaLimits {
  /** `16.35.2000`. */
  readonly firmware: string;
  readonly maxQp: number;
  /** Work requests of one queue. */
  readonly maxQpWr: number;
  readonly maxSge: number;
  readonly maxCq: number;
  readonly maxCqe: number;
  readonly maxMrBytes: bigint;
  /** Receive queues of type RQ; 0: the device has no work queues of their own (no RSS). */
  readonly maxWq: number;
  readonly rss: RssLimits;
  /** Of raw packet queues. */
  readonly raw: RawLimits;
  /** Largest TCP payload of one send request, in bytes; 0: no TSO on raw packet queues. */
  readonly tsoMax: number;
  readonly ports: number;
}

export interface RssLimits {
  /** Raw packet queues may hash. */
  readonly supported: boolean;
  /** RX_HASH bits that the device knows. */
  readonly fields: number;
  /** Entries of one indirection table. */
  readonly tableMax: number;
  readonly tables: number;
}

export interface RawLimits {
  /** A VLAN tag can be taken off received frames. */
  readonly vlanStrip: boolean;
  /** Checksums of IPv4, TCP and UDP, received and sent. */
  readonly checksum: boolean;
  /** The frame's FCS can be kept. */
  readonly scatterFcs: boolean;
}

/** What an mlx5 says beyond that (mlx5dv_query_device). */
export interface DvLimits {
  /** CQE version 1, whose layout pmd/mlx5 reads. */
  readonly cqeVersion1: boolean;
  /** undefined: no striding (multi-packet) receive queues of raw packets. */
  readonly striding: StridingLimits | undefined;
  /** CQE compression: mini-CQE formats that it knows; none: it has none. */
  readonly compression: readonly CqeCompression[];
  readonly compression128: boolean;
  readonly cqePadding128: boolean;
  /** Multi-packet send, as ConnectX-4 Lx has it. */
  readonly mpw: boolean;
  /** Multi-packet send with inlined packets, opcode 0x29. */
  readonly enhancedMpw: boolean;
  /** Bytes of each frame that have to stand in its WQE: 18 of ConnectX-4 and 4 Lx, else 0. */
  readonly minInline: number;
}

export interface StridingLimits {
  readonly logStrideBytesMin: number;
  readonly logStrideBytesMax: number;
  readonly logStridesMin: number;
  readonly logStridesMax: number;
}

/** Of mini-CQEs: "hash" keeps each packet's RSS hash, "csum" its checksum. */
export type CqeCompression = "hash" | "csum";

export interface PortState {
  readonly up: boolean;
  /** Mbit/s; 0 where the port is down. */
  readonly speed: number;
  /** The interface's MTU where it can be seen; else the RDMA MTU. */
  readonly mtu: number;
  /** "ethernet" or "infiniband"; pollmode opens the former alone. */
  readonly linkLayer: "ethernet" | "infiniband" | "unknown";
}

/** RX_HASH bits for `fields` of createHashQp (enum ibv_rx_hash_fields). */
export const RX_HASH = {
  SRC_IPV4: 1 << 0,
  DST_IPV4: 1 << 1,
  SRC_IPV6: 1 << 2,
  DST_IPV6: 1 << 3,
  SRC_PORT_TCP: 1 << 4,
  DST_PORT_TCP: 1 << 5,
  SRC_PORT_UDP: 1 << 6,
  DST_PORT_UDP: 1 << 7,
} as const;

/** The device takes an RSS key of exactly so many bytes. */
export const RSS_KEY_BYTES = 40;

/** Fields of headers; numbers in the host's byte order, addresses as on the wire. */
export interface EthFields {
  /** 6 bytes. */
  readonly destination?: Uint8Array;
  readonly source?: Uint8Array;
  readonly etherType?: number;
  /** Of the outer 802.1Q tag: priority, CFI and VLAN ID, 16 bits. */
  readonly vlan?: number;
}

export interface Ipv4Fields {
  readonly source?: number;
  readonly destination?: number;
  readonly protocol?: number;
  readonly tos?: number;
  readonly ttl?: number;
}

export interface Ipv6Fields {
  /** 16 bytes. */
  readonly source?: Uint8Array;
  readonly destination?: Uint8Array;
  readonly flowLabel?: number;
  readonly nextHeader?: number;
  readonly trafficClass?: number;
  readonly hopLimit?: number;
}

export interface PortFields {
  readonly source?: number;
  readonly destination?: number;
}

/** A header as a rule matches it. Without `mask` all bits of the fields that `value` has; none: any such header. */
export type FlowSpec =
  | { readonly kind: "eth"; readonly value: EthFields; readonly mask?: EthFields }
  | { readonly kind: "ipv4"; readonly value: Ipv4Fields; readonly mask?: Ipv4Fields }
  | { readonly kind: "ipv6"; readonly value: Ipv6Fields; readonly mask?: Ipv6Fields }
  | { readonly kind: "tcp" | "udp"; readonly value: PortFields; readonly mask?: PortFields };

/** A rule of ibv_create_flow: what matches goes to the queue pair that it is created on. */
export interface VerbsFlow {
  /** 0 is looked at first. */
  readonly priority: number;
  /** "all-default": all that no other rule takes; "mc-default": of that, what is multicast. Both without specs. */
  readonly type?: "normal" | "all-default" | "mc-default";
  /** Others, the kernel among them, get a copy. */
  readonly dontTrap?: boolean;
  readonly specs?: readonly FlowSpec[];
  /** Dropped instead of received. */
  readonly drop?: boolean;
  /** 24 bits that stand in the CQE of what matched (flow_table_metadata / sop_drop_qpn). */
  readonly tag?: number;
}

/** A rule of mlx5dv_create_flow, over an mlx5dv matcher. */
export interface DvFlow {
  readonly priority: number;
  readonly specs: readonly FlowSpec[];
  /** "default-miss": as if no rule had matched, back to the kernel. */
  readonly action: "default-miss" | "drop";
}

export interface CqOptions {
  /** At least; the device rounds up to a power of two. */
  readonly entries: number;
  readonly compression?: CqeCompression;
  readonly cqeBytes?: 64 | 128;
  /** Where its events go, once it is armed. */
  readonly channel?: CompChannel;
  /** Which of the device's interrupts raises them, modulo their number. Default: 0. */
  readonly vector?: number;
}

/** Addresses of functions, as mem.ts calls them. */
export interface HotCalls {
  readonly pollCq: bigint;
  readonly postSend: bigint;
  readonly notifyCq: bigint;
  readonly getCqEvent: bigint;
  readonly ackCqEvents: bigint;
}

/** Where libmlx5 has a completion queue. Addresses of the process. */
export interface DvCq {
  readonly buffer: bigint;
  readonly entries: number;
  readonly cqeBytes: number;
  /** Doorbell record: word 0 the consumer index, word 1 what arming writes. */
  readonly doorbell: bigint;
  readonly cqn: number;
}

export interface DvQp {
  readonly qpn: number;
  readonly sq: { readonly buffer: bigint; readonly wqebbs: number; readonly strideBytes: number };
  /** Doorbell record: word 0 of receive, word 1 of send. */
  readonly doorbell: bigint;
  /** The BlueFlame register; `bytes` 0: it has one half, nothing to toggle. */
  readonly bf: { readonly address: bigint; readonly bytes: number };
  /** What mmap of the command fd takes to map the register's page. */
  readonly uarOffset: bigint;
}

export interface DvWq {
  readonly buffer: bigint;
  readonly wqes: number;
  readonly strideBytes: number;
  /** Doorbell record: word 0. */
  readonly doorbell: bigint;
}

/** What the device tells without being asked. */
export interface RdmaEvent {
  /** `port-active`, `port-error`, `device-fatal`, `qp-fatal`, `cq-error`, `wq-fatal`, … (enum ibv_event_type). */
  readonly type: RdmaEventType;
  /** The object's handle, of what concerns one. */
  readonly object?: bigint;
  readonly port?: number;
}

export type RdmaEventType =
  | "cq-error"
  | "qp-fatal"
  | "qp-request-error"
  | "qp-access-error"
  | "sq-drained"
  | "device-fatal"
  | "port-active"
  | "port-error"
  | "lid-change"
  | "pkey-change"
  | "sm-change"
  | "client-reregister"
  | "gid-change"
  | "wq-fatal"
  | "other";
