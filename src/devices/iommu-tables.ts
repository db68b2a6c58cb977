// What an IOMMU has in its own tables, parsed from the texts that its driver leaves in debugfs: which page table each
// device's DMA goes through, how much is mapped there, and the state of the unit itself. Layouts: drivers/iommu/intel
// /debugfs.c and perf.c, drivers/iommu/amd/debugfs.c of Linux; the bits within entries: Intel's VT-d specification 4.1,
// chapters 9 and 11, and AMD's I/O Virtualization Technology specification 48882, section 2.2.2.

/** How one device's DMA is translated. */
export interface DeviceEntry {
  /** As the text has it: without the domain (`00:03.0`) from Intel's driver. */
  readonly device: string;
  readonly unit: string;
  /** Of one process address space of the device's; undefined: of the device. */
  readonly pasid: number | undefined;
  /** The IOMMU's number of the address space: devices with the same one share their mappings. */
  readonly domain: number;
  readonly mode: "translated" | "pass-through" | "blocked";
  /** Physical address of the page table's root; undefined where there is none. */
  readonly pageTable: string | undefined;
}

/** What is mapped in a page table. */
export interface PageTable {
  readonly device: string;
  readonly pasid: number | undefined;
  readonly pageTable: string;
  /** Of any size: 4 KiB, 2 MiB, 1 GiB. */
  readonly entries: number;
  readonly bytes: number;
}

const address = (entry: bigint) => hex(entry & 0xf_ffff_ffff_f000n);
const hex = (value: bigint) => `0x${value.toString(16)}`;
const bits = (value: bigint, low: number, count: number) =>
  Number((value >> BigInt(low)) & ((1n << BigInt(count)) - 1n));
const parseHex = (text: string) => BigInt(`0x${text.replace(/^0x/, "")}`);

const unitLine = /^\s*IOMMU (\S+?): Root Table Address/;
const WORD = "(0x[\\da-f]+)";
/** Linux 5.2 and later: device, root entry, context entry, PASID, PASID table entry; each entry from its high word. */
const entryLine = new RegExp(
  `^\\s*([\\da-f]{2}:[\\da-f]{2}\\.\\d)\\s+\\S+\\s+${WORD}:${WORD}(?:\\s+(-?\\d+)\\s+${WORD}:${WORD}:${WORD})?`,
);
/** Linux 4.20 to 5.1: number, device, high and low word of the context entry. */
const oldEntryLine = /^\s*\d+\s+([\da-f]{2}:[\da-f]{2}\.\d)\s+([\da-f]+)\s+([\da-f]+)\s*$/;

/** `dmar_translation_struct`, of both layouts. */
export function parseDmarTranslation(text: string): DeviceEntry[] {
  let unit = "";
  return text.split("\n").flatMap((line) => {
    unit = unitLine.exec(line)?.[1] ?? unit;
    const [, device, high, low, pasid, ...pasidEntry] = entryLine.exec(line) ?? oldEntryLine.exec(line) ?? [];
    if (device === undefined || high === undefined || low === undefined) return [];
    if (pasid === undefined || pasid === "-1")
      return [{ device, unit, ...contextEntry(parseHex(high), parseHex(low)) }];
    const [second = 0n, middle = 0n, first = 0n] = pasidEntry.map((word) => parseHex(word ?? "0"));
    return [{ device, unit, ...pasidTableEntry(Number(pasid), second, middle, first) }];
  });
}

type Translation = Omit<DeviceEntry, "device" | "unit">;

/** Legacy mode, section 9.3: translation type in bits 3:2, domain in bits 87:72. */
function contextEntry(high: bigint, low: bigint): Translation {
  const mode = bits(low, 2, 2) === 2 ? "pass-through" : "translated";
  const pageTable = mode === "translated" ? address(low) : undefined;
  return { pasid: undefined, domain: bits(high, 8, 16), mode, pageTable };
}

/** Scalable mode, section 9.6: translation type in bits 8:6, domain in bits 79:64. PASID 0 is the device's own. */
function pasidTableEntry(pasid: number, high: bigint, middle: bigint, low: bigint): Translation {
  const [FIRST_STAGE, PASS_THROUGH] = [1, 4];
  const type = bits(low, 6, 3);
  const root = type === FIRST_STAGE ? high : low;
  return {
    pasid: pasid === 0 ? undefined : pasid,
    domain: bits(middle, 0, 16),
    mode: type === PASS_THROUGH ? "pass-through" : "translated",
    pageTable: type === PASS_THROUGH ? undefined : address(root),
  };
}

const tableLine = /^\s*Device (\S+) (?:with pasid ([\da-f]+) )?@(0x[\da-f]+)/;
/** The page frame's number, then the entries on the way to it: of levels 5, 4, 3, 2, 1. */
const pageLine = /^\s*0x[\da-f]+ \|((?:\s+0x[\da-f]+){5})\s*$/;
/** What the last entry on the way maps, by its place among the five: 1 GiB, 2 MiB, 4 KiB. */
const bytesByPlace: Readonly<Record<number, number>> = { 2: 2 ** 30, 3: 2 ** 21, 4: 2 ** 12 };

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** `domain_translation_struct`: of all devices until Linux 6.6, of one (and one PASID) since. */
export function parseDomainTranslation(text: string): PageTable[] {
  const tables: Mutable<PageTable>[] = [];
  for (const line of text.split("\n")) {
    const [, device, pasid, pageTable] = tableLine.exec(line) ?? [];
    if (device !== undefined && pageTable !== undefined) {
      const number = Number.parseInt(pasid ?? "0", 16);
      tables.push({ device, pasid: number === 0 ? undefined : number, pageTable, entries: 0, bytes: 0 });
    }
    const path = pageLine.exec(line)?.[1]?.trim().split(/\s+/);
    const table = tables.at(-1);
    if (!path || !table) continue;
    table.entries++;
    table.bytes += bytesByPlace[path.findLastIndex((entry) => parseHex(entry) !== 0n)] ?? 0;
  }
  return tables;
}

