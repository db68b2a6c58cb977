// Applications that the tests of reloading write into a folder, and wires of numbered frames through one of them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Port } from "../../src/ethdev/port.ts";
import type { EngineName } from "../../src/hot/engine.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { Flow, pause } from "../acceptance/support.ts";

export class AppFolder {
  readonly path = mkdtempSync(join(tmpdir(), "pollmode-apps-"));

  constructor(t: { teardown(undo: () => void): void }) {
    t.teardown(() => rmSync(this.path, { recursive: true, force: true }));
  }

  write(name: string, text: string): string {
    const file = join(this.path, name);
    writeFileSync(file, text);
    return file;
  }
}

/**
 * Sends what comes to the first port out of its last one (back, where it has one alone), but keeps up to 64 packets in
 * hand, which its successor finds in the state; counts itself in seen[version]. The helper is another file, and
 * TypeScript.
 */
export const forwarder = (version: number) => `
import { type AppFactory, Mbuf } from "pollmode";
import { limit } from "./limit.ts";

interface State { held: number[] }

const factory: AppFactory = (context) => {
  const { queues, pkts, u32, rxBurst, txBurst, free } = context;
  const seen = context.options as Int32Array;
  const input = queues[0]!;
  const output = queues.at(-1)!;
  const { held } = (context.state ??= { held: [] }) as State;
  return {
    poll(): number {
      const n = rxBurst(input, 32);
      for (let k = 0; k < n; k++) {
        if (u32[(pkts[k]! + Mbuf.PKT_LEN) >>> 2]! < 60) throw new Error("a short frame");
        held.push(pkts[k]!);
      }
      seen[${version}]! += n;
      if (n > 0 && held.length <= limit) return n;
      const m = Math.min(held.length, 32);
      for (let k = 0; k < m; k++) pkts[k] = held[k]!;
      const sent = txBurst(output, m);
      held.splice(0, sent);
      return n;
    },
    close(reason): void {
      if (reason === "reload") return;
      for (const mbuf of held.splice(0)) {
        pkts[0] = mbuf;
        free(1);
      }
    },
  };
};
export default factory;
`;

/** Where numbered frames come from and go to, and the application's ports between. */
export interface WireEnds {
  readonly sends: Port;
  readonly checks: Port;
  readonly app: readonly Port[];
}

/** Lcore 0 sends and checks numbered frames at the ends of a wire, lcore 1 runs an application between them. */
export class Wire {
  readonly pm: Pollmode;
  readonly flow: Flow;
  readonly seen = new Int32Array(new SharedArrayBuffer(4 * 64));
  private readonly ends: WireEnds;

  constructor(pm: Pollmode, ends: WireEnds) {
    this.pm = pm;
    this.ends = ends;
    this.flow = new Flow(pm, { sizeMin: 60, sizeMax: 1500, window: 256, total: 0xffff_ff00 });
  }

  /** Over a pair of rings. */
  static async start(engine: EngineName): Promise<Wire> {
    const vdev = ["net_ring0,nodeaction=w:0:CREATE", "net_ring1,nodeaction=w:0:ATTACH"];
    const pm = await Pollmode.start({ lcores: "0-1", noHuge: true, engine, vdev });
    for (const port of pm.ports) {
      await port.configure();
      await port.start();
    }
    const [near, far] = [pm.port(0), pm.port(1)];
    return new Wire(pm, { sends: near, checks: near, app: [far] });
  }

  async run(app: string, watch = false): Promise<void> {
    const { pm, flow, seen } = this;
    await pm.run({ lcore: 1, app, queues: this.ends.app, options: seen, watch });
    await pm.forward(0, [flow.sender(this.ends.sends, 0), flow.checker(this.ends.checks, 0)]);
  }

  /** Ends sending, lets what is under way arrive, and stops. */
  async drain(): Promise<void> {
    const { pm, flow } = this;
    await pm.stop(0);
    await pm.forward(0, [flow.checker(this.ends.checks, 0)]);
    for (let k = 0; k < 1000 && flow.result().received < flow.result().sent; k++) await pause(2);
    await pm.stop(0);
    await pm.stop(1);
  }

  async close(): Promise<void> {
    this.flow.free();
    await this.pm.close();
  }
}
