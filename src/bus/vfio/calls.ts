// VFIO's ioctls as functions: arguments packed, answers unpacked, nothing decided. A failure is a PollmodeError whose
// code is errno's name; what it means is for the objects above (diagnosis.ts).
import { PollmodeError } from "../../errors.ts";
import { ioctl } from "../../libc/ioctl.ts";
import * as abi from "./abi.ts";
import {
  type Area,
  capabilitiesOf,
  dmaAvailOf,
  type IovaRange,
  iovaRangesOf,
  mappableAreasOf,
} from "./capabilities.ts";

/** An answer with its capabilities is far smaller; a driver that wants more is broken. */
const ANSWER_BYTES_MAX = 1 << 20;

/** A structure that begins with argsz. */
function structure(bytes: number): Buffer {
  const made = Buffer.alloc(bytes);
  made.writeUInt32LE(bytes, 0);
  return made;
}

/** Asks again with as much room as the kernel wants, which it writes into argsz. */
function ask(fd: number, call: abi.Ioctl, what: string, bytes: number, indexAt?: number, index = 0): Buffer {
  let answer = structure(bytes);
  for (;;) {
    if (indexAt !== undefined) answer.writeUInt32LE(index, indexAt);
    ioctl(fd, call, what, answer);
    const wanted = answer.readUInt32LE(0);
    if (wanted <= answer.length) return answer;
    if (wanted > ANSWER_BYTES_MAX) {
      const message = `ioctl ${call.name}(${what}): the answer has ${wanted} bytes`;
      throw new PollmodeError("VFIO_ANSWER", message, "report it to whoever wrote the kernel's driver");
    }
    answer = structure(wanted);
  }
}

export function getApiVersion(container: number, what: string): number {
  return ioctl(container, abi.VFIO_GET_API_VERSION, what);
}

export function checkExtension(container: number, extension: number, what: string): boolean {
  return ioctl(container, abi.VFIO_CHECK_EXTENSION, what, extension) > 0;
}

export function setIommu(container: number, kind: number, what: string): void {
  ioctl(container, abi.VFIO_SET_IOMMU, what, kind);
}

export interface IommuInfo {
  /** A bit for each size of page that the IOMMU has. */
  readonly pageSizes: bigint;
  /** Undefined where the kernel does not tell. */
  readonly ranges: readonly IovaRange[] | undefined;
  readonly dmaAvail: number | undefined;
}

export function getIommuInfo(container: number, what: string): IommuInfo {
  const answer = ask(container, abi.VFIO_IOMMU_GET_INFO, what, abi.IOMMU_INFO_BYTES);
  const flags = answer.readUInt32LE(abi.IOMMU_INFO_FLAGS);
  const first = flags & abi.VFIO_IOMMU_INFO_CAPS ? answer.readUInt32LE(abi.IOMMU_INFO_CAP_OFFSET) : 0;
  const chain = capabilitiesOf(answer, first, what);
  const known = (flags & abi.VFIO_IOMMU_INFO_PGSIZES) !== 0;
  return {
    pageSizes: known ? answer.readBigUInt64LE(abi.IOMMU_INFO_PGSIZES) : 0x1000n,
    ranges: iovaRangesOf(chain, what),
    dmaAvail: dmaAvailOf(chain, what),
  };
}

/** Lets devices read and write `bytes` of this process at `address` as `iova`. The kernel pins them. */
export function mapDma(container: number, address: bigint, iova: bigint, bytes: number, what: string): void {
  const map = structure(abi.DMA_MAP_BYTES);
  map.writeUInt32LE(abi.VFIO_DMA_MAP_FLAG_READ | abi.VFIO_DMA_MAP_FLAG_WRITE, abi.DMA_MAP_FLAGS);
  map.writeBigUInt64LE(address, abi.DMA_MAP_VADDR);
  map.writeBigUInt64LE(iova, abi.DMA_MAP_IOVA);
  map.writeBigUInt64LE(BigInt(bytes), abi.DMA_MAP_SIZE);
  ioctl(container, abi.VFIO_IOMMU_MAP_DMA, what, map);
}

