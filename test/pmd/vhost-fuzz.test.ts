// Nothing that a guest writes is trusted: net_vhost's queues under fuzz, split and packed, mergeable or not, with
// chains and indirect tables. A failure prints its seed; FUZZ_SEED repeats it, FUZZ_MUTATIONS makes it run longer.
import { Vring } from "../../pmd/vhost/layout.ts";
import type { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueError } from "../../src/hot/layout.ts";
import { makeFrame, type Rig } from "../support/engines.ts";
import type { Subject } from "../support/fuzz.ts";
import { variants } from "../support/invariants.ts";
import { fuzzCases, RING, receiveBurst, sendAll, stoppedOf } from "../support/queue-fuzz.ts";
import type { Random } from "../support/random.ts";
import { VhostPair } from "../support/vhost-backend.ts";
import { DeviceFault, type DriverRing, GuestMemory } from "../support/virtio-guest.ts";

/** Regions small enough that changed lengths and addresses often fall just beside them. */
const REGIONS = [0x30000, 0x20000];
const NEXT = 1;
const INDIRECT = 4;

class GuestFuzz implements Subject {
  spoilt = false;
  readonly pair: VhostPair;
  private readonly rig: Rig;
  private readonly random: Random;
  private readonly packed: boolean;
  private readonly mergeable: boolean;
  private tag = 0;

  constructor(rig: Rig, pair: VhostPair, random: Random, packed: boolean, mergeable: boolean) {
    this.rig = rig;
    this.pair = pair;
    this.random = random;
    this.packed = packed;
    this.mergeable = mergeable;
  }

  private layout() {
    const { random } = this;
    return { indirect: random.chance(40), headerApart: random.chance(40), pieces: random.pick([1, 1, 2, 4]) };
  }

  prepare(): void {
    const { random, pair } = this;
    try {
      pair.guest.tx.reap();
      pair.guest.received(this.mergeable);
    } catch (error) {
      if (!(error instanceof DeviceFault)) throw error;
      this.spoilt = true; // the ring says nonsense since an earlier change
    }
    for (let k = random.between(1, 6); k > 0; k--) {
      pair.guest.send(makeFrame(this.tag++, random.pick([10, 60, 60, 300, 2000])), this.layout());
      pair.guest.offer(this.mergeable ? random.between(40, 300) : random.between(200, 2100), this.layout());
    }
    pair.guest.tx.publish();
    pair.guest.rx.publish();
  }

  mutate(): string {
    const { rx, tx, guest } = this.pair;
    const [block, ring, name] = this.random.chance(50)
      ? ([rx, guest.tx, "rx"] as const)
      : ([tx, guest.rx, "tx"] as const);
    return `${name} ${this.random.chance(3) ? this.longChain(block, ring) : this.mutateRing(block, ring)}`;
  }

  private put16(what: string, at: number, value: number): string {
    this.rig.arena.u16[at >>> 1] = value;
    return `${what} = ${value}`;
  }
  private put32(what: string, at: number, value: number): string {
    this.rig.arena.u32[at >>> 2] = value;
    return `${what} = ${value}`;
  }

  private mutateRing(block: QueueBlock, ring: DriverRing): string {
    const { random, rig } = this;
    const index = rig.arena.u16[(ring.avail + 2) >>> 1]!;
    const position = block.get(Vring.AVAIL_INDEX) + random.below(5);
    switch (random.below(this.packed ? 6 : 9)) {
      case 0:
        return this.anywhere(ring.used, 6 + 8 * RING, "used ring");
      case 1:
        return this.put16("driver's flags", ring.avail + (this.packed ? 2 : 0), random.word() & 0xffff);
      case 6:
        return this.put16("avail.idx", ring.avail + 2, (index + random.between(-3, RING + 3)) & 0xffff);
      case 7:
        return this.put16(
          "avail.idx",
          ring.avail + 2,
          random.pick([...variants(index, 16, RING), random.word() & 0xffff]),
        );
      case 8: {
        const head = random.pick([...variants(random.below(RING), 16, RING), random.below(RING)]);
        return this.put16("avail.ring", ring.avail + 4 + 2 * (position % RING), head);
      }
      default:
        return this.mutateDescriptor(...this.findDescriptor(position, ring));
    }
  }

