// What embedding programs import.
import { Mbuf as Field, OlFlag as Flag } from "./hot/layout.ts";

export type { CaptureStats } from "./capture/recorder.ts";
export type { CaptureDirection } from "./capture/taps.ts";
export type { Devargs } from "./eal/devargs.ts";
export { type AssignedPciDevice, pciDevicesFromEnvironment } from "./eal/kubernetes.ts";
export type { LcoreCpus } from "./eal/lcore-list.ts";
export type { VfioIntr } from "./eal/options.ts";
export type { AppEnds } from "./engine/app-queues.ts";
export type { Capture, CaptureOptions } from "./engine/capture.ts";
export type { AppLaunch, ForwardOptions, PollmodeEvents } from "./engine/launch.ts";
export type { PollmodeOptions } from "./engine/options.ts";
export { describeError, PollmodeError } from "./errors.ts";
export type {
  DeviceConfig,
  DeviceInfo,
  LinkStatus,
  OffloadName,
  RssConfig,
  RssLimits,
  RssType,
} from "./ethdev/driver.ts";
export type { FlowAction, FlowCount, FlowItem, FlowMatch, FlowRule } from "./ethdev/flow.ts";
export { Port, type PortEvents, type PortStats } from "./ethdev/port.ts";
export type { FlowEntry, PortFlow } from "./ethdev/port-flow.ts";
export type { QueueFault } from "./ethdev/queue-errors.ts";
export { readLatency, readStreams, type StreamCounters } from "./forward/counters.ts";
export type {
  ChecksumName,
  NoisyOptions,
  QueueRef,
  SequenceOptions,
  StreamOptions,
} from "./forward/streams/spec.ts";
export { type ModeName, modeNames, type StreamSpec } from "./forward/streams.ts";
export { drainVerbose, type VerboseDrain, type VerbosePacket } from "./forward/verbose.ts";
export type { EngineName } from "./hot/engine.ts";
export type { LcoreStatus } from "./lcore/lcores.ts";
export type { App, AppContext, AppFactory, AppPoll, AppQueue } from "./lcore/task.ts";
export type { IovaMode } from "./memory/iova.ts";
export * from "./packet/packet.ts";
export { type CapturedPacket, readPackets } from "./pcap/reader.ts";
export { Pollmode } from "./pollmode.ts";
export { PacketStream, type PacketStreamOptions } from "./streams/packets.ts";
export type { LcoreCounters } from "./telemetry/counters.ts";
export { serveTelemetry, type TelemetryOptions, type TelemetryServer } from "./telemetry/http.ts";
export {
  type LcoreRates,
  type PortDrops,
  type PortRates,
  type QueueRates,
  type Rates,
  rates,
  type WayRates,
} from "./telemetry/rates.ts";
export {
  type LcoreSnapshot,
  type PoolSnapshot,
  type PortSnapshot,
  type QueueEnd,
  type QueueSnapshot,
  type Snapshot,
  type SnapshotSource,
  type StreamSnapshot,
  takeSnapshot,
} from "./telemetry/snapshot.ts";

/**
 * Byte offsets of an mbuf's fields: `u32[(mbuf + Mbuf.DATA_LEN) >>> 2]`. The engine's own is a const enum (layout.ts),
 * which exists for tsc alone; this object exists for plain JavaScript and file-by-file compilers too.
 */
// (`+`: numbers in its type, and not the names of an enum that users do not have)
export const Mbuf = {
  /** u32: arena offset of the segment's first byte. */
  DATA: +Field.DATA,
  /** u32: bytes in this segment. */
  DATA_LEN: +Field.DATA_LEN,
  /** u32: bytes in the whole packet; meant in the first segment alone. */
  PKT_LEN: +Field.PKT_LEN,
  /** u32: the next segment's mbuf, 0 in the last one. */
  NEXT: +Field.NEXT,
  /** u16: the port it came in by. */
  PORT: +Field.PORT,
  /** u16: segments in the packet. */
  NB_SEGS: +Field.NB_SEGS,
  /** u32: OlFlag bits. */
  OL_FLAGS: +Field.OL_FLAGS,
  /** u32: meant where OL_FLAGS has RX_RSS_HASH. */
  RSS_HASH: +Field.RSS_HASH,
  /** u16: the 802.1Q tag that receive took off (RX_VLAN_STRIPPED) or transmit is to put in (TX_VLAN). */
  VLAN_TCI: +Field.VLAN_TCI,
  /** u32: arena offset of the buffer, where the headroom begins. Constant. */
  BUF: +Field.BUF,
  /** u32: bytes of the buffer, headroom included. Constant. */
  BUF_LEN: +Field.BUF_LEN,
  /** u32: bytes of the Ethernet header in bits 0 to 6, of the IP header in 7 to 15: what the TX_*_CKSUM flags need. */
  TX_OFFLOAD: +Field.TX_OFFLOAD,
  /** The application's own 8 bytes. */
  USER: +Field.USER,
  /** Bytes of an mbuf. */
  BYTES: +Field.BYTES,
} as const;

/** Bits of Mbuf.OL_FLAGS. Receive: neither GOOD nor BAD means that nothing was checked. */
export const OlFlag = {
  /** The packet's VLAN tag is in VLAN_TCI, and no longer in the frame. */
  RX_VLAN_STRIPPED: +Flag.RX_VLAN_STRIPPED,
  /** RSS_HASH holds the packet's hash. */
  RX_RSS_HASH: +Flag.RX_RSS_HASH,
  /** The IPv4 header's checksum is right. */
  RX_IP_CKSUM_GOOD: +Flag.RX_IP_CKSUM_GOOD,
  /** The IPv4 header's checksum is wrong. */
  RX_IP_CKSUM_BAD: +Flag.RX_IP_CKSUM_BAD,
  /** TCP's or UDP's checksum is right. */
  RX_L4_CKSUM_GOOD: +Flag.RX_L4_CKSUM_GOOD,
  /** TCP's or UDP's checksum is wrong. */
  RX_L4_CKSUM_BAD: +Flag.RX_L4_CKSUM_BAD,
  /** Fill in the IPv4 header's checksum. Needs TX_OFFLOAD and TX_IPV4. */
  TX_IP_CKSUM: +Flag.TX_IP_CKSUM,
  /** Fill in TCP's checksum; the field holds the pseudo header's. Needs TX_OFFLOAD. */
  TX_TCP_CKSUM: +Flag.TX_TCP_CKSUM,
  /** Fill in UDP's checksum; the field holds the pseudo header's. Needs TX_OFFLOAD. */
  TX_UDP_CKSUM: +Flag.TX_UDP_CKSUM,
  /** The packet is IPv4; without it a packet with TX_TCP_CKSUM or TX_UDP_CKSUM is IPv6. */
  TX_IPV4: +Flag.TX_IPV4,
  /** Insert VLAN_TCI as an 802.1Q tag. */
  TX_VLAN: +Flag.TX_VLAN,
} as const;

declare global {
  // Types of ours name these. With the browser's library they merge with its own; without it they stand in.
  namespace WebAssembly {
    interface Memory {}
    interface Module {}
  }
}
