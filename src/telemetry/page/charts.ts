// A line chart of the last two minutes: uPlot, dressed in the page's colours, and its history.
import uPlot from "uplot";
import { element } from "./dom.ts";

const WINDOW_S = 120;
const WINDOW_S_MIN = 30;
const HEIGHT_PX = 200;
const COLORS = 8;

export interface ChartOptions {
  readonly title: string;
  /** A value for people: in the legend, and in words for screen readers. */
  readonly format: (value: number) => string;
  /** A value beside the axis, short. */
  readonly axis: (value: number) => string;
  /** Values end here; open where undefined. */
  readonly max?: number;
  /** Leaves out lines that are 0 all the time; says this where all are. */
  readonly allZero?: string;
}

type Values = readonly (number | null)[];

export class Chart {
  readonly host: HTMLElement;
  private readonly options: ChartOptions;
  private readonly box = element("div", { class: "chart", role: "img" });
  private labels: readonly string[] = [];
  private times: number[] = [];
  private rows: Values[] = [];
  private plot: uPlot | undefined;
  /** Numbers of the labels whose lines are drawn. */
  private shown: readonly number[] = [];
  private readonly note = element("p", { class: "note", hidden: "" });

  constructor(options: ChartOptions) {
    this.options = options;
    this.host = element("div", {}, element("h4", {}, options.title), this.note, this.box);
    this.note.textContent = options.allZero ?? "";
    new ResizeObserver(() => this.fit()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
  }

  /** Adds one moment (seconds since 1970). Other labels than before begin a new history. */
  push(time: number, labels: readonly string[], values: Values): void {
    if (labels.join("\n") !== this.labels.join("\n")) this.clear();
    this.labels = labels;
    this.times.push(time);
    this.rows.push(values);
    while (this.times[0]! < time - WINDOW_S) {
      this.times.shift();
      this.rows.shift();
    }
    const shown = this.worthShowing();
    const isSame = shown.join() === this.shown.join();
    this.shown = shown;
    if (this.plot && isSame) this.plot.setData(this.data());
    else this.rebuild();
    this.describe(values);
  }

  /** Breaks the lines: nothing is known of the time since the last push. */
  gap(time: number): void {
    if (this.rows.length === 0 || this.rows.at(-1)!.every((value) => value === null)) return;
    this.times.push(time);
    this.rows.push(this.labels.map(() => null));
  }

  clear(): void {
    this.times = [];
    this.rows = [];
    this.shown = [];
    this.plot?.destroy();
    this.plot = undefined;
  }

  private worthShowing(): number[] {
    const all = this.labels.map((_, k) => k);
    if (this.options.allZero === undefined) return all;
    return all.filter((k) => this.rows.some((row) => (row[k] ?? 0) > 0));
  }

  private data(): uPlot.AlignedData {
    return [this.times, ...this.shown.map((k) => this.rows.map((row) => row[k] ?? null))];
  }

  private fit(): void {
    const width = this.box.clientWidth;
    if (width === 0) return;
    if (!this.plot) this.rebuild();
    else if (this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT_PX });
  }

  private rebuild(): void {
    this.plot?.destroy();
    this.plot = undefined;
    this.note.hidden = this.shown.length > 0;
    this.box.hidden = this.shown.length === 0;
    const width = this.box.clientWidth;
    if (width === 0) return;
    this.plot = new uPlot(this.plotOptions(width), this.data(), this.box);
  }

  private plotOptions(width: number): uPlot.Options {
    const style = getComputedStyle(document.documentElement);
    const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const { format, axis, max } = this.options;
    const look = {
      stroke: color("quiet"),
      grid: { stroke: color("grid"), width: 1 },
      ticks: { stroke: color("grid"), width: 1 },
      font: "12px system-ui, sans-serif",
    };
    const showLast = (plot: uPlot) => {
      if (plot.cursor.idx === null || plot.cursor.idx === undefined) {
        plot.setLegend({ idx: this.times.length - 1 }, false);
      }
    };
    return {
      width,
      height: HEIGHT_PX,
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: {
          range: (_plot, first, last) => [
            Math.max(last - WINDOW_S, Math.min(first, last - WINDOW_S_MIN)),
            last,
          ],
        },
        y: { range: (_plot, _min, most) => [0, max ?? Math.max(1, (most ?? 0) * 1.1)] },
      },
      axes: [
        { ...look, space: 80, values: (_plot, times) => times.map(clock) },
        { ...look, size: 58, space: 32, values: (_plot, values) => values.map(axis) },
      ],
      series: [
        { label: "time", value: (_plot, time) => (time === null ? "" : clock(time)) },
        ...this.shown.map((k) => ({
          label: this.labels[k]!,
          stroke: color(`c${k % COLORS}`),
          width: 2,
          ...(k >= COLORS ? { dash: [6, 4] } : {}),
          points: { show: false },
          value: (_plot: uPlot, value: number | null) => (value === null ? "–" : format(value)),
        })),
      ],
      hooks: { setData: [showLast], ready: [showLast] },
    };
  }

  private describe(values: Values): void {
    const parts = this.labels.map((label, k) => {
      const value = values[k];
      return `${label} ${value === null || value === undefined ? "unknown" : this.options.format(value)}`;
    });
    this.box.setAttribute("aria-label", `${this.options.title}, now: ${parts.join(", ")}`);
  }
}

function clock(time: number): string {
  return new Date(time * 1000).toLocaleTimeString("en-GB");
}

/** `1.2M`, `300k`, `0`. */
export function short(value: number): string {
  const [scale, prefix] =
    value >= 1e9 ? [1e9, "G"] : value >= 1e6 ? [1e6, "M"] : value >= 1e3 ? [1e3, "k"] : [1, ""];
  return `${Number((value / scale).toFixed(2))}${prefix}`;
}
