// The lcores: how busy each is, and in what bursts its packets come.
import type { LiveLcore } from "../live.ts";
import { time as duration, percent, rateOr0 } from "../units.ts";
import { Chart } from "./charts.ts";
import { byId, element, NumberTable, setText } from "./dom.ts";

export class LcoreView {
  private readonly chart = new Chart({
    title: "Busy share: time at work on packets",
    format: percent,
    axis: (share) => `${Math.round(share * 100)} %`,
    max: 1,
  });
  private readonly table = new NumberTable("lcores", [
    { title: "lcore" },
    { title: "busy" },
    { title: "packets" },
    { title: "a burst" },
    { title: "empty polls", wide: true },
    { title: "poll, median", wide: true },
    { title: "99 %", wide: true },
    { title: "longest", wide: true },
    { title: "latency, median", wide: true },
    { title: "99 %", wide: true },
    { title: "state" },
  ]);
  private readonly bursts = new Map<number, BurstCard>();

  constructor() {
    const charts = element("div", {}, this.chart.host);
    byId("lcores").append(element("article", { class: "card" }, charts, this.table.table));
  }

  show(time: number, lcores: readonly LiveLcore[]): void {
    const names = lcores.map(({ lcore, cpus }) => `lcore ${lcore} (CPU ${cpus.join(", ")})`);
    this.chart.push(
      time,
      names,
      lcores.map(({ busyShare }) => busyShare),
    );
    this.table.fill(lcores.map(row));
    for (const lcore of lcores) {
      let card = this.bursts.get(lcore.lcore);
      if (!card) {
        card = new BurstCard(lcore);
        this.bursts.set(lcore.lcore, card);
        byId("bursts").append(card.card);
      }
      card.show(lcore.bursts);
    }
  }

  gap(time: number): void {
    this.chart.gap(time);
  }

  clear(): void {
    this.chart.clear();
    for (const { card } of this.bursts.values()) card.remove();
    this.bursts.clear();
  }
}

function row(one: LiveLcore): string[] {
  const ns = (value: number | undefined) => (value === undefined ? "–" : duration(value));
  return [
    `${one.lcore}`,
    one.busyShare === null ? "–" : percent(one.busyShare),
    rateOr0(one.pps, "pps"),
    one.burst > 0 ? one.burst.toFixed(1) : "–",
    one.polls > 0 ? percent(one.emptyShare) : "–",
    ns(one.pollNs?.p50),
    ns(one.pollNs?.p99),
    ns(one.pollNs?.max),
    ns(one.latencyNs?.p50),
    ns(one.latencyNs?.p99),
    one.reason ? `${one.state}: ${one.reason}` : one.state,
  ];
}

/** Bars are a table: their numbers can be read without seeing them. */
class BurstCard {
  readonly card: HTMLElement;
  private readonly table: HTMLTableElement;
  private readonly note = element("p", { class: "note" }, "No packets.");
  private readonly bars: { fill: HTMLElement; number: HTMLElement }[];

  constructor({ lcore, bursts }: LiveLcore) {
    const body = element("tbody");
    this.bars = bursts.map((_, k) => {
      const [from, to] = [2 ** k, 2 ** (k + 1) - 1];
      const size = k === 0 || k === bursts.length - 1 ? `${from}` : `${from}–${to}`;
      const fill = element("div");
      const number = element("td");
      const bar = element("td", {}, element("div", { class: "bar", "aria-hidden": "true" }, fill));
      body.append(element("tr", {}, element("th", { scope: "row" }, size), bar, number));
      return { fill, number };
    });
    this.table = element("table", { class: "bars", "aria-label": `bursts of lcore ${lcore}` }, body);
    this.card = element(
      "article",
      { class: "card" },
      element("h4", {}, `lcore ${lcore}`),
      this.note,
      this.table,
    );
  }

  show(bursts: readonly number[]): void {
    const sum = bursts.reduce((all, polls) => all + polls, 0);
    this.table.hidden = sum === 0;
    this.note.hidden = sum > 0;
    const most = Math.max(...bursts, 1);
    this.bars.forEach(({ fill, number }, k) => {
      const polls = bursts[k] ?? 0;
      fill.style.width = `${(polls / most) * 100}%`;
      setText(number, rateOr0(polls, "/s"));
    });
  }
}
