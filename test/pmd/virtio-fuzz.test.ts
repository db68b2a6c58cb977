// Nothing that a device writes is trusted: rings of net_virtio_user under fuzz, split and packed, in every mode. A
// failure prints its seed; FUZZ_SEED repeats it, FUZZ_MUTATIONS makes it run longer.
import { Virtq } from "../../pmd/virtio/layout.ts";
import type { VirtQueue } from "../../pmd/virtio/queue.ts";
import { QueueError } from "../../src/hot/layout.ts";
import { makeFrame } from "../support/engines.ts";
import { variants } from "../support/invariants.ts";
import { fuzzCases, PairFuzz, RING, ROOM } from "../support/queue-fuzz.ts";
import { DriverFault, type Use } from "../support/virtio-device.ts";
import { type Mode, modeName, VirtioPair, virtioModes } from "../support/virtio-queues.ts";

const CHANGING = [
  Virtq.USED_INDEX,
  Virtq.AVAIL_INDEX,
  Virtq.FREE_INDEX,
  Virtq.RING_INDEX,
  Virtq.KICKED_INDEX,
  Virtq.FLAGS,
];

class DeviceFuzz extends PairFuzz<VirtioPair> {
  protected override readonly shifts = [0, 0, 0, -4, -124];
  private kept: Use[] = [];

  private get mode(): Mode {
    return this.pair.mode;
  }

  protected override report(): void {
    const { random, pair } = this;
    this.kept.push(...pair.device.tx.takeAll().map(({ chain }) => ({ chain, bytes: 0 })));
    if (!this.mode.inOrder && random.chance(40)) random.shuffle(this.kept);
    const batch = this.mode.inOrder && random.chance(50);
    const now = this.kept.splice(0, random.below(this.kept.length + 1));
    if (now.length > 0) pair.device.tx.ring.complete(now, batch);
  }

  protected override deliver(): void {
    const { random, pair } = this;
    const disorder = !this.mode.inOrder && random.chance(30);
    const written: Use[][] = [];
    for (let k = random.below(6); k > 0; k--) {
      const length = this.mode.mergeable && random.chance(30) ? 3000 : random.pick([10, 60, 300, ROOM]);
      const uses = pair.device.rx.write(makeFrame(this.tag++, length), (spare) =>
        disorder ? random.below(Math.max(1, spare)) : 0,
      );
      if (uses) written.push(uses);
    }
    if (disorder) random.shuffle(written);
    for (const uses of written) pair.device.rx.ring.complete(uses);
  }

  protected override isFault(error: unknown): boolean {
    return error instanceof DriverFault;
  }

  override mutate(): string {
    const { random } = this;
    const queue = random.chance(60) ? this.pair.rx : this.pair.tx;
    const name = queue.receives ? "rx" : "tx";
    return `${name} ${this.mode.packed ? this.mutatePacked(queue) : this.mutateSplit(queue)}`;
  }

  private put16(what: string, at: number, value: number): string {
    this.rig.arena.u16[at >>> 1] = value;
    return `${what} = ${value}`;
  }
  private put32(what: string, at: number, value: number): string {
    this.rig.arena.u32[at >>> 2] = value;
    return `${what} = ${value}`;
  }

  private areas(queue: VirtQueue) {
    const { desc, avail, used } = queue.addresses;
    return {
      desc: Number(desc & 0xffffffffn),
      avail: Number(avail & 0xffffffffn),
      used: Number(used & 0xffffffffn),
    };
  }

  private length(): number {
    const { random } = this;
    return random.pick([
      ...variants(0, 32, ROOM + 12),
      11,
      12,
      13,
      25,
      26,
      random.word(),
      random.below(ROOM),
    ]);
  }

  private id(): number {
    const { random } = this;
    return random.pick([
      ...variants(random.below(RING), 32, RING),
      random.below(RING),
      random.below(RING),
      random.word(),
    ]);
  }

  /** num_buffers of a buffer that the device has, or of any other that the queue was ever given. */
  private buffers(queue: VirtQueue, id: number): string {
    const data = this.rig.word(queue.block.get(Virtq.DATA) + 4 * (id % RING));
    const count = this.random.pick([
      ...variants(1, 16, RING),
      this.random.below(5),
      this.random.word() & 0xffff,
    ]);
    return this.put16(`num_buffers of ${id % RING}`, data - 2, count);
  }

