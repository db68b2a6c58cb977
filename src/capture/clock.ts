// Turns the lcores' clock into the time of day. The lcores read their own clock once a burst; what it means in ns since
// 1970 is written down here, anew every second, so that stamps follow a system clock that NTP corrects or people set.

import { libc } from "../libc/native.ts";
import { CAPTURE_CLOCK_INTERVAL_MS } from "../limits.ts";
import type { Zone } from "../memory/zone.ts";
import { CaptureClock } from "./layout.ts";

/** linux/time.h; struct timespec is two 64-bit words. */
const CLOCK_REALTIME = 0;
const clockGettime = libc.func("int clock_gettime(int, void *)");
const timespec = Buffer.alloc(16);

/** Nanoseconds since 1970. */
export function wallNs(): bigint {
  clockGettime(CLOCK_REALTIME, timespec);
  return timespec.readBigInt64LE(0) * 1_000_000_000n + timespec.readBigInt64LE(8);
}

/** Two records, one valid at a time, and the word that says which. Runs while somebody captures. */
export class StampClock {
  /** Arena offset of the word. */
  readonly word: number;
  private readonly zone: Zone;
  private readonly lcoreNowMs: () => number;
  private users = 0;
  private timer: NodeJS.Timeout | undefined;
  private odd = false;

  /** `lcoreNowMs`: the lcores' clock, read on this thread. */
  constructor(zone: Zone, lcoreNowMs: () => number) {
    this.zone = zone;
    this.lcoreNowMs = lcoreNowMs;
    this.word = zone.allocate("capture's clock", 64);
    this.set();
  }

  /** To be followed by one `release`. */
  use(): void {
    this.set();
    if (this.users++ > 0) return;
    this.timer = setInterval(() => this.set(), CAPTURE_CLOCK_INTERVAL_MS);
    this.timer.unref();
  }

  release(): void {
    if (--this.users === 0) clearInterval(this.timer);
  }

  private set(): void {
    const { f64, u32 } = this.zone.arena;
    const record = this.word + (this.odd ? 2 : 1) * CaptureClock.BYTES;
    this.odd = !this.odd;
    const before = this.lcoreNowMs();
    const ns = wallNs();
    f64[(record + CaptureClock.MS) >>> 3] = (before + this.lcoreNowMs()) / 2;
    u32[(record + CaptureClock.LOW) >>> 2] = Number(ns & 0xffff_ffffn);
    u32[(record + CaptureClock.HIGH) >>> 2] = Number(ns >> 32n);
    Atomics.store(u32, this.word >>> 2, record);
  }
}
