// What embedding programs import.
export { describeError, PollmodeError } from "./errors.ts";
export type { DeviceInfo, LinkStatus } from "./ethdev/driver.ts";
export { Port, type PortStats } from "./ethdev/port.ts";
export { type ModeName, modeNames, type StreamSpec } from "./forward/streams.ts";
export { Mbuf } from "./hot/layout.ts";
export type { LcoreStatus } from "./lcore/lcores.ts";
export type { AppContext, AppFactory, AppPoll, AppQueue } from "./lcore/task.ts";
export { type AppLaunch, Pollmode, type PollmodeOptions } from "./pollmode.ts";
