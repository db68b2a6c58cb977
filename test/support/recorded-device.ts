// A PCI device of a recorded machine: its lines in the manifest, and the configuration space that they make.
// Header: PCI Local Bus 3.0, chapter 6.1; PCI-to-PCI Bridge 1.2, chapter 3.2.
import * as regs from "../../src/bus/pci/registers.ts";

export interface RecordedDevice {
  readonly address: string;
  readonly ids: readonly number[];
  readonly class: number;
  readonly revision: number;
  below?: string;
  driver?: string;
  group?: number;
  virtio?: number;
  vf?: { index: number; of: string };
  isMulti: boolean;
  bridge?: readonly [secondary: number, subordinate: number];
  /** First, last address and flags, as in `resource`. */
  readonly bars: (readonly [bigint, bigint, bigint] | undefined)[];
  capabilities: number;
  configBytes: number;
  readonly config: (readonly [offset: number, bytes: Buffer])[];
  readonly classes: { className: string; name: string; attributes: string[] }[];
  readonly attributes: Map<string, string>;
}

/** `resource` has a line each for BARs, ROM, SR-IOV's BARs and a bridge's windows. */
const RESOURCES = 13;

export function readDevice(head: string, body: readonly string[]): RecordedDevice {
  const [, address = "", ids = "", sub = "", code = "", revision = ""] = head.trim().split(/\s+/);
  const device: RecordedDevice = {
    address,
    ids: [...ids.split(":"), ...sub.split(":")].map((id) => Number.parseInt(id, 16)),
    class: Number.parseInt(code, 16),
    revision: Number.parseInt(revision, 16),
    isMulti: false,
    bars: [],
    capabilities: 0,
    configBytes: regs.PCI_CFG_SPACE_SIZE,
    config: [],
    classes: [],
    attributes: new Map(),
  };
  addIds(device);
  for (const line of body) addLine(device, line.trim());
  const hex = (value: bigint) => `0x${value.toString(16).padStart(16, "0")}`;
  const resources = Array.from({ length: RESOURCES }, (_, k) =>
    (device.bars[k] ?? [0n, 0n, 0n]).map(hex).join(" "),
  );
  device.attributes.set("resource", resources.join("\n"));
  return device;
}

function addIds({ ids, class: code, revision, attributes }: RecordedDevice): void {
  const [vendor = 0, id = 0, subVendor = 0, subDevice = 0] = ids;
  const hex = (value: number, digits = 4) => `0x${value.toString(16).padStart(digits, "0")}`;
  const long = (value: number, digits = 8) => value.toString(16).toUpperCase().padStart(digits, "0");
  const short = (shift: number) => long((code >> shift) & 0xff, 2);
  const known: [string, string][] = [
    ["vendor", hex(vendor)],
    ["device", hex(id)],
    ["subsystem_vendor", hex(subVendor)],
    ["subsystem_device", hex(subDevice)],
    ["class", hex(code, 6)],
    ["revision", hex(revision, 2)],
    [
      "modalias",
      `pci:v${long(vendor)}d${long(id)}sv${long(subVendor)}sd${long(subDevice)}` +
        `bc${short(16)}sc${short(8)}i${short(0)}`,
    ],
    ["driver_override", "(null)"],
    ["numa_node", "-1"],
    ["enable", "1"],
  ];
  for (const [name, text] of known) attributes.set(name, text);
}

function addLine(device: RecordedDevice, line: string): void {
  const attribute = /^(\S+) = (.*)$/.exec(line);
  if (attribute) {
    device.attributes.set(attribute[1]!, attribute[2]!);
    return;
  }
  const hex = /^([0-9a-f]{2,3}): ((?:[0-9a-f]{2} ?)+)$/.exec(line);
  if (hex) {
    const offset = Number.parseInt(hex[1]!, 16);
    device.config.push([offset, Buffer.from(hex[2]!.replaceAll(" ", ""), "hex")]);
    if (offset >= regs.PCI_CFG_SPACE_SIZE) device.configBytes = regs.PCI_CFG_SPACE_EXP_SIZE;
    return;
  }
  const [key = "", ...words] = line.split(/\s+/);
  const known = keys[key];
  if (!known) throw new Error(`${device.address}: no line of a manifest: ${line}`);
  known(device, words);
}

