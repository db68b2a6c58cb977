// ibv mode's bursts on every engine over a fake queue pair, whose functions are called as libibverbs' are.
import { VerbsQueue } from "../../../pmd/mlx5/verbs-layout.ts";
import { Mbuf, OlFlag, Queue, QueueError, TxOffload } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig, type RigOptions, type Tap } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import { type Completion, VerbsPair, type VerbsPairOptions } from "./fake-verbs.ts";

const SIGNALED = 2;
const IP_CSUM = 16;
const EINVAL = 22;

function onVerbs(
  name: string,
  options: RigOptions & VerbsPairOptions,
  body: (t: Tap, rig: Rig, pair: VerbsPair) => void | Promise<void>,
): void {
  onEngines(name, options, async (t, rig) => {
    const pair = new VerbsPair(rig, options);
    try {
      await body(t, rig, pair);
      t.same(pair.nic.faults, [], "nothing was asked for that cannot be");
      t.same(rig.audit(pair.held()), [], "every mbuf is somewhere");
      pair.stop();
      t.same(rig.audit(), [], "every mbuf is back");
    } finally {
      pair.free();
    }
  });
}

const plain = (rig: Rig, count: number) =>
  Array.from({ length: count }, (_, k) => rig.packet(makeFrame(k, 60)));

const fault = (pair: VerbsPair, side: "rx" | "tx") => {
  const { block } = pair[side];
  const error = block.get(Queue.ERROR);
  return [block.running, error, error === 0 ? 0 : block.get(Queue.ERROR_ARG)];
};

for (const segments of [1, 4]) {
  const many = { mbufs: 640, dataRoom: 1024, segments, room: 1024 * segments, start: 2 ** 32 - 300 };
  onVerbs(`frames go through, in order and unchanged, ${segments} mbufs each`, many, (t, rig, pair) => {
    const random = new Random(segments);
    const expected: Buffer[] = [];
    let tag = 0;
    let bad = 0;
    let moved = 0;
    for (let round = 0; round < 800; round++) {
      for (let k = random.below(40); k > 0; k--) {
        const frame = makeFrame(
          tag,
          random.pick([14, 60, 64, 1023, 1024, Math.min(1518, many.room), many.room]),
        );
        if (!pair.nic.deliver(frame)) break;
        expected.push(Buffer.concat([frame, new Uint8Array(Math.max(0, 18 - frame.length))]));
        tag++;
      }
      const packets = rig.receive(pair.rxq, random.pick([1, 2, 32, 64, 100]));
      let sent = 0;
      while (sent < packets.length) {
        sent += rig.send(pair.txq, packets.slice(sent));
        pair.nic.report(random.below(pair.nic.unreported.length + 1));
        if (sent < packets.length) pair.nic.report();
      }
      for (const { frame } of pair.nic.sent.splice(0)) {
        if (!expected.shift()?.equals(frame)) bad++;
        moved++;
      }
      if (round % 50 === 0) bad += rig.audit(pair.held()).length;
    }
    t.equal(bad, 0);
    t.ok(moved > 4000, `${moved} frames`);
    t.ok(pair.tx.block.get(VerbsQueue.HEAD) < 2 ** 31, "the running index passed 2^32");
    t.equal(rig.stats(pair.txq).packets, moved);
    t.same([rig.stats(pair.rxq).errors, rig.stats(pair.txq).errors], [0, 0]);
  });
}

