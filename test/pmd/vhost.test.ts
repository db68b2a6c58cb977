// net_vhost's queues against a model guest, on every engine: split and packed, chains, indirect tables, merged
// buffers, several memory regions; each byte compared, no mbuf lost.
import { Mbuf, QueueError } from "../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig, type Tap } from "../support/engines.ts";
import { Random } from "../support/random.ts";
import { CALL_FD, VhostPair } from "../support/vhost-backend.ts";
import { GuestMemory, type Layout } from "../support/virtio-guest.ts";

const RING = 64;
const options = { mbufs: 320, dataRoom: 1024 };
const layouts: [string, Layout][] = [
  ["one descriptor", { indirect: false, headerApart: false, pieces: 1 }],
  ["header apart", { indirect: false, headerApart: true, pieces: 1 }],
  ["several pieces", { indirect: false, headerApart: false, pieces: 5 }],
  ["header apart and several pieces", { indirect: false, headerApart: true, pieces: 4 }],
  ["indirect", { indirect: true, headerApart: false, pieces: 1 }],
  ["indirect, header apart, several pieces", { indirect: true, headerApart: true, pieces: 9 }],
];

interface Case {
  packed: boolean;
  mergeable: boolean;
}
const cases: Case[] = [false, true].flatMap((packed) =>
  [false, true].map((mergeable) => ({ packed, mergeable })),
);
const caseName = ({ packed, mergeable }: Case) =>
  `${packed ? "packed" : "split"}${mergeable ? " mergeable" : ""}`;

function inEveryCase(
  name: string,
  body: (t: Tap, rig: Rig, pair: VhostPair, of: Case) => void,
  list = cases,
) {
  onEngines(name, options, async (t, rig) => {
    for (const of of list) {
      await t.test(caseName(of), async (t) => {
        const pair = new VhostPair(rig, new GuestMemory(rig), { size: RING, ...of });
        body(t as unknown as Tap, rig, pair, of);
        t.same(rig.audit(), []);
        pair.free();
      });
    }
  });
}

const differ = (frames: readonly Uint8Array[], wanted: readonly Uint8Array[]) =>
  frames.length !== wanted.length || frames.some((frame, k) => Buffer.compare(frame, wanted[k]!) !== 0);
const notMergeable = cases.filter(({ mergeable }) => !mergeable);

inEveryCase(
  "receive what a guest sends, in every layout",
  (t, rig, pair) => {
    const random = new Random(5);
    let bad = 0;
    let sent = 0;
    for (let round = 0; round < 120; round++) {
      const frames: Uint8Array[] = [];
      const [, layout] = random.pick(layouts);
      for (let k = random.between(1, 40); k > 0; k--) {
        const frame = makeFrame(sent, random.pick([14, 60, 64, 1023, 1024, 1025, 1514, 5000]));
        if (!pair.guest.send(frame, layout)) break;
        frames.push(frame);
        sent++;
      }
      pair.guest.tx.publish();
      const got: Buffer[] = [];
      for (;;) {
        const packets = rig.receive(pair.rx.offset, random.pick([1, 7, 32]));
        if (packets.length === 0) break;
        for (const mbuf of packets) {
          const frame = rig.frame(mbuf);
          const segments = Math.ceil(frame.length / 1024);
          if (rig.word(mbuf + Mbuf.PORT) !== (5 | (segments << 16))) bad++;
          if (rig.word(mbuf + Mbuf.PKT_LEN) !== frame.length) bad++;
          got.push(frame);
        }
        rig.free(packets);
      }
      if (differ(got, frames)) bad++;
      if (pair.guest.tx.reap().length !== frames.length) bad++;
    }
    t.equal(bad, 0, `${sent} frames`);
    t.ok(sent > 8 * RING);
    t.equal(pair.rx.fault, undefined);
    t.equal(rig.stats(pair.rx.offset).packets, sent);
  },
  notMergeable,
);

inEveryCase("send into a guest's buffers, in every layout", (t, rig, pair, { mergeable }) => {
  const random = new Random(6);
  let bad = 0;
  let sent = 0;
  for (let round = 0; round < 150; round++) {
    const [, layout] = random.pick(layouts);
    while (pair.guest.offer(mergeable ? random.between(100, 700) : 12 + 3000, layout));
    pair.guest.rx.publish();
    const frames = Array.from({ length: random.between(1, 20) }, (_, k) =>
      makeFrame(sent + k, random.pick([14, 60, 64, 1024, 1514, 3000])),
    );
    const packets = frames.map((frame) => rig.packet(frame, random.pick([1024, 1024, 300])));
    const took = rig.send(pair.tx.offset, packets);
    rig.free(packets.slice(took));
    sent += took;
    if (differ(pair.guest.received(mergeable), frames.slice(0, took))) bad++;
  }
  t.equal(bad, 0, `${sent} frames`);
  t.ok(sent > 4 * RING);
  t.equal(pair.tx.fault, undefined);
  t.equal(rig.stats(pair.tx.offset).packets, sent);
});

