// net_virtio_user's queues against a model device, on every engine and in every mode: each byte compared, no mbuf
// lost.

import { Mbuf, Queue } from "../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig, type Tap } from "../support/engines.ts";
import { Random } from "../support/random.ts";
import type { Use } from "../support/virtio-device.ts";
import { KICK_FD, type Mode, modeName, VirtioPair, virtioModes } from "../support/virtio-queues.ts";

const RING = 64;
const options = { mbufs: 320, dataRoom: 1024 };

function inEveryMode(name: string, modes: Mode[], body: (t: Tap, rig: Rig, mode: Mode) => void): void {
  onEngines(name, options, async (t, rig) => {
    for (const mode of modes) {
      await t.test(modeName(mode), async (t) => body(t as unknown as Tap, rig, mode));
    }
  });
}

/** Receives until nothing comes, checks and frees; returns the frames. */
function receiveAll(t: Tap, rig: Rig, pair: VirtioPair, burst = 32): Buffer[] {
  const frames: Buffer[] = [];
  for (let idle = 0; idle < 2; ) {
    const packets = rig.receive(pair.rxq, burst);
    idle = packets.length === 0 ? idle + 1 : 0;
    for (const mbuf of packets) {
      const frame = rig.frame(mbuf);
      if (rig.word(mbuf + Mbuf.PKT_LEN) !== frame.length)
        t.fail(`PKT_LEN of a frame of ${frame.length} bytes`);
      const origin = 3 | (rig.segments(mbuf).length << 16);
      if (rig.word(mbuf + Mbuf.PORT) !== origin) t.fail("port or number of segments");
      frames.push(frame);
    }
    rig.free(packets);
  }
  return frames;
}

const differ = (frames: readonly Uint8Array[], wanted: readonly Uint8Array[]) =>
  frames.length !== wanted.length || frames.some((frame, k) => Buffer.compare(frame, wanted[k]!) !== 0);

const lengths = [14, 15, 60, 61, 64, 255, 256, 257, 1000, 1024];

inEveryMode("receive: every frame, in order, while rings wrap", virtioModes, (t, rig, mode) => {
  const pair = new VirtioPair(rig, mode, RING);
  const random = new Random(1);
  let bad = 0;
  let sent = 0;
  for (let round = 0; round < 60; round++) {
    const frames: Uint8Array[] = [];
    rig.free(rig.receive(pair.rxq, 32)); // fills the ring
    for (let k = random.between(1, RING); k > 0; k--) {
      const long = mode.mergeable && random.chance(20) ? random.between(1025, 5000) : random.pick(lengths);
      const frame = makeFrame(sent, long);
      if (!pair.device.rx.deliver(frame)) break;
      frames.push(frame);
      sent++;
    }
    if (differ(receiveAll(t, rig, pair, random.pick([1, 3, 4, 32, 64])), frames)) bad++;
  }
  t.equal(bad, 0, `${sent} frames came as they were sent`);
  t.ok(sent > 8 * RING);
  t.equal(rig.stats(pair.rxq).packets, sent);
  t.same(rig.audit(pair.held()), []);
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
});

const unordered = virtioModes.filter(({ inOrder }) => !inOrder);
inEveryMode("receive: a device that returns buffers out of order", unordered, (t, rig, mode) => {
  const pair = new VirtioPair(rig, mode, RING);
  const random = new Random(2);
  let bad = 0;
  let sent = 0;
  for (let round = 0; round < 60; round++) {
    const written: { frame: Uint8Array; uses: Use[] }[] = [];
    rig.free(rig.receive(pair.rxq, 32));
    for (let k = 0; k < 30; k++) {
      const frame = makeFrame(sent, mode.mergeable && random.chance(20) ? 2500 : random.pick(lengths));
      const uses = pair.device.rx.write(frame, (spare) => random.below(Math.max(1, spare)));
      if (!uses) break;
      written.push({ frame, uses });
      sent++;
    }
    random.shuffle(written);
    for (const { uses } of written) pair.device.rx.ring.complete(uses);
    if (
      differ(
        receiveAll(t, rig, pair),
        written.map(({ frame }) => frame),
      )
    )
      bad++;
  }
  t.equal(bad, 0, `${sent} frames`);
  t.equal(pair.rx.block.fault, undefined);
  t.same(rig.audit(pair.held()), []);
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
});

