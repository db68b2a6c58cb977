// A port's counters as testpmd prints them: `show port stats|xstats`, --stats-period. Rates are since the last show.
import type { PortStats } from "../../ethdev/port.ts";
import type { Session } from "./session.ts";

const BORDER = "#".repeat(24);

interface Shown {
  readonly timeMs: number;
  readonly stats: PortStats;
  readonly xstats: Readonly<Record<string, number>>;
}

/** What each session showed last, by port. */
const shown = new WeakMap<Session, Map<number, Shown>>();

/** `show port stats N` */
export function portStats(session: Session, id: number): string {
  const port = session.ports.get(id);
  const memory = shown.get(session) ?? new Map<number, Shown>();
  shown.set(session, memory);
  const before = memory.get(id);
  const now = { timeMs: performance.now(), stats: port.stats(), xstats: allXstats(session, id) };
  memory.set(id, now);
  const seconds = before === undefined ? 0 : (now.timeMs - before.timeMs) / 1000;
  // counters that were cleared in between count from 0: no rate
  const rate = (value: number, last = 0) =>
    seconds > 0 ? Math.trunc(Math.max(0, value - last) / seconds) : 0;
  const of = (name: keyof PortStats) => rate(now.stats[name], before?.stats[name]);
  const { stats } = now;
  return [
    "",
    `  ${BORDER} NIC statistics for port ${`${id}`.padEnd(2)} ${BORDER}`,
    `  RX-packets: ${wide(stats.rxPackets)} RX-missed: ${wide(stats.rxMissed)} RX-bytes:  ${stats.rxBytes}`,
    `  RX-errors: ${stats.rxErrors}`,
    `  RX-nombuf:  ${wide(stats.rxNoMbuf)}`,
    `  TX-packets: ${wide(stats.txPackets)} TX-errors: ${wide(stats.txErrors)} TX-bytes:  ${stats.txBytes}`,
    "",
    "  Throughput (since last show)",
    `  Rx-pps: ${right(of("rxPackets"))}          Rx-bps: ${right(8 * of("rxBytes"))}`,
    `  Tx-pps: ${right(of("txPackets"))}          Tx-bps: ${right(8 * of("txBytes"))}`,
    ...chosenXstats(session, now, (name) => rate(now.xstats[name]!, before?.xstats[name])),
    `  ${BORDER}${"#".repeat(28)}${BORDER}`,
  ].join("\n");
}

/** --display-xstats: those that the port has. */
function chosenXstats(session: Session, { xstats }: Shown, rate: (name: string) => number): string[] {
  const names = session.config.displayXstats.filter((name) => name in xstats);
  if (names.length === 0) return [];
  const head = `${" ".repeat(31)}${"Value".padEnd(17)}Rate (since last show)`;
  const rows = names.map((name) => {
    return `  ${name.padEnd(25)}${`${xstats[name]}`.padStart(12)} ${`${rate(name)}`.padStart(15)}`;
  });
  return ["", head, ...rows];
}

/** `show port xstats N` */
export function portXstats(session: Session, id: number): string {
  const rows = Object.entries(allXstats(session, id)).map(([name, value]) => `${name}: ${value}`);
  return [`###### NIC extended statistics for port ${`${id}`.padEnd(2)}`, ...rows].join("\n");
}

/** The basic counters by DPDK's names (rte_eth_xstats_get), then those of queues and driver. */
function allXstats(session: Session, id: number): Record<string, number> {
  const port = session.ports.get(id);
  const stats = port.stats();
  return {
    rx_good_packets: stats.rxPackets,
    tx_good_packets: stats.txPackets,
    rx_good_bytes: stats.rxBytes,
    tx_good_bytes: stats.txBytes,
    rx_missed_errors: stats.rxMissed,
    rx_errors: stats.rxErrors,
    tx_errors: stats.txErrors,
    rx_mbuf_allocation_errors: stats.rxNoMbuf,
    ...port.xstats(),
  };
}

/** The block of --stats-period: all forwarding ports. */
export function periodicStats(session: Session): string {
  const blocks = session.plan.ports.map((id) => portStats(session, id));
  return `\nPort statistics ====================================${blocks.join("\n")}`;
}

/** printf's %-10 */
function wide(number: number): string {
  return `${number}`.padEnd(10);
}

/** printf's %12 */
function right(number: number): string {
  return `${number}`.padStart(12);
}
