// Users and groups by number or name, as chown(1) takes them: passwd(5), group(5). Names that only a directory service
// knows are asked of getent(1).
import { nearest } from "../eal/nearest.ts";
import { PollmodeError } from "../errors.ts";
import type { Machine } from "./machine.ts";

const files = { user: ["/etc/passwd", "passwd"], group: ["/etc/group", "group"] } as const;

/** The number above it is -1, which chown(2) takes for "leave it as it is". */
const ID_MAX = 0xffff_fffe;

/** The number of a user or group. Throws OPTION_VALUE if there is none of that name. */
export function accountId(machine: Machine, kind: "user" | "group", text: string): number {
  if (/^\d{1,10}$/.test(text) && Number(text) <= ID_MAX) return Number(text);
  const [file, database] = files[kind];
  const lines = (machine.readText(file) ?? "").split("\n").map((line) => line.split(":"));
  const id = lines.find(([name]) => name === text)?.[2] ?? fromDirectory(machine, database, text);
  if (id !== undefined && /^\d+$/.test(id)) return Number(id);
  const near = nearest(text, lines.map(([name = ""]) => name).filter(Boolean));
  const fix = near === undefined ? `give a number, or a name of ${file}` : `did you mean ${near}?`;
  throw new PollmodeError("OPTION_VALUE", `there is no ${kind} "${text}" on this machine`, fix);
}

function fromDirectory(machine: Machine, database: string, name: string): string | undefined {
  if (!machine.isReal || machine.isDryRun || !/^\w[\w.@-]*$/.test(name)) return undefined;
  try {
    return machine.run(["getent", database, name]).split(":")[2];
  } catch {
    return undefined; // no such name, or no getent
  }
}