const merging = virtioModes.filter(({ mergeable }) => mergeable);
inEveryMode("receive: a merged packet waits for its last buffer", merging, (t, rig, mode) => {
  const pair = new VirtioPair(rig, mode, RING);
  rig.receive(pair.rxq, 32);
  const frame = makeFrame(7, 4000);
  const uses = pair.device.rx.write(frame)!;
  t.equal(uses.length, 4);
  for (const use of uses) {
    t.same(rig.receive(pair.rxq, 32), [], "not yet");
    pair.device.rx.ring.complete([use]);
  }
  t.same(receiveAll(t, rig, pair), [Buffer.from(frame)]);
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
});

inEveryMode("receive: a runt in several buffers is one, too", merging, (t, rig, mode) => {
  const pair = new VirtioPair(rig, mode, RING);
  rig.receive(pair.rxq, 32);
  const [first, second] = [pair.device.rx.ring.pop()!, pair.device.rx.ring.pop()!];
  rig.arena.u16[(first.pieces[0]!.at + 10) >>> 1] = 2; // num_buffers
  pair.device.rx.ring.complete([
    { chain: first, bytes: 13 },
    { chain: second, bytes: 12 },
  ]);
  t.same(rig.receive(pair.rxq, 32), []);
  t.equal(rig.stats(pair.rxq).errors, 1);
  t.equal(pair.rx.block.fault, undefined);
  t.same(rig.audit(pair.held()), []);
  pair.stop();
  pair.free();
});

inEveryMode("receive: runts are dropped and counted", virtioModes, (t, rig, mode) => {
  const pair = new VirtioPair(rig, mode, RING);
  for (let round = 0; round < 6; round++) {
    rig.receive(pair.rxq, 32);
    const good: Uint8Array[] = [];
    for (let k = 0; k < 32; k++) {
      const frame = makeFrame(k, k % 5 === 0 ? k % 14 : 60);
      if (frame.length >= 14) good.push(frame);
      if (frame.length > 0 || k % 2 === 0) pair.device.rx.deliver(frame);
    }
    if (differ(receiveAll(t, rig, pair), good)) t.fail(`round ${round}`);
  }
  t.equal(pair.rx.block.fault, undefined);
  t.equal(rig.stats(pair.rxq).errors, 6 * 7);
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
});

/** Frames in one mbuf or several, with headroom, without, and at addresses where no header can stand before them. */
function makePacket(
  rig: Rig,
  random: Random,
  tag: number,
  chains: boolean,
): { mbuf: number; frame: Uint8Array } {
  const frame = makeFrame(tag, random.pick([14, 60, 64, 500, 900]));
  if (!chains) return { mbuf: rig.packet(frame), frame };
  const shift = random.pick([0, 0, -4, 4, 1, 2, -116, -117, -120, -128]);
  const room = random.pick([1024, 1024, 512, 128]);
  return { mbuf: rig.packet(frame, room, room === 1024 ? Math.min(shift, 100) : Math.min(shift, 0)), frame };
}

interface Way {
  name: string;
  chains: boolean;
  /** Completes what was taken; some may be kept for a later round. */
  order: "in order" | "out of order" | "batches";
}
const ways: Way[] = [
  { name: "single buffers", chains: false, order: "in order" },
  { name: "chains", chains: true, order: "in order" },
  { name: "single buffers out of order", chains: false, order: "out of order" },
  { name: "chains out of order", chains: true, order: "out of order" },
  { name: "single buffers in batches", chains: false, order: "batches" },
  { name: "chains in batches", chains: true, order: "batches" },
];

