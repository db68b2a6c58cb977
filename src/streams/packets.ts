// A port as an async iterator and as Node.js streams, for programs that do not need speed: each frame is copied twice
// and costs an object and a turn of the event loop's. docs/embedding.md has the numbers.
import { Readable, Writable } from "node:stream";
import { PollmodeError } from "../errors.ts";
import type { Port } from "../ethdev/port.ts";
import { STREAM_RING_BYTES } from "../limits.ts";
import type { Pollmode } from "../pollmode.ts";
import type { BridgeOptions } from "./bridge-app.ts";
import { FrameRing } from "./frame-ring.ts";

/** What PacketStream.open() serves. */
export interface PacketStreamOptions {
  /** Which lcore serves the port's queues; it waits for work. */
  lcore: number;
  /** Configured and started. */
  port: Port;
  /** Received frames that may wait to be read, bytes; a power of two. More are dropped and counted. Default 4 MiB. */
  ringBytes?: number;
}

const WRITE_WAIT_MS = 10;

/**
 * A port's frames as an async iterator and as Node.js streams, for programs that do not need speed. Each frame costs
 * two copies, an object and its part of the event loop; frames are Uint8Arrays without CRC.
 */
export class PacketStream implements AsyncDisposable {
  private readonly engine: Pollmode;
  private readonly lcore: number;
  private readonly input: FrameRing;
  private readonly output: FrameRing;
  /** Whoever closes it again waits for the same end: the engine may be closed behind it. */
  private closing: Promise<void> | undefined;

  private constructor(engine: Pollmode, lcore: number, bytes: number) {
    this.engine = engine;
    this.lcore = lcore;
    this.input = new FrameRing(bytes);
    this.output = new FrameRing(bytes);
  }

  /**
   * Serves all queues of a started port; frames are sent by its first transmit queue. Errors: STREAM_RING, LCORE_BUSY,
   * QUEUE_BUSY.
   */
  static async open(engine: Pollmode, options: PacketStreamOptions): Promise<PacketStream> {
    const { lcore, port, ringBytes = STREAM_RING_BYTES } = options;
    if (!Number.isInteger(Math.log2(ringBytes)) || ringBytes < 1 << 17 || ringBytes > 1 << 30) {
      const message = `ringBytes is ${ringBytes}`;
      throw new PollmodeError("STREAM_RING", message, "a power of two from 131072 to 1073741824");
    }
    const stream = new PacketStream(engine, lcore, ringBytes);
    const bridge: BridgeOptions = { received: stream.input.buffer, toSend: stream.output.buffer };
    const app = new URL("./bridge-app.js", import.meta.url);
    await engine.run({ lcore, app, queues: [port], options: bridge });
    return stream;
  }

  /** Received frames that found no room in the ring or were longer than an mbuf; sent ones longer than an mbuf. */
  get dropped(): { received: number; sent: number } {
    return { received: this.input.dropped, sent: this.output.dropped };
  }

  /** `for await (const frame of stream)`: received frames, until close(). Each is a copy and the reader's. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    while (!this.input.closed) {
      const frame = this.input.take();
      if (frame) yield frame;
      else await this.input.readable();
    }
  }

  /**
   * Queues a frame for sending, from 14 to 16384 bytes (STREAM_FRAME); resolves when it has room, not when it is on the
   * wire. Rejects after close() (STREAM_CLOSED).
   */
  async send(frame: Uint8Array): Promise<void> {
    if (frame.length < 14 || frame.length > 16384) {
      const message = `a frame of ${frame.length} bytes`;
      throw new PollmodeError("STREAM_FRAME", message, "14 bytes (an Ethernet header) to what an mbuf holds");
    }
    while (!this.output.push(frame, 0, frame.length)) {
      if (this.output.closed) break;
      await this.output.writable(WRITE_WAIT_MS);
    }
    if (this.output.closed) throw new PollmodeError("STREAM_CLOSED", "the stream is closed", "open another");
  }

  /** Received frames, a chunk each. Destroying it does not close this. */
  readable(): Readable {
    return Readable.from(this, { objectMode: true });
  }

  /** Frames to be sent, a chunk each. */
  writable(): Writable {
    return new Writable({
      objectMode: true,
      write: (frame: Uint8Array, _encoding, done) => {
        this.send(frame).then(() => done(), done);
      },
    });
  }

  /** Stops the lcore; what was received and not read is gone. */
  close(): Promise<void> {
    this.closing ??= this.stop();
    return this.closing;
  }

  private async stop(): Promise<void> {
    this.input.close();
    this.output.close();
    await this.engine.stop(this.lcore);
  }

  /** For `await using`: close(). */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
