// The live page: asks for a reading every second and shows it. When none comes it says so, and goes on asking.
import { droppedRate } from "../causes.ts";
import type { LiveReading } from "../live.ts";
import { count, time as duration, rateOr0 } from "../units.ts";
import { byId, element, setText } from "./dom.ts";
import { LcoreView } from "./lcores.ts";
import { inUnit, Ports, type Unit } from "./ports.ts";

const PERIOD_MS = 1000;
const TIMEOUT_MS = 3000;
/** Rates over a longer time are not the page's: nobody had asked for a while. */
const SECONDS_MAX = 5;

const UNITS: readonly Unit[] = ["pps", "bps"];
let unit = readUnit();
const ports = new Ports(unit);
const lcores = new LcoreView();
const totals = new Map<string, HTMLElement>();
let last: LiveReading | undefined;
let lastSeen = 0;

function readUnit(): Unit {
  const asked = new URLSearchParams(location.search).get("unit");
  return UNITS.find((one) => one === asked) ?? "pps";
}

function watchUnit(): void {
  for (const input of document.querySelectorAll<HTMLInputElement>("#unit input")) {
    input.checked = input.value === unit;
    input.addEventListener("change", () => {
      unit = input.value as Unit;
      history.replaceState(null, "", `?unit=${unit}`);
      ports.setUnit(unit);
      if (last) showTotals(last);
    });
  }
}

function showTotals(reading: LiveReading): void {
  const sum = (value: (port: LiveReading["ports"][number]) => number) =>
    reading.ports.reduce((all, port) => all + value(port), 0);
  const { pool, loop } = reading;
  const texts = {
    Received: inUnit(
      sum(({ rx }) => rx[unit]),
      unit,
    ),
    Sent: inUnit(
      sum(({ tx }) => tx[unit]),
      unit,
    ),
    Dropped: rateOr0(
      sum(({ drops }) => droppedRate(drops)),
      "/s",
    ),
    "mbufs in use": `${count(pool.inUse)} of ${count(pool.count)}`,
    "Event loop late": duration(loop.maxMs * 1e6),
  };
  for (const [name, text] of Object.entries(texts)) {
    let value = totals.get(name);
    if (!value) {
      value = element("dd");
      totals.set(name, value);
      byId("total").append(element("div", { class: "tile" }, element("dt", {}, name), value));
    }
    setText(value, text);
  }
}

function show(reading: LiveReading): void {
  const now = Date.now() / 1000;
  if (last && (last.pid !== reading.pid || reading.timeMs < last.timeMs)) {
    ports.clear();
    lcores.clear();
  } else if (last && reading.timeMs === last.timeMs) {
    return; // another page had it first; the next one is for both
  }
  last = reading;
  document.title = `pollmode ${reading.pid}`;
  if (reading.seconds > SECONDS_MAX) return;
  showTotals(reading);
  ports.show(now, reading.ports);
  lcores.show(now, reading.lcores);
}

function connected(): void {
  lastSeen = Date.now();
  const status = byId("status");
  setText(status, "live");
  status.className = "badge good";
  byId("lost").hidden = true;
  document.body.classList.remove("stale");
}

function lost(): void {
  const now = Date.now();
  const status = byId("status");
  setText(status, "connection lost");
  status.className = "badge bad";
  const age = lastSeen > 0 ? `These numbers are ${Math.round((now - lastSeen) / 1000)} s old. ` : "";
  setText(byId("lost"), `No connection to pollmode at ${location.host}. ${age}Trying again every second.`);
  byId("lost").hidden = false;
  document.body.classList.add("stale");
  ports.gap(now / 1000);
  lcores.gap(now / 1000);
}

async function ask(): Promise<void> {
  const began = Date.now();
  try {
    const answer = await fetch("/api/snapshot", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    show((await answer.json()) as LiveReading);
    connected();
  } catch {
    lost();
  }
  setTimeout(ask, Math.max(0, PERIOD_MS - (Date.now() - began)));
}

watchUnit();
void ask();
