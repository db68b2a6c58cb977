// The fidelity gate's checks, and what they need.
import { aptInstall, type Bed } from "../../beds/command.ts";
import { dpdkBed } from "../../beds/dpdk.ts";
import { netnsBed } from "../../beds/netns.ts";
import { softMlx5Bed } from "../../beds/softmlx5.ts";
import { wiresharkBed } from "../../beds/wireshark.ts";
import type { Check, Load } from "./check.ts";
import { ibverbsChecks } from "./ibverbs.ts";
import { perftestChecks } from "./perftest.ts";
import { pyverbsChecks, unpackTests } from "./pyverbs.ts";
import { interruptChecks } from "./rx-interrupts.ts";
import { kernelChecks } from "./testpmd-kernel.ts";
import { loopChecks } from "./testpmd-loop.ts";
import { offloadChecks } from "./testpmd-offload.ts";

const beds = [softMlx5Bed, dpdkBed, netnsBed, wiresharkBed];
const packages = ["ibverbs-utils", "libdpdk-dev", "perftest", "pkg-config", "python3-pyverbs"];

export const verifyBed: Bed = {
  name: "programs of others on the software ConnectX",
  missing() {
    return beds.map((bed) => bed.missing()).find((why) => why !== undefined);
  },
  async setup() {
    for (const bed of beds) await bed.setup();
    await aptInstall(packages);
    await unpackTests();
  },
};

export const checks: readonly Check[] = [
  ...ibverbsChecks,
  ...pyverbsChecks,
  ...perftestChecks,
  ...loopChecks,
  ...offloadChecks,
  ...interruptChecks,
  ...kernelChecks,
];

/** Four times the full load, which one check does, wraps the 24 bits of a CQ's index. */
export const loads = {
  full: { frames: 5_000_000, pings: 1000 },
  short: { frames: 300_000, pings: 50 },
} as const satisfies Record<string, Load>;