  /** A descriptor that is about to be read: in the ring, or in the table that it names. */
  private findDescriptor(position: number, ring: DriverRing): [at: number, indirect: boolean] {
    const { random, rig } = this;
    const ringHead = rig.arena.u16[(ring.avail + 4 + 2 * (position % RING)) >>> 1]! % RING;
    let slot = this.packed ? position % RING : ringHead;
    for (let hops = random.below(3); hops > 0; hops--) {
      slot = this.packed ? (slot + 1) % RING : rig.arena.u16[(ring.desc + 16 * slot + 14) >>> 1]! % RING;
    }
    const at = ring.desc + 16 * slot;
    const flags = rig.arena.u16[(at + (this.packed ? 14 : 12)) >>> 1]!;
    if ((flags & INDIRECT) === 0 || random.chance(30)) return [at, false];
    const table = this.packed ? rig.arena.u16[(at + 12) >>> 1]! % RING : slot;
    return [ring.tableOffset(table) + 16 * random.below(4), true];
  }

  private mutateDescriptor(at: number, inTable: boolean): string {
    const { random, rig } = this;
    const where = `descriptor ${inTable ? "(indirect) " : ""}${at}`;
    const flagsAt = at + (this.packed ? 14 : 12);
    const flags = rig.arena.u16[flagsAt >>> 1]!;
    switch (random.below(7)) {
      case 0:
        return this.put32(`${where} address`, at, this.address(rig.word(at)));
      case 6:
        return `${where} ${this.straddle(at)}`;
      case 1:
        return this.put32(
          `${where} high address`,
          at + 4,
          random.pick([0, 1, 2, 3, 0xffffffff, random.word()]),
        );
      case 2:
      case 3: {
        const length = random.pick([
          ...variants(rig.word(at + 8), 32, REGIONS[0]!),
          11,
          12,
          13,
          16,
          25,
          26,
          32,
          random.word(),
        ]);
        return this.put32(`${where} length`, at + 8, length);
      }
      case 4: {
        const toggled = flags ^ random.pick([NEXT, 2, INDIRECT, 0x80, 0x8000, 0x8080, 5, 7]);
        return this.put16(`${where} flags`, flagsAt, random.chance(80) ? toggled : random.word() & 0xffff);
      }
      default: {
        const next = random.pick([
          ...variants(random.below(RING), 16, RING),
          random.below(RING),
          random.below(4),
        ]);
        return this.put16(`${where} next or id`, at + (this.packed ? 12 : 14), next);
      }
    }
  }

  /** A piece that ends at a region's last byte, or a little behind it. */
  private straddle(at: number): string {
    const { random, rig, pair } = this;
    const { base, bytes } = random.pick(pair.memory.regions);
    const inside = random.pick([12, 100, 300, 1000]);
    const beyond = random.pick([0, 0, 1, 2, 16, 40]);
    rig.put(at, (Number(base & 0xffffffffn) + bytes - inside) >>> 0);
    rig.put(at + 4, Number(base >> 32n));
    rig.put(at + 8, inside + beyond);
    return `${inside} bytes to a region's end and ${beyond} more`;
  }

  /** Just inside and just beside each region, and anywhere. */
  private address(old: number): number {
    const { random, pair } = this;
    const { base, bytes } = random.pick(pair.memory.regions);
    const low = Number(base & 0xffffffffn);
    const edges = [-1, 0, 1, bytes - 16, bytes - 12, bytes - 1, bytes].map((edge) => (low + edge) >>> 0);
    return random.pick([...edges, ...variants(old, 32, low), random.word()]);
  }

