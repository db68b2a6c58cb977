// Kernel lockdown, which secure boot turns on: then not even root writes configuration space or maps a BAR from user
// space, except through VFIO. kernel_lockdown(7).
import type { Sysfs } from "./sysfs.ts";

/** `none`, `integrity` or `confidentiality`; undefined where the kernel does not tell. */
export function lockdownMode(sysfs: Sysfs): string | undefined {
  try {
    return /\[(\w+)\]/.exec(sysfs.readOptional("kernel/security/lockdown") ?? "")?.[1];
  } catch {
    return undefined; // for root's eyes only
  }
}

/** What mends EPERM of a program that is root. */
export const lockdownFix =
  "bind the device to vfio-pci, which lockdown allows; or turn secure boot off in the firmware, or take lockdown= " +
  "off the kernel's command line";
