// What a container takes away, as far as it can be seen from inside.
import type { Machine } from "../devices/machine.ts";

/**
 * The machine's own namespaces, by their fixed inode numbers (include/linux/proc_ns.h of the kernel): who is in all of
 * them is in no container, whatever files an image has left.
 */
const initial = { cgroup: 0xeffffffb, pid: 0xeffffffc, uts: 0xeffffffe, ipc: 0xefffffff };

export function isContainer(machine: Machine): boolean {
  const isInitial = ([name, inode]: [string, number]) =>
    machine.linkTarget(`/proc/self/ns/${name}`) === `${name}:[${inode}]`;
  if (Object.entries(initial).every(isInitial)) return false;
  if (machine.exists("/.dockerenv") || machine.exists("/run/.containerenv")) return true;
  const { container, KUBERNETES_SERVICE_HOST: kubernetes } = machine.isReal ? machine.env : {};
  if (container !== undefined || kubernetes !== undefined) return true;
  return /docker|kubepods|containerd|libpod|\/lxc/.test(machine.readText("/proc/1/cgroup") ?? "");
}

/** /sys cannot be written: proc_pid_mountinfo(5), the 5th field is the folder and the 6th its options. */
export function isSysReadOnly(machine: Machine): boolean {
  const mounts = (machine.readText("/proc/self/mountinfo") ?? "").split("\n").map((line) => line.split(" "));
  const options = mounts.findLast(([, , , , folder]) => folder === "/sys")?.[5];
  return options?.split(",").includes("ro") ?? false;
}

/** /proc/self/status: a filter of system calls is at work (SECCOMP_MODE_FILTER). */
export function hasSeccompFilter(machine: Machine): boolean {
  return /^Seccomp:\s*2$/m.test(machine.readText("/proc/self/status") ?? "");
}

/** linux/capability.h */
export const CAP_NET_RAW = 13;
export const CAP_SYS_RAWIO = 17;
export const CAP_SYS_ADMIN = 21;

const capabilityNames: Readonly<Record<number, string>> = {
  [CAP_NET_RAW]: "NET_RAW",
  [CAP_SYS_RAWIO]: "SYS_RAWIO",
  [CAP_SYS_ADMIN]: "SYS_ADMIN",
};

/** Of these, those that this process has not, by `CapEff`, or can never have, by `CapBnd`; as docker names them. */
export function lackingCapabilities(
  machine: Machine,
  set: "CapEff" | "CapBnd",
  wanted: readonly number[],
): string[] {
  const text = new RegExp(`^${set}:\\s*([0-9a-f]+)`, "m").exec(
    machine.readText("/proc/self/status") ?? "",
  )?.[1];
  if (text === undefined) return [];
  const has = BigInt(`0x${text}`);
  return wanted
    .filter((bit) => ((has >> BigInt(bit)) & 1n) === 0n)
    .map((bit) => capabilityNames[bit] ?? `${bit}`);
}

/**
 * Whether the device controller of cgroup v1 lets this process open the character device; undefined where it does not
 * show, as cgroup v2 never does. Documentation/admin-guide/cgroup-v1/devices.rst.
 */
export function cgroupAllows(machine: Machine, major: number, minor: number): boolean | undefined {
  const path = /^\d+:(?:[^:]*,)?devices(?:,[^:]*)?:(.*)$/m.exec(
    machine.readText("/proc/self/cgroup") ?? "",
  )?.[1];
  if (path === undefined) return undefined;
  // a container sees its own group as the root, whatever the path says
  const files = [`/sys/fs/cgroup/devices${path}/devices.list`, "/sys/fs/cgroup/devices/devices.list"];
  const list = files.map((file) => machine.readText(file)).find((text) => text !== undefined);
  if (list === undefined) return undefined;
  const fits = (text: string | undefined, number: number) => text === "*" || Number(text) === number;
  return list.split("\n").some((line) => {
    const [, type, ma, mi, access = ""] = /^([acb]) (\d+|\*):(\d+|\*) (\w+)$/.exec(line) ?? [];
    return (
      (type === "a" || type === "c") &&
      fits(ma, major) &&
      fits(mi, minor) &&
      /r/.test(access) &&
      /w/.test(access)
    );
  });
}
