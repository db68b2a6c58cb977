// From the rings to an output: whole sections of pcapng, one a file, each with its description first and its statistics
// last. Runs where the capture was asked for: in the embedding program, or in `pollmode capture`'s process.
import { setImmediate as turn } from "node:timers/promises";
import { CAPTURE_INTERVAL_MS, KIB, PCAP_FRAME_BYTES_MAX } from "../limits.ts";
import { interfaceDescription, interfaceStatistics, sectionHeader } from "../pcap/pcapng.ts";
import { wallNs } from "./clock.ts";
import { type CaptureOutput, ReaderGone } from "./output.ts";
import type { RingReader } from "./reader.ts";

/** Read and written at a time: below a millisecond of the thread's time. */
const CHUNK_BYTES = 256 * KIB;

/** What a file says about where its packets are from. */
export interface CaptureOrigin {
  readonly port: number;
  readonly name: string;
  readonly driver: string;
  /** 6 bytes. */
  readonly mac: readonly number[];
  /** Mbit/s; 0: unknown. */
  readonly speed: number;
  readonly snaplen: number;
}

/** What a capture has counted: packets. */
export interface CaptureStats {
  /** Packets written. */
  readonly captured: number;
  /** Packets that went by on the captured queues. */
  readonly seen: number;
  /** Those that the filter let pass. */
  readonly received: number;
  /** Those of them that were missed because a ring was full. */
  readonly dropped: number;
}

export interface RecorderOptions {
  readonly reader: RingReader;
  readonly output: CaptureOutput;
  readonly origin: CaptureOrigin;
  /** The filter's text, for the file. */
  readonly filter?: string | undefined;
  /** Packets after which it ends. */
  readonly count?: number | undefined;
  /** Resolves when nothing is written into the rings any more. */
  stopTaps(): Promise<void>;
}

export class Recorder {
  private readonly options: RecorderOptions;
  private readonly startNs = wallNs();
  private readonly buffer = Buffer.allocUnsafe(CHUNK_BYTES + 2 * PCAP_FRAME_BYTES_MAX);
  private captured = 0;
  private ending = false;
  private wake: (() => void) | undefined;

  constructor(options: RecorderOptions) {
    this.options = options;
  }

  get stats(): CaptureStats {
    const { seen, accepted, dropped } = this.options.reader.counters;
    return { captured: this.captured, seen, received: accepted, dropped };
  }

  /** What lies in the rings is still written; then `run` resolves. */
  end(): void {
    this.ending = true;
    this.wake?.();
  }

  /** Writes until it is ended, has as many packets as were wanted, or nobody reads the output any more. */
  async run(): Promise<void> {
    const { output, stopTaps } = this.options;
    try {
      await this.begin();
      while (!this.ending && !this.complete && !output.gone) {
        if (await this.move()) await turn();
        else await this.idle();
      }
      await stopTaps();
      while (!this.complete && (await this.move()));
      await output.write(this.statistics());
    } catch (error) {
      await stopTaps();
      if (!(error instanceof ReaderGone)) throw error;
    } finally {
      await output.close();
    }
  }

  private get complete(): boolean {
    return this.left === 0 || (this.options.output.last && this.options.output.due);
  }

  private get left(): number {
    return (this.options.count ?? Number.POSITIVE_INFINITY) - this.captured;
  }

  private idle(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CAPTURE_INTERVAL_MS);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private async begin(): Promise<void> {
    const { output, origin, filter } = this.options;
    await output.next();
    const description = interfaceDescription({
      name: origin.name,
      description: `port ${origin.port}, ${origin.driver}`,
      mac: Uint8Array.from(origin.mac),
      snaplen: origin.snaplen,
      ...(origin.speed > 0 ? { speed: BigInt(origin.speed) * 1_000_000n } : {}),
      ...(filter ? { filter } : {}),
    });
    await output.write(Buffer.concat([sectionHeader({ application: "pollmode" }), description]));
  }

  /** Moves what there is, up to a chunk. False: there was nothing. */
  private async move(): Promise<boolean> {
    const { reader, output } = this.options;
    if (!reader.pending) return false;
    if (output.due) {
      if (output.last) return false;
      await output.write(this.statistics());
      await this.begin();
    }
    const limits = { packets: this.left, bytes: Math.min(CHUNK_BYTES, output.room) };
    const { bytes, packets } = reader.read(this.buffer, limits);
    await output.write(this.buffer.subarray(0, bytes));
    this.captured += packets;
    return true;
  }

  private statistics(): Buffer {
    const { seen, received, dropped, captured } = this.stats;
    const end = wallNs();
    return interfaceStatistics({
      interface: 0,
      stamp: end,
      start: this.startNs,
      end,
      received: BigInt(seen),
      accepted: BigInt(received),
      dropped: BigInt(dropped),
      delivered: BigInt(captured),
    });
  }
}
