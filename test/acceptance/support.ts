// What the acceptance tests share: waiting with a limit, folders that go away, flows of numbered frames.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Port } from "../../src/ethdev/port.ts";
import { Progress } from "../../src/forward/sequence.ts";
import type { StreamSpec } from "../../src/forward/streams.ts";
import type { Pollmode } from "../../src/pollmode.ts";

export const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

/** Waits until `condition` holds; returns the milliseconds it took. Throws, with what was awaited, when time is up. */
export async function until(what: string, condition: () => boolean, timeoutMs = 15_000): Promise<number> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > timeoutMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await pause(1);
  }
  return performance.now() - start;
}

/** A folder for sockets, removed with all that is in it when the test file ends. */
export function temporaryFolder(t: { teardown(undo: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-acceptance-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface FlowOptions {
  sizeMin: number;
  sizeMax: number;
  /** Frames under way at most. */
  window: number;
  total: number;
  /** Where the frames go, 6 bytes. */
  destination?: Uint8Array;
}

export interface FlowResult {
  sent: number;
  received: number;
  lost: number;
  late: number;
  changed: number;
}

/** Numbered frames from one queue to another: the Progress block that their sender and their checker share. */
export class Flow {
  readonly options: FlowOptions;
  private readonly pm: Pollmode;
  private readonly progress: number;

  constructor(pm: Pollmode, options: FlowOptions) {
    this.pm = pm;
    this.options = options;
    this.progress = pm.private.allocate("progress of a test's flow", Progress.BYTES);
  }

  private get sequence() {
    return { progress: this.progress, ...this.options };
  }

  sender(port: Port, queue: number): StreamSpec {
    return { mode: "seq-send", tx: { port, queue }, sequence: this.sequence };
  }

  checker(port: Port, queue: number): StreamSpec {
    return { mode: "seq-check", rx: { port, queue }, sequence: this.sequence };
  }

  get received(): number {
    return this.word(Progress.RECEIVED);
  }

  get done(): boolean {
    return this.received >= this.options.total;
  }

  result(): FlowResult {
    return {
      sent: this.word(Progress.SENT),
      received: this.received,
      lost: this.word(Progress.LOST),
      late: this.word(Progress.LATE),
      changed: this.word(Progress.CHANGED),
    };
  }

  /** What the result is when every frame came once, in order and as it was sent. */
  get perfect(): FlowResult {
    const { total } = this.options;
    return { sent: total, received: total, lost: 0, late: 0, changed: 0 };
  }

  free(): void {
    this.pm.private.free(this.progress);
  }

  private word(at: number): number {
    return Atomics.load(this.pm.arena.u32, (this.progress + at) >>> 2);
  }
}

/** Waits until every flow has received all its frames; returns false when none has moved for `idleMs`. */
export async function finished(
  flows: readonly Flow[],
  idleMs = 5_000,
  timeoutMs = 120_000,
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  let sum = -1;
  let moved = performance.now();
  while (!flows.every(({ done }) => done)) {
    const now = performance.now();
    const received = flows.reduce((all, flow) => all + flow.received, 0);
    if (received !== sum) moved = now;
    sum = received;
    if (now - moved > idleMs || now > deadline) return false;
    await pause(2);
  }
  return true;
}