const keys: Record<string, (device: RecordedDevice, words: string[]) => void> = {
  below: (device, [address]) => (device.below = address!),
  driver: (device, [name]) => (device.driver = name!),
  override: (device, [name]) => device.attributes.set("driver_override", name!),
  node: (device, [node]) => device.attributes.set("numa_node", node!),
  group: (device, [group]) => (device.group = Number(group)),
  virtio: (device, [number]) => (device.virtio = Number(number)),
  vf: (device, [index, , of]) => (device.vf = { index: Number(index), of: of! }),
  multi: (device) => (device.isMulti = true),
  bridge: (device, words) =>
    (device.bridge = words.map((word) => Number.parseInt(word, 16)) as [number, number]),
  caps: (device, [offset]) => (device.capabilities = Number.parseInt(offset!, 16)),
  config: (device, [bytes]) => (device.configBytes = Number(bytes)),
  bar: (device, words) =>
    device.bars.push(words[0] === "-" ? undefined : (words.map(BigInt) as [bigint, bigint, bigint])),
  sriov: ({ attributes }, [total]) => {
    const known = { sriov_totalvfs: total!, sriov_numvfs: "0", sriov_drivers_autoprobe: "1" };
    for (const [name, text] of Object.entries(known)) if (!attributes.has(name)) attributes.set(name, text);
  },
  net: ({ classes }, [name, mac, ...rest]) =>
    classes.push({ className: "net", name: name!, attributes: [`address=${mac}`, ...rest] }),
  class: ({ classes }, [className, name, ...attributes]) =>
    classes.push({ className: className!, name: name!, attributes }),
};

const PCI_BASE_ADDRESS_0 = 0x10;
const PCI_PRIMARY_BUS = 0x18;
const PCI_SUBSYSTEM_VENDOR_ID = 0x2c;
const MULTI_FUNCTION = 0x80;

export function configImage(device: RecordedDevice): Buffer {
  const image = Buffer.alloc(device.configBytes);
  const [vendor = 0, id = 0, subVendor = 0, subDevice = 0] = device.ids;
  image.writeUInt16LE(vendor, regs.PCI_VENDOR_ID);
  image.writeUInt16LE(id, regs.PCI_DEVICE_ID);
  image.writeUInt16LE(device.driver === undefined ? 0 : 0x0406, regs.PCI_COMMAND); // memory, bus master, no INTx
  image.writeUInt16LE(device.capabilities === 0 ? 0 : regs.PCI_STATUS_CAP_LIST, regs.PCI_STATUS);
  image.writeUInt32LE(((device.class << 8) | device.revision) >>> 0, regs.PCI_CLASS_REVISION);
  image.writeUInt8((device.bridge ? 1 : 0) | (device.isMulti ? MULTI_FUNCTION : 0), regs.PCI_HEADER_TYPE);
  image.writeUInt8(device.capabilities, regs.PCI_CAPABILITY_LIST);
  const isVf = device.vf !== undefined; // a virtual function's registers of BARs, and its IDs, read as none
  if (isVf) image.fill(0xff, regs.PCI_VENDOR_ID, regs.PCI_DEVICE_ID + 2);
  if (device.bridge) {
    const primary = Number.parseInt(device.address.split(":")[1]!, 16);
    for (const [k, bus] of [primary, ...device.bridge].entries()) image.writeUInt8(bus, PCI_PRIMARY_BUS + k);
  } else {
    image.writeUInt16LE(subVendor, PCI_SUBSYSTEM_VENDOR_ID);
    image.writeUInt16LE(subDevice, PCI_SUBSYSTEM_VENDOR_ID + 2);
    image.writeUInt8(isVf ? 0 : 1, regs.PCI_INTERRUPT_PIN);
  }
  if (!isVf) writeBars(image, device);
  for (const [offset, bytes] of device.config) bytes.copy(image, offset);
  return image;
}

/** The low bits of `resource`'s flags are those of the register. */
function writeBars(image: Buffer, { bars, bridge }: RecordedDevice): void {
  bars.slice(0, bridge ? 2 : 6).forEach((bar, k) => {
    if (!bar) return;
    const [start, , flags] = bar;
    image.writeUInt32LE(Number((start | (flags & 0xfn)) & 0xffff_ffffn), PCI_BASE_ADDRESS_0 + 4 * k);
    const is64Bit = (flags & 0x4n) !== 0n && (flags & 1n) === 0n;
    if (is64Bit) image.writeUInt32LE(Number(start >> 32n), PCI_BASE_ADDRESS_0 + 4 * (k + 1));
  });
}
