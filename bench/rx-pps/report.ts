// What rx-pps found out: one plain object, which --json prints as it is, and its text for people.
import type { EngineName } from "../../src/hot/engine.ts";
import { toHdr } from "../../src/telemetry/histogram.ts";
import { count, percent, rate, time } from "../../src/telemetry/units.ts";
import { formatMachine, type Machine } from "../machine.ts";
import type { Drops, Measurement } from "./measure.ts";

/** What was measured, apart from the numbers. */
export interface Setting {
  /** Ports received from. */
  readonly port: string;
  /** The built-in generator's port, null if the ports' peers send. */
  readonly generator: string | null;
  readonly engine: EngineName;
  readonly app: string;
  readonly burst: number;
  /** A port's receive queues. */
  readonly queues: number;
  /** Bytes of the generator's frames; null without it. */
  readonly frameSize: number | null;
  /** `lcore 1`. */
  readonly receivers: readonly string[];
  readonly generatorLcore: string | null;
  /** What a look at the clock costs in each clocked poll. */
  readonly clockNs: number;
}

export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export interface Report extends Setting {
  /** Packets a second, over the window. */
  readonly pps: number;
  /** Frames' bits a second: without CRC, preamble and gap. */
  readonly bps: number;
  readonly packets: number;
  /** Read microseconds after the packets, so it may be a few bursts ahead. */
  readonly bytes: number;
  readonly seconds: number;
  /** 1 / pps: how often a packet came. Null if none did. */
  readonly nsPerPacket: number | null;
  /** What a packet cost its lcore: time of clocked polls that brought packets, without the clock. */
  readonly busyNsPerPacket: number | null;
  /** The same in cycles of `machine.cpuMHz`. */
  readonly cyclesPerPacket: number | null;
  readonly polls: number;
  readonly emptyPollShare: number;
  readonly dropped: Drops;
  /** Poll to poll, sampled; each holds the clock's clockNs. Null without a sample. */
  readonly latencyNs: Latency | null;
  /** Longest time from one round of 256 polls to the next. */
  readonly roundNsMax: number;
  /** Polls by packets they brought. */
  readonly bursts: Readonly<Record<string, number>>;
  /** Times that a port's link went down. */
  readonly linkDowns: number;
  /** Ended by a signal before its time. */
  readonly interrupted: boolean;
  readonly machine: Machine;
}

export function makeReport(setting: Setting, measured: Measurement, machine: Machine): Report {
  const { seconds, packets, bytes, counters, drops, linkDowns, interrupted } = measured;
  const { busyNs, busyPackets, busyPolls, polls, emptyPolls } = counters;
  const perSecond = (value: number) => (seconds > 0 ? value / seconds : 0);
  const latencyNs = latency(counters.pollTimes);
  // every poll holds a look at the clock, so no calibration may say more than the median poll took
  const clockNs = Math.min(setting.clockNs, latencyNs?.p50 ?? setting.clockNs);
  const busy = Math.max(0, busyNs - busyPolls * clockNs) / busyPackets;
  const busyNsPerPacket = busyPackets > 0 ? round(busy, 2) : null;
  const cycles =
    machine.cpuMHz === undefined || busyNsPerPacket === null ? null : (busy * machine.cpuMHz) / 1000;
  return {
    pps: round(perSecond(packets), 1),
    bps: round(perSecond(bytes * 8), 1),
    packets,
    bytes,
    seconds: round(seconds, 4),
    nsPerPacket: packets > 0 ? round((seconds * 1e9) / packets, 2) : null,
    busyNsPerPacket,
    cyclesPerPacket: cycles === null ? null : round(cycles, 1),
    polls,
    emptyPollShare: polls > 0 ? round(emptyPolls / polls, 6) : 0,
    dropped: drops,
    latencyNs,
    roundNsMax: Math.round(counters.roundNsMax),
    bursts: groupBursts(counters.bursts, setting.burst),
    ...setting,
    clockNs,
    linkDowns,
    interrupted,
    machine,
  };
}

function round(value: number, decimals: number): number {
  return Number(value.toFixed(decimals));
}

function latency(pollTimes: Float64Array): Latency | null {
  const hdr = toHdr(pollTimes);
  if (hdr.totalCount === 0) return null;
  const at = (percentile: number) => hdr.getValueAtPercentile(percentile);
  return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: hdr.maxValue };
}

