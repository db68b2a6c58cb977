// The loop of a fuzz test: a valid state, one or a few fields of shared memory changed, bursts, every invariant
// looked at.

import { type QueueFault, queueFault } from "../../src/ethdev/queue-errors.ts";
import type { QueueError } from "../../src/hot/layout.ts";
import type { EngineKind, Rig, Tap } from "./engines.ts";
import { makeFrame } from "./engines.ts";
import type { Invariants } from "./invariants.ts";
import type { Random } from "./random.ts";
import { VirtioPair } from "./virtio-queues.ts";

export const fuzzEngines: readonly EngineKind[] = ["wasm", "ts"];

/** Mutations in all, over both fuzz tests; each takes its half. */
const mutations = Number(process.env.FUZZ_MUTATIONS ?? 104_000);
/** FUZZ_SEED repeats a failing run. */
const seedGiven = process.env.FUZZ_SEED;

export const halfOfMutations = Math.ceil(mutations / 2);

/** One kind of queue pair under fuzz. */
export interface Subject {
  /** Traffic between the two sides, so that there is something to change. */
  prepare(): void;
  /** Changes one field; returns its name and value. */
  mutate(): string;
  /** Bursts of the code under test. Packets that it received are checked by `look` and given back. */
  run(look: (packets: readonly number[]) => void): void;
  /** Packets that the queues hold. */
  held(): readonly number[];
  /** Errors of queues that stopped themselves. */
  stopped(): number[];
  /** Takes the queues' mbufs back and begins anew. */
  drain(): void;
  restart(): void;
  /** Whether the model's own state is past use, so that it must begin anew. */
  readonly spoilt: boolean;
}

/** An honest pair of queues on the same pool and cache, which must go on whatever befalls the others. */
export class Witness {
  private readonly pair: VirtioPair;
  private tag = 0;

  constructor(rig: Rig) {
    this.pair = new VirtioPair(rig, { packed: false, inOrder: false, mergeable: false }, 64, 1);
  }

  held(): number[] {
    return this.pair.held();
  }

  /** Echoes a few frames; what went wrong. */
  faults(): string[] {
    const { pair } = this;
    const { rig, device } = pair;
    rig.free(rig.receive(pair.rxq, 8));
    const wanted = [60, 1000, 14].map((length) => makeFrame(this.tag++, length));
    if (!wanted.every((frame) => device.rx.deliver(frame))) return ["the other queue has no receive buffers"];
    const packets = rig.receive(pair.rxq, 8);
    const sent = rig.send(pair.txq, packets);
    const seen = device.tx.takeAll();
    device.tx.ring.complete(seen.map(({ chain }) => ({ chain, bytes: 0 })));
    rig.hot.txIdle(pair.txq);
    const same = seen.length === 3 && seen.every(({ frame }, k) => Buffer.compare(frame, wanted[k]!) === 0);
    return packets.length === 3 && sent === 3 && same ? [] : ["the other queue does not work"];
  }
}

export interface FuzzPlan {
  rig: Rig;
  invariants: Invariants;
  witness: Witness;
  subject: Subject;
  random: Random;
  mutations: number;
  /** Counts by QueueError, added to. */
  errors: Map<number, number>;
}

/** Seeds differ by case so that cases do not repeat each other. */
export function seedFor(index: number): number {
  return seedGiven === undefined ? 0x5eed + index * 7919 : Number(seedGiven);
}

const ROUNDS_AN_EPOCH = 12;

/** Runs the plan; returns the first thing that is wrong, undefined if nothing is. */
export function fuzz(plan: FuzzPlan): string | undefined {
  const { subject, random } = plan;
  let round = 0;
  let changed: string[] = [];
  const where = () => `seed ${random.seed}, mutation ${round}: ${changed.join("; ")}`;
  try {
    for (let epoch = 0; round < plan.mutations; ) {
      if (epoch === 0) changed = [];
      subject.prepare();
      const count = random.chance(60) ? 1 : random.between(2, 3);
      changed.push(...Array.from({ length: count }, () => subject.mutate()));
      round++;
      const wrong = judge(plan);
      if (wrong) return `${where()}: ${wrong}`;
      epoch++;
      const over = epoch >= ROUNDS_AN_EPOCH || subject.spoilt || subject.stopped().length > 0;
      if (!over) continue;
      const bad = beginAnew(plan);
      if (bad) return `${where()}: ${bad}`;
      epoch = 0;
    }
  } catch (error) {
    return `${where()}: ${error instanceof Error ? (error.stack ?? error.message) : error}`;
  }
  return undefined;
}

/** Runs bursts and looks at everything. */
function judge({ rig, subject, invariants, witness }: FuzzPlan): string | undefined {
  const wrong: string[] = [];
  invariants.timed(() =>
    subject.run((packets) => {
      wrong.push(...packets.flatMap((mbuf) => invariants.packetFaults(mbuf)));
      if (wrong.length === 0) rig.free(packets);
    }),
  );
  if (wrong.length === 0) wrong.push(...invariants.faults([...subject.held(), ...witness.held()]));
  return wrong[0];
}

function beginAnew({ rig, subject, witness, errors }: FuzzPlan): string | undefined {
  for (const code of subject.stopped()) {
    errors.set(code, (errors.get(code) ?? 0) + 1);
    const fault = queueFault(code, 0);
    if (!fault || !/^[A-Z_]+$/.test(fault.name) || fault.name.startsWith("ERROR_"))
      return `error ${code} has no name`;
  }
  const [bad] = witness.faults();
  if (bad) return bad;
  subject.drain();
  const [lost] = rig.audit(witness.held());
  subject.restart();
  return lost;
}

const errorName = (code: number) => (queueFault(code, 0) as QueueFault).name;

const seenBefore = new Map<string, string>();

/** Each error that can occur did, and no other; and `name`'s counts are those of the engines before. */
export function checkErrors(
  t: Tap,
  name: string,
  errors: ReadonlyMap<number, number>,
  possible: readonly QueueError[],
): void {
  const counts = Object.fromEntries([...errors].map(([code, count]) => [errorName(code), count]));
  t.comment(`queues that stopped: ${JSON.stringify(counts)}`);
  const text = JSON.stringify(counts);
  t.equal(text, seenBefore.get(name) ?? text, "both engines stop alike");
  seenBefore.set(name, text);
  t.same(
    [...errors.keys()].sort((a, b) => a - b),
    [...possible].sort((a, b) => a - b),
    "all errors that can occur",
  );
}
