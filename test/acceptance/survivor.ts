// The side that survives when its peer is killed: a port at a socket under traffic, and another port on the same lcore.
import type { EngineName } from "../../src/hot/engine.ts";
import { Pollmode, type Port } from "../../src/index.ts";
import { until } from "./support.ts";

/** Our side's lcore; the peer has the other CPU. */
const lcore = 1;
export const peerCpu = 0;

export interface LinkChange {
  up: boolean;
  at: number;
}

export class Survivor implements AsyncDisposable {
  readonly pm: Pollmode;
  readonly port: Port;
  readonly bystander: Port;
  readonly changes: LinkChange[] = [];
  readonly errors: string[] = [];
  readonly failures: string[] = [];

  private constructor(pm: Pollmode, port: Port, bystander: Port) {
    this.pm = pm;
    this.port = port;
    this.bystander = bystander;
    port.on("link", ({ up }) => this.changes.push({ up, at: performance.now() }));
    port.on("error", ({ message }) => this.errors.push(message));
    pm.on("lcoreFailed", (_status, { message }) => this.failures.push(message));
  }

  /** Sends on the port as fast as it can, counts what comes back, and counts what comes from a net_null port. */
  static async start(vdev: string, engine: EngineName = "wasm"): Promise<Survivor> {
    const pm = await Pollmode.start({ lcores: String(lcore), noHuge: true, engine, warn: () => {} });
    const port = await pm.attach(vdev);
    const bystander = await pm.attach("net_null0");
    const survivor = new Survivor(pm, port, bystander);
    for (const one of [port, bystander]) {
      await one.configure({ rxQueues: 1, txQueues: 1 });
      await one.start();
    }
    await pm.forward(lcore, [
      { mode: "count", rx: { port, queue: 0 } },
      { mode: "txonly", tx: { port, queue: 0 }, frameBytes: 256 },
      { mode: "count", rx: { port: bystander, queue: 0 } },
    ]);
    return survivor;
  }

  /** Resolves when the port has received and the bystander too. */
  async traffic(timeoutMs = 5_000): Promise<void> {
    const before = this.port.stats();
    await until("traffic", () => this.port.stats().rxPackets > before.rxPackets + 100, timeoutMs);
    await this.bystanderGoesOn();
  }

  async bystanderGoesOn(): Promise<void> {
    const before = this.bystander.stats().rxPackets;
    await until("packets at the other port", () => this.bystander.stats().rxPackets > before + 1000);
  }

  /** Milliseconds from `since` until the link is down, by the event and by link(). */
  async linkDown(since: number): Promise<number> {
    const known = this.changes.length;
    await until("the link to go down", () => !this.port.link().up);
    const change = this.changes.slice(Math.max(0, known - 1)).find(({ up, at }) => !up && at >= since);
    if (!change) throw new Error("the link is down, but no event said so");
    return change.at - since;
  }

  /** Stops everything; returns what an audit of the mbufs finds. */
  async stop(): Promise<string[]> {
    await this.pm.stop(lcore);
    for (const port of [this.port, this.bystander]) await port.stop();
    return this.pm.pool.audit([]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.pm.close();
  }
}
