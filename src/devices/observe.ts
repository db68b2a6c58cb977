// What runs now: the machine's IOMMUs, the devices that user space has, who holds them and what memory they lock, the
// interrupts they took. Reading needs no rights; without root, programs of other users and the IOMMU's tables are not
// seen, and it says so.
import type { PciDevice } from "../bus/pci/scan.ts";
import { scanPci } from "../bus/pci/scan.ts";
import { UIO_DRIVERS } from "../bus/uio/errors.ts";
import { isVfioDriver } from "../bus/vfio/drivers.ts";
import { type Holder, seesAllHolders, vfioHolders } from "./holders.ts";
import { parseInterrupts, type Vector, vectorsOf } from "./interrupts.ts";
import { type IommuState, readIommuState } from "./iommu-state.ts";
import { type IommuUnit, iommuUnits } from "./iommu-units.ts";
import type { Machine } from "./machine.ts";
import { nodeOf } from "./owner.ts";
import type { Counter, PerfCounters } from "./perf-counters.ts";

export interface ObservedDevice {
  readonly address: string;
  readonly driver: string | undefined;
  readonly interfaces: readonly string[];
  readonly group: number | undefined;
  /** What the group's DMA goes through while no program has it: `DMA`, `DMA-FQ`, `identity`. */
  readonly domainType: string | undefined;
  /** By which programs open it: `/dev/vfio/7`, `/dev/uio0`. */
  readonly nodes: readonly string[];
  /** Pids of those that have one of the nodes open; of a group's node, that is the group's whole. */
  readonly heldBy: readonly number[];
  readonly vectors: readonly Vector[];
}

export interface Observation {
  /** performance.now(): differences are what it is for. */
  readonly timeMs: number;
  readonly units: readonly IommuUnit[];
  readonly devices: readonly ObservedDevice[];
  readonly holders: readonly Holder[];
  /** False: other users' programs may hold devices, and only root sees them. */
  readonly seesAllHolders: boolean;
  readonly iommu: IommuState;
  /** Of the IOMMU; empty where perf has none. */
  readonly counters: readonly Counter[];
}

export interface ObserveOptions {
  /** Default: those that a driver for user space has, or a program. */
  readonly devices?: readonly PciDevice[];
  /** Have the kernel walk the page tables too, and count what is mapped. */
  readonly pageTables?: boolean;
  readonly counters?: PerfCounters;
}

const isForUserSpace = ({ driver = "" }: PciDevice) =>
  isVfioDriver(driver) || UIO_DRIVERS.some((name) => name === driver);

/** Errors: those of reading sysfs. */
export function observe(machine: Machine, options: ObserveOptions = {}): Observation {
  const holders = vfioHolders(machine);
  const held = new Set(holders.flatMap(({ nodes }) => nodes));
  const all = options.devices ?? scanPci(machine.sysfs);
  const chosen = options.devices
    ? all
    : all.filter(
        (device) => isForUserSpace(device) || nodesOf(machine, device).some((node) => held.has(node)),
      );
  const interrupts = parseInterrupts(machine.readText("/proc/interrupts") ?? "");
  const units = iommuUnits(machine.sysfs);
  const devices = chosen.map((device): ObservedDevice => {
    const { address, driver, interfaces, iommuGroup: group } = device;
    const nodes = nodesOf(machine, device);
    const domainType =
      group === undefined ? undefined : machine.sysfs.readOptional(`kernel/iommu_groups/${group}/type`);
    const heldBy = holders.filter((holder) => holder.nodes.some((node) => nodes.includes(node)));
    const vectors = vectorsOf(machine, device, interrupts);
    return {
      address,
      driver,
      interfaces,
      group,
      domainType,
      nodes,
      heldBy: heldBy.map(({ pid }) => pid),
      vectors,
    };
  });
  const addresses = devices.map(({ address }) => address);
  return {
    timeMs: performance.now(),
    units,
    devices,
    holders: options.devices
      ? holders.filter(({ pid }) => devices.some((one) => one.heldBy.includes(pid)))
      : holders,
    seesAllHolders: seesAllHolders(machine),
    iommu: readIommuState(machine, { units, devices: addresses, pageTables: options.pageTables ?? false }),
    counters: options.counters?.read() ?? [],
  };
}

function nodesOf(machine: Machine, device: PciDevice): string[] {
  const byDevice = device.vfioDevice && `/dev/vfio/devices/${device.vfioDevice}`; // iommufd, Linux 6.2
  return [nodeOf(machine, device), byDevice].filter((node) => node !== undefined);
}

/** The later one, with what happened a second since the earlier one. What began anew in between has no rate. */
export function withRates(before: Observation, after: Observation): Observation {
  const seconds = (after.timeMs - before.timeMs) / 1000;
  const perSecond = (was: { count: number } | undefined, now: { count: number }) =>
    was === undefined || now.count < was.count || seconds <= 0
      ? {}
      : { perSecond: (now.count - was.count) / seconds };
  const earlier = new Map(before.devices.map((device) => [device.address, device.vectors]));
  return {
    ...after,
    devices: after.devices.map((device) => {
      const vectors = device.vectors.map((vector) => {
        const was = earlier
          .get(device.address)
          ?.find(({ irq, name }) => irq === vector.irq && name === vector.name);
        return { ...vector, ...perSecond(was, vector) };
      });
      return { ...device, vectors };
    }),
    counters: after.counters.map((counter) => {
      const was = before.counters.find(({ unit, event }) => unit === counter.unit && event === counter.event);
      return { ...counter, ...perSecond(was, counter) };
    }),
  };
}
