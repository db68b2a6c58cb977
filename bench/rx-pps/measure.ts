// One measurement: wait for the link, launch, warm up, then count over a window of time. All that is reported is the
// difference between readings of the arena at the window's two ends.
import { performance } from "node:perf_hooks";
import { setTimeout as timer } from "node:timers/promises";
import type { Port } from "../../src/ethdev/port.ts";
import {
  clearRoundMax,
  difference,
  type LcoreCounters,
  merge,
  readLcore,
} from "../../src/telemetry/counters.ts";
import { time } from "../../src/telemetry/units.ts";
import type { Settings } from "./options.ts";
import type { Session } from "./session.ts";

/** The first calls run in V8's baseline code: none of them is counted. */
const WARMUP_MS = 500;
/** No burst takes so long, but the scheduler's time slice does. */
const PREEMPTED_NS = 10e6;
/** DPDK's examples wait for the link as long. */
const LINK_WAIT_MS = 9000;
const LINK_LOOK_MS = 20;
/** Points of the rate over time: often enough for a picture of a short run. */
const TICK_MS = 100;
/** Reading the ports' counters takes microseconds; when it took longer, this thread was put off its CPU. */
const READ_MS_MAX = 0.05;
const READ_ATTEMPTS = 20;
/** When there are so many points, every other one is left out from then on. */
const POINTS_MAX = 2000;

/** Why packets did not arrive, all of them, by cause. */
export interface Drops {
  /** Frames the ports gave up for their own fault. */
  readonly rxErrors: number;
  /** Times a receive queue found no mbuf. */
  readonly rxNoMbuf: number;
  /** Frames that a NIC dropped because its receive ring was full. */
  readonly rxMissed: number;
  /** Queues that stopped themselves. */
  readonly queueFaults: number;
  /** io, macswap: packets the ports' transmit queues had no room for. */
  readonly txRefused: number;
  /** io, macswap: frames a transmit queue could not send. */
  readonly txErrors: number;
}

/** A moment of the window: totals since its begin. */
export interface Point {
  readonly seconds: number;
  readonly packets: number;
}

export interface Measurement {
  readonly seconds: number;
  readonly packets: number;
  readonly bytes: number;
  readonly drops: Drops;
  readonly counters: LcoreCounters;
  readonly points: readonly Point[];
  readonly linkDowns: number;
  /** Ended before its time. */
  readonly interrupted: boolean;
}

export interface Watch {
  /** Aborted when it is to end early. */
  readonly stop: AbortSignal;
  say(text: string): void;
  /** Called each tick. */
  progress(so: { seconds: number; packets: number; bytes: number; drops: Drops; emptyShare: number }): void;
  /** Queue faults and lost links seen so far. */
  readonly events: { readonly faults: number; readonly linkDowns: number };
}

interface Reading {
  readonly ms: number;
  readonly stats: Record<keyof typeof statNames, number>;
  readonly lcores: readonly LcoreCounters[];
}

const statNames = {
  rxPackets: 0,
  rxBytes: 0,
  rxErrors: 0,
  rxNoMbuf: 0,
  rxMissed: 0,
  txRefused: 0,
  txErrors: 0,
};

export async function measure(session: Session, settings: Settings, watch: Watch): Promise<Measurement> {
  const { stop } = watch;
  await waitForLink(session, watch);
  await session.launch();
  await pause(WARMUP_MS, stop);
  for (const { block } of session.receivers) clearRoundMax(session.engine.arena, block);
  const first = read(session);
  const endMs = settings.seconds > 0 ? first.ms + settings.seconds * 1000 : Number.POSITIVE_INFINITY;
  const points = new Points();
  let last = first;
  let counters = merge();
  let now = totals(first, last, counters, watch);
  while (!stop.aborted && last.ms < endMs) {
    await pause(Math.min(TICK_MS, endMs - last.ms), stop);
    const reading = read(session);
    counters = merge(counters, ...reading.lcores.map((lcore, k) => difference(lcore, last.lcores[k]!)));
    last = reading;
    now = totals(first, last, counters, watch);
    points.add(now);
    watch.progress({ ...now, emptyShare: counters.emptyPolls / (counters.polls || 1) });
  }
  const { linkDowns } = watch.events;
  if (counters.roundNsMax > PREEMPTED_NS) {
    watch.say(
      `an lcore was kept from its CPU for up to ${time(counters.roundNsMax)}: other programs run there too, ` +
        "and the numbers suffer (ps -eLo psr,pcpu,comm tells which; -l chooses other CPUs)",
    );
  }
  return { ...now, counters, points: points.list, linkDowns, interrupted: stop.aborted };
}

async function waitForLink({ ports }: Session, { stop, say }: Watch): Promise<void> {
  const deadline = performance.now() + LINK_WAIT_MS;
  let told = false;
  for (let down = firstDown(); down && !stop.aborted; down = firstDown()) {
    const name = `port ${down.id} (${down.name})`;
    if (performance.now() > deadline) {
      say(`${name}: link still down after ${LINK_WAIT_MS / 1000} s, measuring all the same`);
      return;
    }
    if (!told) say(`${name}: waiting for the link`);
    told = true;
    await pause(LINK_LOOK_MS, stop);
  }

  function firstDown() {
    return ports.find((port) => !port.link().up);
  }
}

/** Everything at one moment. The lcores go on meanwhile: a reading that was itself interrupted is taken again. */
function read(session: Session): Reading {
  for (let attempt = 1; ; attempt++) {
    const before = performance.now();
    const stats = readStats(session.ports);
    const after = performance.now();
    if (after - before > READ_MS_MAX && attempt < READ_ATTEMPTS) continue;
    const { arena } = session.engine;
    const lcores = session.receivers.map(({ block }) => readLcore(arena, block));
    return { ms: (before + after) / 2, stats, lcores };
  }
}

function readStats(ports: readonly Port[]): Reading["stats"] {
  const stats = { ...statNames };
  for (const port of ports) {
    const counted = port.stats();
    for (const name of Object.keys(stats) as (keyof typeof stats)[]) stats[name] += counted[name];
  }
  return stats;
}

function totals(first: Reading, last: Reading, counters: LcoreCounters, watch: Watch) {
  const since = (name: keyof typeof statNames) => last.stats[name] - first.stats[name];
  const drops: Drops = {
    rxErrors: since("rxErrors"),
    rxNoMbuf: since("rxNoMbuf"),
    rxMissed: since("rxMissed"),
    queueFaults: watch.events.faults,
    txRefused: since("txRefused"),
    txErrors: since("txErrors"),
  };
  const seconds = (last.ms - first.ms) / 1000;
  return { seconds, packets: since("rxPackets"), bytes: since("rxBytes"), drops, counters };
}

/** Points of an endless run stay few: totals may be left out, the ones that remain are still right. */
class Points {
  list: Point[] = [{ seconds: 0, packets: 0 }];
  private every = 1;
  private ticks = 0;

  add({ seconds, packets }: Point): void {
    if (++this.ticks % this.every !== 0) return;
    this.list.push({ seconds, packets });
    if (this.list.length <= POINTS_MAX) return;
    this.list = this.list.filter((_, k) => k % 2 === 0);
    this.every *= 2;
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await timer(ms, undefined, { signal }).catch(() => {}); // ended early: the caller looks at the signal
}
