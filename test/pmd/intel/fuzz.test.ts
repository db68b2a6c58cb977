// Nothing that a NIC writes is trusted: rings of pmd/intel under fuzz, with both formats of descriptors. A failure
// prints its seed; FUZZ_SEED repeats it, FUZZ_MUTATIONS makes it run longer.
import { IntelQueue } from "../../../pmd/intel/layout.ts";
import type { IntelRing } from "../../../pmd/intel/queue.ts";
import { QueueError } from "../../../src/hot/layout.ts";
import { makeFrame } from "../../support/engines.ts";
import { variants } from "../../support/invariants.ts";
import { fuzzCases, PairFuzz, RING, ROOM } from "../../support/queue-fuzz.ts";
import { DriverFault, type WriteBack } from "./nic-model.ts";
import { formats, IntelPair } from "./rings.ts";

const CHANGING = [
  IntelQueue.HEAD,
  IntelQueue.TAIL,
  IntelQueue.PARTIAL,
  IntelQueue.PARTIAL_LAST,
  IntelQueue.CONTEXT_FLAGS,
  IntelQueue.CONTEXT_FIELDS,
];

class NicFuzz extends PairFuzz<IntelPair> {
  protected override readonly shifts = [0, 0, -1, -128];
  protected override readonly heldMax = RING - 1;
  private late: WriteBack[] = [];

  /** Frames, some of them written back only in part until the next time. */
  protected override deliver(): void {
    const { random, pair } = this;
    pair.nic.rx.complete(this.late.splice(0));
    for (let k = random.below(6); k > 0; k--) {
      const length = random.chance(20) ? random.between(1025, 9000) : random.pick([10, 60, 300, ROOM]);
      const told = { status: random.pick([0, 0x78, 0x40, 0x8]), vlan: random.below(65536) };
      const backs = pair.nic.rx.write(makeFrame(this.tag++, length), told) ?? [];
      if (backs.length > 1 && random.chance(50)) this.late.push(...backs.splice(random.below(backs.length)));
      pair.nic.rx.complete(backs);
      if (this.late.length > 0) break;
    }
  }

  protected override report(): void {
    const { tx } = this.pair.nic;
    tx.take(this.random.below(8));
    tx.report(this.random.below(tx.unreported + 1));
  }

  protected override isFault(error: unknown): boolean {
    return error instanceof DriverFault;
  }

  /** Arena offset of a descriptor's word. */
  private at(ring: IntelRing, index: number, word: number): number {
    return ring.base.low + 16 * (index % RING) + 4 * word;
  }

  private put(what: string, at: number, value: number): string {
    this.rig.put(at, value);
    return `${what} = ${value >>> 0}`;
  }

  override mutate(): string {
    return this.random.chance(75) ? this.mutateReceive() : this.mutateTransmit();
  }

  private mutateReceive(): string {
    const { random } = this;
    const ring = this.pair.rx;
    const index = ring.block.get(IntelQueue.HEAD) + random.below(6);
    const status = this.at(ring, index, 2);
    const length = this.at(ring, index, 3);
    const name = (word: string) => `rx [${index % RING}].${word}`;
    switch (random.below(7)) {
      case 0:
        return this.put(name("status"), status, random.pick([0, 1, 2, 3, 3, 0x8000_0003, random.word()]));
      case 1:
        return this.put(
          name("length"),
          length,
          random.pick(variants(0, 16, ROOM)) + (random.word() & 0xffff0000),
        );
      case 2:
        return this.put(name("status"), status, 3) + this.put(" length", length, random.word());
      case 3:
        return this.put(name("status"), status, 1) + this.put(" length", length, random.below(ROOM + 2));
      case 4:
        return this.endless(ring, index);
      case 5:
        return this.put(name("address"), this.at(ring, index, random.below(2)), random.word());
      default:
        return this.anywhere(ring, "rx");
    }
  }

  /** Descriptors that claim to go on, all of them. */
  private endless(ring: IntelRing, index: number): string {
    const length = this.random.pick([0, 1, ROOM]);
    for (let k = 0; k < RING; k++) {
      this.rig.put(this.at(ring, index + k, 2), 1);
      this.rig.put(this.at(ring, index + k, 3), length);
    }
    this.spoilt = true;
    return `rx: pieces of ${length} bytes without end`;
  }

  private mutateTransmit(): string {
    const { random } = this;
    const ring = this.pair.tx;
    const index = ring.block.get(IntelQueue.HEAD) + random.below(8);
    switch (random.below(3)) {
      case 0:
        return this.put(
          `tx [${index % RING}].status`,
          this.at(ring, index, 3),
          random.pick([0, 1, 1, 1, random.word()]),
        );
      case 1:
        return this.put(`tx [${index % RING}]`, this.at(ring, index, random.below(4)), random.word());
      default:
        return this.anywhere(ring, "tx");
    }
  }

  private anywhere(ring: IntelRing, name: string): string {
    const offset = this.random.below(16 * RING);
    const value = this.random.word() & 255;
    this.rig.arena.u8[ring.base.low + offset] = value;
    this.spoilt = true;
    return `${name} byte ${offset} = ${value}`;
  }

  override run(look: (packets: readonly number[]) => void): void {
    super.run(look);
    const { rig, pair } = this;
    rig.hot.rxPending(pair.rxq);
    const tails = rig.words(pair.registers, 2);
    if (tails.some((tail) => tail >= RING)) throw new Error(`tail registers ${tails}`);
  }

  protected override heldBy(block: IntelRing["block"]): number {
    return block.get(IntelQueue.TAIL) - block.get(IntelQueue.HEAD);
  }

  override restart(): void {
    this.late = [];
    super.restart();
  }
}

fuzzCases(
  formats.map((format, index) => ({
    name: format,
    mbufs: 320,
    index,
    possible: [QueueError.BAD_LENGTH],
    make(rig, random, invariants) {
      const pair = new IntelPair(rig, format, { size: RING });
      for (const { block } of [pair.rx, pair.tx]) invariants.watch(block, CHANGING);
      return new NicFuzz(rig, pair, random);
    },
  })),
);