/** How many bytes were unmapped: a range that splits a mapping fails under type 1 v2. */
export function unmapDma(container: number, iova: bigint, bytes: number, what: string): number {
  const unmap = structure(abi.DMA_UNMAP_BYTES);
  unmap.writeBigUInt64LE(iova, abi.DMA_UNMAP_IOVA);
  unmap.writeBigUInt64LE(BigInt(bytes), abi.DMA_UNMAP_SIZE);
  ioctl(container, abi.VFIO_IOMMU_UNMAP_DMA, what, unmap);
  return Number(unmap.readBigUInt64LE(abi.DMA_UNMAP_SIZE));
}

export function isViable(group: number, what: string): boolean {
  const status = structure(abi.GROUP_STATUS_BYTES);
  ioctl(group, abi.VFIO_GROUP_GET_STATUS, what, status);
  return (status.readUInt32LE(abi.GROUP_STATUS_FLAGS) & abi.VFIO_GROUP_FLAGS_VIABLE) !== 0;
}

export function setContainer(group: number, container: number, what: string): void {
  const fd = Buffer.alloc(4);
  fd.writeInt32LE(container);
  ioctl(group, abi.VFIO_GROUP_SET_CONTAINER, what, fd);
}

export function unsetContainer(group: number, what: string): void {
  ioctl(group, abi.VFIO_GROUP_UNSET_CONTAINER, what);
}

/** `name`: the device's address, with ` vf_token=UUID` behind it where it needs one. The fd is close-on-exec. */
export function getDeviceFd(group: number, name: string, what: string): number {
  return ioctl(group, abi.VFIO_GROUP_GET_DEVICE_FD, what, Buffer.from(`${name}\0`));
}

export interface DeviceInfo {
  readonly flags: number;
  readonly regions: number;
  readonly irqs: number;
}

export function getDeviceInfo(device: number, what: string): DeviceInfo {
  const answer = ask(device, abi.VFIO_DEVICE_GET_INFO, what, abi.DEVICE_INFO_BYTES);
  return {
    flags: answer.readUInt32LE(abi.DEVICE_INFO_FLAGS),
    regions: answer.readUInt32LE(abi.DEVICE_INFO_NUM_REGIONS),
    irqs: answer.readUInt32LE(abi.DEVICE_INFO_NUM_IRQS),
  };
}

export interface RegionInfo {
  readonly flags: number;
  readonly bytes: number;
  /** Where it begins in the device's fd. */
  readonly offset: number;
  /** What can be mapped of it: nothing, all, or all but holes. */
  readonly areas: readonly Area[];
}

export function getRegionInfo(device: number, index: number, what: string): RegionInfo {
  const answer = ask(
    device,
    abi.VFIO_DEVICE_GET_REGION_INFO,
    what,
    abi.REGION_INFO_BYTES,
    abi.REGION_INFO_INDEX,
    index,
  );
  const flags = answer.readUInt32LE(abi.REGION_INFO_FLAGS);
  const bytes = Number(answer.readBigUInt64LE(abi.REGION_INFO_SIZE));
  const offset = Number(answer.readBigUInt64LE(abi.REGION_INFO_OFFSET));
  const hasCaps = (flags & abi.VFIO_REGION_INFO_FLAG_CAPS) !== 0;
  const chain = capabilitiesOf(answer, hasCaps ? answer.readUInt32LE(abi.REGION_INFO_CAP_OFFSET) : 0, what);
  const areas = flags & abi.VFIO_REGION_INFO_FLAG_MMAP ? mappableAreasOf(chain, bytes, what) : [];
  return { flags, bytes, offset, areas };
}

export interface IrqInfo {
  readonly flags: number;
  /** Vectors of the index; 0: there is none of its kind. */
  readonly count: number;
}

export function getIrqInfo(device: number, index: number, what: string): IrqInfo {
  const answer = ask(
    device,
    abi.VFIO_DEVICE_GET_IRQ_INFO,
    what,
    abi.IRQ_INFO_BYTES,
    abi.IRQ_INFO_INDEX,
    index,
  );
  return {
    flags: answer.readUInt32LE(abi.IRQ_INFO_FLAGS),
    count: answer.readUInt32LE(abi.IRQ_INFO_COUNT),
  };
}

/** How many vectors an interrupt index has that can signal an eventfd. */
export function getIrqCount(device: number, index: number, what: string): number {
  const { flags, count } = getIrqInfo(device, index, what);
  return flags & abi.VFIO_IRQ_INFO_EVENTFD ? count : 0;
}

/**
 * Lets vector k of an index signal `eventfds[k]`; none: turns all of them off. 0, or how many vectors there are if
 * these are too many.
 */
