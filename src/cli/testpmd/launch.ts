// Starts and stops lcores as a plan says, and what comes before: emptying receive queues, first bursts.
import { PollmodeError } from "../../errors.ts";
import { Generate } from "../../forward/generate.ts";
import { type ModeName, type StreamSpec, udpTemplate } from "../../forward/streams.ts";
import { LcoreState } from "../../hot/layout.ts";
import type { Pollmode } from "../../pollmode.ts";
import type { ForwardConfig } from "./config.ts";
import { checksumsBy, csumOf } from "./csum.ts";
import type { FirstOptions } from "./first-app.ts";
import { appOf } from "./modes.ts";
import type { LcorePlan, StreamPlan } from "./topology.ts";

/** A receive queue is emptied for so long at most: a port that never runs dry would hold up the start. */
const FLUSH_MS = 20;
/** An lcore has done what comes first long before this. */
const FIRST_TIMEOUT_MS = 10_000;

/** Lets an lcore forward. */
export async function launchLcore(engine: Pollmode, plan: LcorePlan, config: ForwardConfig): Promise<void> {
  const control = engine.lcores.byId(plan.lcore);
  if (control.state === LcoreState.FAILED) await engine.lcores.restart(control);
  const app = appOf(config.mode);
  if (app === undefined) {
    const specs = plan.streams.map((stream) => streamSpec(engine, stream, config));
    await engine.forward(plan.lcore, specs, { burst: config.burst, rxInterrupt: config.rxInterrupt });
    return;
  }
  await engine.run({
    lcore: plan.lcore,
    app,
    watch: true,
    queues: plan.streams.map(({ rxPort, rxQueue }) => ({ port: engine.port(rxPort), queue: rxQueue })),
    options: appOptions(plan, config),
    rxInterrupt: config.rxInterrupt,
    verbose: config.verbose,
    recordBursts: config.recordBurstStats,
    latency: config.stamp,
  });
}

function streamSpec(engine: Pollmode, stream: StreamPlan, config: ForwardConfig): StreamSpec {
  const generates = config.mode === "txonly" || config.mode === "flowgen";
  // as testpmd's, flowgen has a destination of its own; here --eth-peer and `set eth-peer` change that, too
  const peered = config.mode !== "flowgen" || config.ethPeers.has(stream.txPort);
  const txPort = engine.port(stream.txPort);
  return {
    mode: config.mode as ModeName,
    rx: { port: engine.port(stream.rxPort), queue: stream.rxQueue },
    tx: { port: txPort, queue: stream.txQueue },
    checksum: checksumsBy(txPort, config),
    tunnels: csumOf(config, stream.txPort).tunnels,
    ...(peered ? { ethPeer: stream.peer } : {}),
    noisy: config.noisy,
    verbose: config.verbose,
    recordBursts: config.recordBurstStats,
    latency: config.stamp && config.mode !== "txonly",
    ...(generates ? { txpkts: config.txpkts, flows: config.flows, stamp: config.stamp } : {}),
    ...(config.mode === "txonly" ? { multiFlow: config.multiFlow } : {}),
  };
}

/** What an application is told: the burst, and by its queues the port that the topology sends to and its peer. */
function appOptions(plan: LcorePlan, { burst }: ForwardConfig) {
  const streams = plan.streams.map(({ rxPort, rxQueue, txPort, peer }) => {
    return { port: rxPort, queue: rxQueue, txPort, peer };
  });
  return { burst, streams };
}

/** Drops what waits in the receive queues, so that forwarding begins with what comes from now on. */
export async function flushQueues(
  engine: Pollmode,
  plans: readonly LcorePlan[],
  burst: number,
): Promise<void> {
  await runFirst(engine, plans, () => ({ burst, flushMs: FLUSH_MS }));
}

/** Sends `bursts` bursts of txonly's frame by each stream's transmit queue. Returns what each stream lost. */
export async function sendFirst(
  engine: Pollmode,
  plans: readonly LcorePlan[],
  config: ForwardConfig,
  bursts: number,
): Promise<Map<StreamPlan, number>> {
  const frames = ({ streams }: LcorePlan) =>
    streams.map(({ txPort, peer }) => firstFrame(engine.port(txPort).mac, peer, config.txpkts));
  const results = await runFirst(engine, plans, (plan) => ({
    burst: config.burst,
    bursts,
    frames: frames(plan),
  }));
  return new Map(results.flat());
}

/** txonly's frame in segments. */
function firstFrame(mac: Uint8Array, peer: Uint8Array, txpkts: readonly number[]): Uint8Array[] {
  const total = txpkts.reduce((sum, bytes) => sum + bytes, 0);
  const frame = new Uint8Array(Math.max(total, Generate.TEMPLATE_BYTES));
  frame.set(udpTemplate(mac, total, peer));
  let at = 0;
  return txpkts.map((bytes) => {
    at += bytes;
    return frame.slice(at - bytes, at);
  });
}

/** Runs first-app on all lcores until each is done. */
async function runFirst(
  engine: Pollmode,
  plans: readonly LcorePlan[],
  optionsOf: (plan: LcorePlan) => Omit<FirstOptions, "done">,
): Promise<[StreamPlan, number][][]> {
  return Promise.all(
    plans.map(async (plan): Promise<[StreamPlan, number][]> => {
      const control = engine.lcores.byId(plan.lcore);
      if (control.state === LcoreState.FAILED) await engine.lcores.restart(control);
      const done = new Int32Array(new SharedArrayBuffer(4 * (1 + plan.streams.length)));
      const queues = plan.streams.map((stream) => ({
        port: engine.port(stream.txPort),
        queue: stream.txQueue,
      }));
      const app = new URL("./first-app.js", import.meta.url);
      await engine.run({ lcore: plan.lcore, app, queues, options: { ...optionsOf(plan), done } });
      await waitFor(done, plan.lcore);
      await engine.stop(plan.lcore);
      return plan.streams.map((stream, k) => [stream, Atomics.load(done, 1 + k)]);
    }),
  );
}

async function waitFor(done: Int32Array<SharedArrayBuffer>, lcore: number): Promise<void> {
  const end = performance.now() + FIRST_TIMEOUT_MS;
  while (Atomics.load(done, 0) === 0) {
    if (performance.now() > end) {
      const message = `lcore ${lcore} has not emptied its queues in ${FIRST_TIMEOUT_MS} ms`;
      throw new PollmodeError("LCORE_STALLED", message, "let its CPU be free, or write --no-flush-rx");
    }
    await new Promise((next) => setTimeout(next, 1));
  }
}
