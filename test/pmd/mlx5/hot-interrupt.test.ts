// Receive interrupts of both modes: how a completion queue is armed, how its events are counted, what is pending. On
// every engine.
import { VerbsQueue } from "../../../pmd/mlx5/verbs-layout.ts";
import { Queue, QueueError } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig, type Tap } from "../../support/engines.ts";
import { FakeEvents } from "./fake-events.ts";
import { VerbsPair } from "./fake-verbs.ts";
import { CQN, Mlx5Pair, type PairOptions } from "./rings.ts";

const EINVAL = 22;

function onDv(
  name: string,
  options: PairOptions,
  body: (t: Tap, rig: Rig, pair: Mlx5Pair, events: FakeEvents) => void,
): void {
  onEngines(`dv: ${name}`, { mbufs: 400 }, (t, rig) => {
    const events = new FakeEvents();
    const pair = new Mlx5Pair(rig, { ...options, events: events.attachment });
    body(t, rig, pair, events);
    t.same(events.faults, []);
    pair.end(t);
    events.close();
  });
}

function onIbv(name: string, body: (t: Tap, rig: Rig, pair: VerbsPair, events: FakeEvents) => void): void {
  onEngines(`ibv: ${name}`, { mbufs: 400 }, (t, rig) => {
    const events = new FakeEvents();
    const pair = new VerbsPair(rig, { events });
    body(t, rig, pair, events);
    t.same([...events.faults, ...pair.nic.faults], []);
    t.same(rig.audit(pair.held()), [], "every mbuf is somewhere");
    pair.stop();
    t.same(rig.audit(), [], "every mbuf is back");
    pair.free();
    events.close();
  });
}

/** What the record and the register say, as the NIC reads them. */
function armed(rig: Rig, pair: Mlx5Pair) {
  const view = Buffer.from(rig.arena.memory.buffer as unknown as ArrayBuffer);
  const record = view.readUInt32BE(pair.at.records + 4);
  const [command, cqn] = [view.readUInt32BE(pair.armRegister), view.readUInt32BE(pair.armRegister + 4)];
  return { record, command, cqn };
}

onDv("the record and the register: index, number of events, CQ", {}, (t, rig, pair, events) => {
  pair.fill();
  rig.hot.rxArm(pair.rxq);
  t.same(armed(rig, pair), { record: 0, command: 0, cqn: CQN });
  for (let k = 1; k <= 9; k++) {
    t.ok(pair.nic.rx.deliver(makeFrame(k, 60)));
    events.waiting = 1;
    rig.free(rig.receive(pair.rxq, 8));
    rig.hot.rxArm(pair.rxq);
    const command = (((k & 3) << 28) | k) >>> 0;
    t.same(armed(rig, pair), { record: command, command, cqn: CQN });
    t.same([events.waiting, events.acknowledged], [0, k], "read and acknowledged");
  }
  rig.hot.rxArm(pair.rxq);
  t.equal(armed(rig, pair).command, 0x1000_0009, "the same, while no event came");
  events.waiting = 2;
  rig.hot.rxArm(pair.rxq);
  t.equal(armed(rig, pair).command, 0x3000_0009, "several at once are counted");
});

onDv("indices of 24 bits; a new completion queue begins anew", {}, (t, rig, pair, events) => {
  pair.stop();
  pair.start(2 ** 24 + 64);
  pair.fill();
  events.waiting = 3;
  rig.hot.rxArm(pair.rxq);
  t.equal(armed(rig, pair).command, 0x3000_0040);
  pair.stop();
  pair.start();
  pair.fill();
  rig.hot.rxArm(pair.rxq);
  t.equal(armed(rig, pair).command, 0);
  pair.rx.halt();
  events.waiting = 1;
  rig.put(pair.armRegister, 0xaaaa_aaaa);
  rig.hot.rxArm(pair.rxq);
  t.same([rig.word(pair.armRegister), events.waiting], [0xaaaa_aaaa, 1], "a halted queue is left alone");
  t.equal(rig.hot.rxPending(pair.rxq), 0);
  pair.rx.run();
});

onEngines("dv: without an interrupt nothing is armed", { mbufs: 400 }, (t, rig) => {
  const pair = new Mlx5Pair(rig);
  rig.put(pair.armRegister, 0xaaaa_aaaa);
  const record = rig.word(pair.at.records + 4);
  rig.hot.rxArm(pair.rxq);
  t.same([rig.word(pair.armRegister), rig.word(pair.at.records + 4)], [0xaaaa_aaaa, record]);
  pair.end(t);
});

