// Virtual functions of the 82576 and the I350: which they are, and how one is opened. In use are one receive queue, for
// the kernel's PF driver spreads nothing over a VF's queues, and the transmit queues that the chip gives it.
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import type { PciFunction } from "../../src/bus/pci-function.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { DeviceEvents, DeviceInfo, DriverContext, EthDevice, PciId } from "../../src/ethdev/driver.ts";
import { BarRegisters } from "./registers-io.ts";
import { VfDevice } from "./vf-device.ts";
import { vfNames } from "./vf-names.ts";
import { VfQueues } from "./vf-queues.ts";
import { VF_FRAME_BYTES_MAX } from "./vf-settings.ts";

interface VfChip extends PciId {
  readonly txQueues: number;
  readonly loopbackVlanSwapped: boolean;
}

const INTEL = 0x8086;
const chips: readonly VfChip[] = [
  { vendor: INTEL, device: 0x10ca, chip: "82576 VF", txQueues: 2, loopbackVlanSwapped: false },
  { vendor: INTEL, device: 0x1520, chip: "I350 VF", txQueues: 1, loopbackVlanSwapped: true },
];

export const vfIds: readonly PciId[] = chips;

export function isVf(device: number): boolean {
  return chips.some((chip) => chip.device === device);
}

/**
 * With virtual functions the chip's queue 0 is the first one's, and its accesses to memory count as that function's
 * (82576 datasheet, chapter 7, "Virtualization"): a PF would have to keep to other queues and serve them all.
 */
export function refuseWithVfs(address: string): void {
  const count = readPciDevice(address).sriov?.numVfs ?? 0;
  if (count === 0) return;
  const message = `${address} has ${count} virtual functions, and so not its queues for itself`;
  const fix =
    `as root: pollmode sriov remove ${address}; ` +
    "or leave it to the kernel's igb and take one of its virtual functions";
  throw new PollmodeError("PF_HAS_VFS", message, fix);
}

/** Errors: VF_PF_DOWN, VF_MAILBOX_TIMEOUT, VF_REFUSED. The caller closes the function then. */
export async function openVf(
  fn: PciFunction,
  mac: Uint8Array | undefined,
  context: DriverContext,
  events: DeviceEvents,
): Promise<EthDevice> {
  fn.reset();
  const chip = chips.find(({ device }) => device === fn.device)!;
  const bar = fn.mapBar(0);
  const registers = new BarRegisters(context.arena, bar);
  const { loopbackVlanSwapped } = chip;
  const queues = new VfQueues({ context, fn, registers, bar: bar.offset, loopbackVlanSwapped });
  const parts = { fn, registers, names: vfNames(fn.address), info: infoOf(chip, fn), queues };
  const device = await VfDevice.probe(parts, context, events);
  if (mac) await device.setMac(mac);
  return device;
}

function infoOf(chip: VfChip, fn: PciFunction): DeviceInfo {
  return {
    driver: "net_e1000_vf",
    rxQueuesMax: 1,
    txQueuesMax: chip.txQueues,
    frameBytesMax: VF_FRAME_BYTES_MAX,
    descriptors: { min: 64, max: 4096, multiple: 8 },
    offloads: ["rxChecksum", "txChecksum", "vlanStrip", "vlanInsert"],
    rxInterrupts: fn.vectors.msix > 0,
  };
}
