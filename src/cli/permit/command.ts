import { findDevices } from "../../devices/find.ts";
import { type PermitReport, type PermitRequest, permit, revoke } from "../../devices/permit.ts";
import { limitsPath, principalOf, spelling } from "../../devices/permit-files.ts";
import { PollmodeError } from "../../errors.ts";
import { ARENA_BYTES_MAX, MIB } from "../../limits.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";
import type { Output } from "../tool/output.ts";

/** The kernel counts locked memory in pages of a signed 64-bit number; nobody has more MiB than this. */
const MEMORY_MIB_MAX = 2 ** 31;

export const command: ToolCommand = {
  name: "permit",
  usage: ["permit USER|@GROUP [DEVICE…] [--memory MIB|unlimited]", "permit USER|@GROUP [DEVICE…] --remove"],
  meaning:
    "Lets a user, or the members of a group, drive devices without being root. Writes a rule of udev's that gives " +
    "them the devices' nodes, now and after each boot, and a limits file that lets them lock what they map for DMA; " +
    "then has udev apply the rule, and looks whether it did.",
  words: [
    ["USER|@GROUP", "by name or number"],
    ["DEVICE", "address, pattern or interface; without any, all devices that a driver for user space has"],
  ],
  sections: [
    {
      title: "Permission",
      table: {
        memory: {
          value: "MIB|unlimited",
          meaning: "How much memory each of their programs may lock.",
          byDefault: `${ARENA_BYTES_MAX / MIB}, the most that one engine maps`,
        },
        remove: { meaning: "Take the permission back, of these devices or of all." },
      },
    },
  ],
  changes: true,
  examples: [
    ["sudo pollmode permit alice 0000:01:00.0", "one NIC, and whatever shares its IOMMU group"],
    ["sudo pollmode permit @dpdk --memory unlimited", "all devices, for all who are in the group dpdk"],
    ["pollmode permit alice 01:00.0 --dry-run", "show the two files and the commands"],
    ["sudo pollmode permit alice --remove", "take it back"],
  ],
  run,
};

function run({ words, values, machine, out, dryRun }: ToolCall): undefined {
  const [who, ...deviceWords] = words;
  if (who === undefined) {
    const fix = `pollmode permit ${userName(machine.env)}`;
    throw new PollmodeError("OPTION_VALUE", "permit needs a user or @GROUP", fix);
  }
  const { memory: memoryText } = values;
  const isRemoval = values.remove === true;
  if (isRemoval && memoryText !== undefined) {
    const fix = "leave one of them out: --remove takes the limits file away too";
    throw new PollmodeError("OPTION_CONFLICT", "--memory and --remove exclude each other", fix);
  }
  const principal = principalOf(machine, who);
  const request: PermitRequest = {
    principal,
    devices: findDevices(machine, deviceWords),
    ...(memoryText !== undefined && { memory: { bytes: readMemory(memoryText as string) } }),
  };
  const report = isRemoval ? revoke(machine, request) : permit(machine, request);
  out.json({ principal, ...report });
  if (!dryRun) say(out, request, report, isRemoval);
}

function userName(env: NodeJS.ProcessEnv): string {
  return env.SUDO_USER ?? (env.USER === "root" ? undefined : env.USER) ?? "alice";
}

function readMemory(text: string): number | undefined {
  if (text === "unlimited") return undefined;
  const mib = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (mib >= 1 && mib <= MEMORY_MIB_MAX) return mib * MIB;
  const message = `--memory "${text}" is neither a number of MiB nor unlimited`;
  throw new PollmodeError("OPTION_VALUE", message, "write --memory 1024, for instance");
}

function say(out: Output, request: PermitRequest, report: PermitReport, isRemoval: boolean): void {
  const { principal, memory = { bytes: ARENA_BYTES_MAX } } = request;
  const who = spelling(principal);
  const { files, nodes, later, lasts, notes } = report;
  for (const { path, state } of files) out.line(`${path}: ${state}`);
  for (const node of nodes) out.line(isRemoval ? `${node} is root's again` : `${node} is ${who}'s`);
  for (const address of later) {
    const given = "is given as soon as a driver for user space has it";
    const when = lasts ? given : "has no node: bind it, then permit it again";
    out.line(`${address} ${when}: pollmode devbind -b vfio-pci ${address}`);
  }
  for (const note of notes) out.warn(note);
  if (files.length === 0 && nodes.length === 0)
    out.line(isRemoval ? `${who} had no permission` : "nothing was changed");
  if (files.some(({ path, state }) => path === limitsPath(principal) && state === "written")) {
    out.line(`the limit on locked memory holds from ${who}'s next login on; before that, and for services:`);
    out.line(`  as root, for a shell that runs: prlimit --pid PID --memlock=${memory.bytes ?? "unlimited"}`);
    out.line(`  in a systemd unit: LimitMEMLOCK=${memory.bytes ?? "infinity"}`);
  }
}
