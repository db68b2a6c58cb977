// What embedding programs import.
import { Mbuf as Field, OlFlag as Flag } from "./hot/layout.ts";

export type { Devargs } from "./eal/devargs.ts";
export type { LcoreCpus } from "./eal/lcore-list.ts";
export type { Capture, CaptureOptions } from "./engine/capture.ts";
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
export { Port, type PortStats } from "./ethdev/port.ts";
export type { FlowEntry, PortFlow } from "./ethdev/port-flow.ts";
export type { QueueFault } from "./ethdev/queue-errors.ts";
export { readLatency, readStreams, type StreamCounters } from "./forward/counters.ts";
export { type ModeName, modeNames, type NoisyOptions, type StreamSpec } from "./forward/streams.ts";
export { drainVerbose, type VerboseDrain, type VerbosePacket } from "./forward/verbose.ts";
export type { EngineName } from "./hot/engine.ts";
export type { LcoreStatus } from "./lcore/lcores.ts";
export type { App, AppContext, AppFactory, AppPoll, AppQueue } from "./lcore/task.ts";
export type { IovaMode } from "./memory/iova.ts";
export * from "./packet/packet.ts";
export { type CapturedPacket, readPackets } from "./pcap/reader.ts";
export { type AppLaunch, Pollmode } from "./pollmode.ts";
export { PacketStream, type PacketStreamOptions } from "./streams/packets.ts";
export { serveTelemetry, type TelemetryOptions, type TelemetryServer } from "./telemetry/http.ts";
export { type Rates, rates } from "./telemetry/rates.ts";
export { type Snapshot, takeSnapshot } from "./telemetry/snapshot.ts";

/**
 * Byte offsets of an mbuf's fields: `u32[(mbuf + Mbuf.DATA_LEN) >>> 2]`. The engine's own is a const enum (layout.ts
 * explains each), which exists for tsc alone; this object exists for plain JavaScript and file-by-file compilers too.
 */
export const Mbuf = {
  DATA: Field.DATA,
  DATA_LEN: Field.DATA_LEN,
  PKT_LEN: Field.PKT_LEN,
  NEXT: Field.NEXT,
  PORT: Field.PORT,
  NB_SEGS: Field.NB_SEGS,
  OL_FLAGS: Field.OL_FLAGS,
  RSS_HASH: Field.RSS_HASH,
  VLAN_TCI: Field.VLAN_TCI,
  BUF: Field.BUF,
  BUF_LEN: Field.BUF_LEN,
  TX_OFFLOAD: Field.TX_OFFLOAD,
  USER: Field.USER,
  BYTES: Field.BYTES,
} as const;

/** Bits of Mbuf.OL_FLAGS: what receive found out, what transmit is to do (layout.ts explains each). */
export const OlFlag = {
  RX_VLAN_STRIPPED: Flag.RX_VLAN_STRIPPED,
  RX_RSS_HASH: Flag.RX_RSS_HASH,
  RX_IP_CKSUM_GOOD: Flag.RX_IP_CKSUM_GOOD,
  RX_IP_CKSUM_BAD: Flag.RX_IP_CKSUM_BAD,
  RX_L4_CKSUM_GOOD: Flag.RX_L4_CKSUM_GOOD,
  RX_L4_CKSUM_BAD: Flag.RX_L4_CKSUM_BAD,
  TX_IP_CKSUM: Flag.TX_IP_CKSUM,
  TX_TCP_CKSUM: Flag.TX_TCP_CKSUM,
  TX_UDP_CKSUM: Flag.TX_UDP_CKSUM,
  TX_IPV4: Flag.TX_IPV4,
  TX_VLAN: Flag.TX_VLAN,
} as const;

declare global {
  // Types of ours name these. With the browser's library they merge with its own; without it they stand in.
  namespace WebAssembly {
    interface Memory {}
    interface Module {}
  }
}
