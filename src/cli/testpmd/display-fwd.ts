// Forwarding as testpmd prints it: the streams when it begins, the configuration, the statistics when it ends.
import type { OffloadName } from "../../ethdev/driver.ts";
import type { ForwardConfig } from "./config.ts";
import { burstLine } from "./display-bursts.ts";
import type { PortDelta, StreamStats } from "./fwd-stats.ts";
import type { Session } from "./session.ts";
import { leavesOdd, type Plan } from "./topology.ts";
import { macText } from "./words.ts";

const BORDER = "-".repeat(22);
const TOTAL_BORDER = "+".repeat(15);

/** DPDK's bits (rte_ethdev.h, RTE_ETH_RX_OFFLOAD_… and TX). */
const RX_OFFLOAD_BITS: Partial<Record<OffloadName, number>> = { vlanStrip: 0x1, rxChecksum: 0xe };
const TX_OFFLOAD_BITS: Partial<Record<OffloadName, number>> = { vlanInsert: 0x1, txChecksum: 0xe };

function offloadMask(offloads: readonly OffloadName[], bits: Partial<Record<OffloadName, number>>): string {
  return `0x${offloads.reduce((mask, name) => mask | (bits[name] ?? 0), 0).toString(16)}`;
}

/** `show config fwd`: which lcore forwards what. Ends with an empty line, as testpmd's. */
export function configFwd(session: Session): string {
  return planText(session.plan, session.config);
}

export function planText({ ports, lcores }: Plan, { mode }: ForwardConfig): string {
  const streams = lcores.reduce((sum, lcore) => sum + lcore.streams.length, 0);
  const lines = [
    `${mode} packet forwarding - ports=${ports.length} - cores=${lcores.length} - streams=${streams} - ` +
      "NUMA support enabled, MP allocation mode: native",
  ];
  for (const lcore of lcores) {
    lines.push(`Logical Core ${lcore.lcore} (socket 0) forwards packets on ${lcore.streams.length} streams:`);
    for (const { rxPort, rxQueue, txPort, txQueue, peer } of lcore.streams) {
      const rx = `RX P=${rxPort}/Q=${rxQueue} (socket 0)`;
      lines.push(`  ${rx} -> TX P=${txPort}/Q=${txQueue} (socket 0) peer=${macText(peer)}`);
    }
  }
  return [...lines, ""].join("\n");
}

/** testpmd's warning where a port has no partner. */
export function oddWarning(config: ForwardConfig): string | undefined {
  if (!leavesOdd(config)) return undefined;
  return "\nWarning! port-topology=paired and odd forward ports number, the last port will pair with itself.\n";
}

/** `show config cores` */
export function configCores({ config }: Session): string {
  const lcores = config.corelist.map((lcore) => ` ${`${lcore}`.padStart(2)}`).join("");
  return `List of forwarding lcores:${lcores}`;
}

/** `show config txpkts` */
export function configTxpkts({ config }: Session): string {
  const { txpkts } = config;
  return [
    `Number of segments: ${txpkts.length}`,
    `Segment sizes: ${txpkts.join(",")}`,
    "Split packet: off",
  ].join("\n");
}

/** `show config rxtx`: what each port receives and sends with. */
export function configRxtx(session: Session): string {
  const { config, ports } = session;
  const { mode, burst, txpkts, rxq, txq } = config;
  const lines = [`  ${mode} packet forwarding packets/burst=${burst}`];
  if (mode === "txonly" || mode === "flowgen") {
    const bytes = txpkts.reduce((sum, one) => sum + one, 0);
    lines.push(`  packet len=${bytes} - nb packet segments=${txpkts.length}`);
  }
  lines.push(`  nb forwarding cores=${config.nbCores} - nb forwarding ports=${config.nbPorts}`);
  for (const port of ports.all) {
    const { rxDescriptors, txDescriptors, offloads } = ports.setup(port.id);
    const rxOffloads = offloadMask(offloads, RX_OFFLOAD_BITS);
    const txOffloads = offloadMask(offloads, TX_OFFLOAD_BITS);
    lines.push(
      `  port ${port.id}: RX queue number: ${rxq} Tx queue number: ${txq}`,
      `    Rx offloads=${rxOffloads} Tx offloads=${txOffloads}`,
      "    RX queue: 0",
      `      RX desc=${rxDescriptors} - RX free threshold=0`,
      "      RX threshold registers: pthresh=0 hthresh=0  wthresh=0",
      `      RX Offloads=${rxOffloads}`,
      "    TX queue: 0",
      `      TX desc=${txDescriptors} - TX free threshold=0`,
      "      TX threshold registers: pthresh=0 hthresh=0  wthresh=0",
      `      TX offloads=${txOffloads} - TX RS bit threshold=0`,
    );
  }
  return lines.join("\n");
}

