// Mediated devices for people.
import type { Mdev, MdevParent } from "../../devices/mdev.ts";
import type { Output } from "../tool/output.ts";
import type { OpenedMdev } from "./open.ts";

export function renderList(out: Output, parents: readonly MdevParent[], instances: readonly Mdev[]): void {
  if (parents.length === 0) {
    out.line("no device of this machine offers mediated devices");
    return;
  }
  const types = parents.flatMap(({ name, types }) =>
    types.map((type) => [
      name,
      type.id,
      `${type.availableInstances}`,
      type.deviceApi ?? "",
      [type.name, type.description?.replaceAll("\n", ", ")].filter(Boolean).join(": "),
    ]),
  );
  out.table(["Parent", "Type", "Left", "API", "What it is"], types, { right: ["Left"] });
  out.line();
  if (instances.length === 0) {
    out.line("No mediated devices yet");
    return;
  }
  const rows = instances.map(({ uuid, parent, type, iommuGroup, driver }) => {
    return [uuid, parent ?? "", type ?? "", `${iommuGroup ?? ""}`, driver ?? "none"];
  });
  out.table(["UUID", "Parent", "Type", "Group", "Driver"], rows, { right: ["Group"] });
}

interface NamedProcess {
  readonly pid: number;
  readonly name: string;
}

export function renderMdev(
  out: Output,
  mdev: Mdev,
  holders: readonly NamedProcess[],
  { device, notOpened }: OpenedMdev,
): void {
  out.line(out.paint("bold", mdev.uuid));
  const isOpen = holders.map(({ pid, name }) => `${name} (process ${pid})`).join(", ");
  const facts = [
    ["type", [mdev.type, mdev.typeName && `(${mdev.typeName})`].filter(Boolean).join(" ") || "unknown"],
    ["parent", mdev.parent ?? "unknown"],
    ["driver", mdev.driver ?? "none"],
    ["IOMMU group", `${mdev.iommuGroup ?? "none"}`],
    ["nodes", mdev.nodes.join(", ") || "none"],
    ["sysfsdev", mdev.sysfsdev],
    ["open in", isOpen || "no program that can be seen"],
  ];
  if (device?.vendor !== undefined) facts.push(["PCI id", [device.vendor, device.device].map(hex).join(":")]);
  if (device) facts.push(["VFIO", `${device.kind}, ${device.canReset ? "can" : "cannot"} be reset`]);
  for (const [name, value] of facts) out.line(`  ${name!.padEnd(12)}${value}`);
  if (notOpened) out.line(`  not opened: ${notOpened.message}\n    fix: ${notOpened.fix}`);
  if (!device) return;
  out.line();
  const regions = device.regions.map(({ index, name, bytes, readable, writable, mappable }) => [
    `${index}`,
    name,
    `${bytes}`,
    `${readable ? "r" : "-"}${writable ? "w" : "-"}${mappable.length > 0 ? "m" : "-"}`,
  ]);
  out.table(["Region", "Name", "Bytes", "Access"], regions, { right: ["Region", "Bytes"] });
  out.line();
  const interrupts = device.interrupts.map((irq) => [
    `${irq.index}`,
    irq.name,
    `${irq.count}`,
    [
      irq.eventfd && "eventfd",
      irq.maskable && "maskable",
      irq.automasked && "automasked",
      irq.noResize && "noresize",
    ]
      .filter(Boolean)
      .join(" "),
  ]);
  out.table(["Interrupt", "Name", "Vectors", "Flags"], interrupts, { right: ["Interrupt", "Vectors"] });
}

const hex = (value: number | undefined) => (value ?? 0).toString(16).padStart(4, "0");