onVerbs("a burst is one call of each function", { mbufs: 2048, dataRoom: 512, size: 512 }, (t, rig, pair) => {
  rig.receive(pair.rxq, 32);
  t.equal(pair.nic.calls.postRecv, 8, "512 buffers in lots of 64");
  t.equal(pair.nic.receiving.length, 512);
  t.equal(pair.nic.calls.poll, 0, "nothing was posted yet that could be received");
  for (let k = 0; k < 64; k++) pair.nic.deliver(makeFrame(k, 60));
  Object.assign(pair.nic.calls, { poll: 0, postRecv: 0, postSend: 0 });
  for (let burst = 0; burst < 2; burst++) rig.send(pair.txq, rig.receive(pair.rxq, 32));
  t.same(pair.nic.calls, { poll: 2, postRecv: 1, postSend: 2 }, "two bursts");
  const signaled = pair.nic.sent.map(({ flags }) => flags & SIGNALED);
  t.same(
    [signaled.reduce((a, b) => a + b), signaled[31], signaled[63]],
    [2 * SIGNALED, SIGNALED, SIGNALED],
    "a completion a post",
  );
  pair.nic.report();
  rig.hot.txIdle(pair.txq);
  t.same(pair.nic.calls.poll, 3);
  t.equal(rig.pool.available(), 2048 - 512, "sent packets are back");
  rig.hot.txIdle(pair.txq);
  t.same(pair.nic.calls.poll, 3, "nothing outstanding: no call");
});

onVerbs("the ring is never overrun", { size: 64, mbufs: 512 }, (t, rig, pair) => {
  const packets = Array.from({ length: 100 }, (_, k) => rig.packet(makeFrame(k, 60)));
  for (let k = 0; k < 56; k += 8) t.equal(rig.send(pair.txq, packets.slice(k, k + 8)), 8);
  t.equal(rig.send(pair.txq, packets.slice(56)), 8);
  t.equal(rig.stats(pair.txq).stalled, 36);
  t.equal(rig.send(pair.txq, packets.slice(64)), 0);
  pair.nic.report(8);
  t.equal(rig.send(pair.txq, packets.slice(64)), 8);
  pair.nic.report();
  t.equal(rig.send(pair.txq, packets.slice(72)), 28);
  pair.nic.report();
  t.same(
    pair.nic.sent.map(({ frame }) => frame),
    packets.map((_, k) => Buffer.from(makeFrame(k, 60))),
  );
});

const wrongs: [string, (good: bigint) => Completion, number, number][] = [
  ["an error", (id) => ({ id, status: 4 }), QueueError.CQE_ERROR, 4],
  ["an error, other fields wild", () => ({ id: -1n, status: 0x105, length: -1 }), QueueError.CQE_ERROR, 5],
  ["another work request", (id) => ({ id: id + 1n, length: 60 }), QueueError.BAD_CQE, 0],
  ["no work request", () => ({ id: -1n, length: 60 }), QueueError.BAD_CQE, 0xffff_ffff],
  ["a high word", (id) => ({ id: id + 2n ** 32n, length: 60 }), QueueError.BAD_CQE, 0],
];

onVerbs("receive: completions that cannot be stop the queue by name", { mbufs: 512 }, (t, rig, pair) => {
  const lengths: typeof wrongs = [
    ["a byte too long", (id) => ({ id, length: rig.pool.dataRoom + 1 }), QueueError.BAD_LENGTH, 0],
    ["2^32 - 1 bytes", (id) => ({ id, length: 2 ** 32 - 1 }), QueueError.BAD_LENGTH, 0],
  ];
  for (const [name, make, error, argument] of [...wrongs, ...lengths]) {
    rig.receive(pair.rxq, 32);
    pair.nic.deliver(makeFrame(1, 60));
    pair.nic.completed.rx.push(make(pair.nic.receiving[0]!.id), { id: 0n, length: 60 });
    const packets = rig.receive(pair.rxq, 32);
    t.equal(packets.length, 1, `${name}: what came before is received`);
    const [running, found, value] = fault(pair, "rx");
    t.same([running, found], [false, error], name);
    if (error === QueueError.CQE_ERROR) t.equal(value, 0xe00 | argument);
    if (argument === 0xffff_ffff) t.equal(value, argument);
    t.same(rig.receive(pair.rxq, 32), [], "a stopped queue gives nothing");
    rig.free(packets);
    t.same(rig.audit(pair.held()), []);
    again(pair);
  }
  for (const answer of [-2, -1, 33, 2 ** 31 - 1]) {
    rig.receive(pair.rxq, 32);
    pair.nic.pollAnswer = answer;
    t.same(rig.receive(pair.rxq, 32), []);
    t.same(fault(pair, "rx"), [false, QueueError.VERBS_FAILED, answer >>> 0]);
    again(pair);
  }
});

