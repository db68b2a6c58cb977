// A port that sends to itself: one lcore sends, another receives, and sleeps while nothing comes (mlx5-wake-app.ts).
import type { Port } from "../../src/ethdev/port.ts";
import type { Pollmode } from "../../src/pollmode.ts";
import { addressesOf } from "./mlx5.ts";
import {
  FRAMES_MAX,
  FrameTime,
  SHARED_BYTES,
  Time,
  timesOf,
  type WakeOptions,
  Word,
} from "./mlx5-wake-app.ts";
import { pause, until } from "./support.ts";

export const lcores = { receiver: 0, sender: 1 };
/** Frames under way at most, where they are many. */
const WINDOW = 64;
/**
 * A sleeper that nobody wakes looks again after 200 ms (SLEEP_MS_MAX): a frame that was sent long before that, to a
 * receiver that was away for just this long, woke nobody. On a loaded machine frames are late for other reasons, too,
 * and now and then one of them looks like it.
 */
const VAIN_MS = { late: 100, awayMin: 198, awayMax: 215 };
const WAIT_MS_MAX = 30_000;
/** So many frames may look like it. */
export const VAIN_MAX = 2;

export interface Round {
  came: number;
  /** Lost, repeated, or in another order. */
  wrong: number;
  /** Times that the receiver slept meanwhile. */
  sleeps: number;
  /** Frames that woke nobody. */
  vain: number;
  medianMs: number;
}

/** A started port whose first `queues` receive queues wake a sleeping lcore; one transmit queue more sends. */
export class Waker {
  readonly port: Port;
  /** Of the receive queues. */
  readonly addresses: Uint8Array[];
  private readonly pm: Pollmode;
  private readonly words: Int32Array;
  private readonly times: Float64Array;
  private readonly shared = new SharedArrayBuffer(SHARED_BYTES);

  private constructor(pm: Pollmode, port: Port) {
    this.pm = pm;
    this.port = port;
    this.addresses = addressesOf(port).map((mac) => Uint8Array.from(mac));
    this.words = new Int32Array(this.shared);
    this.times = new Float64Array(this.shared);
  }

  static async start(pm: Pollmode, device: string, queues: number): Promise<Waker> {
    const port = await pm.attach(device);
    await port.flow.isolate(queues > 1);
    await port.configure({ rxQueues: queues, txQueues: queues + 1, rxInterrupts: true });
    await port.start();
    const waker = new Waker(pm, port);
    await waker.run();
    return waker;
  }

  private async run(): Promise<void> {
    const { pm, port, shared, addresses } = this;
    const app = new URL("./mlx5-wake-app.js", import.meta.url);
    const options = (role: WakeOptions["role"]): WakeOptions => ({ role, shared, addresses });
    const queues = port.rxQueues.map((_, queue) => ({ port, queue }));
    const { receiver, sender } = lcores;
    await pm.run({ lcore: receiver, app, queues, options: options("receiver"), rxInterrupt: true });
    const last = [{ port, queue: queues.length }];
    await pm.run({ lcore: sender, app, queues: last, options: options("sender") });
  }

  get sleeps(): number {
    return this.pm.lcores.byId(lcores.receiver).status().sleeps;
  }

  /** Waits until the receiver sleeps: it has fallen asleep once more, and takes no more turns. */
  async asleep(): Promise<void> {
    const before = this.sleeps;
    await until("the receiver sleeps", () => this.sleeps > before, WAIT_MS_MAX);
  }

  /** What part of the time the receiver's thread was on a CPU, while nothing came. */
  async idle(ms: number): Promise<{ sleeps: number; share: number }> {
    await this.asleep();
    const sleeps = this.sleeps;
    const cpuMs = await this.cpu();
    const start = performance.now();
    await pause(ms);
    const used = (await this.cpu()) - cpuMs;
    return { sleeps: this.sleeps - sleeps, share: used / (performance.now() - start) };
  }

  /** Milliseconds that the receiver's thread was on a CPU. */
  private async cpu(): Promise<number> {
    const asked = ++this.words[Word.ASKED]!;
    await until("an answer", () => Atomics.load(this.words, Word.ANSWERED) === asked);
    return this.times[Time.CPU]!;
  }

  /** Sends so many frames: one at a time, each a random time of at most `pauseMs` after the last has come. */
  trickle(frames: number, pauseMs: number): Promise<Round> {
    return this.send(frames, 1, pauseMs);
  }

  /** Without pauses. */
  many(frames: number): Promise<Round> {
    return this.send(frames, WINDOW, 0);
  }

  private async send(frames: number, window: number, pauseMs: number): Promise<Round> {
    const { words, times } = this;
    const [sleeps, came, wrong] = [this.sleeps, words[Word.CAME]!, words[Word.WRONG]!];
    times[Time.PAUSE_MAX] = pauseMs;
    words[Word.WINDOW] = window;
    Atomics.store(words, Word.WANTED, came + frames);
    const all = () => Atomics.load(words, Word.CAME) >= came + frames;
    await until(`${frames} frames`, all, WAIT_MS_MAX).catch(() => {}); // the report tells how many came
    const last = Array.from({ length: Math.min(frames, FRAMES_MAX) }, (_, k) => {
      const at = timesOf(came + frames - 1 - k);
      const ms = times[at + FrameTime.CAME]! - times[at + FrameTime.SENT]!;
      return { ms, away: times[at + FrameTime.AWAY]! };
    });
    const isVain = ({ ms, away }: (typeof last)[0]) =>
      ms >= VAIN_MS.late && away >= VAIN_MS.awayMin && away <= VAIN_MS.awayMax;
    const sorted = last.map(({ ms }) => ms).sort((a, b) => a - b);
    return {
      came: words[Word.CAME]! - came,
      wrong: words[Word.WRONG]! - wrong,
      sleeps: this.sleeps - sleeps,
      vain: last.filter(isVain).length,
      medianMs: sorted[sorted.length >>> 1]!,
    };
  }

  /** Stops and starts the port, whose receiver sleeps and goes on sleeping. */
  async restart(): Promise<void> {
    await this.asleep();
    await this.port.stop();
    await this.port.start();
  }

  /** Ends both lcores, the receiver asleep; milliseconds that took. */
  async stop(): Promise<number> {
    await this.asleep();
    const start = performance.now();
    await this.pm.stop(lcores.receiver);
    const took = performance.now() - start;
    await this.pm.stop(lcores.sender);
    return took;
  }
}
