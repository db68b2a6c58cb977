// Mediated devices: devices that a kernel driver makes out of one that it drives (a share of a GPU, a queue of an
// accelerator), for VFIO to give to user space. A parent offers types; a type gives so many instances, each named by a
// UUID. Documentation/driver-api/vfio-mediated-device.rst and Documentation/ABI/testing/sysfs-bus-vfio-mdev.
//
//   class/mdev_bus/PARENT/mdev_supported_types/TYPE/create = UUID   makes bus/mdev/devices/UUID
//   bus/mdev/devices/UUID/remove = 1                                takes it away; sleeps as long as it is open
import { randomUUID } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { formatPciAddress, parsePciAddress } from "../bus/pci/address.ts";
import { nearest } from "../eal/nearest.ts";
import { PollmodeError } from "../errors.ts";
import { MDEV_REMOVE_TIMEOUT_MS, VF_POLL_INTERVAL_MS } from "../limits.ts";
import { type Holder, vfioHolders } from "./holders.ts";
import type { Machine } from "./machine.ts";

export interface MdevType {
  /** As sysfs names it: the parent's driver and the driver's own name, `i915-GVTg_V5_4`. */
  readonly id: string;
  readonly name: string | undefined;
  /** What it gives; of several lines for some drivers. */
  readonly description: string | undefined;
  /** `vfio-pci`, `vfio-ccw`, `vfio-ap`. */
  readonly deviceApi: string | undefined;
  /** How many more there can be: types of a parent share what it has. */
  readonly availableInstances: number;
  /** UUIDs of those that there are. */
  readonly instances: readonly string[];
}

export interface MdevParent {
  /** Of a PCI device, its address. */
  readonly name: string;
  readonly driver: string | undefined;
  readonly types: readonly MdevType[];
}

export interface Mdev {
  readonly uuid: string;
  /** For programs that take a device by `sysfsdev`. */
  readonly sysfsdev: string;
  readonly parent: string | undefined;
  readonly type: string | undefined;
  readonly typeName: string | undefined;
  readonly deviceApi: string | undefined;
  readonly driver: string | undefined;
  readonly iommuGroup: number | undefined;
  /** The nodes that it is opened by, the group's first. */
  readonly nodes: readonly string[];
}

const PARENTS = "class/mdev_bus";
const DEVICES = "bus/mdev/devices";
const typeFolder = (parent: string) => `${PARENTS}/${parent}/mdev_supported_types`;

/** All devices that offer mediated devices, by name. */
export function mdevParents({ sysfs }: Machine): MdevParent[] {
  return sysfs.list(PARENTS).map((name) => ({
    name,
    driver: sysfs.linkName(`${PARENTS}/${name}/driver`),
    types: sysfs.list(typeFolder(name)).map((id) => {
      const path = `${typeFolder(name)}/${id}`;
      return {
        id,
        name: sysfs.readOptional(`${path}/name`),
        description: sysfs.readOptional(`${path}/description`),
        deviceApi: sysfs.readOptional(`${path}/device_api`),
        availableInstances: Number(sysfs.readOptional(`${path}/available_instances`) ?? 0),
        instances: sysfs.list(`${path}/devices`),
      };
    }),
  }));
}

/** All mediated devices, by UUID. */
export function mdevs(machine: Machine): Mdev[] {
  const { sysfs } = machine;
  const parents = mdevParents(machine);
  return sysfs.list(DEVICES).map((uuid) => {
    const path = `${DEVICES}/${uuid}`;
    const parent = parents.find(({ types }) => types.some(({ instances }) => instances.includes(uuid)));
    const type = parent?.types.find(({ instances }) => instances.includes(uuid));
    const group = sysfs.linkName(`${path}/iommu_group`);
    return {
      uuid,
      sysfsdev: `/sys/${path}`,
      parent: parent?.name,
      type: type?.id,
      typeName: type?.name,
      deviceApi: type?.deviceApi,
      driver: sysfs.linkName(`${path}/driver`),
      iommuGroup: group === undefined ? undefined : Number(group),
      nodes: [
        ...(group === undefined ? [] : [`/dev/vfio/${group}`]),
        ...sysfs.list(`${path}/vfio-dev`).map((name) => `/dev/vfio/devices/${name}`),
      ],
    };
  });
}

/** Throws MDEV_UNKNOWN, or OPTION_VALUE if it is no UUID. */
export function findMdev(machine: Machine, text: string): Mdev {
  const uuid = checkUuid(text);
  const all = mdevs(machine);
  const found = all.find((mdev) => mdev.uuid === uuid);
  if (found) return found;
  const uuids = all.map((mdev) => mdev.uuid);
  const near = nearest(uuid, uuids);
  const list =
    uuids.length > 0 ? `there are: ${uuids.join(", ")}` : "there are none: pollmode mdev create makes one";
  const fix = near === undefined ? list : `did you mean ${near}?`;
  throw new PollmodeError("MDEV_UNKNOWN", `there is no mediated device ${uuid}`, fix);
}

