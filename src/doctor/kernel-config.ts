// How the running kernel was built and started.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Machine } from "../devices/machine.ts";
import type { Fix } from "./finding.ts";

/** `y`, `m`, or `n` where it is not set; undefined where this kernel's configuration is nowhere to be read. */
export function kernelOption(machine: Machine, name: string): string | undefined {
  const { kernelRelease } = machine;
  const files = [`/boot/config-${kernelRelease}`, `/lib/modules/${kernelRelease}/config`];
  const text =
    unpacked(machine) ?? files.map((file) => machine.readText(file)).find((text) => text !== undefined);
  if (text === undefined) return undefined;
  return new RegExp(`^${name}=(\\S+)`, "m").exec(text)?.[1] ?? "n";
}

/** CONFIG_IKCONFIG_PROC. */
function unpacked(machine: Machine): string | undefined {
  try {
    return gunzipSync(readFileSync(machine.path("/proc/config.gz"))).toString();
  } catch {
    return undefined; // most distributions leave it out
  }
}

/** Words of the kernel's command line. */
export function kernelArguments(machine: Machine): string[] {
  return (machine.readText("/proc/cmdline") ?? "").trim().split(/\s+/).filter(Boolean);
}

/** Adds words to the kernel's command line, by whatever this system has for it. */
export function addKernelArguments(machine: Machine, words: string): Fix {
  const after = "reboot";
  if (machine.exists("/usr/sbin/grubby"))
    return { command: `grubby --update-kernel=ALL --args='${words}'`, after };
  if (machine.exists("/usr/sbin/update-grub") && machine.exists("/etc/default/grub")) {
    const edit = `sed -i 's/^GRUB_CMDLINE_LINUX="/&${words} /' /etc/default/grub`;
    return { command: `${edit} && update-grub`, after };
  }
  return { setting: `add ${words} to the kernel's command line, in the boot loader's configuration`, after };
}

/** VFIO without an IOMMU: its mode is on; off; not compiled in; or nobody knows before vfio is loaded. */
export function noIommuMode(machine: Machine): "on" | "off" | "absent" | "unknown" {
  const { sysfs } = machine;
  const value = sysfs.readOptional("module/vfio/parameters/enable_unsafe_noiommu_mode");
  if (value !== undefined) return value === "Y" ? "on" : "off";
  if (sysfs.exists("module/vfio")) return "absent";
  const option = kernelOption(machine, "CONFIG_VFIO_NOIOMMU");
  if (option === undefined) return "unknown";
  return option === "y" ? "off" : "absent";
}
