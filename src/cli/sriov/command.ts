// `pollmode sriov`: virtual functions made, listed, set and removed.
import { randomUUID } from "node:crypto";
import type { PciDevice } from "../../bus/pci/scan.ts";
import { scanPci } from "../../bus/pci/scan.ts";
import { checkVfToken } from "../../bus/vfio/token.ts";
import { findDevices } from "../../devices/find.ts";
import { createVfs, removeVfs, sriovStatus } from "../../devices/sriov.ts";
import { setVf } from "../../devices/vf-settings.ts";
import { nearest } from "../../eal/nearest.ts";
import type { OptionTable } from "../../eal/option-table.ts";
import { PollmodeError } from "../../errors.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";
import { changesOf, settingsTable } from "./settings.ts";
import { printStatus, settingsText } from "./text.ts";

const createTable = {
  count: { value: "N", meaning: "How many there are to be; others that there are go first." },
  driver: {
    value: "DRIVER",
    meaning: "Bind each to this driver: vfio-pci for programs and virtual machines.",
    byDefault: "the one the kernel finds",
  },
  "vf-token": {
    value: "UUID|new",
    meaning:
      "Set the physical function's VF token, which it needs on vfio-pci: whoever opens a virtual function gives it. " +
      "The physical function is opened for that, and so reset. With new, one is made and printed.",
  },
  force: {
    meaning:
      "Take away, or bind to the driver, also virtual functions that the kernel uses, naming what that breaks. " +
      "What a program has open stays nevertheless.",
  },
} as const satisfies OptionTable;

const verbs = { create, remove, list, set } as const;
type Verb = keyof typeof verbs;

/** Options that a verb has besides those of all. */
const optionsOf: Readonly<Record<Verb, readonly string[]>> = {
  create: Object.keys(createTable),
  remove: ["force"],
  list: [],
  set: Object.keys(settingsTable),
};

export const command: ToolCommand = {
  name: "sriov",
  usage: [
    "sriov list [PF…]",
    "sriov create PF --count N [OPTIONS]",
    "sriov set PF VF OPTIONS",
    "sriov remove PF",
  ],
  meaning:
    "Makes, shows, sets and removes virtual functions (SR-IOV). PF is a physical function: its PCI address, full or " +
    "short, or its interface's name. What fails puts back what there was before.",
  sections: [
    { title: "create (remove has --force, too)", table: createTable },
    { title: "set", table: settingsTable },
  ],
  words: [
    ["list [PF…]", "Show physical functions, or these, and their virtual functions."],
    ["create PF", "Make virtual functions."],
    ["set PF VF", "Change what the PF's driver enforces on a virtual function: its number, or its address."],
    ["remove PF", "Take all virtual functions away."],
  ],
  changes: true,
  examples: [
    ["pollmode sriov list", "show all physical functions, with their virtual functions"],
    [
      "pollmode sriov create 01:00.0 --count 4 --driver vfio-pci",
      "make four, for programs and virtual machines",
    ],
    [
      "pollmode sriov create 01:00.0 --count 2 --driver vfio-pci --vf-token new",
      "make two below a PF that is itself on vfio-pci; prints the token, and how it is given",
    ],
    [
      "pollmode sriov set eth2 0 --mac 02:00:00:00:00:07 --vlan 100:3 --max-rate 500 --trust on",
      "have the NIC tag what the first one sends, and hold it to 500 Mbit/s",
    ],
    ["pollmode sriov remove eth2 --dry-run", "show what would be written"],
  ],
  run,
};

function run(call: ToolCall): Promise<number | undefined> | number | undefined {
  const [word, ...words] = call.words;
  if (word === undefined || !Object.hasOwn(verbs, word)) {
    const near = word && nearest(word, Object.keys(verbs));
    const fix = `${near ? `did you mean ${near}? ` : ""}write: pollmode sriov list, create, set or remove`;
    const message = word === undefined ? "it is not said what to do" : `there is no "${word}"`;
    throw new PollmodeError("OPTION_WORD", message, fix);
  }
  const verb = word as Verb;
  const foreign = [...Object.keys(createTable), ...Object.keys(settingsTable)].find((name) => {
    const value = call.values[name];
    return value !== undefined && value !== false && !optionsOf[verb].includes(name);
  });
  if (foreign === undefined) return verbs[verb]({ ...call, words });
  const other = foreign in settingsTable ? "set" : "create";
  throw new PollmodeError(
    "OPTION_WORD",
    `sriov ${verb} has no --${foreign}`,
    `it belongs to: pollmode sriov ${other}`,
  );
}

/** The one PF that is named, and what follows. */
function oneOf({ words, machine }: ToolCall, verb: string, more: string): PciDevice {
  const [word] = words;
  if (word === undefined || words.length !== more.split(" ").filter(Boolean).length + 1) {
    const why = word === undefined ? "no physical function is named" : "too many or too few words";
    const message = `sriov ${verb}: ${why}`;
    throw new PollmodeError("OPTION_WORD", message, `write: pollmode sriov ${verb} PF${more && ` ${more}`}`);
  }
  const found = findDevices(machine, [word]);
  if (found.length === 1) return found[0]!;
  const message = `"${word}" names ${found.length} devices: ${found.map(({ address }) => address).join(", ")}`;
  throw new PollmodeError("OPTION_WORD", message, "name one of them");
}