const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** As the kernel writes it. */
function checkUuid(text: string): string {
  const uuid = text.toLowerCase();
  if (uuidForm.test(uuid)) return uuid;
  const fix = "write it as 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001; uuidgen makes one";
  throw new PollmodeError("OPTION_VALUE", `"${text}" is no UUID`, fix);
}

/** Programs that have it open, of those that this user may see. */
export function mdevHolders(machine: Machine, { nodes }: Mdev): Holder[] {
  return vfioHolders(machine).filter((holder) => holder.nodes.some((node) => nodes.includes(node)));
}

export interface NewMdev {
  /** Its name in /sys/class/mdev_bus; a PCI address may be short. */
  readonly parent: string;
  /** Its id, the id's part behind the driver's name, or the type's name. */
  readonly type: string;
  /** Default: a new one. */
  readonly uuid?: string | undefined;
}

/**
 * Makes a mediated device. Errors: MDEV_PARENT, MDEV_TYPE, MDEV_EXISTS, MDEV_NONE_LEFT, OPTION_VALUE (nothing was
 * changed); MDEV_CREATE (all is as it was), MDEV_NOT_RESTORED (it is there, but of no use).
 */
export function createMdev(
  machine: Machine,
  { parent: parentName, type: typeName, uuid: given }: NewMdev,
): Mdev {
  const parent = findParent(machine, parentName);
  const type = findType(parent, typeName);
  const uuid = given === undefined ? randomUUID() : checkUuid(given);
  if (machine.sysfs.exists(`${DEVICES}/${uuid}`)) {
    const fix = "leave out --uuid, which makes a new one; or remove that device first";
    throw new PollmodeError("MDEV_EXISTS", `there is a mediated device ${uuid} already`, fix);
  }
  if (type.availableInstances === 0) throw noneLeft(parent, type);
  try {
    machine.sysfs.write(`${typeFolder(parent.name)}/${type.id}/create`, uuid);
    return machine.isDryRun ? planned(parent, type, uuid) : verified(machine, uuid);
  } catch (cause) {
    throw notCreated(machine, parent, type, uuid, cause);
  }
}

function planned(parent: MdevParent, type: MdevType, uuid: string): Mdev {
  return {
    uuid,
    sysfsdev: `/sys/${DEVICES}/${uuid}`,
    parent: parent.name,
    type: type.id,
    typeName: type.name,
    deviceApi: type.deviceApi,
    driver: undefined,
    iommuGroup: undefined,
    nodes: [],
  };
}

/** VFIO opens a device that its driver has bound: the kernel does that within the write, from 6.1 on. */
function verified(machine: Machine, uuid: string): Mdev {
  const made = mdevs(machine).find((mdev) => mdev.uuid === uuid);
  if (made?.driver !== undefined) return made;
  const message = made ? "no driver has bound it" : "the kernel took the UUID, but there is no such device";
  const fix = made ? "as root: modprobe vfio_mdev, which kernels before 6.1 need" : kernelLog;
  throw new PollmodeError("MDEV_CREATE", message, fix);
}

const kernelLog = "the kernel's log says why: dmesg | tail";

function notCreated(
  machine: Machine,
  parent: MdevParent,
  type: MdevType,
  uuid: string,
  cause: unknown,
): unknown {
  if (!(cause instanceof PollmodeError)) return cause;
  if (cause.code === "ENOSPC" || cause.code === "EUSERS") return noneLeft(parent, type, cause);
  const failed = `${parent.name} gave no mediated device of type ${type.id}: ${cause.message}`;
  const path = `${DEVICES}/${uuid}/remove`;
  try {
    if (machine.sysfs.exists(path)) machine.sysfs.write(path, "1");
  } catch (error) {
    const text = `${failed}; ${uuid} is there, and could not be removed: ${(error as Error).message}`;
    const fix = `${cause.fix}; then, as root: pollmode mdev remove ${uuid}`;
    return new PollmodeError("MDEV_NOT_RESTORED", text, fix, { cause });
  }
  return new PollmodeError("MDEV_CREATE", `${failed}; all is as it was before`, cause.fix, { cause });
}

function noneLeft(parent: MdevParent, type: MdevType, cause?: PollmodeError): PollmodeError {
  const message = `${parent.name} can make no more mediated devices of type ${type.id}`;
  const others = parent.types.filter(({ availableInstances }) => availableInstances > 0).map(({ id }) => id);
  const instances = parent.types.flatMap((type) => type.instances);
  const fixes = [
    others.length > 0 ? `take another type: ${others.join(", ")}` : "",
    instances.length > 0
      ? `remove one: pollmode mdev remove ${instances[0]}`
      : "see the parent's own settings",
  ];
  return new PollmodeError("MDEV_NONE_LEFT", message, fixes.filter(Boolean).join("; or "), { cause });
}

