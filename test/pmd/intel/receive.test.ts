// The receive side of pmd/intel against a model NIC, on every engine: each byte compared, no mbuf lost.
import { IntelQueue } from "../../../pmd/intel/layout.ts";
import { IntelRing } from "../../../pmd/intel/queue.ts";
import { Mbuf, OlFlag, QueueError } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig, type Tap } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import type { Told } from "./nic-model.ts";
import { IntelPair, PORT } from "./rings.ts";

const RING = 64;
const options = { mbufs: 320, dataRoom: 1024 };

/** Receives until nothing comes, checks and frees; returns the frames. */
function receiveAll(t: Tap, rig: Rig, pair: IntelPair, burst = 32): Buffer[] {
  const frames: Buffer[] = [];
  for (let idle = 0; idle < 2; ) {
    const packets = rig.receive(pair.rxq, burst);
    idle = packets.length === 0 ? idle + 1 : 0;
    for (const mbuf of packets) {
      const frame = rig.frame(mbuf);
      if (rig.word(mbuf + Mbuf.PKT_LEN) !== frame.length)
        t.fail(`PKT_LEN of a frame of ${frame.length} bytes`);
      if (rig.word(mbuf + Mbuf.PORT) !== (PORT | (rig.segments(mbuf).length << 16)))
        t.fail("port or segments");
      if (rig.word(mbuf + Mbuf.DATA) % 64 !== 0) t.fail("a frame that does not begin a cache line");
      frames.push(frame);
    }
    rig.free(packets);
  }
  return frames;
}

const differ = (frames: readonly Uint8Array[], wanted: readonly Uint8Array[]) =>
  frames.length !== wanted.length || frames.some((frame, k) => Buffer.compare(frame, wanted[k]!) !== 0);

function end(t: Tap, rig: Rig, pair: IntelPair): void {
  t.equal(pair.rx.block.fault, undefined);
  t.same(rig.audit(pair.held()), []);
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
}

/** Random frames through a ring whose running index begins at `index`. */
function stream(t: Tap, rig: Rig, pair: IntelPair, rounds: number, seed: number): number {
  const random = new Random(seed);
  let bad = 0;
  let sent = 0;
  for (let round = 0; round < rounds; round++) {
    const frames: Uint8Array[] = [];
    rig.receive(pair.rxq, 1);
    for (let k = random.between(1, RING); k > 0; k--) {
      const long = random.chance(20)
        ? random.between(1025, 9000)
        : random.pick([14, 60, 61, 1000, 1023, 1024]);
      const frame = makeFrame(sent, long);
      if (!pair.nic.rx.deliver(frame)) break;
      frames.push(frame);
      sent++;
    }
    if (differ(receiveAll(t, rig, pair, random.pick([1, 3, 4, 32, 64])), frames)) bad++;
  }
  t.equal(bad, 0, `${sent} frames came as they were sent`);
  return sent;
}

onEngines("every frame, in order, while the ring wraps", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced");
  const sent = stream(t, rig, pair, 80, 1);
  t.ok(sent > 10 * RING);
  t.equal(rig.stats(pair.rxq).packets, sent);
  t.equal(rig.stats(pair.rxq).errors, 0);
  end(t, rig, pair);
});

onEngines("the running index passes 2^32", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced");
  pair.start(2 ** 32 - 4 * RING);
  stream(t, rig, pair, 20, 2);
  t.ok(pair.rx.block.get(IntelQueue.TAIL) < 2 ** 31);
  end(t, rig, pair);
});