/** Stop and start. */
function again(pair: VerbsPair): void {
  pair.stop();
  pair.nic.receiving.length = 0;
  pair.nic.unreported.length = 0;
  pair.nic.completed.rx.length = 0;
  pair.nic.completed.tx.length = 0;
  pair.start();
}

onVerbs("transmit: completions that cannot be stop the queue by name", { mbufs: 512 }, (t, rig, pair) => {
  const tooFar: typeof wrongs = [
    ["one too many", (id) => ({ id: id + 1n }), QueueError.BAD_CQE, 0],
    ["none", () => ({ id: 0n }), QueueError.BAD_CQE, 0],
    ["one that was there", () => ({ id: -1n }), QueueError.BAD_CQE, 0xffff_ffff],
  ];
  for (const [name, make, error, argument] of [...wrongs, ...tooFar]) {
    const packets = Array.from({ length: 40 }, (_, k) => rig.packet(makeFrame(k, 60)));
    rig.send(pair.txq, packets);
    pair.nic.completed.tx.push(make(40n));
    rig.hot.txIdle(pair.txq);
    const [running, found, value] = fault(pair, "tx");
    t.same([running, found], [false, error], name);
    if (error === QueueError.CQE_ERROR) t.equal(value, 0xd00 | argument);
    t.equal(rig.send(pair.txq, []), 0);
    t.same(rig.audit(pair.held()), []);
    again(pair);
  }
  rig.send(pair.txq, [rig.packet(makeFrame(1, 60))]);
  pair.nic.pollAnswer = -2;
  rig.hot.txIdle(pair.txq);
  t.same(fault(pair, "tx"), [false, QueueError.VERBS_FAILED, 2 ** 32 - 2]);
});

onVerbs(
  "posts that fail: what was taken is held, the rest is not lost",
  { mbufs: 512, size: 128 },
  (t, rig, pair) => {
    for (const [errno, at, badWr, stops] of [
      [EINVAL, 0, undefined, true],
      [EINVAL, 5, undefined, true],
      [EINVAL, 5, 1n, true],
      [EINVAL, 5, -1n, true],
      [12, 5, undefined, false],
      [12, 0, undefined, false],
    ] as const) {
      const failure = badWr === undefined ? { errno, at } : { errno, at, badWr };
      pair.nic.failure = { ...failure };
      rig.receive(pair.rxq, 32);
      const posted = badWr === undefined ? pair.nic.receiving.length : 16;
      t.equal(pair.rx.held().length, posted, `receive, errno ${errno} at ${at}`);
      t.same(fault(pair, "rx"), stops ? [false, QueueError.VERBS_FAILED, errno] : [true, 0, 0]);
      const packets = Array.from({ length: 12 }, (_, k) => rig.packet(makeFrame(k, 60)));
      const before = rig.stats(pair.txq).errors;
      pair.nic.failure = { ...failure };
      t.equal(rig.send(pair.txq, packets), 12, "all are taken over");
      const kept = badWr === undefined ? at : 12;
      t.equal(pair.tx.held().length, kept, `transmit, errno ${errno} at ${at}`);
      t.equal(rig.stats(pair.txq).errors - before, 12 - kept);
      t.same(fault(pair, "tx"), stops ? [false, QueueError.VERBS_FAILED, errno] : [true, 0, 0]);
      t.same(rig.audit(pair.held()), []);
      again(pair);
    }
  },
);

