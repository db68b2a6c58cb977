// A PCI function through VFIO: BARs and configuration space are regions of the device's fd, each at its offset there.
import { closeSync, readSync, writeSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import { MAP_SHARED } from "../../libc/abi.ts";
import { PAGE_BYTES } from "../../limits.ts";
import type { Arena } from "../../memory/arena.ts";
import type { IovaMap } from "../../memory/iova.ts";
import { alignUp, type Range } from "../../memory/ranges.ts";
import {
  PCI_COMMAND,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
  PCI_DEVICE_ID,
  PCI_VENDOR_ID,
} from "../pci/registers.ts";
import type { Bar, InterruptKind, InterruptLine, PciAccess, PciFunction } from "../pci-function.ts";
import * as abi from "./abi.ts";
import {
  type DependentDevice,
  type DeviceInfo,
  getDeviceInfo,
  getHotResetInfo,
  getRegionInfo,
  hotReset,
  type RegionInfo,
  resetDevice,
} from "./calls.ts";
import { VfioInterrupts } from "./irq.ts";

/** Whoever opened the device, and so knows the others. */
interface Owner {
  /** Group fds that show that a reset of all these hits nobody else; undefined where it would. */
  groupsFor(devices: readonly DependentDevice[], but: string): number[] | undefined;
  /** The device is closed: its group may be given back. */
  closed(device: VfioDevice): void;
}

interface Parts {
  readonly arena: Arena;
  readonly iova: IovaMap;
  /** The one kind of interrupt that is used; all if absent. */
  readonly intr?: InterruptKind | undefined;
  readonly owner: Owner;
}

export class VfioDevice implements PciFunction {
  readonly address: string;
  readonly vendor: number;
  readonly device: number;
  readonly access: PciAccess;
  readonly iova: IovaMap;
  private readonly fd: number;
  private readonly arena: Arena;
  private readonly owner: Owner;
  private readonly info: DeviceInfo;
  private readonly config: RegionInfo;
  private readonly interrupts: VfioInterrupts;
  private readonly bars = new Map<number, { bar: Bar; range: Range }>();
  private isClosed = false;

  /** Takes the fd over, but not if it throws. */
  constructor(address: string, fd: number, access: PciAccess, { arena, iova, intr, owner }: Parts) {
    this.address = address;
    this.fd = fd;
    this.access = access;
    this.arena = arena;
    this.iova = iova;
    this.owner = owner;
    this.info = getDeviceInfo(fd, address);
    if ((this.info.flags & abi.VFIO_DEVICE_FLAGS_PCI) === 0) {
      throw new PollmodeError(
        "VFIO_ANSWER",
        `${address}: VFIO says that this is no PCI device`,
        "name a NIC",
      );
    }
    this.config = getRegionInfo(fd, abi.VFIO_PCI_CONFIG_REGION_INDEX, `${address}, configuration space`);
    this.interrupts = new VfioInterrupts(fd, address, intr);
    this.vendor = this.readConfig(PCI_VENDOR_ID, 2);
    this.device = this.readConfig(PCI_DEVICE_ID, 2);
    this.setCommand(PCI_COMMAND_MEMORY, true); // BARs answer; touching one that does not is SIGBUS
  }

  mapBar(index: number): Bar {
    const mapped = this.bars.get(index);
    if (mapped) return mapped.bar;
    const name = `BAR${index} of ${this.address}`;
    const region = this.mappableBar(index, name);
    const range = this.arena.reserve(name, region.bytes, PAGE_BYTES);
    try {
      // Holes, as around an MSI-X table, stay what they were: memory of the arena that nobody uses.
      for (const { offset, bytes } of region.areas) {
        const part = { name, start: range.start + offset, bytes: alignUp(bytes, PAGE_BYTES) };
        this.arena.overlay(part, this.fd, region.offset + offset, MAP_SHARED);
      }
    } catch (error) {
      this.arena.release(range);
      throw error;
    }
    const bar = { offset: range.start, bytes: region.bytes };
    this.bars.set(index, { bar, range });
    return bar;
  }

  private mappableBar(index: number, name: string): RegionInfo {
    const isBar = Number.isInteger(index) && index >= 0 && index <= abi.VFIO_PCI_BAR5_REGION_INDEX;
    const region = isBar ? getRegionInfo(this.fd, index, name) : undefined;
    if (!region || region.bytes === 0) {
      const message = `${name}: the device has none, or it is the upper half of the one before`;
      throw new PollmodeError("PCI_BAR", message, `lspci -v -s ${this.address} lists them`);
    }
    if (region.areas.length === 0) {
      const message = `${name}: it is of I/O ports or cannot be mapped, and only memory can be laid over the arena`;
      throw new PollmodeError("PCI_BAR", message, "use the device's memory BAR");
    }
    const crooked = region.areas.find(({ offset }) => offset % PAGE_BYTES !== 0);
    if (!crooked) return region;
    const message = `${name}: a part to be mapped begins at ${crooked.offset}, within a page`;
    throw new PollmodeError("VFIO_ANSWER", message, "report it to whoever wrote the kernel's driver");
  }

  readConfig(offset: number, bytes: 1 | 2 | 4): number {
    const value = Buffer.alloc(4);
    this.configAccess("read", offset, bytes, () => {
      return readSync(this.fd, value, 0, bytes, this.config.offset + offset);
    });
    return value.readUIntLE(0, bytes);
  }

  writeConfig(offset: number, bytes: 1 | 2 | 4, value: number): void {
    const data = Buffer.alloc(4);
    data.writeUInt32LE(value >>> 0);
    this.configAccess("write", offset, bytes, () => {
      return writeSync(this.fd, data, 0, bytes, this.config.offset + offset);
    });
  }

  private configAccess(what: "read" | "write", offset: number, bytes: number, access: () => number): void {
    const name = `${this.address}: ${what} of ${bytes} bytes of configuration space at ${offset}`;
    const fix = `use a multiple of ${bytes} below ${this.config.bytes}`;
    if (offset < 0 || offset % bytes !== 0 || offset + bytes > this.config.bytes) {
      throw new PollmodeError("PCI_CONFIG", name, fix);
    }
    try {
      if (access() === bytes) return;
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new PollmodeError("PCI_CONFIG", `${name}: ${code}`, "see whether the device is still there", {
        cause,
      });
    }
    throw new PollmodeError("PCI_CONFIG", `${name}: there is less`, fix);
  }

  private setCommand(bits: number, on: boolean): void {
    const command = this.readConfig(PCI_COMMAND, 2);
    const wanted = on ? command | bits : command & ~bits;
    if (wanted !== command) this.writeConfig(PCI_COMMAND, 2, wanted);
  }

  setBusMaster(on: boolean): void {
    this.setCommand(PCI_COMMAND_MASTER, on);
  }

  /** By itself where it can, else with its slot or bus, if nobody else's device is on it. */
  reset(): boolean {
    if ((this.info.flags & abi.VFIO_DEVICE_FLAGS_RESET) !== 0) {
      return !failsBy(["EINVAL", "ENOTTY", "ENODEV"], () => resetDevice(this.fd, this.address));
    }
    return this.hotReset();
  }

  private hotReset(): boolean {
    let reached: DependentDevice[] = [];
    const none = failsBy(["EINVAL", "ENOTTY", "ENODEV"], () => {
      reached = getHotResetInfo(this.fd, this.address);
    });
    if (none) return false;
    const groups = this.owner.groupsFor(reached, this.address);
    if (!groups) return false;
    // EPERM, EINVAL, EBUSY: a device of the bus is another's after all
    const refusals = ["EINVAL", "ENOTTY", "ENODEV", "EPERM", "EBUSY"];
    return !failsBy(refusals, () => hotReset(this.fd, groups, this.address));
  }

  get vectors(): Readonly<Record<InterruptKind, number>> {
    return this.interrupts.vectors;
  }

  enableInterrupts(kind: InterruptKind, count: number): readonly InterruptLine[] {
    return this.interrupts.enable(kind, count);
  }

  disableInterrupts(): void {
    this.interrupts.disable();
  }

  /** In this order, so that the device writes nowhere when its memory goes. A step that fails stops no other. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const steps = [
      () => this.disableInterrupts(),
      () => this.setBusMaster(false),
      () => this.reset(),
      ...[...this.bars.values()].map(
        ({ range }) =>
          () =>
            this.arena.release(range),
      ),
      () => closeSync(this.fd),
      () => this.owner.closed(this),
    ];
    const faults: unknown[] = [];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        faults.push(error);
      }
    }
    this.bars.clear();
    if (faults.length > 0) throw faults[0];
  }
}

/** Whether `call` fails by one of these; it throws what else it fails by. */
function failsBy(codes: readonly string[], call: () => void): boolean {
  try {
    call();
    return false;
  } catch (error) {
    if (error instanceof PollmodeError && codes.includes(error.code)) return true;
    throw error;
  }
}