onEngines("rings from 8 descriptors on", options, (t, rig) => {
  for (const size of [8, 16, 128]) {
    const pair = new IntelPair(rig, "extended", { size });
    let bad = 0;
    for (let k = 0; k < 6 * size; k++) {
      rig.receive(pair.rxq, 1);
      if (!pair.nic.rx.deliver(makeFrame(k, 60))) bad++;
      if (differ(receiveAll(t, rig, pair, 4), [makeFrame(k, 60)])) bad++;
    }
    t.equal(bad, 0, `${size} descriptors`);
    end(t, rig, pair);
  }
  t.throws(
    () => IntelRing.receive(rig, { port: 0, index: 0, size: 100, tailRegister: 0 }),
    { code: "RING_SIZE" },
    "no power of two",
  );
});

onEngines("a frame in several buffers waits for its last, over bursts", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced");
  rig.receive(pair.rxq, 32);
  const before = makeFrame(1, 60);
  const frame = makeFrame(7, 4000);
  pair.nic.rx.deliver(before);
  const backs = pair.nic.rx.write(frame)!;
  t.equal(backs.length, 4);
  t.same(receiveAll(t, rig, pair), [Buffer.from(before)]);
  for (const back of backs) {
    t.same(rig.receive(pair.rxq, 32), [], "not yet");
    t.same(rig.audit(pair.held()), [], "what has come is the ring's");
    pair.nic.rx.complete([back]);
  }
  t.same(receiveAll(t, rig, pair), [Buffer.from(frame)]);
  pair.nic.rx.complete(pair.nic.rx.write(frame)!.slice(0, 3));
  rig.receive(pair.rxq, 32);
  t.not(pair.rx.block.get(IntelQueue.PARTIAL), 0);
  end(t, rig, pair); // with a piece in hand
});

onEngines("one descriptor stays unused, the tail is told in lots", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced");
  const tail = () => rig.word(pair.registers);
  rig.receive(pair.rxq, 32);
  t.equal(tail(), RING - 1);
  for (let k = 0; k < 7; k++) pair.nic.rx.deliver(makeFrame(k, 60));
  rig.free(rig.receive(pair.rxq, 32));
  t.equal(tail(), RING - 1, "7 of 64: not yet");
  pair.nic.rx.deliver(makeFrame(8, 60));
  rig.free(rig.receive(pair.rxq, 32));
  t.equal(tail(), 7, "8 at once");
  for (let k = 0; k < RING - 1; k++) t.ok(pair.nic.rx.deliver(makeFrame(k, 60)));
  t.notOk(pair.nic.rx.deliver(makeFrame(1, 60)), "the ring is full");
  t.equal(receiveAll(t, rig, pair).length, RING - 1);
  end(t, rig, pair);
});

onEngines("no mbufs: counted, nothing lost, and on as soon as there are some", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced");
  rig.receive(pair.rxq, 32);
  const hoard = rig.alloc(320 - (RING - 1) - 2);
  const kept: number[] = [];
  for (let k = 0; k < RING - 1; k++) {
    t.ok(pair.nic.rx.deliver(makeFrame(k, 60)));
    kept.push(...rig.receive(pair.rxq, 4));
  }
  t.equal(kept.length, RING - 1);
  t.equal(rig.stats(pair.rxq).stalled > 0, true);
  const left = pair.nic.rx.ring.held;
  t.ok(left <= 2, `${left} buffers left`);
  while (pair.nic.rx.deliver(makeFrame(99, 60)));
  t.same(rig.audit([...pair.held(), ...hoard, ...kept]), []);
  rig.free(kept);
  t.equal(receiveAll(t, rig, pair).length, left);
  t.ok(pair.nic.rx.deliver(makeFrame(5, 3000)));
  t.same(receiveAll(t, rig, pair), [Buffer.from(makeFrame(5, 3000))]);
  rig.free(hoard.slice(0, 128));
  rig.free(hoard.slice(128));
  end(t, rig, pair);
});

