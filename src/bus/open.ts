// Opens PCI functions through whichever kernel interface they are bound to: VFIO or UIO.
import { PollmodeError } from "../errors.ts";
import type { IovaMode } from "../memory/iova.ts";
import { bindCommand } from "./pci/commands.ts";
import { type PciDevice, readPciDevice, scanPci } from "./pci/scan.ts";
import type { PciFunction } from "./pci-function.ts";
import { UioDevice } from "./uio/device.ts";
import { isUioDriver, notBound } from "./uio/errors.ts";
import { isVfioDriver } from "./vfio/drivers.ts";
import { System } from "./vfio/system.ts";
import { Vfio, type VfioOptions } from "./vfio/vfio.ts";

export class PciBus {
  private readonly options: VfioOptions & { readonly system: System };
  private readonly vfio: Vfio;
  private readonly uio = new Set<UioDevice>();
  private saidUnpinned = false;

  constructor(options: VfioOptions) {
    this.options = { ...options, system: options.system ?? new System() };
    this.vfio = new Vfio(this.options);
  }

  /** Opens a function; its address may be short. What fails gives back all that was taken. */
  open(address: string): PciFunction {
    const { system } = this.options;
    const device = find(address, system);
    const { driver } = device;
    if (driver !== undefined && isVfioDriver(driver)) return this.checked(this.vfio.open(device.address));
    if (!isUioDriver(driver)) throw notForUs(device, system);
    const onClose = (closed: UioDevice) => this.uio.delete(closed);
    const opened = UioDevice.open(device.address, { ...this.options, onClose });
    this.uio.add(opened);
    return this.checked(opened);
  }

  /** Without an IOMMU the device has addresses of pages; said once where the kernel may still move them. */
  private checked<T extends PciFunction>(opened: T): T {
    const { iova, warn } = this.options;
    if (opened.access === "vfio" || !iova.unpinned || this.saidUnpinned) return opened;
    this.saidUnpinned = true;
    const { message, fix } = iova.unpinned;
    warn(
      `${opened.address}: its memory is not pinned: ${message}. The kernel moves hugepages seldom (memory taken ` +
        "offline, a failing page, move_pages), but then this device goes on writing where they were. " +
        `Mend: ${fix}`,
    );
    return opened;
  }

  /** Closes what is open. Twice does nothing. A device that cannot be closed as it should stops no other. */
  close(): void {
    const faults: unknown[] = [];
    for (const one of [this.vfio, ...this.uio]) {
      try {
        one.close();
      } catch (error) {
        faults.push(error);
      }
    }
    if (faults.length > 0) throw faults[0];
  }
}

/** What these devices need: "pa" where one of them has no IOMMU between itself and memory. */
export function preferredIovaMode(addresses: readonly string[], system = new System()): IovaMode {
  const isBare = (address: string) => {
    const device = find(address, system);
    return isUioDriver(device.driver) || (system.groupOf(device)?.noIommu ?? false);
  };
  return addresses.some(isBare) ? "pa" : "va";
}

function find(address: string, system: System): PciDevice {
  try {
    return readPciDevice(address, system.sysfs);
  } catch (error) {
    if (!(error instanceof PollmodeError) || error.code !== "PCI_UNKNOWN") throw error;
    throw new PollmodeError(error.code, error.message, knownNics(system) ?? error.fix, { cause: error });
  }
}

const NETWORK_CONTROLLER = 0x02;
const NAMED_MAX = 16;

function knownNics({ sysfs }: System): string | undefined {
  const nics = scanPci(sysfs).filter((device) => device.class >> 16 === NETWORK_CONTROLLER);
  if (nics.length === 0) return undefined;
  const hex = (id: number) => id.toString(16).padStart(4, "0");
  const names = nics.map(({ address, vendor, device, driver }) => {
    return `${address} (${hex(vendor)}:${hex(device)}, ${driver ?? "no driver"})`;
  });
  const more = names.length > NAMED_MAX ? `, and ${names.length - NAMED_MAX} more` : "";
  return `use one of this machine's NICs: ${names.slice(0, NAMED_MAX).join(", ")}${more}`;
}

/** The kernel has the device, or nobody. */
function notForUs(device: PciDevice, system: System): PollmodeError {
  const { address, driver, driverOverride, interfaces, physicalFunction } = device;
  if (driver === undefined && isUioDriver(driverOverride)) return notBound(device, system.sysfs);
  const withoutIommu = physicalFunction === undefined ? "uio_pci_generic" : "igb_uio";
  const wanted = system.hasIommu ? "vfio-pci" : withoutIommu;
  const fix = `as root: ${bindCommand(wanted, address)}`;
  if (driver === undefined) {
    const message = `${address} has no driver: pollmode opens devices that vfio-pci, uio_pci_generic or igb_uio has`;
    return new PollmodeError("PCI_NO_DRIVER", message, fix);
  }
  const names = interfaces.map((name) => (isUp(name, system) ? `${name} (it is up)` : name));
  const used = names.length > 0 ? `, as network interface ${names.join(", ")}` : "";
  const message = `${address} is in use by the kernel: its driver ${driver} has it${used}`;
  const condition = names.length > 0 ? "if nothing needs that interface, " : "";
  return new PollmodeError("PCI_KERNEL_DRIVER", message, `${condition}${fix}`);
}

/** IFF_UP, linux/if.h. */
const IFF_UP = 0x1;

function isUp(name: string, { sysfs }: System): boolean {
  return (Number(sysfs.readOptional(`class/net/${name}/flags`) ?? 0) & IFF_UP) !== 0;
}
