// The two files that let a user drive devices: a rule of udev's, by which nodes in /dev get their owner whenever they
// appear, and a limit of pam_limits, since what is mapped for a device counts as locked memory (udev(7),
// limits.conf(5)).
import { PollmodeError } from "../errors.ts";
import { KIB } from "../limits.ts";
import { accountId } from "./accounts.ts";
import type { Machine } from "./machine.ts";

/** Whom devices are given to. */
export interface Principal {
  readonly kind: "user" | "group";
  /** A number where the name could not stand in the files. */
  readonly name: string;
  readonly id: number;
}

/** PCI addresses, sorted; or all devices that a driver for user space has, now and later. */
export type PermittedDevices = readonly string[] | "all";

/** `alice`, `@dpdk`, `1000`, `@996`. Throws OPTION_VALUE if there is none of that name, and for root. */
export function principalOf(machine: Machine, word: string): Principal {
  const kind = word.startsWith("@") ? "group" : "user";
  const text = kind === "group" ? word.slice(1) : word;
  const id = accountId(machine, kind, text);
  if (id === 0) {
    const message = `${word} is root's, who may drive all devices without this`;
    throw new PollmodeError("OPTION_VALUE", message, "name the user that is not to be root, or @GROUP");
  }
  return { kind, id, name: /^[A-Za-z_][\w.-]*$/.test(text) ? text : `${id}` };
}

/** As the command line has it. */
export const spelling = ({ kind, name }: Principal) => (kind === "group" ? `@${name}` : name);

export const RULES_FOLDER = "/etc/udev/rules.d";

/** After udev's own 50-udev-default.rules, whose owner and mode these override. */
export function rulePath({ kind, name }: Principal): string {
  return `${RULES_FOLDER}/72-pollmode-${kind}-${name}.rules`;
}

export function limitsPath({ kind, name }: Principal): string {
  return `/etc/security/limits.d/pollmode-${kind}-${name}.conf`;
}

/** What the user's rule file is named like, of others too. */
export const userRule = /^72-pollmode-user-(.+)\.rules$/;

/**
 * VFIO's node is an IOMMU group's, which has no parent device to match, and its number is another after the next boot.
 * So the rule asks whether the device is in the group: %k is the number. A UIO device's parent is the PCI device. To
 * drive it takes its configuration space and BARs, files of sysfs that udev itself does not touch. The kernel makes
 * them anew with the device, but not when it is bound anew.
 */
export function ruleText(principal: Principal, devices: PermittedDevices): string {
  const key = principal.kind === "group" ? "GROUP" : "OWNER";
  const give = `${key}="${principal.name}", MODE="0660"`;
  const files = "/sys%p/device/config /sys%p/device/resource[0-5]";
  const owner = principal.kind === "group" ? `:${principal.name}` : principal.name;
  const mode = principal.kind === "group" ? "g+rw" : "u+rw";
  const run = `RUN+="/bin/sh -c 'chown ${owner} ${files}; chmod ${mode} ${files}'"`;
  const vfio = (match: string) => `SUBSYSTEM=="vfio", ${match}, ${give}`;
  const uio = (match: string) => `SUBSYSTEM=="uio", ${match}, ${give}, ${run}`;
  const rules =
    devices === "all"
      ? [vfio('KERNEL=="[0-9]*"'), uio('SUBSYSTEMS=="pci"')]
      : devices.flatMap((address) => [
          vfio(`TEST=="/sys/kernel/iommu_groups/%k/devices/${address}"`),
          uio(`KERNELS=="${address}"`),
        ]);
  return [
    `# ${spelling(principal)} may drive these devices from user space. Made by pollmode permit; to take it away:`,
    `# pollmode permit ${spelling(principal)} --remove`,
    ...rules,
    "",
  ].join("\n");
}

/** What a rule file permits; undefined: it is none of ours. */
export function parseRule(text: string): PermittedDevices | undefined {
  const addresses = [...text.matchAll(/^SUBSYSTEM=="uio", KERNELS=="([\da-f:.]+)"/gm)].map(
    ([, address]) => address!,
  );
  if (/^SUBSYSTEM=="uio", SUBSYSTEMS=="pci"/m.test(text)) return "all";
  return addresses.length > 0 ? addresses.sort() : undefined;
}

/** `memoryBytes` undefined: without a limit. pam_limits takes numbers as `:1000` and `@:996`. */
export function limitsText({ kind, name }: Principal, memoryBytes: number | undefined): string {
  const number = /^\d/.test(name) ? `:${name}` : name;
  const domain = kind === "group" ? `@${number}` : number;
  const value = memoryBytes === undefined ? "unlimited" : `${Math.ceil(memoryBytes / KIB)}`;
  return [
    "# What a program maps for devices counts as locked memory; in KiB. Made by pollmode permit.",
    `${domain} soft memlock ${value}`,
    `${domain} hard memlock ${value}`,
    "",
  ].join("\n");
}