onEngines("damaged frames and runts are dropped and counted", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced");
  const bits = [24, 25, 26, 28, 31];
  for (const bit of bits) {
    rig.receive(pair.rxq, 1);
    for (const length of [60, 2500])
      pair.nic.rx.deliver(makeFrame(bit, length), { status: (1 << bit) >>> 0 });
    for (const length of [0, 1, 13]) pair.nic.rx.deliver(makeFrame(bit, length));
    pair.nic.rx.deliver(makeFrame(bit, 14));
    t.same(receiveAll(t, rig, pair), [Buffer.from(makeFrame(bit, 14))]);
  }
  t.equal(rig.stats(pair.rxq).errors, 5 * bits.length);
  // a piece without bytes, where only the CRC was left
  const backs = pair.nic.rx.write(makeFrame(1, 1025))!;
  backs[1]!.words[3] = 0;
  pair.nic.rx.complete(backs);
  const packets = rig.receive(pair.rxq, 4);
  t.same(packets.flatMap((mbuf) => rig.segments(mbuf)).length, 1, "one segment, and the other mbuf is free");
  t.same(rig.frame(packets[0]!), Buffer.from(makeFrame(1, 1025)).subarray(0, 1024));
  rig.free(packets);
  end(t, rig, pair);
});

onEngines("what the NIC claims beyond the buffer stops the queue", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced", { room: 512 });
  const claims: [status: number, length: number, argument: number][] = [
    [3, 513, 513],
    [1, 1024, 1024],
    [3, 0xffff, 0xffff],
  ];
  for (const [status, length, argument] of claims) {
    rig.receive(pair.rxq, 32);
    pair.nic.rx.deliver(makeFrame(1, 60));
    pair.nic.rx.complete([{ slot: pair.nic.rx.ring.head, words: [0, 0, status, length] }]);
    rig.free(rig.receive(pair.rxq, 32));
    t.match(pair.rx.block.fault, { name: "BAD_LENGTH", argument });
    t.same(rig.receive(pair.rxq, 32), []);
    t.same(rig.audit(pair.held()), []);
    pair.stop();
    t.same(rig.audit(), []);
    pair.start();
  }
  rig.receive(pair.rxq, 32);
  for (let k = 0; k < 40; k++) {
    pair.nic.rx.complete([{ slot: k, words: [0, 0, 1, 512] }]);
    rig.receive(pair.rxq, 32);
  }
  t.equal(pair.rx.block.get(8), QueueError.BAD_LENGTH, "a packet without end");
  t.equal(pair.rx.block.fault?.argument, 40 * 512);
  t.same(rig.audit(pair.held()), []);
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
});

const IPCS = 1 << 6;
const L4CS = 1 << 5;
const UDPCS = 1 << 4;
const IPE = 1 << 30;
const L4E = 1 << 29;
const LB = 1 << 18;
const { RX_IP_CKSUM_GOOD, RX_IP_CKSUM_BAD, RX_L4_CKSUM_GOOD, RX_L4_CKSUM_BAD } = {
  RX_IP_CKSUM_GOOD: OlFlag.RX_IP_CKSUM_GOOD,
  RX_IP_CKSUM_BAD: OlFlag.RX_IP_CKSUM_BAD,
  RX_L4_CKSUM_GOOD: OlFlag.RX_L4_CKSUM_GOOD,
  RX_L4_CKSUM_BAD: OlFlag.RX_L4_CKSUM_BAD,
};