/** `show fwd stats all`, and what `stop` says. */
export function fwdStats(session: Session): string {
  const { config } = session;
  const ports = session.countedPorts;
  const streams = session.streamStats();
  const manyStreams = streams.length > ports.length;
  const lines = manyStreams ? streams.flatMap((one) => streamLines(one, config)) : [];
  const deltas = ports.map((id) => ({ id, delta: session.portDelta(id) }));
  for (const { id, delta } of deltas) {
    lines.push("", `  ${BORDER} Forward statistics for port ${`${id}`.padEnd(2)} ${BORDER}`);
    lines.push(...portLines(delta, config));
    if (config.recordBurstStats && !manyStreams) {
      const rx = streams.find(({ plan }) => plan.rxPort === id);
      const tx = streams.find(({ plan }) => plan.txPort === id);
      if (rx) lines.push(...burstLine("RX", rx.counts.rxBursts));
      if (tx) lines.push(...burstLine("TX", tx.counts.txBursts));
    }
    lines.push(`  ${BORDER}${"-".repeat(32)}${BORDER}`);
  }
  return [...lines, ...totalLines(deltas.map(({ delta }) => delta))].join("\n");
}

function streamLines({ plan, counts }: StreamStats, { recordBurstStats, mode }: ForwardConfig): string[] {
  const { rxPackets, txPackets, txDropped } = counts;
  if (rxPackets === 0 && txPackets === 0 && txDropped === 0) return [];
  const two = (number: number) => `${number}`.padStart(2);
  const border = "-".repeat(7);
  const rx = `RX Port=${two(plan.rxPort)}/Queue=${two(plan.rxQueue)}`;
  const tx = `TX Port=${two(plan.txPort)}/Queue=${two(plan.txQueue)}`;
  const lines = [
    "",
    `  ${border} Forward Stats for ${rx} -> ${tx} ${border}`,
    `  RX-packets: ${wide(rxPackets)} TX-packets: ${wide(txPackets)} TX-dropped: ${wide(txDropped)}`,
  ];
  if (mode === "csum") {
    const { badIpChecksum, badL4Checksum, badOuterIpChecksum, badOuterL4Checksum } = counts;
    const bad = `RX- bad IP checksum: ${wide(badIpChecksum)}  Rx- bad L4 checksum: ${wide(badL4Checksum)}`;
    lines[lines.length - 1] += `  ${bad} Rx- bad outer L4 checksum: ${wide(badOuterL4Checksum)}`;
    lines.push(` RX- bad outer IP checksum: ${wide(badOuterIpChecksum)}`);
  }
  if (!recordBurstStats) return lines;
  return [...lines, ...burstLine("RX", counts.rxBursts), ...burstLine("TX", counts.txBursts)];
}

function portLines(delta: PortDelta, { mode }: ForwardConfig): string[] {
  const { rxPackets, rxMissed, txPackets, dropped, rxErrors, rxNoMbuf } = delta;
  const lines = [rxLine(rxPackets, rxMissed)];
  if (mode === "csum") {
    const { badIpChecksum, badL4Checksum, badOuterIpChecksum, badOuterL4Checksum } = delta;
    const inner = `Bad-ipcsum: ${wide(badIpChecksum)} Bad-l4csum: ${wide(badL4Checksum)}`;
    lines.push(
      `  ${inner}Bad-outer-l4csum: ${wide(badOuterL4Checksum)}`,
      `  Bad-outer-ipcsum: ${wide(badOuterIpChecksum)}`,
    );
  }
  if (rxErrors + rxNoMbuf > 0) lines.push(`  RX-error: ${rxErrors}`, `  RX-nombufs: ${wide(rxNoMbuf)}`);
  return [...lines, txLine(txPackets, dropped)];
}

function rxLine(packets: number, dropped: number): string {
  return `  RX-packets: ${wide(packets)} RX-dropped: ${wide(dropped)}RX-total: ${packets + dropped}`;
}

function txLine(packets: number, dropped: number): string {
  return `  TX-packets: ${wide(packets)} TX-dropped: ${wide(dropped)}TX-total: ${packets + dropped}`;
}

function totalLines(ports: readonly PortDelta[]): string[] {
  const sum = (value: (delta: PortDelta) => number) => ports.reduce((total, one) => total + value(one), 0);
  const noMbuf = sum(({ rxNoMbuf }) => rxNoMbuf);
  return [
    "",
    `  ${TOTAL_BORDER} Accumulated forward statistics for all ports${TOTAL_BORDER}`,
    rxLine(
      sum(({ rxPackets }) => rxPackets),
      sum(({ rxMissed }) => rxMissed),
    ),
    txLine(
      sum(({ txPackets }) => txPackets),
      sum(({ dropped, txErrors }) => dropped + txErrors),
    ),
    ...(noMbuf > 0 ? [`  RX-nombufs: ${wide(noMbuf)}`] : []),
    `  ${TOTAL_BORDER}${"+".repeat(46)}${TOTAL_BORDER}`,
  ];
}

/** printf's %-14 */
function wide(number: number): string {
  return `${number}`.padEnd(14);
}
