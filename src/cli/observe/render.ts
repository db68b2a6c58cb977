// A report as text: tables of devices, programs and interrupts, then what the IOMMU itself tells.
import type { Holder } from "../../devices/holders.ts";
import type { Vector } from "../../devices/interrupts.ts";
import type { DeviceEntry } from "../../devices/iommu-tables.ts";
import { KIB, MIB } from "../../limits.ts";
import type { Output } from "../tool/output.ts";
import type { Report } from "./report.ts";

const NONE = "-";

export function render(out: Output, report: Report): void {
  renderUnits(out, report);
  section(out, "Devices", () => renderDevices(out, report));
  section(out, "Programs", () => renderHolders(out, report));
  section(out, "Interrupts", () => renderVectors(out, report));
  section(out, "IOMMU tables", () => renderTables(out, report));
  if (report.counters.length > 0) section(out, "IOMMU counters", () => renderCounters(out, report));
  if (report.countersMissing !== undefined) out.line(`no counters of the IOMMU: ${report.countersMissing}`);
}

function section(out: Output, title: string, body: () => void): void {
  out.line();
  out.line(out.paint("underline", title));
  body();
}

function renderUnits(out: Output, { units }: Report): void {
  if (units.length === 0) out.line("IOMMU: none, or it is off");
  for (const { name, kind, devices, domains } of units) {
    const used = domains ? `, ${domains.used} of ${domains.max} domains in use` : "";
    out.line(`IOMMU: ${kind}, ${name}, ${devices.length} devices behind it${used}`);
  }
}

function renderDevices(out: Output, { devices, seesAllHolders }: Report): void {
  if (devices.length === 0) {
    out.line("none has a driver for user space");
    return;
  }
  const headings = ["DEVICE", "DRIVER", "GROUP", "DOMAIN", "NODE", "HELD BY"];
  const rows = devices.map(({ address, driver, interfaces, group, domainType, nodes, heldBy }) => [
    address,
    [driver ?? "no driver", ...interfaces].join(" "),
    `${group ?? NONE}`,
    domainType ?? NONE,
    nodes.join(" ") || NONE,
    heldBy.length === 0 ? (seesAllHolders ? "nobody" : "not known") : out.paint("green", heldBy.join(" ")),
  ]);
  out.table(headings, rows, { right: ["GROUP"] });
}

function renderHolders(out: Output, { holders, engines, seesAllHolders }: Report): void {
  if (holders.length > 0) {
    const headings = ["PID", "USER", "LOCKED", "PINNED", "LIMIT", "HOLDS", "PROGRAM"];
    const rows = holders.map((holder) => [
      `${holder.pid}`,
      holder.user,
      size(holder.lockedBytes),
      size(holder.pinnedBytes),
      holder.lockLimitBytes === undefined ? "none" : size(holder.lockLimitBytes),
      holder.nodes.join(" "),
      shortCommand(holder),
    ]);
    out.table(headings, rows, { right: ["PID", "LOCKED", "PINNED", "LIMIT"] });
  } else out.line("none has a device open");
  for (const { pid, filePrefix, ports, dmaBytes, dmaUsedBytes, dmaMappings } of engines) {
    const dma = `${size(dmaBytes)} mapped for DMA in ${dmaMappings} piece${dmaMappings === 1 ? "" : "s"}`;
    const names = ports.join(", ") || "none yet";
    out.line(
      `${pid} is pollmode, --file-prefix ${filePrefix}: ports ${names}; ${dma}, ${size(dmaUsedBytes)} in use`,
    );
  }
  if (!seesAllHolders) out.line("programs of other users are not shown: run it as root");
}

