// Which devices an engine makes ports of, and which driver has each.
import { pmds } from "../../pmd/index.ts";
import { readPciDevice, scanPci } from "../bus/pci/scan.ts";
import { rdmaSysfs } from "../bus/rdma/devices.ts";
import { type Devargs, parseDevargs } from "../eal/devargs.ts";
import { parseAllowed } from "../eal/kubernetes.ts";
import { PollmodeError } from "../errors.ts";
import type { Driver } from "../ethdev/driver.ts";
import type { PollmodeOptions } from "./options.ts";

/** Kernel drivers that leave a device to user space. */
const USER_SPACE_DRIVERS = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/** The PCI devices that the options name, or that are left when those of `block` are taken away. */
export function pciDevicesOf({ allow = [], block = [] }: PollmodeOptions): Devargs[] {
  if (allow.length > 0)
    return parseAllowed(allow, "--allow").devices.map((one) => pciDevargs(one, "--allow"));
  if (block.length === 0) return [];
  return userSpaceDevices(new Set(block.map((one) => pciDevargs(one, "--block").name)));
}

/** All devices that are bound for user space and have a driver here, but for these addresses. */
export function userSpaceDevices(blocked: ReadonlySet<string>): Devargs[] {
  return scanPci()
    .filter(({ address, driver }) => !blocked.has(address) && USER_SPACE_DRIVERS.includes(driver ?? ""))
    .filter(({ vendor, device }) => pciDriver(vendor, device) !== undefined)
    .filter(({ vendor, device }) => !pciDriver(vendor, device)?.keepsKernelDriver)
    .map(({ address }) => pciDevargs(address, "--block"));
}

/** Addresses of those that are opened by VFIO or UIO, whose kind of addresses (IovaMode) depends on it. */
export function openedFunctions(options: PollmodeOptions): string[] {
  const isKept = (address: string) => {
    try {
      return driverOfPci(address).keepsKernelDriver ?? false;
    } catch {
      return false; // whoever opens it says what is wrong
    }
  };
  return pciDevicesOf(options).flatMap(({ name }) => (isKept(name) ? [] : [name]));
}

function pciDevargs(one: string | Devargs, option: string): Devargs {
  const devargs = typeof one === "string" ? parseDevargs(one, option) : one;
  if (devargs.bus === "pci") return devargs;
  const message = `${option} ${devargs.name}: this is no PCI address`;
  throw new PollmodeError(
    "DEVARGS",
    message,
    `write ${option} 0000:01:00.0; virtual devices belong to --vdev`,
  );
}

function pciDriver(vendor: number, device: number): Driver | undefined {
  return pmds.find(({ ids = [] }) => ids.some((id) => id.vendor === vendor && id.device === device));
}

/** The driver of a virtual device by its name, of a PCI device by its ids. */
export function driverOf(devargs: Devargs): Driver {
  return devargs.bus === "pci" ? driverOfPci(devargs.name) : driverOfVdev(devargs);
}

function driverOfVdev({ name, driver: wanted }: Devargs): Driver {
  const virtual = pmds.filter(({ ids }) => ids === undefined);
  const driver = virtual.find((pmd) => pmd.name === wanted);
  if (driver) return driver;
  const message = `${name}: there is no driver ${wanted}`;
  throw new PollmodeError("DRIVER_UNKNOWN", message, `drivers: ${virtual.map((pmd) => pmd.name).join(", ")}`);
}

function driverOfPci(address: string): Driver {
  const { vendor, device } = readPciDevice(address, rdmaSysfs());
  const driver = pciDriver(vendor, device);
  if (driver) return driver;
  const hex = (id: number) => id.toString(16).padStart(4, "0");
  const message = `${address}: there is no driver for ${hex(vendor)}:${hex(device)}`;
  const chips = new Set(pmds.flatMap(({ ids = [] }) => ids.map(({ chip }) => chip)));
  throw new PollmodeError("DRIVER_UNKNOWN", message, `devices that are driven: ${[...chips].join(", ")}`);
}
