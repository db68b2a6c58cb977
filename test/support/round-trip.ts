// Frames that go round: a modelled device sends itself what a driver's queue gives it, in bursts of all sizes.
import { makeFrame, type Rig, type Tap } from "./engines.ts";
import { Random } from "./random.ts";

export interface Circle {
  readonly rig: Rig;
  readonly queues: { readonly rxq: number; readonly txq: number; held(): number[] };
  readonly lengths: readonly number[];
  readonly rounds: number;
  /** As many as a queue can hold. */
  readonly ring: number;
  /** Delivers the first of these frames, one or more; how many. 0: there is no room. */
  deliver(wire: readonly Buffer[], random: Random): number;
  /** What the queue has sent. */
  take(): Buffer[];
  /** Reports some of it as sent, or all. */
  report(random: Random, all: boolean): void;
}

const FRAMES = 40;
/** Rounds from one look at all mbufs to the next. */
const AUDIT_ROUNDS = 50;

/** All come back in their order and unchanged, and no mbuf is lost; how often a frame was sent on. */
export function sendRound(t: Pick<Tap, "ok" | "equal">, circle: Circle): number {
  const { rig, queues } = circle;
  const random = new Random(9);
  const wire: Buffer[] = Array.from({ length: FRAMES }, (_, tag) =>
    Buffer.from(makeFrame(tag, random.pick(circle.lengths))),
  );
  const first = [...wire];
  let [moved, faults] = [0, 0];
  for (let round = 0; round < circle.rounds; round++) {
    while (wire.length > 0 && random.chance(90)) {
      const count = circle.deliver(wire, random);
      if (count === 0) break;
      wire.splice(0, count);
    }
    const packets = rig.receive(queues.rxq, random.pick([1, 2, 5, 32, 64]));
    let sent = 0;
    while (sent < packets.length) {
      sent += rig.send(queues.txq, packets.slice(sent));
      wire.push(...circle.take());
      circle.report(random, false);
      if (sent < packets.length) circle.report(random, true);
    }
    moved += sent;
    if (round % AUDIT_ROUNDS === 0) faults += rig.audit(queues.held()).length;
  }
  for (let idle = 0; idle < 3; idle++) {
    for (const mbuf of rig.receive(queues.rxq, circle.ring)) {
      wire.push(rig.frame(mbuf));
      rig.free([mbuf]);
      idle = 0;
    }
  }
  const start = first.findIndex((frame) => frame.equals(wire[0]!));
  const order = [...first.slice(start), ...first.slice(0, start)];
  const isSame = wire.length === first.length && wire.every((frame, k) => frame.equals(order[k]!));
  t.ok(isSame, `${moved} hops`);
  t.equal(faults, 0, "every mbuf is somewhere, and once");
  return moved;
}
