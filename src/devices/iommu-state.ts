// Reads the IOMMU's own tables from debugfs, where they are; says what is in the way where they are not. The texts
// themselves are parsed in iommu-tables.ts.
import * as tables from "./iommu-tables.ts";
import type { IommuUnit } from "./iommu-units.ts";
import type { Machine } from "./machine.ts";

export interface IommuState {
  /** Why debugfs shows nothing, and what would mend it; undefined: it shows something. */
  readonly missing: { readonly why: string; readonly fix: string } | undefined;
  /** Of the devices that were asked for, with whole addresses. */
  readonly devices: readonly tables.DeviceEntry[];
  /** Only where page tables were asked for: the kernel walks them with the IOMMU's lock held. */
  readonly pageTables: readonly tables.PageTable[];
  readonly units: readonly tables.UnitState[];
  readonly queues: readonly tables.QueueState[];
  /** Empty also where the kernel takes no samples. */
  readonly latencies: readonly tables.Latency[];
}

export interface IommuQuestion {
  readonly units: readonly IommuUnit[];
  /** PCI addresses. */
  readonly devices: readonly string[];
  readonly pageTables: boolean;
}

const FOLDER = "/sys/kernel/debug/iommu";
const INTEL = `${FOLDER}/intel`;
const AMD = `${FOLDER}/amd`;
const nothing = { devices: [], pageTables: [], units: [], queues: [], latencies: [] };

export function readIommuState(machine: Machine, question: IommuQuestion): IommuState {
  if (question.units.length === 0) {
    const fix = "turn it on in the firmware (VT-d, AMD-Vi), and see: pollmode doctor";
    return { ...nothing, missing: { why: "this machine has no IOMMU, or it is off", fix } };
  }
  if (machine.list(INTEL).length > 0) return intelState(machine, question);
  if (machine.list(AMD).length > 0) return amdState(machine, question);
  return { ...nothing, missing: whyMissing(machine, question.units) };
}

function whyMissing(machine: Machine, units: readonly IommuUnit[]): { why: string; fix: string } {
  if (machine.isReal && process.geteuid?.() !== 0)
    return { why: "debugfs is for root alone", fix: "run it as root: sudo pollmode observe" };
  if (!/ \/sys\/kernel\/debug debugfs /.test(machine.readText("/proc/mounts") ?? "")) {
    return { why: "debugfs is not mounted", fix: "mount -t debugfs debugfs /sys/kernel/debug" };
  }
  if (/\[confidentiality\]/.test(machine.readText("/sys/kernel/security/lockdown") ?? "")) {
    const fix = "boot without lockdown=confidentiality";
    return { why: "kernel lockdown keeps debugfs closed", fix };
  }
  const kinds = new Set(units.map(({ kind }) => kind));
  const option = kinds.has("AMD-Vi")
    ? "CONFIG_AMD_IOMMU_DEBUGFS, from Linux 6.17 on"
    : "CONFIG_INTEL_IOMMU_DEBUGFS";
  if (!kinds.has("AMD-Vi") && !kinds.has("Intel VT-d"))
    return {
      why: `the driver of ${[...kinds].join(", ")} shows no tables`,
      fix: "there is none: others do not either",
    };
  const why = `this kernel is built without ${option} (Debian's and most others are)`;
  return { why, fix: "a kernel built with CONFIG_IOMMU_DEBUGFS and that option shows them" };
}

function intelState(machine: Machine, { units, devices, pageTables }: IommuQuestion): IommuState {
  const text = (file: string) => machine.readText(`${INTEL}/${file}`) ?? "";
  const entries = tables.parseDmarTranslation(text("dmar_translation_struct"));
  const whole = entries.map((entry) => ({ ...entry, device: withDomain(entry, units) }));
  return {
    missing: undefined,
    devices: whole.filter(({ device }) => devices.includes(device)),
    pageTables: pageTables ? intelPageTables(machine, devices) : [],
    units: tables.parseRegisters(text("iommu_regset")),
    queues: tables.parseInvalidationQueue(text("invalidation_queue")),
    latencies: tables.parseLatency(text("dmar_perf_latency")),
  };
}

/** Intel's table leaves out the PCI domain; the unit's list of devices has it. */
function withDomain({ device, unit }: tables.DeviceEntry, units: readonly IommuUnit[]): string {
  const behind = units.find(({ name }) => name === unit)?.devices ?? [];
  return behind.find((address) => address.endsWith(`:${device}`)) ?? `0000:${device}`;
}

function intelPageTables(machine: Machine, devices: readonly string[]): tables.PageTable[] {
  const file = "domain_translation_struct";
  const all = machine.readText(`${INTEL}/${file}`); // until Linux 6.6
  if (all !== undefined) {
    return tables.parseDomainTranslation(all).filter(({ device }) => devices.includes(device));
  }
  return devices.flatMap((device) => {
    const folder = `${INTEL}/${device}`;
    const pasids = machine.list(folder).filter((name) => /^[\da-f]+$/.test(name));
    const files = [`${folder}/${file}`, ...pasids.map((pasid) => `${folder}/${pasid}/${file}`)];
    return files.flatMap((path) => tables.parseDomainTranslation(machine.readText(path) ?? ""));
  });
}

function amdState(machine: Machine, { devices, pageTables }: IommuQuestion): IommuState {
  const units = machine.list(AMD).filter((name) => /^iommu\d+$/.test(name));
  return {
    ...nothing,
    missing: undefined,
    devices: pageTables ? amdDevices(machine, devices) : [],
    queues: units.flatMap((unit) => {
      return tables.parseAmdQueue(unit, machine.readText(`${AMD}/${unit}/cmdbuf`) ?? "");
    }),
  };
}

/** The driver shows one device at a time, that which `devid` holds: on a machine that runs, each is asked for. */
function amdDevices(machine: Machine, devices: readonly string[]): tables.DeviceEntry[] {
  const read = () => tables.parseAmdDevice(machine.readText(`${AMD}/devtbl`) ?? "");
  const asked = machine.isReal && !machine.isDryRun ? devices : [undefined];
  const found = asked.map((device) => {
    if (device !== undefined) machine.write(`${AMD}/devid`, device);
    return read();
  });
  return found.filter(
    (entry) => entry !== undefined && devices.includes(entry.device),
  ) as tables.DeviceEntry[];
}