const told: [name: string, told: Told, flags: number, hash?: number, tag?: number][] = [
  ["nothing", {}, 0],
  ["IPv4 good", { status: IPCS }, RX_IP_CKSUM_GOOD],
  ["TCP good", { status: IPCS | L4CS }, RX_IP_CKSUM_GOOD | RX_L4_CKSUM_GOOD],
  ["UDP over IPv6 good", { status: UDPCS }, RX_L4_CKSUM_GOOD],
  ["IPv4 bad", { status: IPCS | L4CS | IPE }, RX_IP_CKSUM_BAD | RX_L4_CKSUM_GOOD],
  ["TCP bad", { status: IPCS | L4CS | L4E }, RX_IP_CKSUM_GOOD | RX_L4_CKSUM_BAD],
  ["both bad", { status: IPCS | UDPCS | L4E | IPE }, RX_IP_CKSUM_BAD | RX_L4_CKSUM_BAD],
  ["errors of what was not checked", { status: L4E | IPE }, 0],
  ["to be ignored", { status: IPCS | L4CS | L4E | 4 }, 0],
  ["a hash", { rss: { type: 1, hash: 0xdeadbeef } }, OlFlag.RX_RSS_HASH, 0xdeadbeef],
  ["no hash", { rss: { type: 0, hash: 7 } }, 0],
  ["a tag", { status: 8, vlan: 0xa123 }, OlFlag.RX_VLAN_STRIPPED, 0, 0xa123],
  ["a tag from another function", { status: 8 | LB, vlan: 0x23a1 }, OlFlag.RX_VLAN_STRIPPED, 0, 0xa123],
  [
    "all",
    { status: 8 | IPCS | L4CS, vlan: 5, rss: { type: 7, hash: 1 } },
    OlFlag.RX_VLAN_STRIPPED | OlFlag.RX_RSS_HASH | RX_IP_CKSUM_GOOD | RX_L4_CKSUM_GOOD,
    1,
    5,
  ],
];

onEngines("OL_FLAGS, hash and tag, of whole frames and of those in pieces", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced");
  for (const [name, what, flags, hash, tag] of told) {
    for (const length of [60, 2000]) {
      rig.receive(pair.rxq, 1);
      pair.nic.rx.deliver(makeFrame(1, length), what);
      const [mbuf] = rig.receive(pair.rxq, 4);
      t.equal(rig.word(mbuf! + Mbuf.OL_FLAGS), flags, `${name}, ${length} bytes`);
      if (hash) t.equal(rig.word(mbuf! + Mbuf.RSS_HASH), hash);
      if (tag) t.equal(rig.arena.u16[(mbuf! + Mbuf.VLAN_TCI) >>> 1], tag);
      rig.free([mbuf!]);
    }
  }
  pair.rx.block.set(IntelQueue.FLAGS, 0);
  rig.receive(pair.rxq, 1);
  pair.nic.rx.deliver(makeFrame(1, 60), told.at(-1)![1]);
  const [mbuf] = rig.receive(pair.rxq, 4);
  t.equal(rig.word(mbuf! + Mbuf.OL_FLAGS), 0, "not asked for");
  rig.free([mbuf!]);
  end(t, rig, pair);
});

onEngines("the interrupt: armed, and what is pending", options, (t, rig) => {
  const pair = new IntelPair(rig, "advanced");
  const { hot } = rig;
  t.equal(hot.rxPending(pair.rxq), 1, "the ring wants to be filled");
  rig.receive(pair.rxq, 1);
  t.equal(hot.rxPending(pair.rxq), 0);
  hot.rxArm(pair.rxq);
  t.equal(rig.word(pair.registers + 8), 0, "it has no interrupt");
  pair.rx.armBy(pair.registers + 8, 0x10);
  hot.rxArm(pair.rxq);
  t.equal(rig.word(pair.registers + 8), 0x10);
  pair.nic.rx.deliver(makeFrame(1, 60));
  t.equal(hot.rxPending(pair.rxq), 1);
  rig.put(pair.registers + 8, 0);
  rig.put(pair.registers + 12, 0x51);
  pair.rx.armBy(pair.registers + 8, 0x20, pair.registers + 12);
  hot.rxArm(pair.rxq);
  t.equal(rig.word(pair.registers + 8), 0x20, "after causes are read");
  t.equal(pair.rx.block.get(IntelQueue.CAUSES), 0x51);
  pair.rx.halt();
  rig.put(pair.registers + 8, 0);
  hot.rxArm(pair.rxq);
  t.same([hot.rxPending(pair.rxq), rig.word(pair.registers + 8)], [0, 0], "halted");
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
});