  /** A chain as long as the ring that never ends, or an indirect table beyond all bounds; each entry is good. */
  private longChain(block: QueueBlock, ring: DriverRing): string {
    const { rig, random } = this;
    const { regions } = this.pair.memory;
    const write = block === this.pair.tx ? 2 : 0;
    const put = (at: number, flags: number, link: number) => {
      rig.put(at, Number(regions[1]!.base & 0xffffffffn));
      rig.put(at + 4, Number(regions[1]!.base >> 32n));
      rig.put(at + 8, 20);
      rig.arena.u16[(at + (this.packed ? 14 : 12)) >>> 1] = flags | write;
      rig.arena.u16[(at + (this.packed ? 12 : 14)) >>> 1] = link;
    };
    this.spoilt = true;
    const first = block.get(Vring.AVAIL_INDEX);
    if (random.chance(50)) {
      const wrapped = (k: number) => (((first + k) & RING) === 0 ? 0x80 : 0x8000);
      for (let k = 0; k < RING; k++) {
        const slot = (first + k) % RING;
        put(ring.desc + 16 * slot, NEXT | (this.packed ? wrapped(k) : 0), (slot + 1) % RING);
      }
      return "a chain without end";
    }
    const entries = 3000;
    const table = regions[0]!.bytes - 16 * entries;
    for (let k = 0; k < entries; k++) put(regions[0]!.offset + table + 16 * k, NEXT, k + 1);
    const at = ring.desc + 16 * (this.packed ? first % RING : this.head(first, ring));
    rig.put(at, Number(regions[0]!.base & 0xffffffffn) + table);
    rig.put(at + 4, Number(regions[0]!.base >> 32n));
    rig.put(at + 8, 16 * entries);
    const flagsAt = (at + (this.packed ? 14 : 12)) >>> 1;
    rig.arena.u16[flagsAt] = (rig.arena.u16[flagsAt]! & ~NEXT) | INDIRECT;
    return "an indirect table of 3000 entries";
  }

  private head(index: number, ring: DriverRing): number {
    return this.rig.arena.u16[(ring.avail + 4 + 2 * (index % RING)) >>> 1]! % RING;
  }

  private anywhere(at: number, bytes: number, what: string): string {
    const offset = this.random.below(bytes);
    const value = this.random.word() & 255;
    this.rig.arena.u8[at + offset] = value;
    this.spoilt = true;
    return `${what} byte ${offset} = ${value}`;
  }

  run(look: (packets: readonly number[]) => void): void {
    const { rig, pair, random } = this;
    receiveBurst(rig, pair.rx.offset, random.pick([1, 4, 32]), look);
    const packets = [60, 700, 1500].map((length) => rig.packet(makeFrame(this.tag++, length)));
    sendAll(rig, pair.tx.offset, packets);
    receiveBurst(rig, pair.rx.offset, random.pick([1, 4, 32]), look);
    rig.notified.length = 0;
  }

  held(): number[] {
    return []; // a backend copies: it holds no mbuf between bursts
  }

  stopped(): number[] {
    return stoppedOf([this.pair.rx, this.pair.tx]);
  }

  drain(): void {}

  restart(): void {
    this.spoilt = false;
    this.pair.restart();
  }
}

function possible(packed: boolean): QueueError[] {
  const splitAlone = [QueueError.AVAIL_INDEX_JUMPED, QueueError.BAD_HEAD, QueueError.BAD_NEXT];
  return [
    ...(packed ? [] : splitAlone),
    QueueError.CHAIN_TOO_LONG,
    QueueError.BAD_ADDRESS,
    QueueError.ZERO_LENGTH,
    QueueError.BAD_DIRECTION,
    QueueError.BAD_INDIRECT,
    QueueError.NO_HEADER,
  ];
}

const cases = [false, true].flatMap((packed) => [false, true].map((mergeable) => ({ packed, mergeable })));

fuzzCases(
  cases.map(({ packed, mergeable }, k) => ({
    name: `${packed ? "packed" : "split"}${mergeable ? " mergeable" : ""}`,
    mbufs: 320,
    index: 100 + k,
    possible: possible(packed),
    make(rig, random, invariants) {
      const memory = new GuestMemory(rig, REGIONS);
      const pair = new VhostPair(rig, memory, { size: RING, packed, mergeable, random });
      for (const { start, bytes } of memory.gaps) invariants.guardRange(start, bytes);
      const changing = [Vring.AVAIL_INDEX, Vring.USED_INDEX, Vring.CALLED_INDEX];
      for (const block of [pair.rx, pair.tx]) invariants.watch(block, changing);
      return new GuestFuzz(rig, pair, random, packed, mergeable);
    },
  })),
);
