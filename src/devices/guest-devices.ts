// A virtual machine's devices as QEMU's command line and libvirt's XML have them.
// QEMU: docs/pcie.txt, hw/vfio/pci.c. libvirt: https://libvirt.org/formatdomain.html (hostdev), pci-addresses.html.
import { parsePciAddress } from "../bus/pci/address.ts";
import type { PciDevice } from "../bus/pci/scan.ts";
import { isVfioDriver } from "../bus/vfio/drivers.ts";
import type { Mdev } from "./mdev.ts";
import type { GuestDevice, GuestFunction, Passthrough } from "./passthrough.ts";

/** Above those that a machine's other options use: QEMU wants chassis and slot to be unique together. */
const CHASSIS_FIRST = 100;
/** Where there is likely no other controller: libvirt makes those that are missing below it. */
const LIBVIRT_BUS_FIRST = 0x10;

/** Arguments for a machine of type q35, two each: `-device` and its properties. */
export function qemuArguments({ guestDevices }: Passthrough): string[] {
  return guestDevices.flatMap(({ port, isConventional, functions }) => {
    const root = `pollmode${port}`;
    const bus = isConventional ? `${root}pci` : root;
    const slot = isConventional ? "01" : "00";
    const isMulti = functions.length > 1;
    const devices = [
      ["pcie-root-port", `id=${root}`, "bus=pcie.0", `chassis=${CHASSIS_FIRST + port}`],
      ...(isConventional ? [["pcie-pci-bridge", `id=${bus}`, `bus=${root}`]] : []),
      ...functions.map((fn) => [
        "vfio-pci",
        "uuid" in fn.host ? `sysfsdev=${fn.host.sysfsdev}` : `host=${fn.host.address}`,
        `bus=${bus}`,
        `addr=${slot}.${fn.function}`,
        ...(isMulti && fn.function === 0 ? ["multifunction=on"] : []),
        ...(fn.vfToken === undefined ? [] : [`vf-token=${fn.vfToken}`]),
      ]),
    ];
    return devices.flatMap((properties) => ["-device", properties.join(",")]);
  });
}

/** The properties of vfio-pci that the arguments use. */
export function usedProperties(args: readonly string[]): string[] {
  const ours = args
    .filter((text) => text.startsWith("vfio-pci,"))
    .flatMap((text) => text.split(",").slice(1));
  return [...new Set(ours.map((property) => property.slice(0, property.indexOf("="))))];
}

export interface LibvirtOptions {
  /** Whether libvirt binds a device to vfio-pci and back by itself. Default: where VFIO does not have it yet. */
  readonly managed?: boolean | undefined;
}

/** Elements for a domain's `<devices>`; and what belongs elsewhere, as `overrides`. */
export interface LibvirtXml {
  readonly devices: string;
  /** For `<domain>` itself: VF tokens, for which libvirt has no attribute; undefined where there are none. */
  readonly overrides: string | undefined;
}

export function libvirtXml({ guestDevices }: Passthrough, { managed }: LibvirtOptions = {}): LibvirtXml {
  const parts = guestDevices.flatMap((device) => hostdevs(device, managed));
  const tokens = guestDevices.flatMap(({ functions }) =>
    functions.filter(({ vfToken }) => vfToken !== undefined),
  );
  return {
    devices: parts.join("\n"),
    overrides: tokens.length === 0 ? undefined : overridesOf(tokens),
  };
}

function hostdevs({ port, functions }: GuestDevice, managed: boolean | undefined): string[] {
  const isMulti = functions.length > 1;
  const bus = LIBVIRT_BUS_FIRST + port - 1;
  const note = isMulti ? [`<!-- bus ${hex(bus, 2)} of the guest: take another where it is taken -->`] : [];
  const controller = isMulti ? [`<controller type='pci' index='${bus}' model='pcie-root-port'/>`] : [];
  const devices = functions.map((fn) => {
    const multi = fn.function === 0 ? " multifunction='on'" : "";
    const at = `<address type='pci' domain='0x0000' bus='${hex(bus, 2)}' slot='0x00' function='${hex(fn.function, 1)}'`;
    return hostdev(fn, managed, isMulti ? `${at}${multi}/>` : undefined);
  });
  return [...note, ...controller, ...devices];
}

function hostdev(
  { host, vfToken }: GuestFunction,
  managed: boolean | undefined,
  guestAddress?: string,
): string {
  const isMdev = "uuid" in host;
  const isManaged = managed ?? !(isMdev || isVfio(host));
  const attributes = isMdev
    ? "type='mdev' managed='no' model='vfio-pci'" // made and removed by somebody else
    : `type='pci' managed='${isManaged ? "yes" : "no"}'`;
  return [
    `<hostdev mode='subsystem' ${attributes}>`,
    "  <source>",
    `    ${isMdev ? `<address uuid='${host.uuid}'/>` : sourceAddress(host)}`,
    "  </source>",
    ...(vfToken === undefined ? [] : [`  <alias name='${aliasOf(host)}'/>`]),
    ...(guestAddress === undefined ? [] : [`  ${guestAddress}`]),
    "</hostdev>",
  ].join("\n");
}

const isVfio = ({ driver }: PciDevice) => driver !== undefined && isVfioDriver(driver);

function sourceAddress({ address }: PciDevice): string {
  const { domain, bus, device, function: fn } = parsePciAddress(address)!;
  return `<address domain='${hex(domain, 4)}' bus='${hex(bus, 2)}' slot='${hex(device, 2)}' function='${hex(fn, 1)}'/>`;
}

/** Names that users give begin with "ua-". */
function aliasOf(host: PciDevice | Mdev): string {
  return `ua-${("uuid" in host ? host.uuid : host.address).replaceAll(/[:.]/g, "-")}`;
}

/** libvirt 8.2 and later; the domain needs the namespace too. */
function overridesOf(functions: readonly GuestFunction[]): string {
  const devices = functions.map(({ host, vfToken }) =>
    [
      `  <qemu:device alias='${aliasOf(host)}'>`,
      "    <qemu:frontend>",
      `      <qemu:property name='vf-token' type='string' value='${vfToken}'/>`,
      "    </qemu:frontend>",
      "  </qemu:device>",
    ].join("\n"),
  );
  const open = "<qemu:override xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>";
  return [open, ...devices, "</qemu:override>"].join("\n");
}

const hex = (value: number, digits: number) => `0x${value.toString(16).padStart(digits, "0")}`;
