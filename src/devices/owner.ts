// Whom a device's node in /dev belongs to: the user who shall drive it. VFIO has one node for an IOMMU group, UIO one
// for each device. An owner set here lasts until the device is bound anew; a rule of udev's makes it last for ever.
import { statSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { type PciDevice, readPciDevice } from "../bus/pci/scan.ts";
import { isVfioDriver } from "../bus/vfio/drivers.ts";
import { PollmodeError } from "../errors.ts";
import { NODE_POLL_INTERVAL_MS, NODE_WAIT_TIMEOUT_MS } from "../limits.ts";
import type { Machine } from "./machine.ts";

/** Undefined is left as it is. */
export interface Owner {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

/** Programs reach its devices through a node in /dev. */
export function hasNode(driver: string): boolean {
  return isVfioDriver(driver) || driver === "uio_pci_generic" || driver === "igb_uio";
}

/** `/dev/vfio/7`, `/dev/vfio/noiommu-0`, `/dev/uio0`; undefined where the device has none or no number yet. */
export function nodeOf({ system }: Machine, device: PciDevice): string | undefined {
  const { driver } = device;
  if (driver === undefined || !hasNode(driver)) return undefined;
  if (!isVfioDriver(driver)) return device.uio && `/dev/${device.uio}`;
  const group = system.groupOf(device);
  return group && `/dev/vfio/${group.noIommu ? `noiommu-${group.number}` : group.number}`;
}

/**
 * Gives the node of a bound device to `owner`, and returns what gives it back. It waits for the node, and for udev,
 * which would set the owner that its rules have. Errors: DEVICE_NODE; COMMAND_FAILED and
 * COMMAND_MISSING of chown.
 */
export async function giveNode(machine: Machine, address: string, owner: Owner): Promise<() => void> {
  const node = await waitForNode(machine, address);
  settleUdev(machine);
  const before = statSync(machine.path(node));
  machine.run(["chown", spelled(owner), node]);
  return () => {
    if (machine.exists(node)) machine.run(["chown", spelled(before), node]);
  };
}

/** What it waits for may take longer, and be none of ours. */
function settleUdev(machine: Machine): void {
  if (!machine.exists("/run/udev/control")) return; // nobody listens
  try {
    machine.run(["udevadm", "settle", `--timeout=${NODE_WAIT_TIMEOUT_MS / 1000}`]);
  } catch (error) {
    if (!(error instanceof PollmodeError) || error.code !== "COMMAND_FAILED") throw error;
  }
}

/** As chown(1) takes it: without a group after the colon it would take the user's own. */
export function spelled({ uid, gid }: Owner): string {
  return `${uid ?? ""}${gid === undefined ? "" : `:${gid}`}`;
}

async function waitForNode(machine: Machine, address: string): Promise<string> {
  const deadline = performance.now() + NODE_WAIT_TIMEOUT_MS;
  for (;;) {
    const node = nodeOf(machine, readPciDevice(address, machine.sysfs));
    if (node !== undefined && machine.exists(node)) return node;
    if (performance.now() > deadline) throw noNode(address, node);
    await pause(NODE_POLL_INTERVAL_MS);
  }
}

function noNode(address: string, node = "its node in /dev"): PollmodeError {
  const message = `${address} is bound, but ${node} is not there after ${NODE_WAIT_TIMEOUT_MS} ms`;
  const fix =
    "see whether /dev is the kernel's (mount | grep devtmpfs), and what udev says: journalctl -u systemd-udevd";
  return new PollmodeError("DEVICE_NODE", message, fix);
}
