// A NIC whose queues an lcore runs (single-frames-app.ts), used frame by frame from the main thread.
import type { DeviceConfig } from "../../../src/ethdev/driver.ts";
import type { Port } from "../../../src/ethdev/port.ts";
import { TxOffload } from "../../../src/hot/layout.ts";
import type { Pollmode } from "../../../src/pollmode.ts";
import { pause, until } from "../../acceptance/support.ts";
import { Letter, type Mailbox, SLOT_BYTES, SLOTS } from "./single-frames-app.ts";

const QUIET_MS = 60;
const LINK_TIMEOUT_MS = 20_000;

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
  private taken = 0;

  constructor(pm: Pollmode, port: Port, lcore: number) {
    this.pm = pm;
    this.port = port;
    this.lcore = lcore;
    const words = Letter.RECORDS + SLOTS * Letter.RECORD_WORDS;
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
    await until("a link", () => this.port.link().up, LINK_TIMEOUT_MS);
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
    await until("the frame is taken", () => Atomics.load(words, Letter.SENT) === words[Letter.ASKED], 5000);
  }

  /** What has come, once nothing more comes. */
  async receive(): Promise<Received[]> {
    const { words } = this.mailbox;
    const received = () => Atomics.load(words, Letter.RECEIVED);
    for (let before = -1; before !== received(); ) {
      before = received();
      await pause(QUIET_MS);
    }
    if (received() - this.taken > SLOTS) throw new Error(`${received() - this.taken} frames at once`);
    const list: Received[] = [];
    for (; this.taken < received(); this.taken++) list.push(this.read(this.taken % SLOTS));
    return list;
  }

  private read(slot: number): Received {
    const { words, frames } = this.mailbox;
    const at = Letter.RECORDS + slot * Letter.RECORD_WORDS;
    const [bytes = 0, flags = 0, vlan = 0, , queue = 0, hash = 0, segments = 0] = words.slice(at, at + 7);
    const frame = Buffer.from(frames.slice((slot + 1) * SLOT_BYTES, (slot + 1) * SLOT_BYTES + bytes));
    return { frame, flags, vlan, queue, hash: hash >>> 0, segments };
  }
}
