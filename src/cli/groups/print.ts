// An IOMMU group for people, as a tree of its bridges and devices, and for programs.
import { PciIds } from "../../bus/pci/ids.ts";
import { freeCommands, type GroupDevice, type IommuGroup } from "../../devices/groups.ts";
import type { Output } from "../tool/output.ts";

const ids = new PciIds();

export interface ShownGroup extends IommuGroup {
  /** Of dangersOf, for those that are in the way. */
  readonly dangers: readonly string[];
}

export function printGroup(out: Output, group: ShownGroup): void {
  const { number, type, noIommu, viable, why, dangers, sharedBecause, warnings } = group;
  const isShared = group.devices.length > 1;
  const reason = isShared || viable ? "" : ", its driver is the kernel's";
  const state = viable ? out.paint("green", "viable") : out.paint("red", `not viable${reason}`);
  const domain = noIommu ? "no IOMMU: VFIO's own group" : (type ?? "type unknown");
  out.line(`${out.paint("bold", `group ${number}`)}  ${domain}  ${state}`);
  // a device alone is what its own line says
  if (isShared) for (const text of why) out.line(`  ${text}`);
  const fix = isShared ? fixOf(group) : undefined;
  for (const text of isShared ? dangers : []) out.line(`  ${out.paint("red", text)}`);
  if (isShared && dangers.length > 0) {
    out.line("  take that out of use, or put what you want to give away into another slot");
  }
  if (fix !== undefined) out.line(`  to make it viable, as root: ${fix}`);
  for (const text of sharedBecause) out.line(`  shared: ${text}`);
  for (const text of warnings) out.line(`  ${out.paint("yellow", text)}`);
  const rows = branches(group.devices, undefined, "", group);
  const width = Math.max(...rows.map(({ branch, device }) => branch.length + device.address.length));
  const drivers = Math.max(...rows.map(({ device }) => driverText(device).length));
  for (const { branch, device } of rows) {
    const left = `${branch}${device.address}`.padEnd(width);
    const driver = driverText(device).padEnd(drivers);
    const painted = device.isInTheWay ? out.paint("red", driver) : driver;
    out.line(`${left}  ${painted}  ${describe(device, group)}`.trimEnd());
  }
}

const driverText = ({ driver }: GroupDevice) => driver ?? "-";

/** What gives all of the group to VFIO that is in its way; undefined where nothing is, or the machine would suffer. */
function fixOf({ devices, dangers }: ShownGroup): string | undefined {
  if (dangers.length > 0) return undefined;
  const commands = freeCommands(devices.flatMap(({ isInTheWay, pci }) => (isInTheWay && pci ? [pci] : [])));
  return commands.length === 0 ? undefined : commands.join("; ");
}

interface Branch {
  /** Lines of the tree, to the left of the address. */
  readonly branch: string;
  readonly device: GroupDevice;
}

function branches(
  devices: readonly GroupDevice[],
  parent: string | undefined,
  indent: string,
  group: IommuGroup,
): Branch[] {
  const own = devices.filter((device) => parentIn(device, group) === parent);
  return own.flatMap((device, k) => {
    const isLast = k === own.length - 1;
    const below = branches(devices, device.address, `${indent}${isLast ? "   " : "│  "}`, group);
    return [{ branch: `${indent}${isLast ? "└─ " : "├─ "}`, device }, ...below];
  });
}

/** The nearest bridge above it that is in the same group. */
function parentIn({ node }: GroupDevice, { devices }: IommuGroup): string | undefined {
  return node?.above.findLast((bridge) => devices.some(({ address }) => address === bridge));
}

function describe({ pci, node, isolates }: GroupDevice, group: IommuGroup): string {
  if (!pci || !node) return "";
  const { vendor, device, interfaces } = pci;
  const hex = (value: number) => value.toString(16).padStart(4, "0");
  const what = [ids.className(pci.class), ids.vendor(vendor), ids.device(vendor, device)];
  const name = `${what.filter(Boolean).join(", ")} [${hex(vendor)}:${hex(device)}]`;
  const isShared = group.devices.length > 1;
  const port = node.isBridge
    ? [node.kind, ...(isShared ? [isolates ? "isolates" : acsText(node.acs)] : [])].join(", ")
    : "";
  return [name, port && `(${port})`, interfaces.join(" ")].filter(Boolean).join("  ");
}

type Acs = NonNullable<GroupDevice["node"]>["acs"];

const acsTexts: Readonly<Record<Acs, string>> = {
  enabled: "ACS",
  missing: "no ACS",
  unknown: "ACS hidden",
  "not needed": "needs no ACS",
};

const acsText = (acs: Acs): string => acsTexts[acs];

/** More could be said of why it is shared. */
export function hidesAcs({ devices }: IommuGroup): boolean {
  return devices.length > 1 && devices.some(({ node }) => node?.acs === "unknown");
}

/** As --json has it. */
export function plainGroup(group: ShownGroup): Record<string, unknown> {
  const { number, type, noIommu, viable, why, dangers, sharedBecause, warnings, reservedRegions } = group;
  const devices = group.devices.map((device) => {
    const { address, driver = null, isInTheWay, isolates = null, pci, node } = device;
    return {
      address,
      driver,
      isInTheWay,
      ...(pci && { vendor: pci.vendor, device: pci.device, class: pci.class, interfaces: pci.interfaces }),
      ...(node && { kind: node.kind, acs: node.acs, acsLacks: node.acsLacks, above: node.above }),
      ...(node?.isBridge && { isolates }),
      parent: parentIn(device, group) ?? null,
    };
  });
  const fix = fixOf(group) ?? null;
  const text = { type: type ?? null, noIommu, viable, why, dangers, fix, sharedBecause, warnings };
  return { number, ...text, reservedRegions, devices };
}