/** What one unit says of itself. */
export interface UnitState {
  readonly unit: string;
  readonly isTranslating: boolean;
  readonly isRemappingInterrupts: boolean;
  /** A fault has been recorded that nobody has read yet, or more than it has room for. */
  readonly hasFaults: boolean;
}

/** `iommu_regset`: global status (section 11.4.4.2) and fault status (11.4.9.1) of each unit. */
export function parseRegisters(text: string): UnitState[] {
  return sections(text, /^\s*IOMMU: (\S+) Register Base Address/).map(({ unit, lines }) => {
    const register = (name: string) => {
      const row = new RegExp(`^\\s*${name}\\s+0x[\\da-f]+\\s+${WORD}`);
      const found = lines.map((line) => row.exec(line)?.[1]);
      return BigInt(found.find((value) => value !== undefined) ?? "0x0");
    };
    const status = register("GSTS");
    return {
      unit,
      isTranslating: bits(status, 31, 1) === 1,
      isRemappingInterrupts: bits(status, 25, 1) === 1,
      hasFaults: bits(register("FSTS"), 0, 2) !== 0,
    };
  });
}

/** Commands that the kernel has queued for a unit and the unit has not yet fetched. */
export interface QueueState {
  readonly unit: string;
  readonly waiting: number;
}

/** Of drivers/iommu/intel/iommu.h and amd_iommu_types.h. */
const INTEL_QUEUE = 256;
const AMD_QUEUE = 512;
const distance = (head: number, tail: number, length: number) => (tail - head + length) % length;

/** `invalidation_queue`. */
export function parseInvalidationQueue(text: string): QueueState[] {
  return sections(text, /^\s*Invalidation queue on IOMMU: (\S+)/).flatMap(({ unit, lines }) => {
    const [, head, tail] = /Head: (\d+)\s+Tail: (\d+)/.exec(lines.join("\n")) ?? [];
    if (head === undefined) return [];
    return [{ unit, waiting: distance(Number(head), Number(tail), INTEL_QUEUE) }];
  });
}

/** How long one kind of command took, of those since sampling was turned on. */
export interface Latency {
  readonly unit: string;
  /** `inv_iotlb`, `inv_devtlb`, `inv_iec`. */
  readonly command: string;
  readonly count: number;
  readonly minUs: number;
  readonly averageUs: number;
  readonly maxUs: number;
}

/** Columns of a row: seven ranges of time, then least, most and mean. */
const RANGES = 7;

/** `dmar_perf_latency`: rows for what is sampled, by default nothing. */
export function parseLatency(text: string): Latency[] {
  return sections(text, /^\s*IOMMU: (\S+) Register Base Address/).flatMap(({ unit, lines }) =>
    lines.flatMap((line) => {
      const [, command, numbers] = /^\s*([a-z]+_[a-z]+)((?:\s+\d+){10})\s*$/.exec(line) ?? [];
      if (command === undefined || numbers === undefined) return [];
      const columns = numbers.trim().split(/\s+/).map(Number);
      const count = columns.slice(0, RANGES).reduce((sum, n) => sum + n, 0);
      const [minUs = 0, maxUs = 0, averageUs = 0] = columns.slice(RANGES);
      return [{ unit, command, count, minUs, averageUs, maxUs }];
    }),
  );
}

function sections(text: string, heading: RegExp): { unit: string; lines: string[] }[] {
  const found: { unit: string; lines: string[] }[] = [];
  for (const line of text.split("\n")) {
    const unit = heading.exec(line)?.[1];
    if (unit === undefined) found.at(-1)?.lines.push(line);
    else found.push({ unit, lines: [] });
  }
  return found;
}

/** AMD's `devtbl`: the entry of the device that `devid` was set to, four words from the highest. Linux 6.17. */
export function parseAmdDevice(text: string): DeviceEntry | undefined {
  const row = /^\s*([\da-f]{4}:[\da-f:]{5}\.\d) [\da-f]{16} [\da-f]{16} ([\da-f]{16}) ([\da-f]{16}) (\S+)/m;
  const [, device, middle, low, unit] = row.exec(text) ?? [];
  if (device === undefined || middle === undefined || low === undefined || unit === undefined)
    return undefined;
  const entry = parseHex(low);
  const [isValid, hasTranslation, levels] = [bits(entry, 0, 1), bits(entry, 1, 1), bits(entry, 9, 3)];
  const domain = bits(parseHex(middle), 0, 16);
  // V alone, or mode 0: addresses pass untranslated; the permission bits (61, 62) then decide whether at all
  const passes = bits(entry, 61, 2) !== 0;
  const isTranslated = isValid === 1 && hasTranslation === 1 && levels > 0;
  const mode = isTranslated ? "translated" : isValid === 0 || passes ? "pass-through" : "blocked";
  return {
    device,
    unit,
    pasid: undefined,
    domain,
    mode,
    pageTable: isTranslated ? address(entry) : undefined,
  };
}

/** AMD's `cmdbuf`. */
export function parseAmdQueue(unit: string, text: string): QueueState[] {
  const [, head, tail] = /Head Offset:(\d+) Tail Offset:(\d+)/.exec(text) ?? [];
  if (head === undefined) return [];
  return [{ unit, waiting: distance(Number(head), Number(tail), AMD_QUEUE) }];
}
