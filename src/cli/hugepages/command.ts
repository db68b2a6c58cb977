import { posix } from "node:path";
import { accountId } from "../../devices/accounts.ts";
import { seesAllHolders } from "../../devices/holders.ts";
import { changeHugepages, type HugepagePlan } from "../../devices/hugepage-setup.ts";
import { type HugepageUse, hugepageUse } from "../../devices/hugepage-users.ts";
import { type Hugepages, hugepagesOf, parseBytes } from "../../devices/hugepages.ts";
import type { Machine } from "../../devices/machine.ts";
import { PollmodeError } from "../../errors.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";
import { byFolder, countOf, render } from "./render.ts";

/** Where systemd mounts them, and so where programs look. */
const FOLDER = "/dev/hugepages";

export const command: ToolCommand = {
  name: "hugepages",
  usage: ["hugepages [--show]", "hugepages [--clear] [--unmount] [--reserve SIZE] [--mount] [OPTIONS]"],
  meaning:
    "Shows, reserves, mounts and gives back hugepages, by the options of dpdk-hugepages.py. All is checked first; a " +
    "step that fails, or that the kernel grants in part, has the steps before it undone. What programs use is never " +
    "taken from them.",
  sections: [
    {
      title: "What to do, in this order",
      table: {
        clear: {
          short: "c",
          meaning:
            "Give back the pages of all sizes and nodes, and remove the files that DPDK left and nobody has open.",
        },
        unmount: { short: "u", meaning: "Unmount the hugetlbfs; without one there, nothing." },
        reserve: {
          short: "r",
          value: "SIZE",
          meaning:
            "Have so much on each NUMA node, what is there included: bytes, or with K, M or G. 0 gives them back.",
        },
        mount: { short: "m", meaning: "Mount a hugetlbfs; the folder is made if it is missing." },
        setup: { value: "SIZE", meaning: "--clear --unmount --reserve SIZE --mount." },
        show: { short: "s", meaning: "Show what there is, after all else; the default." },
      },
    },
    {
      title: "How",
      table: {
        pagesize: {
          short: "p",
          value: "SIZE",
          meaning: "Size of a page, for --reserve and --mount: 2M or 1G.",
          byDefault: "the kernel's own, in /proc/meminfo",
        },
        node: { short: "n", value: "NODE", meaning: "Reserve on this NUMA node alone." },
        directory: { short: "d", value: "DIR", meaning: "Mount point.", byDefault: FOLDER },
        user: {
          short: "U",
          value: "USER",
          meaning: "Owner of the mounted folder: a number or a name.",
          byDefault: "root",
        },
        group: { short: "G", value: "GROUP", meaning: "Group of the mounted folder.", byDefault: "root" },
      },
    },
  ],
  changes: true,
  examples: [
    ["pollmode hugepages", "show what there is on each node, who uses it, where it is mounted"],
    ["sudo pollmode hugepages -r 1G", "have 512 pages of 2 MiB on each node"],
    ["sudo pollmode hugepages -p 1G -n 1 -r 4G", "have 4 pages of 1 GiB on node 1"],
    [
      "sudo pollmode hugepages -p 1G --setup 2G",
      "have 2 pages of 1 GiB on each node and nothing else, and a mount for them",
    ],
    ["pollmode hugepages --dry-run --setup 1G", "show what would be written and run"],
  ],
  run,
};

function run({ values, machine, out, json, dryRun }: ToolCall): undefined {
  const plan = readPlan(values, (kind, text) => accountId(machine, kind, text));
  const done = plan && changeHugepages(machine, plan);
  // what a dry run would make of it cannot be seen
  const state = done !== undefined && dryRun ? undefined : look(machine);
  out.json({ ...state, ...done });
  if (json) return;
  const removed = byFolder((done?.removed ?? []).map((path) => ({ path })));
  const gone = [...removed].map(
    ([folder, files]) => `${folder}: without ${countOf(files)} that DPDK left there`,
  );
  for (const text of [...(done?.notes ?? []), ...gone]) out.line(dryRun ? `# ${text}` : text);
  if (state && (done === undefined || values.show === true)) render(out, state, seesAllHolders(machine));
}

function look(machine: Machine): Hugepages & HugepageUse {
  const pages = hugepagesOf(machine);
  return { ...pages, ...hugepageUse(machine, pages.mounts) };
}

type Values = ToolCall["values"];
type Account = (kind: "user" | "group", text: string) => number;

/** Undefined: to show is all there is to do. */
function readPlan(values: Values, account: Account): HugepagePlan | undefined {
  const text = (name: string) => values[name] as string | undefined;
  const setup = text("setup");
  if (setup !== undefined && text("reserve") !== undefined) {
    throw conflict("--setup and --reserve both name a size", "give one of them");
  }
  const isSetup = setup !== undefined;
  const clear = values.clear === true || isSetup;
  const unmount = values.unmount === true || isSetup;
  const mount = values.mount === true || isSetup;
  const size = setup ?? text("reserve");
  needs("node", values, size !== undefined, "--reserve");
  needs("pagesize", values, size !== undefined || mount, "--reserve or --mount; --clear is for all sizes");
  needs("directory", values, mount || unmount, "--mount or --unmount");
  for (const name of ["user", "group"]) needs(name, values, mount, "--mount");
  if (!clear && !unmount && !mount && size === undefined) return undefined;
  const owner = (kind: "user" | "group") => {
    const name = text(kind);
    return name === undefined ? undefined : account(kind, name);
  };
  return {
    clear,
    unmount,
    reserve:
      size === undefined ? undefined : { bytes: readSize("reserve", size, 0), node: readNode(text("node")) },
    mount: mount ? { uid: owner("user"), gid: owner("group") } : undefined,
    pageBytes: text("pagesize") === undefined ? undefined : readSize("pagesize", text("pagesize")!, 1),
    folder: readFolder(text("directory") ?? FOLDER),
  };
}

/** An option that would change nothing is a mistake, and not ignored. */
function needs(name: string, values: Values, isThere: boolean, what: string): void {
  if (values[name] === undefined || isThere) return;
  throw conflict(`--${name} is for ${what}`, `leave out --${name}, or add what it is for`);
}

function conflict(message: string, fix: string): PollmodeError {
  return new PollmodeError("OPTION_CONFLICT", message, fix);
}

function readSize(option: string, text: string, least: number): number {
  const bytes = parseBytes(text);
  if (bytes !== undefined && bytes >= least) return bytes;
  const fix = `write --${option} ${option === "pagesize" ? "2M or 1G" : "512M or 2G"}, for instance`;
  throw new PollmodeError("OPTION_VALUE", `--${option} "${text}" is no size`, fix);
}

function readNode(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,4}$/.test(text)) return Number(text);
  throw new PollmodeError(
    "OPTION_VALUE",
    `--node "${text}" is no number of a NUMA node`,
    "write --node 0, for instance",
  );
}

function readFolder(text: string): string {
  const folder = posix.normalize(text).replace(/(.)\/$/, "$1");
  if (posix.isAbsolute(folder) && folder !== "/") return folder;
  const fix = `write --directory ${FOLDER}, for instance`;
  throw new PollmodeError("OPTION_VALUE", `--directory "${text}" is no absolute path to mount at`, fix);
}