for (const way of ways) {
  const modes = virtioModes.filter(({ mergeable, inOrder }) => {
    return !mergeable && (way.order === "in order" || inOrder === (way.order === "batches"));
  });
  inEveryMode(`transmit: ${way.name}`, modes, (t, rig, mode) => {
    const pair = new VirtioPair(rig, mode, RING);
    const random = new Random(3);
    let kept: Use[] = [];
    let bad = 0;
    let sent = 0;
    for (let round = 0; round < 80; round++) {
      const made = Array.from({ length: random.between(1, 40) }, (_, k) =>
        makePacket(rig, random, sent + k, way.chains),
      );
      const took = rig.send(
        pair.txq,
        made.map(({ mbuf }) => mbuf),
      );
      rig.free(made.slice(took).map(({ mbuf }) => mbuf));
      sent += took;
      const seen = pair.device.tx.takeAll();
      if (
        differ(
          seen.map(({ frame }) => frame),
          made.slice(0, took).map(({ frame }) => frame),
        )
      )
        bad++;
      kept.push(...seen.map(({ chain }) => ({ chain, bytes: 0 })));
      if (way.order === "out of order") random.shuffle(kept);
      const now = kept.splice(0, random.below(kept.length + 1));
      if (now.length > 0) pair.device.tx.ring.complete(now, way.order === "batches");
      const lost = rig.audit(pair.held());
      if (lost.length > 0) return void t.same(lost, [], `round ${round}`);
    }
    pair.device.tx.ring.complete(kept);
    kept = [];
    rig.hot.txIdle(pair.txq);
    t.equal(bad, 0, `${sent} frames`);
    t.ok(sent > 4 * RING);
    t.equal(pair.tx.block.fault, undefined);
    t.same(pair.tx.held(), [], "all of them came back");
    t.equal(rig.stats(pair.txq).packets, sent);
    t.same(rig.audit(), []);
    pair.stop();
    pair.free();
  });
}

const plain = virtioModes.filter(({ mergeable }) => !mergeable);
inEveryMode(
  "transmit: a full ring refuses, and takes again when packets come back",
  plain,
  (t, rig, mode) => {
    const pair = new VirtioPair(rig, mode, RING);
    const packets = rig.alloc(RING + 10);
    for (const mbuf of packets) {
      rig.put(mbuf + Mbuf.DATA_LEN, 60);
      rig.put(mbuf + Mbuf.PKT_LEN, 60);
    }
    t.equal(rig.send(pair.txq, packets), RING);
    t.equal(rig.stats(pair.txq).stalled, 10);
    t.equal(rig.send(pair.txq, packets.slice(RING)), 0, "still full");
    const taken = pair.device.tx.takeAll();
    pair.device.tx.ring.complete(taken.slice(0, 4).map(({ chain }) => ({ chain, bytes: 0 })));
    t.equal(rig.send(pair.txq, packets.slice(RING)), 4);
    t.same(rig.audit([...pair.held(), ...packets.slice(RING + 4)]), []);
    rig.free(packets.slice(RING + 4));
    pair.stop();
    t.same(rig.audit(), []);
    pair.free();
  },
);

inEveryMode("transmit: a packet of more segments than the ring has is dropped", plain, (t, rig, mode) => {
  const pair = new VirtioPair(rig, mode, RING);
  const mbuf = rig.packet(makeFrame(1, 100), 1);
  t.equal(rig.send(pair.txq, [mbuf]), 1);
  t.equal(rig.stats(pair.txq).errors, 1);
  t.equal(pair.device.tx.take(), undefined);
  t.same(rig.audit(), []);
  pair.stop();
  pair.free();
});

