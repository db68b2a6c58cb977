// A NIC whose queues an lcore runs (single-frames-app.ts), used frame by frame from the main thread.
import type { DeviceConfig } from "../../../src/ethdev/driver.ts";
import type { Port } from "../../../src/ethdev/port.ts";
import { TxOffload } from "../../../src/hot/layout.ts";
import type { Pollmode } from "../../../src/pollmode.ts";
import { until } from "../../acceptance/support.ts";
import { Letter, type Mailbox, RECORD_WORDS, SLOT_BYTES, SLOTS } from "./single-frames-app.ts";

const LINK_TIMEOUT_MS = 20_000;
const FRAME_TIMEOUT_MS = 20_000;

export interface SendOptions {
  /** OlFlag's bits. */
  readonly flags?: number;
  readonly vlan?: number;
  /** Header lengths, for checksums. */
  readonly l2?: number;
  readonly l3?: number;
  readonly queue?: number;
}

export interface Received {
  readonly frame: Buffer;
  readonly queue: number;
  readonly flags: number;
  readonly vlan: number;
  readonly hash: number;
  readonly segments: number;
}

export class SingleFrames {
  readonly port: Port;
  private readonly pm: Pollmode;
  private readonly lcore: number;
  private readonly mailbox: Mailbox;
  private readonly mark: () => Uint8Array;
  private taken = 0;
  /** As the port has told; it looks ten times a second. */
  private isUp = false;

  /** `mark` has a frame sent to us that the port receives in any case, of its own content, and returns it. */
  constructor(pm: Pollmode, port: Port, lcore: number, mark: () => Uint8Array) {
    this.mark = mark;
    this.pm = pm;
    this.port = port;
    port.on("link", ({ up }) => {
      this.isUp = up;
    });
    this.lcore = lcore;
    const words = Letter.RECORDS + SLOTS * RECORD_WORDS;
    this.mailbox = {
      words: new Int32Array(new SharedArrayBuffer(4 * words)),
      frames: new Uint8Array(new SharedArrayBuffer((SLOTS + 1) * SLOT_BYTES)),
    };
  }

  /** Starts the port and the lcore on it, and waits until frames pass. */
  async start(config?: DeviceConfig): Promise<void> {
    if (config) await this.port.configure(config);
    await this.port.start();
    const options = { mailbox: this.mailbox, room: this.pm.pool.dataRoom };
    const app = new URL("./single-frames-app.js", import.meta.url);
    await this.pm.run({ lcore: this.lcore, app, queues: [this.port], options });
    await until("a link", () => this.isUp, LINK_TIMEOUT_MS);
    await this.receive();
  }

  async stop(): Promise<void> {
    await this.pm.stop(this.lcore);
    await this.port.stop();
  }

  async restart(config?: DeviceConfig): Promise<void> {
    await this.stop();
    await this.start(config);
  }

  async send(frame: Uint8Array, options: SendOptions = {}): Promise<void> {
    const { flags = 0, vlan = 0, l2 = 0, l3 = 0, queue = 0 } = options;
    const { words, frames } = this.mailbox;
    frames.set(frame);
    words.set([frame.length, flags, vlan, l2 | (l3 << TxOffload.L3_SHIFT), queue], Letter.BYTES);
    Atomics.add(words, Letter.ASKED, 1);
    await until(
      "the frame is taken",
      () => Atomics.load(words, Letter.SENT) === words[Letter.ASKED],
      FRAME_TIMEOUT_MS,
    );
  }

  /**
   * What was sent to us until now and was received: a frame that is sent last says that no other is on its way. Time
   * alone would not, on a busy machine.
   */
  async receive(): Promise<Received[]> {
    const last = this.mark();
    const list: Received[] = [];
    const isThere = () => {
      list.push(...this.take());
      return list.some(({ frame }) => frame.equals(last));
    };
    await until("the frame that was sent last", isThere, FRAME_TIMEOUT_MS);
    await this.settle(); // other queues, too
    list.push(...this.take());
    return list.filter(({ frame }) => !frame.equals(last));
  }

  /** Waits until the lcore has polled all its queues once more. */
  async settle(): Promise<void> {
    const { words } = this.mailbox;
    const before = Atomics.load(words, Letter.TURNS);
    const polled = () => ((Atomics.load(words, Letter.TURNS) - before) | 0) >= 2;
    await until("two turns of the lcore", polled, FRAME_TIMEOUT_MS);
  }

  /** What has come and was not taken yet. */
  take(): Received[] {
    const received = Atomics.load(this.mailbox.words, Letter.RECEIVED);
    if (received - this.taken > SLOTS) throw new Error(`${received - this.taken} frames at once`);
    const list: Received[] = [];
    for (; this.taken < received; this.taken++) list.push(this.read(this.taken % SLOTS));
    return list;
  }

  private read(slot: number): Received {
    const { words, frames } = this.mailbox;
    const at = Letter.RECORDS + slot * RECORD_WORDS;
    const [bytes = 0, flags = 0, vlan = 0, , queue = 0, hash = 0, segments = 0] = words.slice(at, at + 7);
    const frame = Buffer.from(frames.slice((slot + 1) * SLOT_BYTES, (slot + 1) * SLOT_BYTES + bytes));
    return { frame, flags, vlan, queue, hash: hash >>> 0, segments };
  }
}
