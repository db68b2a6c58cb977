// How late the main thread's event loop is: control, statistics and every socket wait for it.
//
// perf_hooks' monitorEventLoopDelay does not do: after its reset() it forgets the interval under way, and with it a
// stall that begins there.
import { createHistogram } from "node:perf_hooks";

const TICK_MS = 10;

export interface LoopDelay {
  /** The longest since the last call of take(). */
  readonly maxMs: number;
  readonly p99Ms: number;
}

export class StallWatch {
  private readonly histogram = createHistogram();
  private readonly timer: NodeJS.Timeout;
  private last = performance.now();

  constructor() {
    this.timer = setInterval(() => this.tick(), TICK_MS);
    this.timer.unref();
  }

  /** How late the loop was since the last call, or since the watch began. */
  take(): LoopDelay {
    const late = this.read();
    this.histogram.reset();
    this.last = Math.max(this.last, performance.now() - TICK_MS); // what is late now was told
    return late;
  }

  /** The same, and goes on counting. */
  read(): LoopDelay {
    const { histogram } = this;
    const now = Math.max(0, performance.now() - this.last - TICK_MS);
    const none = histogram.count === 0;
    return {
      maxMs: Math.max(now, none ? 0 : histogram.max / 1e6),
      p99Ms: none ? now : histogram.percentile(99) / 1e6,
    };
  }

  close(): void {
    clearInterval(this.timer);
  }

  private tick(): void {
    const now = performance.now();
    this.histogram.record(Math.max(1, Math.round((now - this.last - TICK_MS) * 1e6)));
    this.last = now;
  }
}
