// Reads the statistics that DPDK's testpmd prints, periodically and when it stops.

/** One port in one block of `--stats-period`. Packet and byte counts are totals; the rates are since the last block. */
export interface PortSample {
  port: number;
  rxPackets: number;
  rxMissed: number;
  rxBytes: number;
  rxErrors: number;
  rxNoBuffer: number;
  txPackets: number;
  txErrors: number;
  txBytes: number;
  rxPps: number;
  rxBps: number;
  txPps: number;
  txBps: number;
}

/** What the forwarding engine counted at one port from start to stop. */
export interface ForwardStats {
  rxPackets: number;
  rxDropped: number;
  rxTotal: number;
  txPackets: number;
  txDropped: number;
  txTotal: number;
}

export interface FinalStats {
  ports: Map<number, ForwardStats>;
  /** The sum over all ports. */
  all: ForwardStats;
}

const blockStart = "Port statistics ====";
const portHeader = /#+ NIC statistics for port (\d+) +#+/;
const blockEnd = /^ *#{60,}$/m;
const finalHeader = /-+ Forward statistics for port (\d+) +-+/;
const allHeader = /\++ Accumulated forward statistics for all ports *\++/;

/** All complete blocks of periodic statistics, oldest first; each has one sample a port. */
export function parseSamples(output: string): PortSample[][] {
  const blocks = output.split(blockStart).slice(1);
  return blocks.map(parseBlock).filter((ports) => ports.length > 0);
}

function parseBlock(block: string): PortSample[] {
  const parts = block.split(portHeader); // text, port, text, port, text …
  const samples: PortSample[] = [];
  for (let i = 1; i + 1 < parts.length; i += 2) {
    const text = parts[i + 1]!;
    if (blockEnd.test(text)) samples.push(parsePort(Number(parts[i]), text)); // else still being printed
  }
  return samples;
}

function parsePort(port: number, text: string): PortSample {
  return {
    port,
    rxPackets: field(text, "RX-packets"),
    rxMissed: field(text, "RX-missed"),
    rxBytes: field(text, "RX-bytes"),
    rxErrors: field(text, "RX-errors"),
    rxNoBuffer: field(text, "RX-nombuf"),
    txPackets: field(text, "TX-packets"),
    txErrors: field(text, "TX-errors"),
    txBytes: field(text, "TX-bytes"),
    rxPps: field(text, "Rx-pps"),
    rxBps: field(text, "Rx-bps"),
    txPps: field(text, "Tx-pps"),
    txBps: field(text, "Tx-bps"),
  };
}

/** What testpmd printed when it last stopped forwarding; undefined when it has not. */
export function parseFinal(output: string): FinalStats | undefined {
  const [before, all] = output.split(allHeader).slice(-2);
  if (all === undefined) return undefined;
  const parts = before!.split(finalHeader);
  const ports = new Map<number, ForwardStats>();
  for (let i = 1; i + 1 < parts.length; i += 2) ports.set(Number(parts[i]), parseForward(parts[i + 1]!));
  return { ports, all: parseForward(all) };
}

function parseForward(text: string): ForwardStats {
  return {
    rxPackets: field(text, "RX-packets"),
    rxDropped: field(text, "RX-dropped"),
    rxTotal: field(text, "RX-total"),
    txPackets: field(text, "TX-packets"),
    txDropped: field(text, "TX-dropped"),
    txTotal: field(text, "TX-total"),
  };
}

/** The number behind `name:`; 0 for a line that testpmd left out because it had nothing to say. */
function field(text: string, name: string): number {
  return Number(new RegExp(`${name}: *(\\d+)`).exec(text)?.[1] ?? 0);
}
