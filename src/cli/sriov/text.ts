// Physical functions with their virtual functions, and settings, for people.
import type { VfSettings } from "../../bus/netlink/vf.ts";
import type { SriovStatus } from "../../devices/sriov.ts";
import type { Output } from "../tool/output.ts";

const NONE = "-";

export function printStatus(out: Output, { address, driver, interfaces, totalVfs, vfs }: SriovStatus): void {
  const names = interfaces.length > 0 ? `, ${interfaces.join(" ")}` : "";
  out.line(
    `${out.paint("bold", address)} (${driver ?? "no driver"}${names}): ${vfs.length} of ${totalVfs} virtual functions`,
  );
  if (vfs.length === 0) return;
  const headings = [
    "VF",
    "ADDRESS",
    "DRIVER",
    "INTERFACE",
    "GROUP",
    "MAC",
    "VLAN",
    "RATE",
    "TRUST",
    "SPOOFCHK",
    "LINK",
  ];
  const rows = vfs.map(({ index, settings, ...vf }) => [
    `${index}`,
    vf.address,
    vf.driver ?? NONE,
    vf.interfaces.join(" ") || NONE,
    `${vf.iommuGroup ?? NONE}`,
    settings.mac ?? NONE,
    vlanText(settings),
    rateText(settings),
    onOff(settings.trust),
    onOff(settings.spoofCheck),
    settings.linkState ?? NONE,
  ]);
  out.table(headings, rows, { right: ["VF", "GROUP"] });
}

export function settingsText(settings: VfSettings): string {
  const { mac, trust, spoofCheck, linkState } = settings;
  return [
    `MAC ${mac ?? NONE}`,
    `VLAN ${vlanText(settings)}`,
    `rate ${rateText(settings)}`,
    `trust ${onOff(trust)}`,
    `spoofchk ${onOff(spoofCheck)}`,
    `link ${linkState ?? NONE}`,
  ].join(", ");
}

function onOff(value: boolean | undefined): string {
  if (value === undefined) return NONE;
  return value ? "on" : "off";
}

function vlanText({ vlan }: VfSettings): string {
  if (!vlan || vlan.id === 0) return NONE;
  const protocol = vlan.protocol === "802.1Q" ? "" : `:${vlan.protocol}`;
  return `${vlan.id}:${vlan.qos}${protocol}`;
}

/** Mbit/s. */
function rateText({ rate }: VfSettings): string {
  return !rate || (rate.min === 0 && rate.max === 0) ? NONE : `${rate.min}:${rate.max}`;
}