onVerbs("receive: runts, frames beyond the MTU", { room: 200 }, (t, rig, pair) => {
  rig.receive(pair.rxq, 32);
  for (const length of [13, 14, 200, 201]) pair.nic.deliver(makeFrame(length, length));
  pair.nic.deliver(makeFrame(1, 60));
  const packets = rig.receive(pair.rxq, 32);
  t.same(
    packets.map((mbuf) => [rig.word(mbuf + Mbuf.PKT_LEN), rig.word(mbuf + Mbuf.OL_FLAGS)]),
    [
      [14, 0],
      [200, 0],
      [60, 0],
    ],
  );
  t.same(rig.stats(pair.rxq), { packets: 3, bytes: 274, errors: 2, stalled: 0 });
  pair.rx.setRoom(201);
  pair.nic.deliver(makeFrame(1, 201));
  packets.push(...rig.receive(pair.rxq, 32));
  t.equal(packets.length, 4, "a larger MTU");
  rig.free(packets);
});

const jumbo = { segments: 2, dataRoom: 512, room: 1024, mbufs: 200 };
onVerbs(
  "receive: frames longer than their buffers are counted, and the queue goes on",
  jumbo,
  (t, rig, pair) => {
    rig.receive(pair.rxq, 32);
    const LOC_LEN_ERR = 1;
    for (let k = 0; k < 40; k++) {
      pair.nic.deliver(makeFrame(k, 700));
      pair.nic.completed.rx.push({ id: pair.nic.receiving.shift()!.id, status: LOC_LEN_ERR, length: 5000 });
      const packets = rig.receive(pair.rxq, 32);
      t.same(
        packets.map((mbuf) => rig.frame(mbuf)),
        [Buffer.from(makeFrame(k, 700))],
      );
      rig.free(packets);
    }
    t.same(rig.stats(pair.rxq), { packets: 40, bytes: 28000, errors: 40, stalled: 0 });
    pair.nic.completed.rx.push({ id: pair.nic.receiving[1]!.id, status: LOC_LEN_ERR });
    rig.receive(pair.rxq, 32);
    t.same(fault(pair, "rx").slice(0, 2), [false, QueueError.BAD_CQE], "that of another work request");
  },
);

onVerbs("receive without mbufs goes on when there are some", { mbufs: 64, size: 64 }, (t, rig, pair) => {
  const taken = rig.alloc(64);
  t.same(rig.receive(pair.rxq, 32), []);
  t.equal(rig.stats(pair.rxq).stalled, 1);
  rig.free(taken.splice(0, 3));
  rig.receive(pair.rxq, 32);
  t.equal(pair.nic.receiving.length, 3, "an empty queue takes fewer than a lot");
  rig.free(taken);
  rig.receive(pair.rxq, 32);
  t.ok(pair.nic.receiving.length > 50);
});

