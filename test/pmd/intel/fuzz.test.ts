// Nothing that a NIC writes is trusted: rings of pmd/intel under fuzz, with both formats of descriptors. A failure
// prints its seed; FUZZ_SEED repeats it, FUZZ_MUTATIONS makes it run longer.
import t from "tap";
import { IntelQueue } from "../../../pmd/intel/layout.ts";
import type { IntelRing } from "../../../pmd/intel/queue.ts";
import { Queue, QueueError } from "../../../src/hot/layout.ts";
import { makeFrame, Rig, type Tap } from "../../support/engines.ts";
import {
  checkErrors,
  fuzz,
  fuzzEngines,
  halfOfMutations,
  type Subject,
  seedFor,
  Witness,
} from "../../support/fuzz.ts";
import { Invariants, variants } from "../../support/invariants.ts";
import { Random } from "../../support/random.ts";
import { DriverFault, type WriteBack } from "./nic-model.ts";
import { formats, IntelPair } from "./rings.ts";

const RING = 64;
const ROOM = 1024;
const CHANGING = [
  IntelQueue.HEAD,
  IntelQueue.TAIL,
  IntelQueue.PARTIAL,
  IntelQueue.PARTIAL_LAST,
  IntelQueue.CONTEXT_FLAGS,
  IntelQueue.CONTEXT_FIELDS,
];

class NicFuzz implements Subject {
  spoilt = false;
  readonly pair: IntelPair;
  private readonly rig: Rig;
  private readonly random: Random;
  private late: WriteBack[] = [];
  private tag = 0;

  constructor(rig: Rig, pair: IntelPair, random: Random) {
    this.rig = rig;
    this.pair = pair;
    this.random = random;
  }

  prepare(): void {
    const { rig, pair, random } = this;
    if (random.chance(70)) rig.free(rig.receive(pair.rxq, random.between(1, 32)));
    try {
      this.deliver();
      const packets = Array.from({ length: random.below(6) }, () => this.packet());
      rig.free(packets.slice(rig.send(pair.txq, packets)));
      pair.nic.tx.take(random.below(8));
      pair.nic.tx.report(random.below(pair.nic.tx.unreported + 1));
    } catch (error) {
      if (!(error instanceof DriverFault)) throw error;
      this.spoilt = true; // the ring says nonsense since an earlier change
    }
  }

  /** Frames, some of them written back only in part until the next time. */
  private deliver(): void {
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

  private packet(): number {
    const { random } = this;
    const frame = makeFrame(this.tag++, random.pick([60, 200]));
    return this.rig.packet(frame, random.pick([ROOM, 64]), random.pick([0, 0, -1, -128]));
  }

  /** Arena offset of a descriptor's word. */
  private at(ring: IntelRing, index: number, word: number): number {
    return ring.base.low + 16 * (index % RING) + 4 * word;
  }

  private put(what: string, at: number, value: number): string {
    this.rig.put(at, value);
    return `${what} = ${value >>> 0}`;
  }

  mutate(): string {
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

  run(look: (packets: readonly number[]) => void): void {
    const { rig, pair, random } = this;
    const burst = () => {
      const n = random.pick([1, 4, 32, 64]);
      const got = rig.receive(pair.rxq, n);
      if (got.length > n) throw new Error(`${got.length} packets of ${n}`);
      look(got);
    };
    burst();
    const packets = [this.packet(), this.packet()];
    const took = rig.send(pair.txq, packets);
    if (took > 2) throw new Error(`${took} packets sent of 2`);
    rig.free(packets.slice(took));
    rig.hot.txIdle(pair.txq);
    rig.hot.rxPending(pair.rxq);
    burst();
    const tails = rig.words(pair.registers, 2);
    if (tails.some((tail) => tail >= RING)) throw new Error(`tail registers ${tails}`);
  }

  held(): number[] {
    for (const { block } of [this.pair.rx, this.pair.tx]) {
      const held = (block.get(IntelQueue.TAIL) - block.get(IntelQueue.HEAD)) >>> 0;
      if (held >= RING) throw new Error(`a ring of ${RING} holds ${held} descriptors`);
    }
    return this.pair.held();
  }

  stopped(): number[] {
    return [this.pair.rx, this.pair.tx]
      .filter(({ block }) => !block.running)
      .map(({ block }) => block.get(Queue.ERROR));
  }

  drain(): void {
    this.pair.stop();
  }

  restart(): void {
    this.late = [];
    this.spoilt = false;
    this.pair.start();
  }
}

const share = Math.ceil(halfOfMutations / (fuzzEngines.length * formats.length));

t.setTimeout(3_600_000); // FUZZ_MUTATIONS may ask for an hour of it

for (const kind of fuzzEngines) {
  t.test(kind, async (t) => {
    for (const [k, format] of formats.entries()) {
      await t.test(`${format}: ${share} mutations`, async (t) => {
        const rig = await Rig.make(kind, { mbufs: 320, dataRoom: ROOM });
        const random = new Random(seedFor(k));
        const invariants = new Invariants(rig);
        const guard = () => [rig.private, rig.dma].map((zone) => invariants.guard(zone));
        const witness = new Witness(rig);
        guard();
        const pair = new IntelPair(rig, format, { size: RING });
        guard();
        for (const { block } of [pair.rx, pair.tx]) invariants.watch(block, CHANGING);
        const errors = new Map<number, number>();
        const subject = new NicFuzz(rig, pair, random);
        t.equal(fuzz({ rig, invariants, witness, subject, random, mutations: share, errors }), undefined);
        checkErrors(t as unknown as Tap, format, errors, [QueueError.BAD_LENGTH]);
        rig.close();
      });
    }
  });
}
