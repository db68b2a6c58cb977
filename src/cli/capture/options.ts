// The command line of `pollmode capture`, spelled as tcpdump spells it where that has the option.

import type { FileRing } from "../../capture/output.ts";
import type { CaptureDirection } from "../../capture/taps.ts";
import { helpText, type OptionTable, parseOptions } from "../../eal/option-table.ts";
import { PollmodeError } from "../../errors.ts";
import {
  CAPTURE_RING_BYTES_DEFAULT,
  CAPTURE_RING_BYTES_MAX,
  CAPTURE_RING_BYTES_MIN,
  KIB,
  MIB,
} from "../../limits.ts";

const table = {
  write: { short: "w", value: "FILE|-", meaning: "Where to: a pcapng file, or standard output." },
  filter: {
    short: "f",
    value: "EXPRESSION",
    meaning: "Capture only what it matches, as in pcap-filter(7): 'tcp port 80'. Also as last words.",
  },
  "snapshot-length": {
    short: "s",
    value: "BYTES",
    meaning: "Bytes kept of each packet.",
    byDefault: "262144",
  },
  count: { short: "c", value: "N", meaning: "End after so many packets." },
  direction: { short: "Q", value: "in|out|both", meaning: "Received, sent, or both.", byDefault: "both" },
  queue: { value: "N", meaning: "Only this queue.", byDefault: "all" },
  "file-size": {
    short: "C",
    value: "SIZE",
    meaning: "Begin another file after so many millions of bytes; 10k, 10m, 1g: KiB, MiB, GiB.",
  },
  seconds: {
    short: "G",
    value: "N",
    meaning: "Begin another file every N seconds, named by strftime: %H%M%S.",
  },
  files: { short: "W", value: "N", meaning: "With -C a ring of N files; with -G end after N files." },
  "ring-size": {
    value: "MIB",
    meaning: `Memory between an lcore and this program, for each queue, ${CAPTURE_RING_BYTES_MAX / MIB} at most.`,
    byDefault: `${CAPTURE_RING_BYTES_DEFAULT / MIB}`,
  },
  "file-prefix": {
    value: "NAME",
    meaning: "The --file-prefix of the running engine.",
    byDefault: "pollmode",
  },
  "list-interfaces": { short: "D", meaning: "List the engine's ports." },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

export interface CaptureCommand {
  readonly help: boolean;
  readonly list: boolean;
  readonly filePrefix: string;
  readonly port: string;
  readonly write: string;
  readonly filter: string | undefined;
  readonly snaplen: number | undefined;
  readonly count: number | undefined;
  readonly direction: CaptureDirection;
  readonly queue: number | undefined;
  readonly ring: FileRing;
  readonly ringBytes: number;
}

export function captureHelp(): string {
  const usage = "pollmode capture PORT -w FILE|- [OPTIONS] [EXPRESSION]";
  const examples = [
    "",
    "examples:",
    "  pollmode capture 0 -w http.pcapng -f 'tcp port 80'",
    "  pollmode capture net_vhost0 -w - | tshark -i -",
    "  pollmode capture 0 -w ring.pcapng -C 100 -W 10",
    "",
  ].join("\n");
  return helpText(usage, [{ title: "options", table }]) + examples;
}

export function parseCapture(argv: readonly string[]): CaptureCommand {
  const { values, words, rest } = parseOptions(argv, table, { words: true });
  const [port, ...expression] = [...words, ...rest];
  const command = { help: values.help, list: values["list-interfaces"] };
  const write = values.write;
  if (!command.help && !command.list && (port === undefined || write === undefined)) {
    const message = port === undefined ? "no port is named" : "-w is missing: packets are not printed here";
    const fix = "write `pollmode capture 0 -w out.pcapng`, or `pollmode capture 0 -w - | tshark -i -`";
    throw new PollmodeError("CAPTURE_OPTION", message, fix);
  }
  if (values.filter !== undefined && expression.length > 0) {
    const message = `-f "${values.filter}" and "${expression.join(" ")}" are both filters`;
    throw new PollmodeError("OPTION_CONFLICT", message, "join them by `and` in one");
  }
  const bytes = fileSize(values["file-size"]);
  const seconds = integer("-G", values.seconds, 1, 2 ** 31);
  const files = integer("-W", values.files, 1, 1_000_000);
  if (files !== undefined && bytes === undefined && seconds === undefined) {
    throw new PollmodeError("OPTION_CONFLICT", `-W ${files} without -C or -G`, `add -C 100 (100 MB a file)`);
  }
  if (write === "-" && (bytes ?? seconds) !== undefined) {
    throw new PollmodeError(
      "OPTION_CONFLICT",
      "-w - is one stream, -C and -G are for files",
      "name a file: -w FILE",
    );
  }
  return {
    ...command,
    filePrefix: filePrefix(values["file-prefix"]),
    port: port ?? "",
    write: write ?? "",
    filter: values.filter ?? (expression.length > 0 ? expression.join(" ") : undefined),
    snaplen: integer("-s", values["snapshot-length"], 0, 2 ** 31),
    count: integer("-c", values.count, 1, Number.MAX_SAFE_INTEGER),
    direction: readDirection(values.direction),
    queue: integer("--queue", values.queue, 0, 65535),
    ring: { bytes, seconds, files },
    ringBytes: ringSize(values["ring-size"]),
  };
}

function integer(option: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  const message = `${option} "${text}" is not a whole number from ${min} to ${max}`;
  throw new PollmodeError("OPTION_VALUE", message, `write ${option} ${Math.max(min, 10)}, for instance`);
}

/** -C: millions of bytes, or with a suffix as in tcpdump's later releases. */
function fileSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, number, unit = ""] = /^(\d{1,9})([kmg]?)$/i.exec(text) ?? [];
  const units: Record<string, number> = { "": 1_000_000, k: KIB, m: MIB, g: KIB * MIB };
  const bytes = Number(number) * units[unit.toLowerCase()]!;
  if (bytes > 0) return bytes;
  throw new PollmodeError(
    "OPTION_VALUE",
    `-C "${text}" is no file size`,
    "write -C 100 (MB), -C 64k or -C 1g",
  );
}

function readDirection(text = "both"): CaptureDirection {
  const found = (["in", "out", "both"] as const).find(
    (one) => one === text || (text === "inout" && one === "both"),
  );
  if (found) return found;
  throw new PollmodeError("OPTION_VALUE", `--direction "${text}" is none`, "write in, out or both");
}

/** Rounded up to a power of two. */
function ringSize(text: string | undefined): number {
  const [min, max] = [CAPTURE_RING_BYTES_MIN / MIB, CAPTURE_RING_BYTES_MAX / MIB];
  const mib = integer("--ring-size", text, min, max) ?? CAPTURE_RING_BYTES_DEFAULT / MIB;
  return 2 ** Math.ceil(Math.log2(mib)) * MIB;
}

function filePrefix(text = "pollmode"): string {
  if (/^[\w-][\w.-]{0,63}$/.test(text)) return text;
  throw new PollmodeError(
    "OPTION_VALUE",
    `--file-prefix "${text}" cannot be part of a file name`,
    "use up to 64 letters, digits, dots, dashes and underscores",
  );
}