function findParent(machine: Machine, text: string): MdevParent {
  const parents = mdevParents(machine);
  const address = parsePciAddress(text);
  const name = address ? formatPciAddress(address) : text;
  const found = parents.find((parent) => parent.name === name);
  if (found) return found;
  const names = parents.map((parent) => parent.name);
  const near = nearest(name, names);
  const fix =
    names.length > 0
      ? `${near === undefined ? "" : `did you mean ${near}? `}parents: ${names.join(", ")}`
      : "load a driver that offers them, for a device that has them: dmesg | grep MDEV shows which";
  throw new PollmodeError("MDEV_PARENT", `${name} offers no mediated devices`, fix);
}

function findType({ name, types }: MdevParent, text: string): MdevType {
  const exact = types.filter((type) => type.id === text || type.name === text);
  const found = exact.length > 0 ? exact : types.filter(({ id }) => id.endsWith(`-${text}`));
  if (found.length === 1) return found[0]!;
  const list = types.map(
    ({ id, name, availableInstances }) => `${id} (${name ?? id}, ${availableInstances} left)`,
  );
  const message =
    found.length > 1 ? `"${text}" is more than one type of ${name}` : `${name} has no type "${text}"`;
  throw new PollmodeError("MDEV_TYPE", message, `types: ${list.join(", ")}`);
}

/**
 * Takes a mediated device away. Errors: MDEV_IN_USE (without `force`), MDEV_UNKNOWN, OPTION_VALUE (nothing was
 * changed); MDEV_REMOVE; with `force`, of one that is open, MDEV_PENDING: the kernel asks the program to let it go and
 * waits for that, which nothing ends but the program.
 */
export async function removeMdev(machine: Machine, text: string, force: boolean): Promise<Mdev> {
  const mdev = findMdev(machine, text);
  const path = `${DEVICES}/${mdev.uuid}/remove`;
  const by = openBy(machine, mdev);
  if (by !== undefined && !force) {
    const message = `${mdev.uuid} is open in ${by}: the kernel would wait for that to end`;
    throw new PollmodeError(
      "MDEV_IN_USE",
      message,
      "stop it first; --force has the kernel ask it, and wait for it",
    );
  }
  if (by === undefined || machine.isDryRun) {
    write(machine, path, mdev);
    if (machine.isDryRun || isGone(machine, mdev)) return mdev;
    throw new PollmodeError("MDEV_REMOVE", `${mdev.uuid} is there still`, kernelLog);
  }
  // The write sleeps, and no signal wakes it: a process of its own does it, which may outlive this one.
  machine.run(["sh", "-c", '(echo 1 > "$0") > /dev/null 2>&1 &', machine.sysfs.path(path)]);
  const deadline = performance.now() + MDEV_REMOVE_TIMEOUT_MS;
  while (performance.now() < deadline) {
    if (isGone(machine, mdev)) return mdev;
    await pause(VF_POLL_INTERVAL_MS);
  }
  const message = `${mdev.uuid} has been asked to go, and the kernel waits for ${by} to let it go`;
  throw new PollmodeError("MDEV_PENDING", message, "end that program: the device goes with it");
}

function write({ sysfs }: Machine, path: string, { uuid }: Mdev): void {
  try {
    sysfs.write(path, "1");
  } catch (cause) {
    if (!(cause instanceof PollmodeError)) throw cause;
    throw new PollmodeError("MDEV_REMOVE", `${uuid} cannot be removed: ${cause.message}`, cause.fix, {
      cause,
    });
  }
}

/** Its bus forgets it first, its parent when nobody has it open any more: bus_remove_device, device_del. */
function isGone({ sysfs }: Machine, { uuid, parent }: Mdev): boolean {
  return !sysfs.exists(`${DEVICES}/${uuid}`) && !sysfs.exists(`${PARENTS}/${parent}/${uuid}`);
}

/**
 * Who has it open, for people; undefined: nobody. A group's node is opened once at a time, and a device that is open
 * holds its group (vfio_group_fops_open), so opening it tells of programs too that cannot be seen from here.
 */
function openBy(machine: Machine, mdev: Mdev): string | undefined {
  const holders = mdevHolders(machine, mdev).map(({ pid, name }) => `${name} (process ${pid})`);
  if (holders.length > 0) return holders.join(", ");
  return mdev.nodes.some((node) => isBusy(machine.path(node)))
    ? "a program that cannot be seen from here"
    : undefined;
}

function isBusy(path: string): boolean {
  try {
    closeSync(openSync(path, "r+"));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EBUSY";
  }
}
