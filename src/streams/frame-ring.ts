// Frames between two threads, one on each side: a ring of bytes in a SharedArrayBuffer. A record is a word of 8 bytes
// with the frame's length and the frame's bytes, a multiple of 8: V8 copies shared memory by words only where both
// sides are aligned alike. A record that does not fit before the ring's end begins at its start.
const HEAD = 0;
const TAIL = 1;
const DROPPED = 2;
const CLOSED = 3;
const HEADER_BYTES = 64;
/** set() and its view cost as much as so many bytes copied one by one. */
const COPIED_BY_BYTE_MAX = 64;
const LENGTH_BYTES = 8;
/** In the place of a length: go on at the start. */
const WRAP = -1;

/** Of a frame of `n` bytes. */
const recordBytes = (n: number) => LENGTH_BYTES + ((n + 7) & ~7);

export class FrameRing {
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;
  private readonly u8: Uint8Array;
  private readonly lengths: Int32Array;
  private readonly bytes: number;

  /** Over `buffer`, as another FrameRing made it, or over a new one of `bytes`, a power of two. */
  constructor(buffer: SharedArrayBuffer | number) {
    this.buffer = typeof buffer === "number" ? new SharedArrayBuffer(HEADER_BYTES + buffer) : buffer;
    this.bytes = this.buffer.byteLength - HEADER_BYTES;
    this.words = new Int32Array(this.buffer, 0, HEADER_BYTES / 4);
    this.u8 = new Uint8Array(this.buffer, HEADER_BYTES);
    this.lengths = new Int32Array(this.buffer, HEADER_BYTES);
  }

  /** Adds u8[from] … u8[from + n - 1]; false if there is no room. notify() tells the reader. */
  push(u8: Uint8Array, from: number, n: number): boolean {
    const need = recordBytes(n);
    const head = Atomics.load(this.words, HEAD);
    let tail = this.words[TAIL]!;
    const at = tail & (this.bytes - 1);
    const skip = at + need > this.bytes ? this.bytes - at : 0;
    if (((tail - head) | 0) + skip + need > this.bytes) return false;
    if (skip > 0) {
      this.lengths[at >>> 2] = WRAP;
      tail = (tail + skip) | 0;
    }
    const to = tail & (this.bytes - 1);
    this.lengths[to >>> 2] = n;
    if (n > COPIED_BY_BYTE_MAX) this.u8.set(u8.subarray(from, from + n), to + LENGTH_BYTES);
    else for (let k = 0; k < n; k++) this.u8[to + LENGTH_BYTES + k] = u8[from + k]!;
    Atomics.store(this.words, TAIL, (tail + need) | 0);
    return true;
  }

  notify(): void {
    Atomics.notify(this.words, TAIL);
  }

  /** Where the next frame lies in `frames`, and how long it is; undefined if there is none. skip() ends its life. */
  peek(): { at: number; bytes: number } | undefined {
    for (;;) {
      const head = this.words[HEAD]!;
      if (head === Atomics.load(this.words, TAIL)) return undefined;
      const at = head & (this.bytes - 1);
      const bytes = this.lengths[at >>> 2]!;
      if (bytes !== WRAP) return { at: at + LENGTH_BYTES, bytes };
      Atomics.store(this.words, HEAD, (head + this.bytes - at) | 0);
    }
  }

  get frames(): Uint8Array {
    return this.u8;
  }

  skip(bytes: number): void {
    Atomics.store(this.words, HEAD, (this.words[HEAD]! + recordBytes(bytes)) | 0);
    Atomics.notify(this.words, HEAD);
  }

  /** A copy of the next frame. */
  take(): Uint8Array | undefined {
    const next = this.peek();
    if (!next) return undefined;
    const frame = this.u8.slice(next.at, next.at + next.bytes); // into a buffer of its own, not a shared one
    this.skip(next.bytes);
    return frame;
  }

  /** Resolves when there may be a frame, or the ring was closed. */
  async readable(): Promise<void> {
    const tail = Atomics.load(this.words, TAIL);
    if (this.words[HEAD] !== tail || this.closed) return;
    await waitAsync(this.words, TAIL, tail);
  }

  /** Resolves when the reader has taken something since, or the ring was closed. */
  async writable(timeoutMs: number): Promise<void> {
    if (!this.closed) await waitAsync(this.words, HEAD, Atomics.load(this.words, HEAD), timeoutMs);
  }

  drop(): void {
    this.words[DROPPED]!++;
  }

  get dropped(): number {
    return Atomics.load(this.words, DROPPED) >>> 0;
  }

  get closed(): boolean {
    return Atomics.load(this.words, CLOSED) !== 0;
  }

  close(): void {
    Atomics.store(this.words, CLOSED, 1);
    Atomics.notify(this.words, TAIL);
    Atomics.notify(this.words, HEAD);
  }
}

type WaitAsync = (
  words: Int32Array,
  at: number,
  value: number,
  timeoutMs?: number,
) => { value: Promise<string> | string };

/** Ends by itself now and then: a notice between a look and the wait is made up for. */
const LOOK_AGAIN_MS = 100;

/** ES2024; Node.js has had it since 16. */
async function waitAsync(
  words: Int32Array,
  at: number,
  value: number,
  timeoutMs = LOOK_AGAIN_MS,
): Promise<void> {
  const wait = (Atomics as unknown as { waitAsync: WaitAsync }).waitAsync;
  await wait(words, at, value, timeoutMs).value;
}
