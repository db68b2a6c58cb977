// Captures of an engine's ports, for the embedding program itself and, over the control socket, for others.
import type { Writable } from "node:stream";
import type { BpfProgram } from "../capture/bpf.ts";
import { compileFilter } from "../capture/filter.ts";
import { FileOutput, StreamOutput } from "../capture/output.ts";
import { RingReader } from "../capture/reader.ts";
import { type CaptureOrigin, type CaptureStats, Recorder } from "../capture/recorder.ts";
import { type CaptureDirection, PortTaps, type TapContext, type TapOptions } from "../capture/taps.ts";
import { PollmodeError } from "../errors.ts";
import type { Port } from "../ethdev/port.ts";
import { CAPTURES_MAX } from "../limits.ts";

/** What Pollmode.capture() records. Wrong values throw CAPTURE_OPTION, a wrong filter CAPTURE_FILTER. */
export interface CaptureOptions {
  /** A file's path, or a stream, which is written to and not ended. */
  readonly write: string | Writable;
  /** An expression as tcpdump takes them; compiled by libpcap. */
  readonly filter?: string;
  /** Bytes kept of each packet. Default: all. */
  readonly snaplen?: number;
  /** Default: both. */
  readonly direction?: CaptureDirection;
  /** Only this queue. */
  readonly queue?: number;
  /** Ends after so many packets. */
  readonly count?: number;
  /** Bytes of each queue's ring: a power of two, 1 MiB to 256 MiB. Default: 4 MiB. */
  readonly ringBytes?: number;
}

/** A capture that runs in the embedding program. `await using` stops it. */
export interface Capture extends AsyncDisposable {
  /** Its counts so far. */
  readonly stats: CaptureStats;
  /** Resolves with the last counts when it has ended: stopped, complete, port closed. Rejects if it failed. */
  readonly done: Promise<CaptureStats>;
  /** Ends it; what was captured so far is written first. */
  stop(): Promise<CaptureStats>;
}

/** A port's taps with who is told when the port or the engine goes. */
export interface OpenTaps {
  readonly taps: PortTaps;
  readonly origin: CaptureOrigin;
  close(): Promise<void>;
}

export class Captures {
  private readonly context: TapContext;
  private readonly open = new Set<{ end(reason: string): void; closed: Promise<void> }>();

  private closing = false;

  constructor(context: TapContext) {
    this.context = context;
  }

  /** Puts taps on a port. `onEnd` hears why they have to go, if it is not the caller who closes them; he still does. */
  openTaps(port: Port, options: TapOptions, onEnd: (reason: string) => void): OpenTaps {
    if (this.closing) {
      throw new PollmodeError("CAPTURE_COUNT", "capture: the engine is being closed", "start another engine");
    }
    if (this.open.size >= CAPTURES_MAX) {
      const message = `capture of port ${port.id} (${port.name}): ${CAPTURES_MAX} captures run already`;
      throw new PollmodeError("CAPTURE_COUNT", message, "end one of them");
    }
    const taps = new PortTaps(this.context, port, options);
    const closed = () => onEnd(`port ${port.id} (${port.name}) was closed`);
    port.once("closed", closed);
    let resolve = () => {};
    const entry = { end: onEnd, closed: new Promise<void>((done) => (resolve = done)) };
    this.open.add(entry);
    const { id, name, info, mac } = port;
    return {
      taps,
      origin: {
        port: id,
        name,
        driver: info.driver,
        mac: [...mac],
        speed: port.link().speed,
        snaplen: taps.snaplen,
      },
      close: async () => {
        port.off("closed", closed);
        this.open.delete(entry);
        await taps.close();
        resolve();
      },
    };
  }

  /** Begins to capture in this process. */
  start(port: Port, options: CaptureOptions): Capture {
    const { write, filter, count } = options;
    if (count !== undefined && !(Number.isSafeInteger(count) && count > 0)) {
      throw new PollmodeError("CAPTURE_OPTION", `capture: count ${count}`, "count packets from 1 on");
    }
    const program: BpfProgram | undefined = filter ? compileFilter(filter) : undefined;
    const output = typeof write === "string" ? new FileOutput(write) : new StreamOutput(write);
    const opened = this.openTaps(port, { ...options, program }, () => recorder.end());
    const { taps, origin } = opened;
    const { u8, u32, f64 } = this.context.zone.arena;
    const reader = new RingReader({ u8, u32, f64, base: taps.base }, taps.plan);
    let stats: CaptureStats | undefined;
    const recorder = new Recorder({
      reader,
      output,
      origin,
      filter,
      count,
      stopTaps: () => taps.stop().catch(() => {}),
    });
    const run = async () => {
      try {
        await recorder.run();
      } finally {
        stats = recorder.stats;
        await opened.close();
      }
      return stats;
    };
    const done = run();
    done.catch(() => {}); // who asks for it is told; nobody asking must not end the program
    const stop = () => {
      recorder.end();
      return done;
    };
    return {
      get stats() {
        return stats ?? recorder.stats;
      },
      done,
      stop,
      async [Symbol.asyncDispose]() {
        await stop();
      },
    };
  }

  /** The engine ends. */
  async close(): Promise<void> {
    this.closing = true;
    const open = [...this.open];
    for (const { end } of open) end("the engine was closed");
    await Promise.all(open.map(({ closed }) => closed));
  }
}
