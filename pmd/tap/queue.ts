// A queue of net_tap: its block, and the mbufs and iovecs that frames are read into.
import type { DriverContext } from "../../src/ethdev/driver.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import { Iovec, Tap } from "./layout.ts";

/** Ethernet header; two VLAN tags, which the MTU does not count either. */
const ETHER_BYTES = 14;
const TAGS_BYTES = 8;
/** Words at SEGMENTS: a frame of 64 KiB in segments of 128 bytes, the smallest there are. */
const SEGMENT_WORDS = 520;

type Context = Pick<DriverContext, "arena" | "private" | "pool">;

export class TapQueue {
  readonly block: QueueBlock;
  private readonly context: Context;
  private readonly segments: number;
  private readonly iovecs: number;

  constructor(context: Context, what: string, index: number) {
    this.context = context;
    const { arena, private: zone } = context;
    this.block = new QueueBlock(zone, what, 0, index);
    this.segments = zone.allocate(`segments of ${what}`, 4 * SEGMENT_WORDS);
    this.iovecs = zone.allocate(`iovecs of ${what}`, Iovec.BYTES * SEGMENT_WORDS);
    this.block.set(Tap.SEGMENTS, this.segments);
    this.block.set(Tap.IOVECS, this.iovecs);
    this.block.set(Tap.BASE, Number(arena.address & 0xffff_ffffn));
    this.block.set(Tap.BASE_HIGH, Number(arena.address >> 32n));
  }

  /** For the interface's MTU: the longest frame to be sent, and mbufs for one byte more than the longest received. */
  fit(mtu: number): void {
    const { dataRoom } = this.context.pool;
    this.block.set(Tap.FRAME_MAX, mtu + ETHER_BYTES);
    this.block.set(Tap.WANTED, Math.floor((mtu + ETHER_BYTES + TAGS_BYTES) / dataRoom) + 1);
  }

  run(): void {
    this.block.run(QueueKind.TAP);
  }

  get truncated(): number {
    return this.context.arena.f64[(this.block.offset + Tap.TRUNCATED) >>> 3]!;
  }

  /** Gives the mbufs held back. No lcore is within a burst any more. */
  drain(): void {
    const at = this.segments >>> 2;
    const held = this.context.arena.u32.slice(at, at + this.block.get(Tap.HELD));
    this.block.set(Tap.HELD, 0);
    this.context.pool.give(held);
  }

  free(): void {
    this.context.private.free(this.segments);
    this.context.private.free(this.iovecs);
    this.block.free();
  }
}
