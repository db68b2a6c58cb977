// `pollmode doctor`: the checklist, for people or as JSON.
import { pmds } from "../../../pmd/index.ts";
import { findDevices } from "../../devices/find.ts";
import { type Diagnosis, examine } from "../../doctor/doctor.ts";
import { formatFix, type State } from "../../doctor/finding.ts";
import { findUser } from "../../doctor/user.ts";
import type { Line } from "../../doctor/walk.ts";
import { wrap } from "../../eal/option-table.ts";
import { PollmodeError } from "../../errors.ts";
import { ARENA_BYTES_MAX, MEMORY_MIB_DEFAULT, MIB } from "../../limits.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";
import { Exit } from "../tool/exit.ts";
import type { Output, Style } from "../tool/output.ts";

const MEMORY_MIB_MAX = ARENA_BYTES_MAX / MIB;

export const command: ToolCommand = {
  name: "doctor",
  usage: ["doctor [OPTIONS] [DEVICE…]"],
  meaning:
    "Looks at everything that a packet needs on its way through a NIC of this machine, and changes nothing. Each " +
    "line that failed has the command or setting that mends it; what only follows from it is not looked at. Exit " +
    "code 0: packets could flow; 1: something is to be mended first.",
  words: [
    [
      "DEVICE",
      "A PCI address (0000:01:00.0, 01:00.0), a pattern of addresses (01:00.*), or an interface (eth0). Without one: " +
        "the NICs that are bound for user space; or else one that the kernel could spare.",
    ],
  ],
  sections: [
    {
      title: "What is to run",
      table: {
        memory: {
          short: "m",
          value: "MIB",
          meaning: "Memory that the devices are to reach, as pollmode's -m.",
          byDefault: `${MEMORY_MIB_DEFAULT}`,
        },
        user: { value: "USER", meaning: "Who is to run it, by name or number.", byDefault: "who asks" },
      },
    },
  ],
  changes: false,
  examples: [
    ["pollmode doctor", "check the whole machine"],
    ["pollmode doctor 01:00.0 --user alice -m 256", "check whether alice could drive this NIC with 256 MiB"],
    [
      "pollmode doctor --json | jq '.checks[] | select(.state == \"fail\") | .fix'",
      "only what is to be done",
    ],
  ],
  run,
};

async function run(call: ToolCall): Promise<number> {
  const { machine, values, words, out } = call;
  const diagnosis = await examine({
    machine,
    user: findUser(machine, values.user as string | undefined),
    memoryBytes: memoryMib(values.memory as string | undefined) * MIB,
    known: pmds.flatMap(({ ids = [] }) => ids),
    devices: findDevices(machine, words),
  });
  if (call.json) out.json(asJson(diagnosis));
  else print(diagnosis, out);
  return diagnosis.healthy ? Exit.DONE : Exit.FAILED;
}

function memoryMib(text: string | undefined): number {
  if (text === undefined) return MEMORY_MIB_DEFAULT;
  const mib = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (mib >= 1 && mib <= MEMORY_MIB_MAX) return mib;
  const message = `--memory "${text}" is not a whole number from 1 to ${MEMORY_MIB_MAX}`;
  throw new PollmodeError("OPTION_VALUE", message, `write --memory ${MEMORY_MIB_DEFAULT}, for instance`);
}

function asJson({ situation, lines, healthy }: Diagnosis): unknown {
  const { user, memoryBytes } = situation;
  return {
    healthy,
    user: user.name,
    memoryMib: memoryBytes / MIB,
    checks: lines.map(({ id, device, state, text, because, fixes }) => ({
      id,
      ...(device !== undefined && { device }),
      state,
      text,
      ...(because !== undefined && { because }),
      ...(fixes.length > 0 && {
        fix: fixes.map(formatFix).join("; or "),
        commands: fixes.flatMap(({ command }) => command ?? []),
      }),
    })),
  };
}

const marks: Readonly<Record<State, readonly [mark: string, style: Style]>> = {
  ok: ["ok", "green"],
  warn: ["warn", "yellow"],
  fail: ["FAIL", "red"],
  skipped: ["skipped", "dim"],
};
const MARK_COLUMNS = Math.max(...Object.values(marks).map(([mark]) => mark.length)) + 2;

/** On a narrow terminal. */
const TEXT_COLUMNS_MIN = 40;

function print({ situation, lines, healthy }: Diagnosis, out: Output): void {
  const idColumns = Math.max(...lines.map(({ id }) => id.length)) + 2;
  const show = (line: Line) => printLine(line, idColumns, out);
  out.line(out.paint("bold", "This machine"));
  for (const line of lines.filter(({ device }) => device === undefined)) show(line);
  for (const { pci, chip } of situation.nics) {
    out.line();
    out.line(out.paint("bold", [pci.address, chip, ...pci.interfaces].filter(Boolean).join(" ")));
    for (const line of lines.filter(({ device }) => device === pci.address)) show(line);
  }
  out.line();
  out.line(summary(lines, healthy, situation.nics.length > 0));
}

function printLine({ id, state, text, fixes }: Line, idColumns: number, out: Output): void {
  const [mark, style] = marks[state];
  const indent = " ".repeat(2 + MARK_COLUMNS + idColumns);
  // commands stay in one line each, to be copied
  const [first, ...more] = wrap(text, Math.max(TEXT_COLUMNS_MIN, out.columns - indent.length));
  out.line(`  ${out.paint(style, mark.padEnd(MARK_COLUMNS))}${id.padEnd(idColumns)}${first}`);
  for (const rest of more) out.line(`${indent}${rest}`);
  for (const [index, { command, setting, after }] of fixes.entries()) {
    const how = command === undefined ? `: ${setting}` : `, as root: ${command}`;
    out.line(`${indent}${index === 0 ? "fix" : "or"}${how}`);
    if (after !== undefined) out.line(`${indent}  then ${after}`);
  }
}

function summary(lines: readonly Line[], healthy: boolean, hasNics: boolean): string {
  const failed = lines.filter(({ state }) => state === "fail").map(({ id }) => id);
  const warnings = lines.filter(({ state }) => state === "warn").length;
  const count = `${warnings} warning${warnings === 1 ? "" : "s"}`;
  if (!healthy) return `Packets cannot flow yet: mend ${[...new Set(failed)].join(", ")} (${count}).`;
  return hasNics
    ? `Packets could flow (${count}).`
    : `Packets could flow through virtual ports alone (${count}).`;
}
