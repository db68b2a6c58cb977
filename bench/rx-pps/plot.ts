// --plot: rate over time and latency percentiles in one SVG. Vega draws it, without a browser; loaded for --plot alone.
import { writeFileSync } from "node:fs";
import type { Spec } from "vega";
import { PollmodeError } from "../../src/errors.ts";
import { toHdr } from "../../src/telemetry/histogram.ts";
import { percent, rate, time } from "../../src/telemetry/units.ts";
import type { Measurement, Point } from "./measure.ts";
import type { Report } from "./report.ts";

const WIDTH = 760;
const HEIGHT = 220;
/** Where the second picture begins: below the first one's axis and title, with room for its own. */
const SECOND_Y = HEIGHT + 90;

/** Loads Vega; says how to get it if it is not there. */
export async function prepare(): Promise<typeof import("vega")> {
  try {
    return await import("vega");
  } catch (cause) {
    const fix = "install it: npm install vega (it is an optional dependency, left out by --omit=optional)";
    throw new PollmodeError("PLOT_LIBRARY", "--plot needs the package vega, which cannot be loaded", fix, {
      cause,
    });
  }
}

export async function plot(path: string, report: Report, measured: Measurement): Promise<void> {
  const { parse, View } = await prepare();
  const view = new View(parse(plotSpec(report, measured)), { renderer: "none" });
  try {
    const svg = await view.toSVG();
    writeFileSync(path, svg);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).syscall === undefined) throw cause;
    const message = `--plot ${path}: ${(cause as Error).message}`;
    throw new PollmodeError("PLOT_FILE", message, "name a file that can be written", { cause });
  } finally {
    view.finalize();
  }
}

/** Millions of packets a second from each point until the next; the last one's is held to the end. */
export function rates(points: readonly Point[]): { seconds: number; mpps: number }[] {
  const steps = points.slice(1).map((point, k) => {
    const { seconds, packets } = points[k]!;
    return { seconds, mpps: (point.packets - packets) / (point.seconds - seconds) / 1e6 };
  });
  const end = points.at(-1);
  return end && steps.length > 0 ? [...steps, { seconds: end.seconds, mpps: steps.at(-1)!.mpps }] : steps;
}

/** The times at ever rarer percentiles; `odds` of 1000 stands for p99.9: one poll in a thousand takes longer. */
export function percentileCurve(pollTimes: Float64Array): { odds: number; ns: number }[] {
  const hdr = toHdr(pollTimes);
  const curve: { odds: number; ns: number }[] = [];
  const steps = 8; // a factor of ten
  for (let k = 0; 10 ** (k / steps) <= hdr.totalCount; k++) {
    const odds = 10 ** (k / steps);
    curve.push({ odds, ns: Math.max(1, hdr.getValueAtPercentile(100 * (1 - 1 / odds))) });
  }
  return curve;
}

export function plotSpec(report: Report, measured: Measurement): Spec {
  const { port, app, engine, pps, emptyPollShare, machine } = report;
  return {
    $schema: "https://vega.github.io/schema/vega/v6.json",
    width: WIDTH,
    height: SECOND_Y + HEIGHT,
    padding: 16,
    background: "white",
    autosize: "pad",
    title: {
      text: `rx-pps: ${port}, ${app}, ${engine}: ${rate(pps, "pps")}, ${percent(emptyPollShare)} of polls empty`,
      subtitle: `${machine.cpuModel}, Node ${machine.node}, pollmode ${machine.commit}, ${machine.date}`,
      anchor: "start",
      frame: "group",
      fontSize: 15,
      offset: 18,
    },
    marks: [rateChart(measured, pps), latencyChart(report, measured)],
  };
}

