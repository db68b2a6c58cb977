// Sends a frame whose mbuf claims to lie where nothing is mapped for the NIC: what a driver's bug would do. Reports
// what the engine says of it, and whether the port works again after stop and start.
import { Mbuf, Pool } from "../../../src/hot/layout.ts";
import { pause, until } from "../../acceptance/support.ts";
import { type NicSettings, openNics, report, settings } from "./ports.ts";

/** Bits 32 and up of the address: beyond the arena and beyond 2^32. */
const STRAY_HIGH = 0x7f;

const pm = await openNics(settings<NicSettings>());
const [port] = pm.ports;
const errors: { code: string; message: string; fix: string }[] = [];
port!.on("error", ({ code, message, fix }) => void errors.push({ code, message, fix }));
const { u32 } = pm.arena;
const first = u32[(pm.pool.block + Pool.FIRST) >>> 2]!;
const setHigh = (high: number) => {
  for (let k = 0; k < pm.pool.count; k++) u32[(first + k * Mbuf.BYTES + Mbuf.BUF_IOVA_HIGH) >>> 2] = high;
};
const right = u32[(first + Mbuf.BUF_IOVA_HIGH) >>> 2]!;
setHigh(STRAY_HIGH);
const tx = { port: port!, queue: 0 };
await pm.forward(0, [{ mode: "txonly", tx, frameBytes: 64 }]);
await until("an error", () => errors.length >= 2, 10_000).catch(() => 0);
const faults = port!.faults();
await pm.stop(0);
setHigh(right);
await port!.stop();
await port!.start();
await until("a link", () => port!.link().up, 15_000);
const before = port!.stats().txPackets;
await pm.forward(0, [{ mode: "txonly", tx, frameBytes: 64 }]);
await pause(300);
await pm.stop(0);
const again = { packets: port!.stats().txPackets - before, faults: port!.faults() };
await pm.close();
report({ errors, faults, again });
