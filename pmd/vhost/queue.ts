// One vring's control side on the device's end: takes what the peer says about it, checks it, lets an lcore run it.
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import type { MbufPool } from "../../src/memory/pool.ts";
import type { Zone } from "../../src/memory/zone.ts";
import type { BackendVring } from "../../src/vhostuser/vring.ts";
import type { GuestMemory } from "./guest-memory.ts";
import { Segment, Vring, VringFlag } from "./layout.ts";

/** VIRTQ_USED_F_NO_NOTIFY, and RING_EVENT_FLAGS_DISABLE of a packed ring: we poll. */
const NO_NOTIFY = 1;

export class VhostQueue {
  readonly block: QueueBlock;
  private readonly zone: Zone;
  private readonly scratch: number;
  private readonly vring: number;
  private packed = false;

  constructor(zone: Zone, pool: MbufPool, regions: number, vring: number) {
    this.zone = zone;
    this.vring = vring;
    this.block = new QueueBlock(zone, `queue block of vring ${vring}`, 0, vring >>> 1);
    const segments = Segment.MAX * Segment.BYTES;
    const heads = Segment.MAX * 12;
    this.scratch = zone.allocate(`scratch of vring ${vring}`, segments + heads + 64);
    this.block.set(Vring.SEGMENTS, this.scratch);
    this.block.set(Vring.HEADS, this.scratch + segments);
    this.block.set(Vring.SCRATCH, this.scratch + segments + heads);
    this.block.set(Vring.REGIONS, regions);
    this.block.set(Vring.ROOM, pool.dataRoom);
  }

  /** The guest's transmit rings are our receive queues. */
  get receives(): boolean {
    return this.vring % 2 === 1;
  }

  /** Number of the port's queue. */
  get index(): number {
    return this.vring >>> 1;
  }

  /** Throws a named error, and leaves the queue halted, if the rings do not lie in shared memory. */
  start(memory: GuestMemory, state: BackendVring, mergeable: boolean): void {
    const { size } = state;
    this.packed = state.packed;
    const bytes = this.packed ? { avail: 4, used: 4 } : { avail: 6 + 2 * size, used: 6 + 8 * size };
    const desc = memory.ringOffset("descriptor table", state.desc, 16 * size, 16);
    const avail = memory.ringOffset(this.packed ? "driver area" : "avail ring", state.avail, bytes.avail, 4);
    const used = memory.ringOffset(this.packed ? "device area" : "used ring", state.used, bytes.used, 4);
    const { u16 } = this.zone.arena;
    const position = this.packed ? packedIndex(state.base & 0xffff, size) : state.base & 0xffff;
    for (const [word, value] of [
      [Vring.DESC, desc],
      [Vring.AVAIL, avail],
      [Vring.USED, used],
      [Vring.SIZE, size],
      [Vring.AVAIL_INDEX, position],
      [Vring.USED_INDEX, this.packed ? position : u16[(used >>> 1) + 1]!],
      [Vring.FLAGS, mergeable ? VringFlag.MERGEABLE : 0],
      [Vring.POLLED, state.kickFd === undefined ? 1 : 0],
    ] as const) {
      this.block.set(word, value);
    }
    this.block.set(Vring.CALLED_INDEX, this.block.get(this.packed ? Vring.AVAIL_INDEX : Vring.USED_INDEX));
    this.setCall(state.callFd);
    u16[(used >>> 1) + (this.packed ? 1 : 0)] = NO_NOTIFY;
    this.block.run(this.packed ? QueueKind.VHOST_PACKED : QueueKind.VHOST_SPLIT);
  }

  /** The eventfd that interrupts the guest; undefined if it has none. */
  setCall(fd: number | undefined): void {
    this.block.set(Vring.CALL_FD, fd ?? 0);
  }

  /** Where the next start goes on: GET_VRING_BASE's answer. */
  get base(): number {
    const index = this.block.get(Vring.AVAIL_INDEX);
    if (!this.packed) return index & 0xffff;
    const size = this.block.get(Vring.SIZE);
    const position = (index & (size - 1)) | ((index & size) === 0 ? 0x8000 : 0);
    return (position | (position << 16)) >>> 0; // avail and used with their wrap counters
  }

  free(): void {
    this.block.free();
    this.zone.free(this.scratch);
  }
}

/**
 * A packed ring's position and wrap counter (bit 15) as a running index, whose bit `size` is 0 while the counter is
 * 1.
 */
function packedIndex(base: number, size: number): number {
  return (base & 0x7fff & (size - 1)) | ((base & 0x8000) !== 0 ? 0 : size);
}
