// Interrupts that a device took, by vector and CPU: /proc/interrupts (Linux, Documentation/filesystems/proc.rst), and
// which of its lines are a device's, from sysfs (`msi_irqs/`, `irq`; Documentation/ABI/testing/sysfs-bus-pci).
import type { PciDevice } from "../bus/pci/scan.ts";
import { devicePath } from "../bus/pci/sysfs.ts";
import type { Machine } from "./machine.ts";

export interface InterruptLine {
  readonly irq: number;
  /** Interrupts by CPU, of those CPUs that took any. */
  readonly cpus: Readonly<Record<number, number>>;
  readonly count: number;
  /** Who handles it: `vfio-msix[0](0000:00:03.0)`, `eth0-rx-0`. More than one: the line is shared. */
  readonly names: readonly string[];
}

export interface Vector {
  readonly irq: number;
  readonly kind: "msix" | "msi" | "intx";
  /** Empty: nobody has asked for it yet. */
  readonly name: string;
  readonly count: number;
  readonly cpus: Readonly<Record<number, number>>;
  /** Other devices interrupt by the same line, and the count is of all of them. */
  readonly isShared: boolean;
  /** A second, between two observations; undefined in the first. */
  readonly perSecond?: number;
}

/** Lines with a number: those with a name (NMI, LOC, …) are no device's. */
export function parseInterrupts(text: string): InterruptLine[] {
  const [header = "", ...lines] = text.split("\n");
  const cpus = [...header.matchAll(/CPU(\d+)/g)].map(([, cpu]) => Number(cpu)); // those online
  return lines.flatMap((line) => {
    const [, irq, rest = ""] = /^\s*(\d+):\s*(.*)$/.exec(line) ?? [];
    if (irq === undefined) return [];
    const words = rest.split(/\s+/);
    const counts = words.slice(0, cpus.length).map(Number);
    const taken = cpus.map((cpu, at) => [cpu, counts[at] ?? 0] as const).filter(([, count]) => count > 0);
    return [
      {
        irq: Number(irq),
        cpus: Object.fromEntries(taken),
        count: taken.reduce((sum, [, count]) => sum + count, 0),
        names: namesOf(words.slice(cpus.length).join(" ")),
      },
    ];
  });
}

/** After the chip's name and what it calls the line: `IR-PCI-MSIX-0000:01:00.0 0-edge eth0`, `GICv3 27 Level timer`. */
function namesOf(text: string): string[] {
  const names = /^\S+ \d+(?:-\S+)?(?: (?:Level|Edge)(?:-\S+)?)?(?: (.+))?$/.exec(text)?.[1];
  return names?.split(", ") ?? [];
}

/** The vectors that the device has been given; its INTx line where it has none. */
export function vectorsOf(
  machine: Machine,
  { address }: PciDevice,
  lines: readonly InterruptLine[],
): Vector[] {
  const { sysfs } = machine;
  const byNumber = new Map(lines.map((line) => [line.irq, line]));
  const messages = sysfs.list(devicePath(address, "msi_irqs"));
  if (messages.length > 0) {
    return messages
      .map((irq) => {
        const isMsix = sysfs.readOptional(devicePath(address, `msi_irqs/${irq}`)) === "msix";
        return vector(Number(irq), isMsix ? "msix" : "msi", byNumber.get(Number(irq)));
      })
      .sort((a, b) => a.irq - b.irq);
  }
  // 0: it has no INTx pin, as virtual functions have none
  const irq = Number(sysfs.readOptional(devicePath(address, "irq")) ?? 0);
  const line = byNumber.get(irq);
  return irq > 0 && line && line.names.length > 0 ? [vector(irq, "intx", line)] : [];
}

function vector(irq: number, kind: Vector["kind"], line: InterruptLine | undefined): Vector {
  const { count = 0, cpus = {}, names = [] } = line ?? {};
  return { irq, kind, name: names.join(", "), count, cpus, isShared: names.length > 1 };
}
