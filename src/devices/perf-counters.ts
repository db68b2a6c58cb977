// Counters of the IOMMU itself, through perf: a folder of bus/event_source/devices for each counting unit, with its
// number, its events and where their terms stand (Linux, Documentation/ABI/testing/sysfs-bus-event_source-devices-*).
// Intel's units are `dmarN` (drivers/iommu/intel/perfmon.c, Linux 6.3, Sapphire Rapids and later), AMD's
// `amd_iommu_N` (arch/x86/events/amd/iommu.c).
import { PollmodeError } from "../errors.ts";
import { close } from "../libc/libc.ts";
import { type PerfEvent, perfEventOpen, perfEventRead } from "../libc/perf-event.ts";
import type { Machine } from "./machine.ts";

export interface Counter {
  readonly unit: string;
  readonly event: string;
  /** Since the counters were opened. */
  readonly count: number;
  readonly perSecond?: number;
}

const FOLDER = "bus/event_source/devices";
const iommuUnits = /^(dmar\d+|amd_iommu(_\d+)?)$/;
/** Those that tell how well an IOMMU serves its devices, few enough for its counters. */
const iommuEvents = [
  ...["iommu_requests", "iotlb_lookup", "iotlb_hit", "iommu_mem_blocked"],
  ...["mem_trans_total", "mem_iommu_tlb_pte_hit", "mem_iommu_tlb_pte_mis", "page_tbl_read_tot"],
];

export interface WantedCounters {
  readonly units: RegExp;
  readonly events: readonly string[];
}

/** Counts from open to close. */
export class PerfCounters {
  /** Why some cannot be read, though they are there. */
  readonly missing: string | undefined;
  readonly #open: readonly { unit: string; event: string; fd: number }[];

  constructor(machine: Machine, wanted: WantedCounters = { units: iommuUnits, events: iommuEvents }) {
    const found = findCounters(machine, wanted);
    const opened: { unit: string; event: string; fd: number }[] = [];
    for (const { unit, event, cpu, perf } of found) {
      try {
        opened.push({ unit, event, fd: perfEventOpen(perf, cpu) });
      } catch (error) {
        if (!(error instanceof PollmodeError)) throw error;
        this.missing ??= `${unit} has counters, and they cannot be opened: ${error.message}`;
      }
    }
    this.#open = opened;
  }

  read(): Counter[] {
    return this.#open.map(({ unit, event, fd }) => ({ unit, event, count: Math.round(perfEventRead(fd)) }));
  }

  close(): void {
    for (const { fd } of this.#open) close(fd);
  }
}

interface FoundCounter {
  readonly unit: string;
  readonly event: string;
  /** On which the kernel counts for all. */
  readonly cpu: number;
  readonly perf: PerfEvent;
}

/** The wanted events of the wanted units, as perf_event_open takes them. */
export function findCounters({ sysfs }: Machine, { units, events }: WantedCounters): FoundCounter[] {
  const found = sysfs.list(FOLDER).filter((name) => units.test(name));
  return found.flatMap((unit) => {
    const read = (path: string) => sysfs.readOptional(`${FOLDER}/${unit}/${path}`);
    const type = Number(read("type"));
    const cpu = Number.parseInt(read("cpumask") ?? "0", 10);
    return events.flatMap((event) => {
      const terms = read(`events/${event}`);
      if (terms === undefined || !Number.isInteger(type)) return [];
      return [{ unit, event, cpu, perf: { type, ...configOf(terms, (term) => read(`format/${term}`)) } }];
    });
  });
}

/** `event_group=0x3,event=0x001` with the formats `config:28-31` and `config:0-27`. */
function configOf(terms: string, formatOf: (term: string) => string | undefined): Omit<PerfEvent, "type"> {
  const words = { config: 0n, config1: 0n, config2: 0n };
  for (const term of terms.split(",")) {
    const [name = "", value = "1"] = term.split("=");
    const [, word = "config", low = "0"] = /^(config[12]?):(\d+)/.exec(formatOf(name) ?? "") ?? [];
    words[word as keyof typeof words] |= BigInt(value) << BigInt(low);
  }
  return words;
}