/** Sums of 1, 2-3, 4-7, 8-15, … up to the burst that was asked for. */
export function groupBursts(bursts: ArrayLike<number>, burst: number): Record<string, number> {
  const groups: Record<string, number> = {};
  for (let from = 1; from <= burst; from *= 2) {
    const to = Math.min(2 * from - 1, burst);
    let sum = 0;
    for (let size = from; size <= to; size++) sum += bursts[size]!;
    groups[from === to ? `${from}` : `${from}-${to}`] = sum;
  }
  return groups;
}

export function formatReport(report: Report): string {
  const rows = [
    [
      "received",
      `${count(report.packets)} packets, ${count(report.bytes)} bytes in ${report.seconds.toFixed(2)} s`,
    ],
    [
      "rate",
      `${rate(report.pps, "pps")}, ${rate(report.bps, "bit/s")} (frame bits: no CRC, preamble or gap)`,
    ],
    ["per packet", perPacket(report)],
    ["empty polls", `${percent(report.emptyPollShare)} of ${count(report.polls)}`],
    ["bursts", formatBursts(report.bursts)],
    ["poll to poll", formatLatency(report)],
    ["longest round", `${time(report.roundNsMax)} for 256 polls`],
    ["dropped", formatDrops(report.dropped)],
  ];
  if (report.linkDowns > 0) rows.push(["link", `went down ${count(report.linkDowns)}x`]);
  const lines = rows.map(([name, text]) => `${name!.padEnd(15)}${text}`);
  const end = report.interrupted ? ["(ended early)"] : [];
  return [...formatSetting(report), "", ...lines, ...end, "", formatMachine(report.machine), ""].join("\n");
}

function formatSetting(report: Report): string[] {
  const { port, generator, engine, app, burst, queues, frameSize, receivers, generatorLcore } = report;
  const source =
    generator === null ? "" : ` from ${generator} on ${generatorLcore}, ${frameSize}-byte frames`;
  const many = queues === 1 ? "1 queue" : `${queues} queues`;
  return [
    `rx-pps: ${port} on ${receivers.join(", ")}${source}`,
    `app ${app}, engine ${engine}, burst ${burst}, ${many}`,
  ];
}

function perPacket(report: Report): string {
  const { nsPerPacket, busyNsPerPacket, cyclesPerPacket, machine, clockNs } = report;
  if (nsPerPacket === null) return "-";
  const average = `${time(nsPerPacket)} average (1 / rate)`;
  if (busyNsPerPacket === null) return average;
  const mhz = machine.cpuMHz?.toFixed(0);
  const cycles = cyclesPerPacket === null ? "" : ` = ${cyclesPerPacket.toFixed(0)} cycles (TSC, ${mhz} MHz)`;
  return `${average}; busy ${time(busyNsPerPacket)}${cycles}, the clock's ${time(clockNs)} a poll taken off`;
}

function formatBursts(bursts: Readonly<Record<string, number>>): string {
  const all = Object.values(bursts).reduce((sum, polls) => sum + polls, 0);
  if (all === 0) return "-";
  // objects list keys that are numbers first: 1, 32, 2-3, …
  return Object.entries(bursts)
    .sort(([a], [b]) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
    .map(([sizes, polls]) => `${sizes}: ${percent(polls / all)}`)
    .join("  ");
}

function formatLatency({ latencyNs, clockNs }: Report): string {
  if (!latencyNs) return "-";
  const { p50, p90, p99, p999, max } = latencyNs;
  const parts = { p50, p90, p99, "p99.9": p999, max };
  const text = Object.entries(parts).map(([name, ns]) => `${name} ${time(ns)}`);
  return `${text.join("  ")} (1 round in 64; ${time(clockNs)} of each is the clock)`;
}

function formatDrops({ rxErrors, rxNoMbuf, rxMissed, queueFaults, txRefused, txErrors }: Drops): string {
  const causes = {
    "rx errors": rxErrors,
    "no mbuf": rxNoMbuf,
    missed: rxMissed,
    "queue faults": queueFaults,
    "tx refused": txRefused,
    "tx errors": txErrors,
  };
  const all = Object.values(causes).reduce((sum, n) => sum + n, 0);
  const list = Object.entries(causes).map(([name, n]) => `${name} ${count(n)}`);
  return `${count(all)} (${list.join(", ")})`;
}