  private mutateSplit(queue: VirtQueue): string {
    const { random, rig } = this;
    const { desc, avail, used } = this.areas(queue);
    const position = queue.block.get(Virtq.USED_INDEX) + random.below(6);
    const entry = used + 4 + 8 * (position % RING);
    const index = rig.arena.u16[(used + 2) >>> 1]!;
    switch (random.below(9)) {
      case 0:
        return this.put16("used.idx", used + 2, (index + random.between(-3, RING + 3)) & 0xffff);
      case 1:
        return this.put16(
          "used.idx",
          used + 2,
          random.pick([...variants(index, 16, RING), random.word() & 0xffff]),
        );
      case 2:
        return this.put16("used.flags", used, random.word() & 0xffff);
      case 3:
      case 4:
        return this.put32(`used[${position % RING}].id`, entry, this.id());
      case 5:
        return this.put32(`used[${position % RING}].len`, entry + 4, this.length());
      case 6:
        return this.buffers(queue, rig.word(entry));
      case 7:
        return this.anywhere(desc, 16 * RING, "descriptors");
      default:
        return this.anywhere(avail, 6 + 2 * RING, "avail ring");
    }
  }

  private mutatePacked(queue: VirtQueue): string {
    const { random, rig } = this;
    const { desc, avail, used } = this.areas(queue);
    const position = queue.block.get(Virtq.USED_INDEX) + random.below(6);
    const at = desc + 16 * (position % RING);
    const flags = rig.arena.u16[(at + 14) >>> 1]!;
    switch (random.below(8)) {
      case 0:
      case 1:
        return this.put16(`[${position % RING}].id`, at + 12, this.id() & 0xffff);
      case 2:
        return this.put32(`[${position % RING}].len`, at + 8, this.length());
      case 3: {
        const both = (position & RING) === 0 ? 0x8080 : 0;
        return this.put16(
          `[${position % RING}].flags`,
          at + 14,
          random.pick([both, both | 2, flags ^ 0x8080]),
        );
      }
      case 4:
        return this.put16(`[${position % RING}].flags`, at + 14, random.word() & 0xffff);
      case 5:
        return this.buffers(queue, rig.arena.u16[(at + 12) >>> 1]!);
      case 6:
        return this.anywhere(random.pick([avail, used]), 4, "event suppression");
      default:
        return this.anywhere(desc, 16 * RING, "descriptors");
    }
  }

  /** Any byte of an area. The model cannot follow addresses that were changed, so it begins anew. */
  private anywhere(at: number, bytes: number, what: string): string {
    const offset = this.random.below(bytes);
    const value = this.random.word() & 255;
    this.rig.arena.u8[at + offset] = value;
    this.spoilt = true;
    return `${what} byte ${offset} = ${value}`;
  }

  override run(look: (packets: readonly number[]) => void): void {
    super.run(look);
    this.rig.notified.length = 0;
  }

  protected override heldBy(block: VirtQueue["block"]): number {
    return block.get(Virtq.AVAIL_INDEX) - block.get(Virtq.FREE_INDEX);
  }

  override restart(): void {
    this.kept = [];
    super.restart();
  }
}

function possible({ packed, mergeable }: Mode): QueueError[] {
  return [
    ...(packed ? [] : [QueueError.USED_INDEX_JUMPED]),
    QueueError.BAD_USED_ID,
    QueueError.BAD_USED_LENGTH,
    ...(mergeable ? [QueueError.BAD_BUFFER_COUNT] : []),
  ];
}

fuzzCases(
  virtioModes.map((mode, index) => ({
    name: modeName(mode),
    mbufs: 320,
    index,
    possible: possible(mode),
    make(rig, random, invariants) {
      const pair = new VirtioPair(rig, mode, RING);
      for (const queue of [pair.rx, pair.tx]) invariants.watch(queue.block, CHANGING);
      return new DeviceFuzz(rig, pair, random);
    },
  })),
);
