// A network for an example's application: wires (net_ring) whose one ends it serves on lcore 1, and whose other ends
// are the test's, which sends and receives frames there by PacketStreams on lcores 2 and on.
import { Pollmode } from "../../src/pollmode.ts";
import { PacketStream } from "../../src/streams/packets.ts";
import { pause, until } from "../acceptance/support.ts";

const arrivalTimeoutMs = 10_000;
const surplusMs = 150;

export class Network implements AsyncDisposable {
  readonly engine: Pollmode;
  readonly ends: readonly PacketStream[];
  /** What came out at each end. */
  readonly got: Uint8Array[][];

  private constructor(engine: Pollmode, ends: readonly PacketStream[]) {
    this.engine = engine;
    this.ends = ends;
    this.got = ends.map(() => []);
    ends.forEach((end, k) => {
      void (async () => {
        for await (const frame of end) this.got[k]!.push(frame);
      })();
    });
  }

  static async start(app: URL, wires: number, options?: unknown): Promise<Network> {
    const names = Array.from({ length: wires }, (_, k) => k);
    const vdev = [
      ...names.map((k) => `net_ring${k},nodeaction=n${k}:0:CREATE`),
      ...names.map((k) => `net_ring${wires + k},nodeaction=n${k}:0:ATTACH`),
    ];
    const lcores = Array.from({ length: wires + 1 }, (_, k) => ({ lcore: k, cpus: [0, 1] }));
    const engine = await Pollmode.start({ lcores, noHuge: true, vdev });
    for (const port of engine.ports) {
      await port.configure();
      await port.start();
    }
    await engine.run({ lcore: wires, app, queues: engine.ports.slice(wires), options });
    const ends = await Promise.all(
      names.map((lcore) =>
        PacketStream.open(engine, { lcore, port: engine.port(lcore), ringBytes: 1 << 21 }),
      ),
    );
    return new Network(engine, ends);
  }

  /** Sends frames at one end; resolves to what came out at each end, when `wanted` have come and no more do. */
  async send(
    end: number,
    frames: readonly Uint8Array[],
    wanted: number | (() => number),
  ): Promise<Uint8Array[][]> {
    for (const list of this.got) list.length = 0;
    for (const frame of frames) await this.ends[end]!.send(frame);
    const count = () => this.got.reduce((sum, list) => sum + list.length, 0);
    const all = typeof wanted === "number" ? () => wanted : wanted;
    // four polling lcores may share two CPUs: what is under way may take a while
    await until("the frames", () => count() >= all(), arrivalTimeoutMs).catch(() => 0);
    await pause(surplusMs);
    return this.got.map((list) => [...list]);
  }

  /** Why a frame may be missing: what each port refused or had no mbuf for, what each end dropped. */
  drops(): string {
    const ports = this.engine.ports.map((port) => port.stats());
    const refused = ports.map(({ txRefused, rxNoMbuf }) => `${txRefused}+${rxNoMbuf}`);
    const dropped = this.ends.map(({ dropped }) => `${dropped.received}+${dropped.sent}`);
    return `refused+no mbuf: ${refused.join(", ")}; dropped at the ends: ${dropped.join(", ")}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.ends) await end.close();
    await this.engine.close();
  }
}

/** An Ethernet frame of 60 bytes. */
export function frame(
  destination: number,
  source: number,
  payload: readonly number[] = [0x88, 0xb5],
): Uint8Array {
  const bytes = new Uint8Array(60);
  const mac = (value: number) => [40, 32, 24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256);
  bytes.set([...mac(destination), ...mac(source), ...payload]);
  return bytes;
}
