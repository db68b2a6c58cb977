// The ports' cards: what comes and goes, by queue, and what is dropped, by cause.
import { dropCauses } from "../causes.ts";
import type { LivePort } from "../live.ts";
import type { PortDrops } from "../rates.ts";
import { count, rateOr0 } from "../units.ts";
import { Chart, short } from "./charts.ts";
import { byId, element, NumberTable, setText } from "./dom.ts";

export type Unit = "pps" | "bps";

export function inUnit(value: number, unit: Unit): string {
  return rateOr0(value, unit === "pps" ? "pps" : "bit/s");
}

interface Moment {
  readonly time: number;
  readonly port: LivePort;
}

class PortCard {
  readonly card: HTMLElement;
  private readonly name = element("span", { class: "quiet" });
  private readonly link = element("span", { class: "badge" });
  private readonly faults = element("span", { class: "badge bad", hidden: "" });
  private readonly table: NumberTable;
  private readonly drops: Chart;
  private readonly ratesHost = element("div");
  private rates!: Chart;
  private unit: Unit;
  /** What the rate chart was given, for the other unit's chart. */
  private moments: Moment[] = [];

  constructor(id: number, unit: Unit) {
    this.unit = unit;
    const per = (value: number) => rateOr0(value, "/s");
    this.drops = new Chart({
      title: "Dropped, by cause",
      format: per,
      axis: short,
      allZero: "Nothing in these two minutes.",
    });
    this.table = new NumberTable(`port ${id}, by queue`, [
      { title: "queue" },
      { title: "packets" },
      { title: "bits" },
      { title: "dropped" },
      { title: "packets in all", wide: true },
    ]);
    const title = element("h3", { id: `port-${id}` }, `Port ${id}`);
    const head = element("div", { class: "head" }, title, this.name, this.link, this.faults);
    const charts = element("div", { class: "charts" }, this.ratesHost, this.drops.host);
    this.card = element(
      "article",
      { class: "card", "aria-labelledby": title.id },
      head,
      charts,
      this.table.table,
    );
    this.makeRates();
  }

  setUnit(unit: Unit): void {
    if (unit === this.unit) return;
    this.unit = unit;
    this.makeRates();
    for (const { time, port } of this.moments) this.pushRates(time, port);
  }

  show(time: number, port: LivePort): void {
    const { link, state, faults } = port;
    setText(this.name, `${port.name} (${port.driver})`);
    setText(this.link, state === "started" ? linkText(port) : state);
    this.link.className = `badge ${state === "started" && link.up ? "good" : "bad"}`;
    setText(this.faults, `stopped: ${faults.join(", ")}`);
    this.faults.hidden = faults.length === 0;
    this.moments = [...this.moments.slice(-119), { time, port }];
    this.pushRates(time, port);
    const causes = Object.entries(dropCauses).map(([cause, label]) => [
      label,
      port.drops[cause as keyof PortDrops],
    ]);
    const lines = [...causes, ...queueLines(port, "dropped")] as [string, number][];
    this.drops.push(
      time,
      lines.map(([label]) => label),
      lines.map(([, value]) => value),
    );
    this.table.fill(rows(port));
  }

  gap(time: number): void {
    this.rates.gap(time);
    this.drops.gap(time);
  }

  private makeRates(): void {
    const { unit } = this;
    this.rates = new Chart({
      title: unit === "pps" ? "Packets per second" : "Bits per second",
      format: (value) => inUnit(value, unit),
      axis: short,
    });
    this.ratesHost.replaceChildren(this.rates.host);
  }

  private pushRates(time: number, port: LivePort): void {
    const { unit } = this;
    const lines = [["Rx", port.rx[unit]], ["Tx", port.tx[unit]], ...queueLines(port, unit)] as [
      string,
      number,
    ][];
    this.rates.push(
      time,
      lines.map(([label]) => label),
      lines.map(([, value]) => value),
    );
  }
}

/** A line for each queue, where there are several. */
function queueLines({ rxQueues, txQueues }: LivePort, value: Unit | "dropped"): [string, number][] {
  if (rxQueues.length < 2 && txQueues.length < 2) return [];
  return [
    ...rxQueues.map((queue, k): [string, number] => [`Rx ${k}`, queue[value]]),
    ...txQueues.map((queue, k): [string, number] => [`Tx ${k}`, queue[value]]),
  ];
}

function linkText({ link: { up, speed } }: LivePort): string {
  if (!up || speed === 0) return `link ${up ? "up" : "down"}`;
  return `link up, ${speed >= 1000 ? `${speed / 1000} Gbit/s` : `${speed} Mbit/s`}`;
}

function rows(port: LivePort): string[][] {
  const { rxQueues, txQueues, total, rx, tx, drops } = port;
  const row = (name: string, pps: number, bps: number, dropped: number, all = "") => [
    name,
    rateOr0(pps, "pps"),
    rateOr0(bps, "bit/s"),
    rateOr0(dropped, "/s"),
    all,
  ];
  const { rxMissed, rxErrors, rxNoMbuf, byMode, txErrors, txFull } = drops;
  const queues = (way: string, list: LivePort["rxQueues"]) =>
    list.length > 1 ? list.map(({ pps, bps, dropped }, k) => row(`${way} ${k}`, pps, bps, dropped)) : [];
  return [
    row("Rx", rx.pps, rx.bps, rxMissed + rxErrors + rxNoMbuf + byMode, count(total.rxPackets)),
    ...queues("Rx", rxQueues),
    row("Tx", tx.pps, tx.bps, txErrors + txFull, count(total.txPackets)),
    ...queues("Tx", txQueues),
  ];
}

export class Ports {
  private readonly section = byId("ports");
  private readonly cards = new Map<number, PortCard>();
  private unit: Unit;

  constructor(unit: Unit) {
    this.unit = unit;
  }

  show(time: number, ports: readonly LivePort[]): void {
    for (const [id, { card }] of this.cards) {
      if (ports.some((port) => port.id === id)) continue;
      card.remove();
      this.cards.delete(id);
    }
    for (const port of ports) {
      let card = this.cards.get(port.id);
      if (!card) {
        card = new PortCard(port.id, this.unit);
        this.cards.set(port.id, card);
        const next = [...this.cards.keys()].filter((id) => id > port.id).sort((a, b) => a - b)[0];
        this.section.insertBefore(card.card, next === undefined ? null : this.cards.get(next)!.card);
      }
      card.show(time, port);
    }
    byId("no-ports").hidden = ports.length > 0;
  }

  setUnit(unit: Unit): void {
    this.unit = unit;
    for (const card of this.cards.values()) card.setUnit(unit);
  }

  gap(time: number): void {
    for (const card of this.cards.values()) card.gap(time);
  }

  /** Another engine: what was shown is of the one before. */
  clear(): void {
    for (const { card } of this.cards.values()) card.remove();
    this.cards.clear();
  }
}