export function setIrqs(device: number, index: number, eventfds: readonly number[], what: string): number {
  const set = structure(abi.IRQ_SET_BYTES + 4 * eventfds.length);
  const data = eventfds.length > 0 ? abi.VFIO_IRQ_SET_DATA_EVENTFD : abi.VFIO_IRQ_SET_DATA_NONE;
  set.writeUInt32LE(data | abi.VFIO_IRQ_SET_ACTION_TRIGGER, abi.IRQ_SET_FLAGS);
  set.writeUInt32LE(index, abi.IRQ_SET_INDEX);
  set.writeUInt32LE(0, abi.IRQ_SET_START);
  set.writeUInt32LE(eventfds.length, abi.IRQ_SET_COUNT);
  eventfds.forEach((fd, at) => {
    set.writeInt32LE(fd, abi.IRQ_SET_BYTES + 4 * at);
  });
  return ioctl(device, abi.VFIO_DEVICE_SET_IRQS, what, set);
}

/** Lets INTx fire again: the kernel masks it each time, because it stays asserted until the device is served. */
export function unmaskIntx(device: number): void {
  const set = structure(abi.IRQ_SET_BYTES);
  set.writeUInt32LE(abi.VFIO_IRQ_SET_DATA_NONE | abi.VFIO_IRQ_SET_ACTION_UNMASK, abi.IRQ_SET_FLAGS);
  set.writeUInt32LE(abi.VFIO_PCI_INTX_IRQ_INDEX, abi.IRQ_SET_INDEX);
  set.writeUInt32LE(1, abi.IRQ_SET_COUNT);
  ioctl(device, abi.VFIO_DEVICE_SET_IRQS, `INTx of device fd ${device}`, set);
}

export function resetDevice(device: number, what: string): void {
  ioctl(device, abi.VFIO_DEVICE_RESET, what);
}

/** A function that a reset of slot or bus reaches, as the kernel names it. */
export interface DependentDevice {
  readonly group: number;
  readonly address: string;
}

/** All functions that a hot reset of this one resets, itself among them. */
export function getHotResetInfo(device: number, what: string): DependentDevice[] {
  // without room the kernel answers ENOSPC and writes the count
  let info = structure(abi.HOT_RESET_INFO_BYTES);
  for (;;) {
    try {
      ioctl(device, abi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, what, info);
      break;
    } catch (error) {
      const count = info.readUInt32LE(abi.HOT_RESET_INFO_COUNT);
      const wanted = abi.HOT_RESET_INFO_BYTES + count * abi.DEPENDENT_DEVICE_BYTES;
      const grow = error instanceof PollmodeError && error.code === "ENOSPC" && wanted > info.length;
      if (!grow || wanted > ANSWER_BYTES_MAX) throw error;
      info = structure(wanted);
    }
  }
  const count = info.readUInt32LE(abi.HOT_RESET_INFO_COUNT);
  const room = Math.floor((info.length - abi.HOT_RESET_INFO_BYTES) / abi.DEPENDENT_DEVICE_BYTES);
  return Array.from({ length: Math.min(count, room) }, (_, at) => dependentDevice(info, at));
}

function dependentDevice(info: Buffer, index: number): DependentDevice {
  const at = abi.HOT_RESET_INFO_BYTES + index * abi.DEPENDENT_DEVICE_BYTES;
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const devfn = info.readUInt8(at + abi.DEPENDENT_DEVFN);
  const segment = hex(info.readUInt16LE(at + abi.DEPENDENT_SEGMENT), 4);
  const slot = `${hex(info.readUInt8(at + abi.DEPENDENT_BUS), 2)}:${hex(devfn >> 3, 2)}.${devfn & 7}`;
  return { group: info.readUInt32LE(at), address: `${segment}:${slot}` };
}

/** Resets slot or bus; `groups` prove that all that is there and open is the caller's. */
export function hotReset(device: number, groups: readonly number[], what: string): void {
  const reset = structure(abi.HOT_RESET_BYTES + 4 * groups.length);
  reset.writeUInt32LE(groups.length, abi.HOT_RESET_COUNT);
  groups.forEach((fd, at) => {
    reset.writeInt32LE(fd, abi.HOT_RESET_BYTES + 4 * at);
  });
  ioctl(device, abi.VFIO_DEVICE_PCI_HOT_RESET, what, reset);
}