/** `node dist/src/cli/pollmode.js rx-pps …` without folders. */
function shortCommand({ command }: Holder): string {
  const CHARS_MAX = 60;
  const text = command.replace(/(^| )\/\S*\//g, "$1");
  return text.length > CHARS_MAX ? `${text.slice(0, CHARS_MAX - 1)}…` : text;
}

function renderVectors(out: Output, { devices }: Report): void {
  const rows = devices.flatMap(({ address, vectors }) =>
    vectors.map((vector) => [
      address,
      `${vector.irq}`,
      vector.kind,
      `${vector.count}`,
      vector.perSecond === undefined ? NONE : rate(vector.perSecond),
      cpusOf(vector),
      vector.isShared ? `${vector.name} (shared: the count is of all)` : vector.name || "not asked for",
    ]),
  );
  if (rows.length === 0) {
    out.line("none is set up: a poll-mode program asks for them only to sleep");
    return;
  }
  const right = ["IRQ", "COUNT", "RATE/S"];
  out.table(["DEVICE", "IRQ", "KIND", "COUNT", "RATE/S", "CPUS", "HANDLER"], rows, { right });
}

/** Those that took any, the busiest first. */
function cpusOf({ cpus }: Vector): string {
  const SHOWN = 4;
  const sorted = Object.entries(cpus).sort(([, a], [, b]) => b - a);
  const shown = sorted.slice(0, SHOWN).map(([cpu]) => cpu);
  return shown.length === 0 ? NONE : `${shown.join(",")}${sorted.length > SHOWN ? ",…" : ""}`;
}

function renderTables(out: Output, { iommu, devices }: Report): void {
  if (iommu.missing) {
    out.line(`not to be seen: ${iommu.missing.why}`);
    out.line(`  to see them: ${iommu.missing.fix}`);
    return;
  }
  for (const { unit, isTranslating, isRemappingInterrupts, hasFaults } of iommu.units) {
    const words = [
      `DMA translation ${isTranslating ? "on" : "off"}`,
      `interrupt remapping ${isRemappingInterrupts ? "on" : "off"}`,
      ...(hasFaults ? [out.paint("red", "a fault is recorded: dmesg")] : []),
    ];
    out.line(`${unit}: ${words.join(", ")}`);
  }
  for (const { unit, waiting } of iommu.queues) out.line(`${unit}: ${waiting} commands wait in its queue`);
  for (const { unit, command, count, minUs, averageUs, maxUs } of iommu.latencies)
    out.line(`${unit}: ${count} ${command}, ${minUs}/${averageUs}/${maxUs} us least/mean/most`);
  if (iommu.devices.length === 0) {
    const why = devices.length === 0 ? "no device is asked about" : "it has no entry for these devices";
    out.line(why);
    return;
  }
  const pageTable = ({ device, pasid }: DeviceEntry) =>
    iommu.pageTables.find((table) => table.device === device && table.pasid === pasid);
  const rows = iommu.devices.map((entry) => [
    entry.pasid === undefined ? entry.device : `${entry.device} PASID ${entry.pasid}`,
    entry.unit,
    `${entry.domain}`,
    entry.mode,
    entry.pageTable ?? NONE,
    `${pageTable(entry)?.entries ?? NONE}`,
    size(pageTable(entry)?.bytes),
  ]);
  const headings = ["DEVICE", "UNIT", "DOMAIN", "MODE", "PAGE TABLE", "ENTRIES", "MAPPED"];
  out.table(headings, rows, { right: ["DOMAIN", "ENTRIES", "MAPPED"] });
  if (iommu.pageTables.length === 0) out.line("--tables counts what is mapped");
}

function renderCounters(out: Output, { counters }: Report): void {
  const rows = counters.map(({ unit, event, count, perSecond }) => {
    return [unit, event, `${count}`, perSecond === undefined ? NONE : rate(perSecond)];
  });
  out.table(["UNIT", "EVENT", "COUNT", "RATE/S"], rows, { right: ["COUNT", "RATE/S"] });
  for (const unit of new Set(counters.map((counter) => counter.unit))) {
    const count = (event: string) => counters.find((one) => one.unit === unit && one.event === event)?.count;
    const [lookups, hits] = [count("iotlb_lookup"), count("iotlb_hit")];
    if (lookups && hits !== undefined)
      out.line(
        `${unit}: ${((hits / lookups) * 100).toFixed(1)} % of its address translations came from its cache`,
      );
  }
}

function rate(perSecond: number): string {
  return perSecond >= 100 || perSecond === 0 ? perSecond.toFixed(0) : perSecond.toFixed(1);
}

function size(bytes: number | undefined): string {
  if (bytes === undefined) return NONE;
  if (bytes >= MIB) return `${(bytes / MIB).toFixed(bytes % MIB === 0 ? 0 : 1)} MiB`;
  return `${Math.round(bytes / KIB)} KiB`;
}
