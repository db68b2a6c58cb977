import { type Observation, withRates } from "../../devices/observe.ts";
import type { RunningEngine } from "./engines.ts";

/** What there is to say at one moment. */
export interface Report extends Observation {
  /** pollmode's own, as far as they may be asked: those of this user that have a control socket. */
  readonly engines: readonly RunningEngine[];
  /** Why counters of the IOMMU are not shown though perf has them. */
  readonly countersMissing: string | undefined;
}

/** The later report with rates since the earlier one. */
export function rated(before: Report, after: Report): Report {
  return { ...after, ...withRates(before, after) };
}
