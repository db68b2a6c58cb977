import {
  createMdev,
  findMdev,
  type Mdev,
  mdevHolders,
  mdevParents,
  mdevs,
  removeMdev,
} from "../../devices/mdev.ts";
import { nearest } from "../../eal/nearest.ts";
import { PollmodeError } from "../../errors.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";
import { openForShow } from "./open.ts";
import { renderList, renderMdev } from "./render.ts";

const EXAMPLE = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

export const command: ToolCommand = {
  name: "mdev",
  usage: [
    "mdev [list]",
    "mdev show UUID",
    "mdev create PARENT TYPE [--uuid UUID] [--dry-run]",
    "mdev remove UUID [--force] [--dry-run]",
  ],
  meaning:
    "Mediated devices: shares of a device that its kernel driver makes, and VFIO gives to user space one by one. " +
    "Parents offer types, types give instances, instances are named by UUIDs.",
  words: [
    ["list", "parents, their types with how many are left, and the instances; the default"],
    [
      "show UUID",
      "one instance: its type, group and driver, who has it open, its VFIO regions and interrupts",
    ],
    [
      "create PARENT TYPE",
      "make an instance; TYPE is an id of the list, without the driver's name too, or a name",
    ],
    ["remove UUID", "take an instance away; one that is open is refused"],
  ],
  sections: [
    {
      title: "Mediated devices",
      table: {
        uuid: { value: "UUID", meaning: "Name of the instance that create makes.", byDefault: "a new one" },
        force: {
          short: "f",
          meaning:
            "Remove an instance that is open: the kernel asks its program to let go, and waits until it does.",
        },
      },
    },
  ],
  changes: true,
  examples: [
    ["pollmode mdev", "show what can be made, and what there is"],
    ["sudo pollmode mdev create 0000:00:02.0 i915-GVTg_V5_4", "make one, and print its UUID"],
    [`sudo pollmode mdev show ${EXAMPLE}`, "show its regions and interrupts, as VFIO tells them"],
    [`sudo pollmode mdev remove ${EXAMPLE}`, "take it away"],
    [
      "pollmode mdev --json | jq '.parents[].types[] | {id, availableInstances}'",
      "for scripts: what is left of each type",
    ],
  ],
  run,
};

type Action = (call: ToolCall, operands: readonly string[]) => void | Promise<void>;

/** With the names of their operands. */
const actions: Readonly<Record<string, readonly [operands: readonly string[], action: Action]>> = {
  list: [[], list],
  show: [["UUID"], show],
  create: [["PARENT", "TYPE"], create],
  remove: [["UUID"], remove],
};

async function run(call: ToolCall): Promise<undefined> {
  const [name = "list", ...operands] = call.words;
  const found = Object.hasOwn(actions, name) ? actions[name] : undefined;
  if (!found) {
    const near = nearest(name, Object.keys(actions));
    const all = `write: pollmode mdev ${Object.keys(actions).join(", ")}`;
    const fix = near === undefined ? all : `did you mean ${near}? ${all}`;
    throw new PollmodeError("COMMAND_UNKNOWN", `there is no "${name}"`, fix);
  }
  const [names, action] = found;
  const usage = `write pollmode mdev ${[name, ...names].join(" ")}`;
  if (operands.length !== names.length) {
    const message =
      operands.length < names.length
        ? `mdev ${name} needs ${names.slice(operands.length).join(" and ")}`
        : `unexpected "${operands[names.length]}"`;
    throw new PollmodeError("OPTION_WORD", message, usage);
  }
  for (const [option, of] of [
    ["uuid", "create"],
    ["force", "remove"],
  ] as const) {
    const isGiven = call.values[option] !== undefined && call.values[option] !== false;
    if (isGiven && name !== of) {
      throw new PollmodeError("OPTION_CONFLICT", `--${option} is for mdev ${of}`, `leave out --${option}`);
    }
  }
  await action(call, operands);
}

function list({ machine, out, json }: ToolCall): void {
  const [parents, instances] = [mdevParents(machine), mdevs(machine)];
  out.json({ parents, instances });
  if (!json) renderList(out, parents, instances);
}

function show({ machine, out, json }: ToolCall, [uuid = ""]: readonly string[]): void {
  const mdev = findMdev(machine, uuid);
  const holders = mdevHolders(machine, mdev).map(({ pid, name }) => ({ pid, name }));
  // a recorded device cannot be opened
  const opened = machine.isReal ? openForShow(mdev.sysfsdev, machine.system) : {};
  out.json({ ...mdev, holders, ...opened });
  if (!json) renderMdev(out, mdev, holders, opened);
}

function create({ machine, out, values }: ToolCall, [parent = "", type = ""]: readonly string[]): void {
  const uuid = values.uuid as string | undefined;
  const made: Mdev = createMdev(machine, { parent, type, uuid });
  out.json(made);
  if (!machine.isDryRun) out.line(made.uuid);
}

async function remove({ machine, out, values }: ToolCall, [uuid = ""]: readonly string[]): Promise<void> {
  const gone = await removeMdev(machine, uuid, values.force === true);
  out.json(gone);
  if (!machine.isDryRun) out.line(`${gone.uuid} is removed`);
}
