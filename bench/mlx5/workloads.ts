// What the contenders do, and which of the device's own counters says how fast: one meter for all of them.
import type { SoftPort } from "../../test/beds/softmlx5.ts";

export interface Workload {
  readonly name: string;
  /** As the table shows it. */
  readonly title: string;
  readonly wire: NonNullable<SoftPort["wire"]>;
  /** What is typed at the prompt; both programs know the words. */
  readonly lines: readonly string[];
  readonly meter: "rx_packets" | "tx_packets";
}

/** Bursts on their way at once: 512 frames, half a ring. */
const inFlight = 16;

export const workloads: readonly Workload[] = [
  {
    name: "io",
    title: "io, 512 frames going round a loop wire",
    wire: "loop",
    lines: ["set fwd io", `start tx_first ${inFlight}`],
    meter: "rx_packets",
  },
  {
    name: "flowgen",
    title: "flowgen, sends to itself over a loop wire",
    wire: "loop",
    lines: ["set fwd flowgen", "start"],
    meter: "rx_packets",
  },
  {
    name: "txonly",
    title: "txonly, into a wire without an end",
    wire: "null",
    lines: ["set fwd txonly", "start"],
    meter: "tx_packets",
  },
];