inEveryCase("send: no buffers, too small buffers", (t, rig, pair, { mergeable }) => {
  const [, layout] = layouts[0]!;
  const packet = rig.packet(makeFrame(1, 500));
  t.equal(rig.send(pair.tx.offset, [packet]), 0, "no buffer");
  t.equal(rig.stats(pair.tx.offset).stalled, 1);
  pair.guest.offer(112, layout);
  pair.guest.rx.publish();
  t.equal(rig.send(pair.tx.offset, [packet]), mergeable ? 0 : 1);
  t.equal(rig.stats(pair.tx.offset).errors, mergeable ? 0 : 1, "a buffer that can never hold it: dropped");
  for (let k = 0; k < 4; k++) pair.guest.offer(112, layout);
  pair.guest.rx.publish();
  if (mergeable) t.equal(rig.send(pair.tx.offset, [packet]), 1, "five buffers hold it");
  else t.equal(rig.send(pair.tx.offset, [rig.packet(makeFrame(2, 100))]), 1, "a small one fits");
  t.equal(pair.guest.received(mergeable)[0]?.length, mergeable ? 500 : 100);
  t.equal(pair.tx.fault, undefined);
});

inEveryCase(
  "receive: runts and giants are dropped, no mbufs leave the chain where it is",
  (t, rig, pair) => {
    const [, layout] = layouts[0]!;
    for (const length of [1, 13, 14, 65535, 65536]) {
      pair.guest.send(makeFrame(length, length), layout);
      pair.guest.tx.publish();
      const packets = rig.receive(pair.rx.offset, 8);
      t.same(
        packets.map((mbuf) => rig.frame(mbuf).length),
        length < 14 || length > 65535 ? [] : [length],
      );
      rig.free(packets);
    }
    t.equal(rig.stats(pair.rx.offset).errors, 3);
    t.equal(pair.guest.tx.reap().length, 5);
    const all = rig.alloc(320);
    pair.guest.send(makeFrame(1, 60), layout);
    pair.guest.tx.publish();
    t.same(rig.receive(pair.rx.offset, 8), []);
    t.ok(rig.stats(pair.rx.offset).stalled > 0);
    rig.free(all);
    const packets = rig.receive(pair.rx.offset, 8);
    t.same(
      packets.map((mbuf) => rig.frame(mbuf)),
      [Buffer.from(makeFrame(1, 60))],
    );
    rig.free(packets);
  },
  notMergeable,
);

inEveryCase("calls: when the guest wants them", (t, rig, pair, { mergeable }) => {
  const [, layout] = layouts[0]!;
  const calls = () => rig.notified.splice(0);
  const echo = (count: number) => {
    for (let k = 0; k < count; k++) {
      pair.guest.send(makeFrame(k, 60), layout);
      pair.guest.offer(300, layout);
    }
    pair.guest.tx.publish();
    pair.guest.rx.publish();
    const packets = rig.receive(pair.rx.offset, 32);
    t.equal(packets.length, count);
    t.equal(rig.send(pair.tx.offset, packets), count);
    t.equal(pair.guest.received(mergeable).length, count);
    pair.guest.tx.reap();
  };
  calls();
  echo(3);
  t.same(calls(), [], "not wanted");
  pair.guest.tx.wantCalls(true);
  pair.guest.rx.wantCalls(true);
  rig.receive(pair.rx.offset, 32);
  rig.hot.txIdle(pair.tx.offset);
  t.same(calls(), [CALL_FD, CALL_FD], "allowed since");
  rig.receive(pair.rx.offset, 32);
  rig.hot.txIdle(pair.tx.offset);
  t.same(calls(), [], "nothing new");
  echo(4);
  t.same(calls(), [CALL_FD, CALL_FD], "one a burst");
});

inEveryCase(
  "a first receive piece smaller than the header stops the queue by name",
  (t, rig, pair) => {
    const pieces = [4, 300].map((bytes) => ({
      address: pair.memory.allocate(bytes, 0),
      bytes,
      writable: true,
    }));
    pair.guest.rx.add(pieces, false);
    pair.guest.rx.publish();
    const packet = rig.packet(makeFrame(1, 60));
    t.equal(rig.send(pair.tx.offset, [packet]), 0);
    t.equal(pair.tx.get(8), QueueError.NO_HEADER);
    rig.free([packet]);
  },
  notMergeable,
);
