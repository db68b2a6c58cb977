// Everything that an lcore calls, and control code in tests: what hot.wasm and the TypeScript engine export.

export { stampFrame, watchedRxBurst, watchedTxBurst } from "../forward/watched.ts";
export { rxArm, rxBurst, rxDisarm, rxPending, txBurst, txIdle } from "./dispatch.ts";
export { runLcore } from "./loop.ts";
export { cacheCount, cacheFill, mbufAllocBulk, mbufFreeBulk } from "./mbuf.ts";
export { ringDequeue, ringEnqueue } from "./ring.ts";
export { copyFrame, copyWords, equalRun, sumBytes, swapMacs, writeMbuf } from "./simd.ts";