function list({ words, machine, out }: ToolCall): undefined {
  const devices = words.length > 0 ? findDevices(machine, words) : scanPci(machine.sysfs);
  const found = devices.map((device) => ({ device, status: sriovStatus(machine, device) }));
  const without = found.find(({ status }) => !status);
  if (words.length > 0 && without) {
    const { address, physicalFunction: pf } = without.device;
    const message = `${address} has no virtual functions to give${pf ? ": it is one itself" : ""}`;
    throw new PollmodeError(
      "SRIOV_UNSUPPORTED",
      message,
      pf ? `name its PF: ${pf}` : "pollmode sriov list shows all PFs",
    );
  }
  const all = found.flatMap(({ status }) => status ?? []);
  if (all.length === 0) out.line("no device of this machine has SR-IOV, or it is off in the firmware");
  for (const status of all) printStatus(out, status);
  out.json({ devices: all });
}

async function create(call: ToolCall): Promise<undefined> {
  const { values, machine, out } = call;
  const pf = oneOf(call, "create", "");
  const count = countOf(values.count as string | undefined);
  const driver = values.driver as string | undefined;
  const given = values["vf-token"] as string | undefined;
  const vfToken = given === "new" ? randomUUID() : given;
  if (vfToken !== undefined) checkVfToken("--vf-token", vfToken);
  out.progress(`${pf.address}: making ${count} virtual functions`);
  const force = values.force === true;
  const warn = (text: string) => out.warn(`pollmode sriov: ${text}`);
  const { vfs, tokenIsHeld } = await createVfs(machine, pf.address, { count, driver, vfToken, force, warn });
  const after = machine.isDryRun ? undefined : findDevices(machine, [pf.address])[0];
  const status = after && sriovStatus(machine, after);
  if (status) printStatus(out, status);
  if (vfToken !== undefined) sayToken(call, pf.address, vfs, vfToken, tokenIsHeld);
  else if (pf.driver === "vfio-pci") {
    warn(
      `${pf.address} is on vfio-pci: its virtual functions are opened with a VF token only; see --vf-token`,
    );
  }
  const token = vfToken === undefined ? {} : { vfToken, tokenIsHeld };
  out.json({ address: pf.address, vfs, ...(status && { status }), ...token });
}

function sayToken(
  { out, dryRun }: ToolCall,
  pf: string,
  vfs: readonly string[],
  token: string,
  isHeld: boolean,
): void {
  const held = `a program has ${pf} open: the token that it was opened with counts, and has to be this one`;
  if (isHeld) out.warn(`pollmode sriov: ${held}`);
  // a dry run's text is for a shell: this is no line of it, and no line can open the physical function
  const say = (text: string) => out.line(dryRun ? `# ${text}` : text);
  if (dryRun) say(`before the first virtual function is made, ${pf} is opened with the token`);
  else out.line();
  say(`VF token: ${token}`);
  say(`  PF, pollmode:            -a ${pf} --vfio-vf-token ${token}`);
  for (const vf of vfs) {
    say(`  VF, pollmode and DPDK:   -a ${vf} --vfio-vf-token ${token}`);
    say(`      QEMU:                -device vfio-pci,host=${vf},vf-token=${token}`);
  }
  say(`It lasts until ${pf} is opened with another, or unbound from vfio-pci.`);
}

/** As text, since 0 is what remove is for. */
function countOf(text: string | undefined): number {
  if (text !== undefined && /^[1-9]\d{0,4}$/.test(text)) return Number(text);
  const message =
    text === undefined ? "sriov create: --count is missing" : `--count ${text} is no number from 1 on`;
  throw new PollmodeError(
    "OPTION_VALUE",
    message,
    "write --count 4, for instance; sriov remove takes all away",
  );
}

async function remove(call: ToolCall): Promise<undefined> {
  const { values, machine, out } = call;
  const pf = oneOf(call, "remove", "");
  const warn = (text: string) => out.warn(`pollmode sriov: ${text}`);
  await removeVfs(machine, pf.address, { force: values.force === true, warn });
  const removed = pf.sriov?.vfs ?? [];
  if (!machine.isDryRun) {
    const what =
      removed.length === 0 ? "has no virtual functions" : `${removed.length} virtual functions are gone`;
    out.line(removed.length === 0 ? `${pf.address} ${what}` : `${pf.address}: ${what}`);
  }
  out.json({ address: pf.address, removed });
}

function set(call: ToolCall): undefined {
  const { values, words, machine, out } = call;
  const pf = oneOf(call, "set", "VF");
  const vf = vfOf(pf, words[1]!);
  const settings = setVf(machine, pf.address, vf, changesOf(values));
  if (!machine.isDryRun) out.line(`${pf.address}, virtual function ${vf}: ${settingsText(settings)}`);
  out.json({ address: pf.address, vf, settings });
}

/** Its number, or its address, full or short. */
function vfOf({ address, sriov }: PciDevice, word: string): number {
  if (/^\d{1,5}$/.test(word)) return Number(word);
  const index = sriov?.vfs.findIndex((vf) => vf === word || vf === `0000:${word}`) ?? -1;
  if (index >= 0) return index;
  const message = `"${word}" is no virtual function of ${address}`;
  throw new PollmodeError(
    "OPTION_WORD",
    message,
    `name its number, from 0 on: pollmode sriov list ${address}`,
  );
}
