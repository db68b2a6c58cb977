// Which queue sends to which, and which lcore does it: testpmd's way of making streams of ports and queues and dealing
// them out (app/test-pmd/config.c in DPDK: simple, RSS and icmpecho set-up). Plain numbers in, plain numbers out.
import { PollmodeError } from "../../errors.ts";
import type { ForwardConfig, Topology } from "./config.ts";
import { csumOf } from "./csum.ts";

/** What one stream does: receives from a queue, sends to another. */
export interface StreamPlan {
  readonly rxPort: number;
  readonly rxQueue: number;
  readonly txPort: number;
  readonly txQueue: number;
  /** Destination address of modes that set one, 6 bytes. */
  readonly peer: Uint8Array;
}

export interface LcorePlan {
  readonly lcore: number;
  readonly streams: readonly StreamPlan[];
}

export interface Plan {
  /** Forwarding ports in the topology's order. */
  readonly ports: readonly number[];
  /** Those that have a stream. */
  readonly lcores: readonly LcorePlan[];
  /** An application does it: lcores have no streams that count. */
  readonly app: boolean;
}

/** The port that `at`, an index of the forwarding ports, sends to. The last of an odd number of pairs is its own. */
function txIndex(at: number, ports: number, topology: Topology): number {
  if (topology === "loop") return at;
  if (topology === "chained") return (at + 1) % ports;
  if (at % 2 === 1) return at - 1;
  return at + 1 < ports ? at + 1 : at;
}

/** Whether the topology leaves a port without a partner, of which testpmd warns. */
export function leavesOdd({ topology, portlist, nbPorts }: ForwardConfig): boolean {
  return topology === "paired" && Math.min(nbPorts, portlist.length) % 2 === 1;
}

/** Throws where the configuration cannot be forwarded. */
export function makePlan(config: ForwardConfig): Plan {
  const ports = config.portlist.slice(0, config.nbPorts);
  const app = config.mode.startsWith("app=");
  const deal = app ? dealQueues : dealStreams;
  const streams = config.mode === "icmpecho" ? echoStreams(ports, config) : pairStreams(ports, config);
  return { ports, lcores: deal(streams, config), app };
}

/** Queue by queue, all ports in turn. Without several queues either way there is queue 0 alone. */
function pairStreams(ports: readonly number[], config: ForwardConfig): StreamPlan[] {
  const { rxq, txq, topology } = config;
  const queues = rxq > 1 && txq > 1 ? Math.min(rxq, txq) : 1;
  return Array.from({ length: queues }, (_, queue) =>
    ports.map((rxPort, at) => {
      const txPort = ports[txIndex(at, ports.length, topology)]!;
      return { rxPort, rxQueue: queue, txPort, txQueue: queue, peer: peerOf(config, txPort) };
    }),
  ).flat();
}

/** Port by port, each queue answers by itself. */
function echoStreams(ports: readonly number[], config: ForwardConfig): StreamPlan[] {
  const { rxq, txq } = config;
  if (rxq > txq) {
    const message = `icmpecho answers on the queue that asked: ${rxq} receive queues, ${txq} transmit queues`;
    throw new PollmodeError("FORWARD_OPTION", message, `use as many transmit queues: --txq=${rxq}`);
  }
  return ports.flatMap((port) =>
    Array.from({ length: rxq }, (_, queue) => {
      return { rxPort: port, rxQueue: queue, txPort: port, txQueue: queue, peer: peerOf(config, port) };
    }),
  );
}

/** The streams in order, as many to each lcore; of those that are left over the last lcores have one more each. */
function dealStreams(streams: readonly StreamPlan[], { corelist, nbCores }: ForwardConfig): LcorePlan[] {
  const cores = corelist.slice(0, Math.min(nbCores, streams.length));
  const base = Math.floor(streams.length / cores.length);
  const extra = streams.length % cores.length;
  let next = 0;
  return cores.map((lcore, k) => {
    const count = k < cores.length - extra ? base : base + 1;
    next += count;
    return { lcore, streams: streams.slice(next - count, next) };
  });
}

/**
 * For an application: an lcore has a queue of every port, so that it may send a packet to any of them. So there are as
 * many lcores as queues at most.
 */
function dealQueues(streams: readonly StreamPlan[], config: ForwardConfig): LcorePlan[] {
  const queues = [...new Set(streams.map(({ rxQueue }) => rxQueue))];
  const cores = config.corelist.slice(0, Math.min(config.nbCores, queues.length));
  return cores.map((lcore, k) => {
    return { lcore, streams: streams.filter(({ rxQueue }) => rxQueue % cores.length === k) };
  });
}

/** As `--eth-peer` says, else testpmd's own: locally administered, with the port's number. */
function peerOf({ ethPeers }: ForwardConfig, port: number): Uint8Array {
  return ethPeers.get(port) ?? Uint8Array.of(0x02, 0, 0, 0, 0, port);
}

/** What tells one lcore's work from another's: while it stays the same, the lcore need not be stopped. */
export function workOf(plan: LcorePlan, config: ForwardConfig): string {
  const { mode, burst, txpkts, flows, multiFlow, stamp, noisy, verbose, recordBurstStats, rxInterrupt } =
    config;
  const streams = plan.streams.map((stream) => {
    const { txPort } = stream;
    const peerIsAsked = config.ethPeers.has(txPort);
    return { ...stream, peer: [...stream.peer], peerIsAsked, csum: csumOf(config, txPort) };
  });
  const generate = { txpkts, flows, multiFlow, stamp };
  return JSON.stringify({ streams, mode, burst, generate, noisy, verbose, recordBurstStats, rxInterrupt });
}
