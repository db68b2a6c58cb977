// Who is to run pollmode, and what the system lets this user do: by the files that login reads, where it is somebody
// else than whoever asks.
import { statSync } from "node:fs";
import { accountId } from "../devices/accounts.ts";
import type { Machine } from "../devices/machine.ts";
import { KIB } from "../limits.ts";

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gids: readonly number[];
  /** Names of those groups. */
  readonly groups: readonly string[];
  /** It is this process's user, whose limits and rights are those of the process. */
  readonly isSelf: boolean;
}

/** A user by name or number; without one, this process's. Throws OPTION_VALUE where there is no such user. */
export function findUser(machine: Machine, wanted?: string): User {
  const self = process.geteuid?.() ?? 0;
  const lines = records(machine, "/etc/passwd");
  const found = lines.find(([name, , uid]) =>
    wanted === undefined ? Number(uid) === self : name === wanted || uid === wanted,
  );
  const [name, , uid, gid] = found ?? [];
  if (name === undefined || uid === undefined || gid === undefined) {
    if (wanted === undefined) return { ...bare(self), name: machine.system.userName, isSelf: true };
    const id = accountId(machine, "user", wanted); // a number, or a name that a directory service knows
    return { ...bare(id), name: wanted, isSelf: id === self };
  }
  const isSelf = Number(uid) === self;
  const member = records(machine, "/etc/group").filter(
    ([, , id, members = ""]) => id === gid || members.split(",").includes(name),
  );
  const own = isSelf && machine.isReal ? (process.getgroups?.() ?? []) : [];
  const gids = [Number(gid), ...member.map(([, , id]) => Number(id)), ...own];
  return {
    name,
    uid: Number(uid),
    gids: [...new Set(gids)],
    groups: member.map(([group]) => group ?? ""),
    isSelf,
  };
}

/** Of a user without a name. */
const bare = (uid: number) => ({ name: `${uid}`, uid, gids: [], groups: [] });

const records = (machine: Machine, file: string) =>
  (machine.readText(file) ?? "").split("\n").map((line) => line.split(":"));

const READ_WRITE = 6;

/** By owner and mode, as the kernel decides it; access control lists are not looked at. */
export function mayOpen({ uid, gids }: User, machine: Machine, path: string): boolean {
  if (uid === 0) return true;
  const stat = statSync(machine.path(path), { throwIfNoEntry: false });
  if (!stat) return false;
  const shift = stat.uid === uid ? 6 : gids.includes(stat.gid) ? 3 : 0;
  return ((stat.mode >> shift) & READ_WRITE) === READ_WRITE;
}

/** RLIMIT_MEMLOCK that VFIO holds the user to, in bytes; Infinity: none. */
export function memlockLimit(user: User, machine: Machine): number {
  if (user.isSelf) return machine.system.lockedMemory.limitBytes;
  if (user.uid === 0) return Infinity; // CAP_IPC_LOCK
  const initial = /^Max locked memory\s+(\S+)/m.exec(machine.readText("/proc/1/limits") ?? "")?.[1];
  return configuredLimit(user, machine) ?? (initial === undefined ? DEFAULT_BYTES : parseBytes(initial));
}

/** MLOCK_LIMIT of the kernel, which the first process has (Linux 5.16 and later, include/uapi/linux/resource.h). */
const DEFAULT_BYTES = 8192 * KIB;

const parseBytes = (text: string) => (text === "unlimited" ? Infinity : Number(text));

/** What pam_limits sets at a login: the user's own line wins over a group's, that over `*`, and later ones win. */
function configuredLimit(user: User, machine: Machine): number | undefined {
  const folder = "/etc/security/limits.d";
  const drops = machine.list(folder).filter((name) => name.endsWith(".conf"));
  const files = ["/etc/security/limits.conf", ...drops.map((name) => `${folder}/${name}`)];
  const best = { rank: 0, bytes: undefined as number | undefined };
  for (const line of files.flatMap((file) => (machine.readText(file) ?? "").split("\n"))) {
    const [domain = "", type = "", item, value = ""] = line.replace(/#.*/, "").trim().split(/\s+/);
    const rank = rankOf(domain, user);
    if (item !== "memlock" || !["soft", "-"].includes(type) || rank < Math.max(best.rank, 1)) continue;
    best.rank = rank;
    best.bytes = /^(unlimited|infinity|-1)$/.test(value) ? Infinity : Number(value) * KIB;
  }
  return best.bytes;
}

/** limits.conf(5): user name, @group, wildcard. 0: the line is not for this user. */
function rankOf(domain: string, { name, uid, groups }: User): number {
  if (domain === name || domain === `${uid}`) return 3;
  if (domain.startsWith("@")) return groups.includes(domain.slice(1)) ? 2 : 0;
  return domain === "*" ? 1 : 0;
}