inEveryMode("transmit: packets of another pool go home", plain, (t, rig, mode) => {
  const other = rig.makePool({ name: "other", count: 64, dataRoom: 256 });
  const pair = new VirtioPair(rig, mode, RING);
  const foreign = other.cacheOf(0);
  const mixed = [...rig.alloc(4), ...rig.alloc(4, foreign)];
  for (const mbuf of mixed) {
    rig.put(mbuf + Mbuf.DATA_LEN, 60);
    rig.put(mbuf + Mbuf.PKT_LEN, 60);
  }
  t.equal(rig.send(pair.txq, mixed), 8);
  pair.device.tx.ring.complete(pair.device.tx.takeAll().map(({ chain }) => ({ chain, bytes: 0 })));
  rig.hot.txIdle(pair.txq);
  t.same(other.audit([]), []);
  t.same(rig.audit(), []);
  pair.stop();
  pair.free();
  other.close();
});

inEveryMode("kicks: when the device wants them, once a publication", plain, (t, rig, mode) => {
  const pair = new VirtioPair(rig, mode, RING);
  const kicks = () => rig.notified.splice(0).length;
  kicks();
  rig.receive(pair.rxq, 32);
  rig.send(pair.txq, [rig.packet(makeFrame(1, 60))]);
  t.equal(kicks(), 0, "not wanted");
  pair.device.rx.ring.wantKicks(true);
  pair.device.tx.ring.wantKicks(true);
  rig.receive(pair.rxq, 32);
  rig.hot.txIdle(pair.txq);
  t.same(rig.notified.splice(0), [KICK_FD, KICK_FD], "wanted since: both are told of what lies there");
  rig.receive(pair.rxq, 32);
  rig.hot.txIdle(pair.txq);
  t.equal(kicks(), 0, "nothing new");
  rig.send(
    pair.txq,
    [1, 2, 3].map((tag) => rig.packet(makeFrame(tag, 60))),
  );
  t.equal(kicks(), 1, "one for a burst");
  while (pair.device.rx.buffers() > 0 && pair.device.rx.deliver(makeFrame(2, 60)));
  const packets = rig.receive(pair.rxq, RING);
  t.equal(packets.length, RING);
  t.equal(kicks(), 0, "nothing was published yet");
  rig.free(packets);
  rig.receive(pair.rxq, 32);
  t.equal(kicks(), 1, "the refill");
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
});

onEngines("split: indices wrap past 2^16 and 2^32", options, (t, rig) => {
  const mode = { packed: false, inOrder: false, mergeable: false };
  const pair = new VirtioPair(rig, mode, RING);
  for (const start of [0xff80, 0xffffff80]) {
    pair.start(start);
    wrapSplit(pair, start);
    const tags = Array.from({ length: 400 }, (_, k) => k);
    const got: Buffer[] = [];
    const echoed: Buffer[] = [];
    for (const tag of tags) {
      if (tag % 32 === 0) rig.receive(pair.rxq, 1);
      pair.device.rx.deliver(makeFrame(tag, 60));
      const packets = rig.receive(pair.rxq, 4);
      got.push(...packets.map((mbuf) => rig.frame(mbuf)));
      rig.send(pair.txq, packets);
      const seen = pair.device.tx.takeAll();
      echoed.push(...seen.map(({ frame }) => frame));
      pair.device.tx.ring.complete(seen.map(({ chain }) => ({ chain, bytes: 0 })));
    }
    const wanted = tags.map((tag) => makeFrame(tag, 60));
    t.notOk(differ(got, wanted), "received");
    t.notOk(differ(echoed, wanted), "sent");
    t.equal(pair.rx.block.get(Queue.ERROR) | pair.tx.block.get(Queue.ERROR), 0);
    t.same(rig.audit(pair.held()), []);
    pair.stop();
  }
  pair.free();
});

/** Sets the shared indices, and the model's, to where the driver's begin. */
function wrapSplit(pair: VirtioPair, start: number): void {
  const { arena } = pair.rig;
  for (const queue of [pair.rx, pair.tx]) {
    for (const area of [queue.addresses.avail, queue.addresses.used]) {
      arena.u16[(Number(area & 0xffffffffn) + 2) >>> 1] = start & 0xffff;
    }
  }
  for (const side of [pair.device.rx, pair.device.tx]) {
    Object.assign(side.ring, { taken: start & 0xffff, given: start & 0xffff });
  }
}
