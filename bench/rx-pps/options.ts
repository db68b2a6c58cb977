// rx-pps's own options, beside the EAL's.
import { accessSync, constants } from "node:fs";
import { dirname } from "node:path";
import { nearest } from "../../src/eal/nearest.ts";
import { helpText, type OptionTable } from "../../src/eal/option-table.ts";
import { type EalOptions, ealOptionTable, type MachineLimits, parseProgram } from "../../src/eal/options.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { EngineName } from "../../src/hot/engine.ts";
import { BURST_DEFAULT, BURST_MAX, QUEUES_MAX } from "../../src/limits.ts";

const appNames = ["touch", "count", "io", "macswap"] as const;
const engineNames = ["wasm", "ts"] as const;

/** Whether an application sends what it receives. */
export function sendsBack(app: Settings["app"]): boolean {
  return app === "io" || app === "macswap";
}

const secondsDefault = 5;
/** A day: longer than anybody waits, and setTimeout can still count it. */
const secondsMax = 86_400;
const frameBytes = { default: 64, min: 60, max: 9000 };

const optionTable = {
  seconds: { value: "N", meaning: "How long to measure; 0: until Ctrl-C.", byDefault: `${secondsDefault}` },
  burst: {
    value: "N",
    meaning: `Packets asked for at a time, 1 to ${BURST_MAX}.`,
    byDefault: `${BURST_DEFAULT}`,
  },
  queues: {
    value: "N",
    meaning: `Receive queues of each port (and of the generator), 1 to ${QUEUES_MAX}.`,
    byDefault: "1",
  },
  "frame-size": {
    value: "BYTES",
    meaning: `Frames the built-in generator sends, without CRC, ${frameBytes.min} to ${frameBytes.max}.`,
    byDefault: `${frameBytes.default}`,
  },
  app: {
    value: "APP",
    meaning:
      "What is done with each packet: touch reads its first cache line, count does not, io sends it back, " +
      "macswap exchanges the MAC addresses and sends it back.",
    byDefault: "touch",
  },
  "rx-interrupt": {
    meaning: "Let lcores sleep while nothing comes and wake by interrupt. The ports must be able to.",
  },
  engine: {
    value: "wasm|ts",
    meaning: "The hot path in WebAssembly or in plain TypeScript.",
    byDefault: "wasm",
  },
  json: { meaning: "Print the result as one JSON object." },
  plot: { value: "FILE.svg", meaning: "Draw rate over time and latency percentiles." },
} as const satisfies OptionTable;

export interface Settings {
  readonly eal: EalOptions;
  /** 0: until told to stop. */
  readonly seconds: number;
  readonly burst: number;
  readonly queues: number;
  readonly frameBytes: number;
  readonly app: (typeof appNames)[number];
  readonly rxInterrupt: boolean;
  readonly engine: EngineName;
  readonly json: boolean;
  readonly plot: string | undefined;
}

export function help(columns?: number): string {
  const sections = [
    { title: "rx-pps", table: optionTable },
    { title: "EAL, as in DPDK", table: ealOptionTable },
  ];
  const usage = "pollmode rx-pps [OPTIONS]\n\n" + about;
  return helpText(usage, sections, columns);
}

const about = `Receives packets and measures the rate. Without --vdev and --allow a net_virtio_user port is fed by a
built-in generator (a net_vhost port on an lcore of its own); with them, all given ports are received
from. -l names the lcores: queues are dealt to them in turn, and where the generator is used and there
are two or more, the last one generates.`;

/** Parses the command line; throws a PollmodeError for the first thing that is wrong. */
export function parseSettings(argv: readonly string[], limits: MachineLimits = {}): Settings {
  const { eal, values, rest } = parseProgram(argv, optionTable, limits);
  if (rest.length > 0) {
    const fix = "leave the -- out: rx-pps's own options stand among the others";
    throw new PollmodeError("OPTION_WORD", `unexpected "${rest[0]}" after --`, fix);
  }
  const given = eal.vdevs.length + eal.allow.length > 0;
  if (given && values["frame-size"] !== undefined) {
    const message = "--frame-size is the built-in generator's, which --vdev and --allow replace";
    throw new PollmodeError("OPTION_CONFLICT", message, "remove it: whoever sends to the ports decides");
  }
  if (!given && values["rx-interrupt"]) {
    const message = "--rx-interrupt: the built-in generator always sends, so that no lcore would ever sleep";
    throw new PollmodeError("OPTION_CONFLICT", message, "name a port: -a 0000:01:00.0 --rx-interrupt");
  }
  const queues = readInteger("--queues", values.queues, { default: 1, min: 1, max: QUEUES_MAX });
  const app = readWord("--app", values.app, appNames);
  if (!given && sendsBack(app) && queues > QUEUES_MAX / 2) {
    const message = `--app ${app} --queues ${queues}: the built-in generator sends and drains on one lcore`;
    throw new PollmodeError("OPTION_CONFLICT", message, `use at most --queues ${QUEUES_MAX / 2}`);
  }
  return {
    eal,
    seconds: readSeconds(values.seconds),
    burst: readInteger("--burst", values.burst, { default: BURST_DEFAULT, min: 1, max: BURST_MAX }),
    queues,
    frameBytes: readInteger("--frame-size", values["frame-size"], frameBytes),
    app,
    rxInterrupt: values["rx-interrupt"],
    engine: readWord("--engine", values.engine, engineNames),
    json: values.json,
    plot: readPlot(values.plot),
  };
}

function readSeconds(text: string | undefined): number {
  if (text === undefined) return secondsDefault;
  const number = /^([0-9]+\.?[0-9]*|\.[0-9]+)$/.test(text) ? Number(text) : Number.NaN;
  if (number >= 0 && number <= secondsMax) return number;
  const message = `--seconds "${text}" is not a number from 0 to ${secondsMax}`;
  throw new PollmodeError("OPTION_VALUE", message, "write --seconds 10, --seconds 0.5, or 0 for no end");
}

function readInteger(
  option: string,
  text: string | undefined,
  bounds: { readonly default: number; readonly min: number; readonly max: number },
): number {
  if (text === undefined) return bounds.default;
  const number = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= bounds.min && number <= bounds.max) return number;
  const message = `${option} "${text}" is not a whole number from ${bounds.min} to ${bounds.max}`;
  throw new PollmodeError("OPTION_VALUE", message, `write ${option} ${bounds.default}, for instance`);
}

/** One of a few words, the first by default. */
function readWord<const T extends string>(
  option: string,
  text: string | undefined,
  words: readonly [T, ...T[]],
): T {
  if (text === undefined) return words[0];
  const word = words.find((candidate) => candidate === text);
  if (word) return word;
  const fix = `write ${option} ${nearest(text, words) ?? words[0]}`;
  throw new PollmodeError("OPTION_VALUE", `${option} "${text}" is none of ${words.join(", ")}`, fix);
}

/** Finds out now that the picture cannot be written, rather than when all is measured. */
function readPlot(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  if (!path.endsWith(".svg")) {
    throw new PollmodeError("OPTION_VALUE", `--plot "${path}" is no .svg file`, `write --plot ${path}.svg`);
  }
  try {
    accessSync(dirname(path), constants.W_OK);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? "unknown";
    const message = `--plot ${path}: ${dirname(path)} is no folder that can be written to (${why})`;
    throw new PollmodeError("OPTION_VALUE", message, "make the folder, or name another", { cause });
  }
  return path;
}
