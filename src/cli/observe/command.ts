import { setTimeout as pause } from "node:timers/promises";
import { findDevices } from "../../devices/find.ts";
import { observe } from "../../devices/observe.ts";
import { PerfCounters } from "../../devices/perf-counters.ts";
import { PollmodeError } from "../../errors.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";
import { askEngines } from "./engines.ts";
import { render } from "./render.ts";
import { type Report, rated } from "./report.ts";
import { watch } from "./watch.ts";

/** Long enough for a rate, short enough to wait for. */
const ONCE_MS = 500;
const INTERVAL_S = 1;

export const command: ToolCommand = {
  name: "observe",
  usage: ["observe [DEVICE…] [--watch [SECONDS]] [--tables]"],
  meaning:
    "Shows what runs now: the IOMMU, the devices that user space has, the programs that hold them with the memory " +
    "that they lock for DMA, and the interrupts that the devices took, with their rate. Root sees all programs and " +
    "the IOMMU's tables.",
  words: [["DEVICE", "address, pattern or interface; without any, the devices that user space has"]],
  sections: [
    {
      title: "Observing",
      table: {
        watch: {
          meaning: "Go on until Ctrl-C or q: in place on a terminal, else one report after the other.",
        },
        interval: {
          value: "SECONDS",
          meaning: "Time between reports; --watch SECONDS is the same.",
          byDefault: "1",
        },
        tables: {
          meaning: "Have the kernel walk the IOMMU's page tables, by its lock, and count what is mapped.",
        },
      },
    },
  ],
  changes: false,
  examples: [
    ["pollmode observe", "all devices that user space has, and who holds them"],
    ["pollmode observe --watch 2 0000:01:00.0", "one device, every 2 seconds"],
    [
      "pollmode observe --json | jq '.holders[].lockedBytes'",
      "for scripts: one object; with --watch a line each",
    ],
    ["sudo pollmode observe --tables", "also how much is mapped for each device, where debugfs shows it"],
  ],
  run,
};

/** `--watch 2` and `--watch=2`: an option whose value may be left out, which a device's address cannot be. */
export function withInterval(argv: readonly string[]): string[] {
  return argv.flatMap((word, at) => {
    const inline = /^--watch=(.*)$/.exec(word)?.[1];
    if (inline !== undefined) return ["--watch", "--interval", inline];
    return argv[at - 1] === "--watch" && /^[\d.]+$/.test(word) ? ["--interval", word] : [word];
  });
}

async function run(call: ToolCall): Promise<number> {
  const { values, machine, out } = call;
  const intervalMs = readInterval(values.interval as string | undefined, values.watch === true) * 1000;
  const devices = call.words.length > 0 ? { devices: findDevices(machine, call.words) } : {};
  // a recorded machine's counters would be this one's
  const counters = machine.isReal ? new PerfCounters(machine) : undefined;
  const look = async (): Promise<Report> => {
    const options = { ...devices, pageTables: values.tables === true, ...(counters && { counters }) };
    const observation = observe(machine, options);
    const engines = machine.isReal ? await askEngines(observation.holders) : [];
    return { ...observation, engines, countersMissing: counters?.missing };
  };
  try {
    if (values.watch === true) return await watch(call, intervalMs, look);
    const first = await look();
    if (machine.isReal) await pause(ONCE_MS);
    const report = machine.isReal ? rated(first, await look()) : first;
    out.json(report);
    if (!call.json) render(out, report);
    return 0;
  } finally {
    counters?.close();
  }
}

function readInterval(text: string | undefined, isWatching: boolean): number {
  if (text === undefined) return INTERVAL_S;
  if (!isWatching)
    throw new PollmodeError("OPTION_CONFLICT", "--interval is for --watch", "give --watch too");
  const seconds = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (seconds >= 0.1 && seconds <= 86_400) return seconds;
  const message = `--watch "${text}" is no time from 0.1 to 86400 seconds`;
  throw new PollmodeError("OPTION_VALUE", message, "write --watch 2, for instance");
}
