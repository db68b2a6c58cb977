// VFIO as an engine holds it: functions by their address, over as few groups and containers as can be.
//
//   container (IOMMU) ──┬─ group 3 ─── 0000:00:03.0          one set of IOVAs: the DMA zone, mapped once
//                       └─ group 7 ─┬─ 0000:01:00.0
//                                   └─ 0000:01:00.1
//   container (no-IOMMU) ─ noiommu-0 ─ 0000:02:00.0          nothing mapped: physical addresses
import { closeSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import type { Arena } from "../../memory/arena.ts";
import type { IovaMap } from "../../memory/iova.ts";
import type { Zone } from "../../memory/zone.ts";
import { aboveMemory } from "../fd-order.ts";
import { type PciDevice, readPciDevice } from "../pci/scan.ts";
import type { InterruptKind } from "../pci-function.ts";
import type { DependentDevice } from "./calls.ts";
import { VfioContainer } from "./container.ts";
import { VfioDevice } from "./device.ts";
import { findGroup } from "./errors.ts";
import { VfioGroup } from "./group.ts";
import { type GroupOfDevice, System } from "./system.ts";
import { checkVfToken } from "./token.ts";

export interface VfioOptions {
  readonly arena: Arena;
  /** Mapped for devices as a whole. */
  readonly dma: Zone;
  readonly iova: IovaMap;
  readonly warn: (text: string) => void;
  /** --vfio-vf-token: given for the devices that need one. */
  readonly vfToken?: string | undefined;
  /** --vfio-intr: devices have this kind of interrupt alone. */
  readonly intr?: InterruptKind | undefined;
  /** Where sysfs, /dev and /proc are. */
  readonly system?: System;
}

interface OpenGroup {
  readonly group: VfioGroup;
  readonly container: VfioContainer;
  /** Open devices by address. */
  readonly devices: Map<string, VfioDevice>;
}

export class Vfio {
  private readonly options: VfioOptions;
  private readonly system: System;
  private readonly groups = new Map<number, OpenGroup>();
  private readonly containers: { iommu?: VfioContainer; noIommu?: VfioContainer } = {};

  constructor(options: VfioOptions) {
    const { vfToken } = options;
    if (vfToken !== undefined) checkVfToken("--vfio-vf-token", vfToken);
    this.options = options;
    this.system = options.system ?? new System();
  }

  /** Opens a function that is bound to vfio-pci; its address may be short. What fails gives back all that was taken. */
  open(name: string): VfioDevice {
    const device = readPciDevice(name, this.system.sysfs);
    const { address } = device;
    const found = findGroup(device, this.system);
    if (this.groups.get(found.number)?.devices.has(address)) {
      const message = `${address} is open already, by this program itself`;
      throw new PollmodeError("VFIO_BUSY", message, "name it once, or close it first");
    }
    if (found.noIommu) this.allowNoIommu(address);
    const held = this.groups.get(found.number) ?? this.openGroup(found, address);
    try {
      const opened = this.openDevice(device, held);
      held.devices.set(address, opened);
      return opened;
    } catch (error) {
      this.releaseIfIdle(held);
      throw error;
    }
  }

  /** Nothing keeps such a device from memory that is not its own: said at each start, as the kernel does. */
  private allowNoIommu(address: string): void {
    if (this.options.iova.mode !== "pa") {
      const message = `${address} has no IOMMU: it takes physical addresses, and --iova-mode is va`;
      throw new PollmodeError("VFIO_NOIOMMU_IOVA", message, "--iova-mode pa, as root and with hugepages");
    }
    this.options.warn(
      `${address}: no IOMMU stands between this device and all memory; it can overwrite anything`,
    );
  }

  private openGroup(found: GroupOfDevice, address: string): OpenGroup {
    const group = VfioGroup.open(found, address, this.system);
    try {
      const container = this.attach(group, address);
      const held = { group, container, devices: new Map<string, VfioDevice>() };
      this.groups.set(group.number, held);
      return held;
    } catch (error) {
      group.close();
      throw error;
    }
  }

  /** Puts a group into the container of its kind, and has the DMA zone mapped there. */
  private attach(group: VfioGroup, address: string): VfioContainer {
    const kind = group.noIommu ? "noIommu" : "iommu";
    const container = this.containers[kind] ?? VfioContainer.open(group.noIommu, address, this.system);
    const isFirst = container.isEmpty;
    try {
      container.attach(group);
      if (isFirst) container.mapZone(this.options.dma, this.options.iova);
    } catch (error) {
      container.detach(group);
      if (container.isEmpty) container.close();
      throw error;
    }
    this.containers[kind] = container;
    return container;
  }

  private openDevice(device: PciDevice, { group }: OpenGroup): VfioDevice {
    const { arena, iova, vfToken, intr } = this.options;
    const opened = group.openDevice(device, vfToken);
    // behind an IOMMU the mappings keep the memory
    const fd = group.noIommu ? aboveMemory(opened, iova) : opened;
    try {
      const access = group.noIommu ? "vfio-noiommu" : "vfio";
      return new VfioDevice(device.address, fd, access, { arena, iova, intr, owner: this });
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** For VfioDevice: see there. */
  groupsFor(devices: readonly DependentDevice[], but: string): number[] | undefined {
    const fds = new Set<number>();
    for (const { group, address } of devices) {
      const held = this.groups.get(group);
      if (!held || (address !== but && held.devices.has(address))) return undefined;
      fds.add(held.group.fd);
    }
    return [...fds];
  }

  /** For VfioDevice: see there. */
  closed(device: VfioDevice): void {
    for (const held of this.groups.values()) {
      if (held.devices.get(device.address) !== device) continue;
      held.devices.delete(device.address);
      this.releaseIfIdle(held);
      return;
    }
  }

  private releaseIfIdle({ group, container, devices }: OpenGroup): void {
    if (devices.size > 0) return;
    this.groups.delete(group.number);
    container.detach(group);
    group.close();
    if (!container.isEmpty) return;
    container.close();
    if (container.noIommu) delete this.containers.noIommu;
    else delete this.containers.iommu;
  }

  /** Closes what is open. Twice does nothing. A device that cannot be closed as it should stops no other. */
  close(): void {
    const faults: unknown[] = [];
    for (const held of [...this.groups.values()]) {
      for (const device of [...held.devices.values()]) {
        try {
          device.close();
        } catch (error) {
          faults.push(error);
        }
      }
    }
    if (faults.length > 0) throw faults[0];
  }
}
