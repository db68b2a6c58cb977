// What the fuzz tests of a driver's receive and transmit queue have in common: traffic through a modelled device,
// bursts of the code under test, and a test for each engine and kind of queue. What is the driver's own stands in its
// test: how its device delivers and reports, and what of the shared memory is changed.
import t from "tap";
import { Queue, type QueueError } from "../../src/hot/layout.ts";
import { makeFrame, Rig, type Tap } from "./engines.ts";
import { checkErrors, fuzz, fuzzEngines, halfOfMutations, type Subject, seedFor, Witness } from "./fuzz.ts";
import { Invariants } from "./invariants.ts";
import { Random } from "./random.ts";

export const RING = 64;
export const ROOM = 1024;

interface Block {
  readonly running: boolean;
  get(word: number): number;
}

/** A receive and a transmit queue with the device that they are of. */
export interface FuzzPair {
  readonly rx: { readonly block: Block };
  readonly tx: { readonly block: Block };
  /** Arena offsets of the blocks. */
  readonly rxq: number;
  readonly txq: number;
  held(): number[];
  start(): void;
  stop(): void;
}

export abstract class PairFuzz<Pair extends FuzzPair> implements Subject {
  spoilt = false;
  readonly pair: Pair;
  protected readonly rig: Rig;
  protected readonly random: Random;
  protected tag = 0;

  constructor(rig: Rig, pair: Pair, random: Random) {
    this.rig = rig;
    this.pair = pair;
    this.random = random;
  }

  /** The device writes frames into what it was given. */
  protected abstract deliver(): void;
  /** It takes what is to be sent, and reports some of it as sent. */
  protected abstract report(): void;
  /** Thrown by the model at a ring that says nonsense. */
  protected abstract isFault(error: unknown): boolean;
  abstract mutate(): string;
  /** Descriptors that a queue holds, as its block has it. */
  protected abstract heldBy(block: Block): number;
  protected readonly heldMax: number = RING;
  /** Where the bytes of a packet to be sent begin. */
  protected abstract readonly shifts: readonly number[];

  prepare(): void {
    const { rig, pair, random } = this;
    if (random.chance(70)) rig.free(rig.receive(pair.rxq, random.between(1, 32)));
    try {
      this.deliver();
      const packets = Array.from({ length: random.below(6) }, () => this.packet());
      rig.free(packets.slice(rig.send(pair.txq, packets)));
      this.report();
    } catch (error) {
      if (!this.isFault(error)) throw error;
      this.spoilt = true; // the ring says nonsense since an earlier change
    }
  }

  private packet(): number {
    const { random } = this;
    const frame = makeFrame(this.tag++, random.pick([60, 200]));
    return this.rig.packet(frame, random.pick([ROOM, 64]), random.pick(this.shifts));
  }

  run(look: (packets: readonly number[]) => void): void {
    const { rig, pair } = this;
    receiveBurst(rig, pair.rxq, this.random.pick([1, 4, 32, 64]), look);
    sendAll(rig, pair.txq, [this.packet(), this.packet()]);
    receiveBurst(rig, pair.rxq, this.random.pick([1, 4, 32, 64]), look);
  }

  held(): number[] {
    for (const { block } of [this.pair.rx, this.pair.tx]) {
      const held = this.heldBy(block) >>> 0;
      if (held > this.heldMax) throw new Error(`a ring of ${RING} holds ${held} descriptors`);
    }
    return this.pair.held();
  }

  stopped(): number[] {
    return stoppedOf([this.pair.rx.block, this.pair.tx.block]);
  }

  drain(): void {
    this.pair.stop();
  }

  restart(): void {
    this.spoilt = false;
    this.pair.start();
  }
}

/** `look` gives the packets back. */
export function receiveBurst(
  rig: Rig,
  queue: number,
  most: number,
  look: (packets: readonly number[]) => void,
): void {
  const got = rig.receive(queue, most);
  if (got.length > most) throw new Error(`${got.length} packets of ${most}`);
  look(got);
}

/** What the queue does not take is given back. */
export function sendAll(rig: Rig, queue: number, packets: readonly number[]): void {
  const took = rig.send(queue, packets);
  if (took > packets.length) throw new Error(`${took} packets sent of ${packets.length}`);
  rig.free(packets.slice(took));
  rig.hot.txIdle(queue);
}

/** Errors of queues that stopped themselves. */
export function stoppedOf(blocks: readonly Block[]): number[] {
  return blocks.filter((block) => !block.running).map((block) => block.get(Queue.ERROR));
}

export interface FuzzCase {
  readonly name: string;
  readonly mbufs: number;
  /** Of its seed: another one for each case of all tests. */
  readonly index: number;
  /** Errors that its queues stop with: all of them are to be seen. */
  readonly possible: readonly QueueError[];
  /** The queues, made between two guards of memory; `watch` their blocks. */
  make(rig: Rig, random: Random, invariants: Invariants): Subject;
}

/** A test for each engine and case, which share the mutations: `part` of a half of all. */
export function fuzzCases(cases: readonly FuzzCase[], part = 1): void {
  const mutations = Math.ceil((halfOfMutations * part) / (fuzzEngines.length * cases.length));
  t.setTimeout(3_600_000); // FUZZ_MUTATIONS may ask for an hour of it
  for (const kind of fuzzEngines) {
    t.test(kind, async (t) => {
      for (const { name, mbufs, index, possible, make } of cases) {
        await t.test(`${name}: ${mutations} mutations`, async (t) => {
          const rig = await Rig.make(kind, { mbufs, dataRoom: ROOM });
          const random = new Random(seedFor(index));
          const invariants = new Invariants(rig);
          const guard = () => [rig.private, rig.dma].map((zone) => invariants.guard(zone));
          const witness = new Witness(rig);
          guard();
          const subject = make(rig, random, invariants);
          guard();
          const errors = new Map<number, number>();
          t.equal(fuzz({ rig, invariants, witness, subject, random, mutations, errors }), undefined);
          checkErrors(t as unknown as Tap, name, errors, possible);
          rig.close();
        });
      }
    });
  }
}