const forms: Record<string, PairOptions> = {
  "one buffer": {},
  "several buffers": { segments: 3 },
  striding: { striding: { logStrideBytes: 6, logStrides: 2 } },
};
for (const [form, options] of Object.entries(forms)) {
  onDv(`what is pending, ${form}`, options, (t, rig, pair) => {
    const { hot } = rig;
    t.equal(hot.rxPending(pair.rxq), 1, "the ring wants to be filled");
    pair.fill();
    for (let turn = 0; turn < 200; turn++) {
      t.equal(hot.rxPending(pair.rxq), 0);
      t.ok(pair.nic.rx.deliver(makeFrame(turn, 60)));
      t.equal(hot.rxPending(pair.rxq), 1);
      rig.free(rig.receive(pair.rxq, 8));
    }
  });
}

onDv("what is pending, within a compressed session", { compression: "hash" }, (t, rig, pair) => {
  pair.fill();
  t.equal(
    pair.nic.rx.deliverCompressed(
      [0, 1, 2, 3, 4, 5].map((k) => makeFrame(k, 60)),
      true,
    ),
    6,
  );
  for (let left = 6; left > 0; left--) {
    t.equal(rig.hot.rxPending(pair.rxq), 1, `${left} are left`);
    const packets = rig.receive(pair.rxq, 1);
    t.equal(packets.length, 1);
    rig.free(packets);
  }
  t.equal(rig.hot.rxPending(pair.rxq), 0);
});

onIbv("armed by the library, which counts events itself", (t, rig, pair, events) => {
  rig.receive(pair.rxq, 1);
  events.waiting = 3;
  rig.hot.rxArm(pair.rxq);
  t.same([events.waiting, events.acknowledged, events.armed], [0, 3, 1]);
  rig.hot.rxArm(pair.rxq);
  t.same([events.acknowledged, events.armed], [3, 2]);
  events.notifyAnswer = EINVAL;
  rig.hot.rxArm(pair.rxq);
  const { block } = pair.rx;
  t.same([block.running, block.get(Queue.ERROR)], [false, QueueError.VERBS_FAILED]);
  t.equal(block.get(Queue.ERROR_ARG), EINVAL);
  rig.hot.rxArm(pair.rxq);
  t.equal(events.armed, 3, "a queue that has stopped is left alone");
});

onIbv("what looking for a packet finds is the next burst's", (t, rig, pair) => {
  const { hot } = rig;
  t.equal(hot.rxPending(pair.rxq), 1, "the queue wants to be filled");
  rig.receive(pair.rxq, 1);
  t.equal(hot.rxPending(pair.rxq), 0);
  const frames = Array.from({ length: 5 }, (_, k) => makeFrame(k, 60 + k));
  for (const frame of frames) t.ok(pair.nic.deliver(frame));
  t.equal(hot.rxPending(pair.rxq), 1);
  const { poll } = pair.nic.calls;
  t.same([hot.rxPending(pair.rxq), pair.nic.calls.poll], [1, poll], "once is enough");
  const packets = [...rig.receive(pair.rxq, 8), ...rig.receive(pair.rxq, 8)];
  t.same(
    packets.map((mbuf) => rig.frame(mbuf)),
    frames.map((frame) => Buffer.from(frame)),
    "all, in their order",
  );
  rig.free(packets);
  t.ok(pair.nic.deliver(frames[0]!));
  t.equal(hot.rxPending(pair.rxq), 1);
  pair.stop();
  t.same(rig.audit(), [], "the queue was stopped before the burst");
  pair.start();
  t.equal(pair.rx.block.get(VerbsQueue.PEEKED), 0);
});

onIbv("a library that fails while it is looked", (t, rig, pair) => {
  rig.receive(pair.rxq, 1);
  pair.nic.pollAnswer = -EINVAL;
  t.equal(rig.hot.rxPending(pair.rxq), 0);
  t.same([pair.rx.block.running, pair.rx.block.get(Queue.ERROR)], [false, QueueError.VERBS_FAILED]);
});

onEngines("ibv: without an interrupt nothing is armed", { mbufs: 400 }, (t, rig) => {
  const pair = new VerbsPair(rig);
  rig.hot.rxArm(pair.rxq);
  t.equal(pair.rx.block.running, true);
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
});
