// A machine in good health to break in tests: the recorded server with an I350, of which two ports are bound to
// vfio-pci, and what else the doctor looks at.
import { findDevices } from "../../src/devices/find.ts";
import { type Diagnosis, examine } from "../../src/doctor/doctor.ts";
import { formatFix } from "../../src/doctor/finding.ts";
import { findUser } from "../../src/doctor/user.ts";
import type { Line } from "../../src/doctor/walk.ts";
import { MIB } from "../../src/limits.ts";
import { RecordedMachine } from "../support/recorded-machine.ts";

type Test = { teardown(done: () => void): unknown };

/** An I350's port that vfio-pci has, group 17; and one that igb has, group 16, with no link and no address. */
export const [nic, spare] = ["0000:01:00.2", "0000:01:00.1"];

export const known = [
  { vendor: 0x8086, device: 0x10d3, chip: "82574L" },
  { vendor: 0x8086, device: 0x1521, chip: "I350" },
];

/** The kernel has interfaces, and nobody uses them. */
const links = ["enp1s0", "enp1s0f0", "enp1s0f1"].map((name, k) => ({ index: k + 2, name }));
const noUses = JSON.stringify({ links, addresses: [], routes: [] });

export function healthy(t: Test): RecordedMachine {
  const made = new RecordedMachine(t, "server-i350");
  return made
    .put("/netlink.json", noUses)
    .put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:,,,:/:/bin/sh\n")
    .put("/etc/group", "root:x:0:\nalice:x:1000:\nvfio:x:110:alice\n")
    .put("/proc/interrupts", "  24:  0  IR-PCI-MSI 524288-edge  nvme0q0\n")
    .put("/proc/self/mountinfo", "23 28 0:21 / /sys rw,nosuid - sysfs sysfs rw\n")
    .put("/sys/devices/system/cpu/isolated", "16-31\n")
    .put("/sys/devices/system/cpu/nohz_full", "16-31\n")
    .put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    .put("/dev/kmsg", "6,1,1,-;pci 0000:01:00.2: [8086:1521] type 00 class 0x020000\n");
}

/** The recorded router: no IOMMU, an 82574L with e1000e and one with uio_pci_generic. */
export const [routerNic, routerUio] = ["0000:01:00.0", "0000:02:00.0"];

export function router(t: Test): RecordedMachine {
  const made = new RecordedMachine(t, "desktop-no-iommu");
  return made
    .put("/netlink.json", noUses)
    .put("/sys/firmware/acpi/tables/FACP", "")
    .put("/etc/passwd", "root:x:0:0:::\nalice:x:1000:1000:::\n");
}

export interface ExamineOptions {
  readonly devices?: readonly string[];
  readonly user?: string;
  readonly memoryMib?: number;
  readonly known?: typeof known;
}

/** As root, unless told otherwise. */
export function examined(made: RecordedMachine, options: ExamineOptions = {}): Promise<Diagnosis> {
  const { devices = [], user = "0", memoryMib = 64 } = options;
  const machine = made.machine({ env: {} });
  return examine({
    machine,
    user: findUser(machine, user),
    memoryBytes: memoryMib * MIB,
    known: options.known ?? known,
    devices: findDevices(machine, devices),
  });
}

/** The line of a check: `of` is the NIC's address. */
export function lineOf({ lines }: Diagnosis, id: string, of?: string): Line & { readonly fix: string[] } {
  const found = lines.find((line) => line.id === id && line.device === of);
  if (!found) throw new Error(`no line ${id} of ${of ?? "the machine"}`);
  return { ...found, fix: found.fixes.map(formatFix) };
}

/** Checks that failed. */
export function failed({ lines }: Diagnosis): string[] {
  return lines.filter(({ state }) => state === "fail").map(({ id }) => id);
}

/** Those not looked at, with the cause. */
export function blocked({ lines }: Diagnosis): Record<string, string> {
  const found = lines.filter(({ because }) => because !== undefined);
  return Object.fromEntries(found.map(({ id, because }) => [id, because!]));
}
