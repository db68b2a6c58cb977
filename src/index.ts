// What embedding programs import.
import { Mbuf as Field } from "./hot/layout.ts";

export type { Devargs } from "./eal/devargs.ts";
export type { LcoreCpus } from "./eal/lcore-list.ts";
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
export { Port, type PortStats } from "./ethdev/port.ts";
export type { QueueFault } from "./ethdev/queue-errors.ts";
export { type ModeName, modeNames, type StreamSpec } from "./forward/streams.ts";
export type { EngineName } from "./hot/engine.ts";
export type { LcoreStatus } from "./lcore/lcores.ts";
export type { AppContext, AppFactory, AppPoll, AppQueue } from "./lcore/task.ts";
export type { IovaMode } from "./memory/iova.ts";
export { type AppLaunch, Pollmode } from "./pollmode.ts";

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

declare global {
  // Types of ours name these. With the browser's library they merge with its own; without it they stand in.
  namespace WebAssembly {
    interface Memory {}
    interface Module {}
  }
}