const odd = { checksum: true, segments: 4, room: 2000, dataRoom: 512, mbufs: 256 };
onVerbs("transmit: short, long, segmented and contradictory packets", odd, (t, rig, pair) => {
  const frame = makeFrame(7, 1600);
  const broken = rig.packet(frame.subarray(0, 60));
  rig.put(broken + Mbuf.PKT_LEN, 61);
  const outside = rig.packet(frame.subarray(0, 60));
  rig.put(outside + Mbuf.DATA_LEN, 5000);
  rig.put(outside + Mbuf.PKT_LEN, 5000);
  const tagged = rig.packet(frame.subarray(0, 60));
  rig.put(tagged + Mbuf.OL_FLAGS, OlFlag.TX_VLAN);
  const bad = [
    rig.packet(frame.subarray(0, 13)),
    rig.packet(makeFrame(1, 2001)),
    rig.packet(frame, 100), // 16 segments
    rig.packet(frame.subarray(0, 16), 10),
    broken,
    outside,
    tagged,
  ];
  const good = [14, 17, 18, 60, 100, 101, 512].map((length) => rig.packet(frame.subarray(0, length)));
  const chain = rig.packet(frame); // 4 segments
  t.equal(rig.send(pair.txq, [...good, ...bad, chain]), 15);
  t.same(rig.stats(pair.txq), {
    packets: 8,
    bytes: 18 + 18 + 18 + 60 + 100 + 101 + 512 + 1600,
    errors: 7,
    stalled: 0,
  });
  t.same(
    pair.nic.sent.map((sent) => [sent.frame.length, sent.pieces, sent.flags]),
    [[18, 1, 0], [18, 1, 0], ...[18, 60, 100, 101, 512].map((length) => [length, 1, 0]), [1600, 4, SIGNALED]],
  );
  t.same([...pair.nic.sent[0]!.frame.subarray(14)], [0, 0, 0, 0], "padded with zeros");
  t.ok(pair.nic.sent[7]!.frame.equals(frame));
  rig.send(pair.txq, [rig.packet(frame), ...plain(rig, 7)]);
  rig.send(pair.txq, plain(rig, 9));
  t.same(
    pair.nic.sent.splice(8).map(({ pieces }) => pieces),
    [4, ...Array.from({ length: 16 }, () => 1)],
    "a work request of several segments has one again",
  );
  pair.tx.setBytesMax(511);
  t.equal(rig.send(pair.txq, [rig.packet(frame.subarray(0, 512))]), 1);
  t.equal(rig.stats(pair.txq).errors, 8, "a smaller MTU");
});

onVerbs("transmit: checksums, where the queue pair can", { checksum: true }, (t, rig, pair) => {
  const flags = [0, OlFlag.TX_IPV4, OlFlag.TX_IP_CKSUM, OlFlag.TX_TCP_CKSUM, OlFlag.TX_UDP_CKSUM];
  for (const ol of flags) {
    const mbuf = rig.packet(makeFrame(1, 60));
    rig.put(mbuf + Mbuf.OL_FLAGS, ol);
    rig.put(mbuf + Mbuf.TX_OFFLOAD, 14 | (20 << TxOffload.L3_SHIFT));
    rig.send(pair.txq, [mbuf]);
  }
  t.same(
    pair.nic.sent.splice(0).map((sent) => sent.flags & IP_CSUM),
    [0, 0, IP_CSUM, IP_CSUM, IP_CSUM],
  );
  rig.send(pair.txq, plain(rig, 6));
  t.same(
    pair.nic.sent.map((sent) => sent.flags),
    [0, 0, 0, 0, 0, SIGNALED],
    "the next ones ask for nothing",
  );
});

onVerbs("transmit: checksums, where it cannot", {}, (t, rig, pair) => {
  const mbuf = rig.packet(makeFrame(1, 60));
  rig.put(mbuf + Mbuf.OL_FLAGS, OlFlag.TX_IP_CKSUM);
  t.equal(rig.send(pair.txq, [mbuf, rig.packet(makeFrame(2, 60))]), 2);
  t.same(
    pair.nic.sent.map(({ frame }) => frame),
    [Buffer.from(makeFrame(2, 60))],
    "a frame without its checksum is none to send",
  );
  t.equal(rig.stats(pair.txq).errors, 1);
});

onVerbs("packets of another pool go back to it", { mbufs: 128 }, (t, rig, pair) => {
  const other = rig.makePool({ name: "other", count: 64, dataRoom: 256 });
  other.cacheOf(0);
  const [mbuf] = rig.alloc(1, other.cacheOf(0));
  rig.put(mbuf! + Mbuf.DATA_LEN, 60);
  rig.put(mbuf! + Mbuf.PKT_LEN, 60);
  rig.send(pair.txq, [...plain(rig, 5), mbuf!, ...plain(rig, 6)]);
  t.equal(pair.nic.sent.length, 12);
  pair.nic.report();
  rig.hot.txIdle(pair.txq);
  t.same(other.audit([]), []);
});