function rateChart(measured: Measurement, pps: number): NonNullable<Spec["marks"]>[number] {
  return {
    type: "group",
    encode: { enter: { width: { value: WIDTH }, height: { value: HEIGHT } } },
    data: [{ name: "rates", values: rates(measured.points) }],
    scales: [
      {
        name: "x",
        type: "linear",
        range: [0, WIDTH],
        domain: [0, measured.seconds || 1],
        nice: false,
      },
      {
        name: "y",
        type: "linear",
        range: [HEIGHT, 0],
        domain: { data: "rates", field: "mpps" },
        zero: true,
        nice: true,
      },
    ],
    axes: [
      { scale: "x", orient: "bottom", title: "time (s)", ...grid("y"), tickCount: 10 },
      {
        scale: "y",
        orient: "left",
        title: "packets received (Mpps)",
        ...grid("x"),
        tickCount: 6,
      },
    ],
    title: {
      text: `Rate over time (mean ${rate(pps, "pps")})`,
      anchor: "start",
      frame: "group",
      fontSize: 12,
      offset: 8,
    },
    marks: [line("rates", "seconds", "mpps")],
  };
}

function latencyChart(report: Report, measured: Measurement): NonNullable<Spec["marks"]>[number] {
  const values = percentileCurve(measured.counters.pollTimes);
  const top = values.at(-1)?.odds ?? 10;
  const ticks = [1, 2, ...powersOfTen.slice(1)].filter((odds) => odds <= top);
  const label =
    "datum.value == 1 ? 'min' : 'p' + format(100 * (1 - 1 / datum.value), " +
    "'.' + max(0, round(log(datum.value) / LN10) - 2) + 'f')";
  const unit =
    "datum.value >= 1e9 ? datum.value / 1e9 + ' s' : datum.value >= 1e6 ? datum.value / 1e6 + ' ms' : " +
    "datum.value >= 1e3 ? datum.value / 1e3 + ' µs' : datum.value + ' ns'";
  return {
    type: "group",
    encode: {
      enter: { y: { value: SECOND_Y }, width: { value: WIDTH }, height: { value: HEIGHT } },
    },
    data: [{ name: "percentiles", values }],
    scales: [
      { name: "x", type: "log", range: [0, WIDTH], domain: [1, Math.max(10, top)] },
      {
        name: "y",
        type: "log",
        range: [HEIGHT, 0],
        domain: decades(values.map(({ ns }) => ns)),
      },
    ],
    axes: [
      {
        scale: "x",
        orient: "bottom",
        title: "percentile of polls",
        ...grid("y"),
        values: ticks,
        encode: { labels: { update: { text: { signal: label } } } },
      },
      {
        scale: "y",
        orient: "left",
        title: "time from poll to poll",
        ...grid("x"),
        values: powersOfTen,
        encode: { labels: { update: { text: { signal: unit } } } },
      },
    ],
    title: {
      text: `Poll-to-poll latency (sampled; ${time(report.clockNs)} of each is the clock)`,
      anchor: "start",
      frame: "group",
      fontSize: 12,
      offset: 8,
    },
    marks: [line("percentiles", "odds", "ns")],
  };
}

const powersOfTen = Array.from({ length: 11 }, (_, k) => 10 ** k);

/** From the power of ten below all values to the one above. */
function decades(values: readonly number[]): [number, number] {
  const low = 10 ** Math.floor(Math.log10(Math.min(...values, 100)));
  return [low, 10 ** Math.ceil(Math.log10(Math.max(...values, low * 10)))];
}

/** Grid lines as long as the other axis: left to itself Vega takes the whole picture's height. */
function grid(other: "x" | "y") {
  return { grid: true, gridScale: other, gridOpacity: 0.5 };
}

function line(data: string, x: string, y: string): NonNullable<Spec["marks"]>[number] {
  return {
    type: "line",
    from: { data },
    encode: {
      enter: {
        x: { scale: "x", field: x },
        y: { scale: "y", field: y },
        interpolate: { value: "step-after" },
        stroke: { value: "#1f6fb2" },
        strokeWidth: { value: 1.5 },
      },
    },
  };
}
