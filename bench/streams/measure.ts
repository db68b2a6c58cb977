// Times each way for frames between a port and the main thread, one after the other.
//
//   net_null0: frames out of nothing, into nothing ── lcore (last CPU) ══ rings ══ main thread (first CPU)
//
// The port gives and takes as many frames as there are, so it is the stream that sets the pace.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { PollmodeError } from "../../src/errors.ts";
import type { Port } from "../../src/ethdev/port.ts";
import { pinThread, threadCpus } from "../../src/libc/libc.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { PacketStream } from "../../src/streams/packets.ts";
import type { ReferenceOptions } from "./reference-app.ts";

export interface StreamRow {
  readonly name: string;
  readonly frameBytes: number;
  readonly framesPerSecond: number;
  /** CPU time; undefined where it has no part in the work. */
  readonly mainNsPerFrame: number | undefined;
  /** Received frames that found the stream's ring full. */
  readonly droppedPerSecond: number;
}

export interface StreamSettings {
  readonly seconds: number;
  readonly sizes: readonly number[];
}

const WARM_UP_SHARE = 0.3;
/** Frames between two looks at the clock. */
const LOOK = 64;

/** Moves frames until `isOver`, which is asked now and then. Returns how many. */
type Way = (stream: PacketStream, isOver: () => boolean, frameBytes: number) => Promise<number>;

const ways: Readonly<Record<string, Way>> = {
  "for await": async (stream, isOver) => {
    let frames = 0;
    for await (const _frame of stream) if (++frames % LOOK === 0 && isOver()) break;
    return frames;
  },
  "readable()": async (stream, isOver) => {
    let frames = 0;
    for await (const _frame of stream.readable()) if (++frames % LOOK === 0 && isOver()) break;
    return frames;
  },
  "send()": async (stream, isOver, frameBytes) => {
    const frame = new Uint8Array(frameBytes);
    let frames = 0;
    for (; frames % LOOK !== 0 || !isOver(); frames++) await stream.send(frame);
    return frames;
  },
  "writable()": async (stream, isOver, frameBytes) => {
    const frame = new Uint8Array(frameBytes);
    const writable = stream.writable();
    let frames = 0;
    for (; frames % LOOK !== 0 || !isOver(); frames++) {
      if (!writable.write(frame)) await once(writable, "drain");
    }
    await new Promise<void>((done) => writable.end(done));
    return frames;
  },
};

/** ms that the main thread ran. */
const mainRanMs = () => Number(readFileSync("/proc/self/schedstat", "utf8").split(" ")[0]) / 1e6;
const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

export async function measureStreams({ seconds, sizes }: StreamSettings): Promise<StreamRow[]> {
  const cpus = threadCpus();
  if (cpus.length < 2) {
    const message = `one CPU (${cpus[0]}) for the lcore and the main thread`;
    throw new PollmodeError("NO_CPU", message, "let this process use two: taskset -c 0,1");
  }
  await using engine = await Pollmode.start({ lcores: [{ lcore: 0, cpus: [cpus.at(-1)!] }], noHuge: true });
  pinThread(cpus.slice(0, 1));
  const rows: StreamRow[] = [];
  for (const frameBytes of sizes) {
    for (const sends of [false, true]) {
      const port = await engine.attach(`net_null0,size=${frameBytes},no-rx=${sends ? 1 : 0}`);
      await port.configure();
      await port.start();
      rows.push(await measureReference(engine, port, { sends, frameBytes }, seconds));
      for (const [name, way] of Object.entries(ways)) {
        if (sends !== /send|writ/.test(name)) continue;
        rows.push({ name, ...(await measureWay(engine, port, way, frameBytes, seconds)) });
      }
      await engine.detach(port);
    }
  }
  return rows;
}

/** An application that does the same on the lcore: touches each frame, or copies one into each buffer and sends it. */
async function measureReference(
  engine: Pollmode,
  port: Port,
  options: ReferenceOptions,
  seconds: number,
): Promise<StreamRow> {
  const { sends, frameBytes } = options;
  const app = new URL("./reference-app.js", import.meta.url);
  await engine.run({ lcore: 0, app, queues: [port], options });
  await pause(seconds * WARM_UP_SHARE * 1000);
  const count = () => port.stats()[sends ? "txPackets" : "rxPackets"];
  const [start, before] = [performance.now(), count()];
  await pause(seconds * 1000);
  const framesPerSecond = ((count() - before) / (performance.now() - start)) * 1000;
  await engine.stop(0);
  const name = `application, ${sends ? "sends" : "receives"}`;
  return { name, frameBytes, framesPerSecond, mainNsPerFrame: undefined, droppedPerSecond: 0 };
}

async function measureWay(
  engine: Pollmode,
  port: Port,
  way: Way,
  frameBytes: number,
  seconds: number,
): Promise<Omit<StreamRow, "name">> {
  const run = async (forSeconds: number) => {
    await using stream = await PacketStream.open(engine, { lcore: 0, port });
    const dropped = stream.dropped.received;
    const [start, ran] = [performance.now(), mainRanMs()];
    const endMs = start + forSeconds * 1000;
    const frames = await way(stream, () => performance.now() >= endMs, frameBytes);
    const tookMs = performance.now() - start;
    return {
      frameBytes,
      framesPerSecond: (frames / tookMs) * 1000,
      mainNsPerFrame: ((mainRanMs() - ran) / frames) * 1e6,
      droppedPerSecond: ((stream.dropped.received - dropped) / tookMs) * 1000,
    };
  };
  await run(seconds * WARM_UP_SHARE);
  return run(seconds);
}
