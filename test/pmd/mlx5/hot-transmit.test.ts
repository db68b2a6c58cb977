// Transmit of direct verbs against the modelled device, on every engine: one WQE a packet with and without an inlined
// header, and multi-packet WQEs.
import t from "tap";
import { Mlx5Queue } from "../../../pmd/mlx5/layout.ts";
import { Mbuf, OlFlag, Queue, QueueError } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig, type Tap } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import { Mlx5Pair, onPairs, type PairOptions } from "./rings.ts";
import type { Sent } from "./transmit-model.ts";

const RING = 64;
const mbufs = { mbufs: 900, dataRoom: 1024 };
const kinds: Record<string, PairOptions> = {
  "nothing inlined": {},
  "18 bytes inlined": { minInline: 18 },
  "50 bytes inlined": { minInline: 50 },
  "146 bytes inlined": { minInline: 146 },
  "multi-packet": { enhancedMpw: true },
  "one half of the register": { bfBytes: 0 },
  "few CQEs": { sendCqes: 8, enhancedMpw: true },
};

/** Everything that was sent is taken and completed. */
function settle(pair: Mlx5Pair): Sent[] {
  const sent = pair.nic.tx.take();
  pair.nic.tx.complete();
  pair.rig.hot.txIdle(pair.txq);
  return sent;
}

/** Random bursts; the device takes and completes as it pleases. Returns how many packets went. */
function stream(t: Tap, pair: Mlx5Pair, rounds: number, chains: boolean, seed = 3): number {
  const { rig } = pair;
  const random = new Random(seed);
  const wanted: Uint8Array[] = [];
  let [bad, sent, refused, tag] = [0, 0, 0, 0];
  const check = (frames: Sent[]) => {
    for (const { frame, l3, l4, vlan } of frames) {
      if (l3 || l4 || vlan !== undefined || Buffer.compare(frame, wanted.shift()!) !== 0) bad++;
    }
  };
  for (let round = 0; round < rounds; round++) {
    const count = random.pick([1, 2, 7, 32, 80]);
    const frames = Array.from({ length: count }, () => {
      const length = chains && random.chance(15) ? random.between(19, 9000) : random.between(19, 1024);
      return makeFrame(tag++, length);
    });
    const packets: number[] = [];
    for (const frame of frames) {
      const room = chains && random.chance(30) ? random.between(20, 1024) : 1024;
      const pieces = Math.ceil(frame.length / room);
      if (pieces > 40) packets.push(rig.packet(frame, 1024));
      else packets.push(rig.packet(frame, room, random.pick([0, -1, -2, -128, 0])));
    }
    const took = rig.send(pair.txq, packets);
    wanted.push(...frames.slice(0, took));
    rig.free(packets.slice(took));
    sent += took;
    if (took < count) refused++;
    if (random.chance(70)) check(pair.nic.tx.take(random.pick([1, 5, 64, 1000])));
    else pair.nic.tx.poll();
    pair.nic.tx.complete(random.below(pair.nic.tx.uncompleted + 1));
    if (refused % 8 === 7) {
      check(settle(pair));
      refused++;
    }
    if (round % 50 === 0) bad += rig.audit(pair.held()).length;
  }
  check(settle(pair));
  t.equal(bad, 0, "all frames as they were given");
  t.equal(wanted.length, 0, "all of them");
  t.ok(refused > 0, "the ring was full at times");
  return sent;
}

onPairs(
  "frames of all lengths, in order",
  { ...mbufs, mbufs: 2000, dmaMib: 8 },
  kinds,
  (t, pair, options) => {
    const sent = stream(t, pair, 400, true);
    t.ok(sent > 20 * RING, `${sent} packets`);
    t.equal(pair.rig.stats(pair.txq).packets, sent);
    t.ok(pair.nic.tx.wqes >= sent / 58);
    if (options.enhancedMpw) t.ok(pair.nic.tx.multi > 100);
  },
);

for (const [what, start] of [
  ["16 bits", 2 ** 16],
  ["24 bits", 2 ** 24],
  ["32 bits", 2 ** 32],
] as const) {
  onPairs(`indices pass ${what}`, mbufs, kinds, (t, pair) => {
    pair.stop();
    pair.start(start - 512);
    let sent = 0;
    for (let k = 0; k < 20 && sent < 4000; k++) sent += stream(t, pair, 100, false, k);
    const [blocks, packets] = [Mlx5Queue.TAIL, Mlx5Queue.PACKET_TAIL].map((word) => pair.tx.block.get(word));
    t.ok((blocks! - start + 512) >>> 0 > 512 && (packets! - start + 512) >>> 0 > 512, `${blocks} ${packets}`);
    const completions = (pair.tx.block.get(Mlx5Queue.CQ_INDEX) - start + 512) >>> 0;
    t.ok(completions > 100, `${completions} completions`);
  });
}

onPairs("one doorbell and one completion a burst", mbufs, kinds, (t, pair, options) => {
  const { rig } = pair;
  const packets = Array.from({ length: 32 }, (_, k) => rig.packet(makeFrame(k, 64)));
  t.equal(rig.send(pair.txq, packets), 32);
  const frames = pair.nic.tx.take();
  t.equal(frames.length, 32);
  t.equal(pair.nic.tx.doorbells, 1);
  t.equal(pair.nic.tx.uncompleted, 1);
  t.equal(pair.nic.tx.wqes, options.enhancedMpw ? 1 : 32);
  t.equal(pair.held().length, 32);
  settle(pair);
  t.equal(pair.held().length, 0);
});

onEngines("a full ring refuses, and goes on when there is room", mbufs, (t, rig) => {
  for (const options of [{}, { minInline: 18 }, { enhancedMpw: true }]) {
    const pair = new Mlx5Pair(rig, { size: RING, ...options });
    const packets = Array.from({ length: 100 }, (_, k) => rig.packet(makeFrame(k, 64)));
    t.equal(rig.send(pair.txq, packets), RING, "as many as it has descriptors");
    t.equal(rig.send(pair.txq, packets.slice(RING)), 0);
    t.equal(rig.stats(pair.txq).stalled, 100 - RING + 100 - RING);
    t.equal(pair.nic.tx.take().length, RING);
    t.equal(rig.send(pair.txq, packets.slice(RING)), 0, "sent, but not completed");
    pair.nic.tx.complete();
    t.equal(rig.send(pair.txq, packets.slice(RING)), 100 - RING);
    t.equal(settle(pair).length, 100 - RING);
    pair.end(t);
  }
});

onEngines("multi-packet WQEs of up to 58 packets that want the same", mbufs, (t, rig) => {
  const pair = new Mlx5Pair(rig, { size: RING, enhancedMpw: true });
  const packets = Array.from({ length: 64 }, (_, k) => rig.packet(makeFrame(k, 64)));
  packets.forEach((mbuf, k) => {
    if (k >= 40 && k < 50) rig.put(mbuf + Mbuf.OL_FLAGS, OlFlag.TX_IP_CKSUM | OlFlag.TX_IPV4);
  });
  t.equal(rig.send(pair.txq, packets), 64);
  const sent = settle(pair);
  t.same(
    sent.map(({ l3 }) => l3),
    packets.map((_, k) => k >= 40 && k < 50),
  );
  t.equal(pair.nic.tx.multi, 3);
  const more = Array.from({ length: 64 }, (_, k) => rig.packet(makeFrame(k, 64)));
  t.equal(rig.send(pair.txq, more), 64);
  t.equal(settle(pair).length, 64);
  t.equal(pair.nic.tx.multi, 5);
  pair.end(t);
});

/** OL_FLAGS, and what the device is asked for. */
const TX_IP_CKSUM = OlFlag.TX_IP_CKSUM;
const TX_TCP_CKSUM = OlFlag.TX_TCP_CKSUM;
const TX_UDP_CKSUM = OlFlag.TX_UDP_CKSUM;
const TX_IPV4 = OlFlag.TX_IPV4;
const TX_VLAN = OlFlag.TX_VLAN;
const asked: [number, { l3: boolean; l4: boolean }][] = [
  [0, { l3: false, l4: false }],
  [TX_IPV4, { l3: false, l4: false }],
  [TX_IP_CKSUM | TX_IPV4, { l3: true, l4: false }],
  [TX_TCP_CKSUM, { l3: false, l4: true }],
  [TX_UDP_CKSUM | TX_IPV4, { l3: false, l4: true }],
  [TX_IP_CKSUM | TX_UDP_CKSUM | TX_IPV4, { l3: true, l4: true }],
];

onPairs("checksums are asked for", mbufs, kinds, (t, pair) => {
  const { rig } = pair;
  for (const room of [1024, 30]) {
    const packets = asked.map(([ol], k) => {
      const mbuf = rig.packet(makeFrame(k, 100 + k), room);
      rig.put(mbuf + Mbuf.OL_FLAGS, ol);
      return mbuf;
    });
    t.equal(rig.send(pair.txq, packets), asked.length);
    const sent = settle(pair);
    t.same(
      sent.map(({ l3, l4 }) => ({ l3, l4 })),
      asked.map(([, flags]) => flags),
    );
    t.ok(sent.every(({ frame }, k) => Buffer.compare(frame, makeFrame(k, 100 + k)) === 0));
  }
});

onEngines("without the offload a packet that asks for checksums is dropped", mbufs, (t, rig) => {
  for (const options of [{}, { enhancedMpw: true }, { minInline: 18 }]) {
    const pair = new Mlx5Pair(rig, { size: RING, sendChecksum: false, ...options });
    const packets = asked.map(([ol], k) => {
      const mbuf = rig.packet(makeFrame(k, 100));
      rig.put(mbuf + Mbuf.OL_FLAGS, ol);
      return mbuf;
    });
    t.equal(rig.send(pair.txq, packets), asked.length);
    const sent = settle(pair);
    t.same(
      sent.map(({ frame }) => frame),
      [0, 1].map((k) => Buffer.from(makeFrame(k, 100))),
    );
    t.equal(rig.stats(pair.txq).errors, asked.length - 2);
    pair.end(t);
  }
});

onPairs("one packet that asks for something, wherever it stands", mbufs, kinds, (t, pair) => {
  const { rig } = pair;
  for (const [ol, flags] of asked) {
    for (let place = 0; place < 9; place++) {
      const packets = Array.from({ length: 9 }, (_, k) => rig.packet(makeFrame(k, 100)));
      rig.put(packets[place]! + Mbuf.OL_FLAGS, ol);
      t.equal(rig.send(pair.txq, packets), 9);
      const sent = settle(pair);
      const right = sent.every(({ frame, l3, l4 }, k) => {
        const wanted = k === place ? flags : asked[0]![1];
        return frame.equals(makeFrame(k, 100)) && l3 === wanted.l3 && l4 === wanted.l4;
      });
      t.ok(sent.length === 9 && right, `OL_FLAGS ${ol}, packet ${place}`);
    }
  }
});

/** The frame with a tag behind its addresses. */
function withTag(frame: Uint8Array, tag: number): Buffer {
  return Buffer.concat([
    frame.subarray(0, 12),
    Buffer.from([0x81, 0, tag >>> 8, tag & 255]),
    frame.subarray(12),
  ]);
}

const tagging: Record<string, PairOptions> = {
  "by the device": { vlanInsert: "flag" },
  "by the device, multi-packet": { vlanInsert: "flag", enhancedMpw: true },
  "within the header": { vlanInsert: "inline" },
  "within the header of 18": { vlanInsert: "inline", minInline: 18 },
  "within a longer header": { vlanInsert: "flag", minInline: 40 },
};
onPairs("VLAN tags are put in", mbufs, tagging, (t, pair, options) => {
  const { rig } = pair;
  const frames = [19, 60, 61, 300].map((length, k) => makeFrame(k, length));
  for (const room of [1024, 9]) {
    const packets = frames.map((frame, k) => {
      const mbuf = rig.packet(frame, room * (frame.length > 61 ? 3 : 1));
      const tagged = k !== 1;
      rig.put(mbuf + Mbuf.OL_FLAGS, tagged ? TX_VLAN | TX_IP_CKSUM : 0);
      rig.arena.u16[(mbuf + Mbuf.VLAN_TCI) >>> 1] = 0xe120 + k;
      return mbuf;
    });
    t.equal(rig.send(pair.txq, packets), frames.length);
    const byDevice = options.vlanInsert === "flag" && !options.minInline;
    for (const [k, { frame, vlan, l3 }] of settle(pair).entries()) {
      const tagged = k !== 1;
      t.equal(vlan, byDevice && tagged ? 0xe120 + k : undefined);
      const wanted = byDevice || !tagged ? Buffer.from(frames[k]!) : withTag(frames[k]!, 0xe120 + k);
      t.same(frame, wanted);
      t.equal(l3, tagged);
    }
  }
});

/** Changes to a packet of 100 bytes after which it can never be sent. */
const impossible: [string, (rig: Rig, mbuf: number) => void][] = [
  ["no bytes", (rig, mbuf) => lengths(rig, mbuf, 0)],
  ["less than a header", (rig, mbuf) => lengths(rig, mbuf, 13)],
  ["more than the limit", (rig, mbuf) => lengths(rig, mbuf, 9019)],
  ["more than its buffer", (rig, mbuf) => lengths(rig, mbuf, 1025 + 128)],
  ["2^32 - 1 bytes", (rig, mbuf) => lengths(rig, mbuf, 0xffff_ffff)],
  ["data before the buffer", (rig, mbuf) => rig.put(mbuf + Mbuf.DATA, rig.word(mbuf + Mbuf.BUF) - 1)],
  ["data behind the buffer", (rig, mbuf) => rig.put(mbuf + Mbuf.DATA, rig.word(mbuf + Mbuf.BUF) + 1100)],
  ["a packet longer than its segments", (rig, mbuf) => rig.put(mbuf + Mbuf.PKT_LEN, 101)],
  ["segments longer than the packet", (rig, mbuf) => rig.put(mbuf + Mbuf.PKT_LEN, 99)],
];

function lengths(rig: Rig, mbuf: number, bytes: number): void {
  rig.put(mbuf + Mbuf.DATA_LEN, bytes);
  rig.put(mbuf + Mbuf.PKT_LEN, bytes);
}

onPairs("packets that cannot be sent are dropped, wherever they stand", mbufs, kinds, (t, pair) => {
  const { rig } = pair;
  const frame = makeFrame(1, 100);
  for (const [what, change] of impossible) {
    for (let place = 0; place < 9; place++) {
      const packets = Array.from({ length: 9 }, () => rig.packet(frame));
      const before = rig.stats(pair.txq);
      change(rig, packets[place]!);
      t.equal(rig.send(pair.txq, packets), 9, `${what}, packet ${place}`);
      const sent = settle(pair);
      t.ok(sent.length === 8 && sent.every((one) => one.frame.equals(frame)));
      const after = rig.stats(pair.txq);
      t.same([after.errors - before.errors, after.packets - before.packets], [1, 8]);
      t.equal(after.bytes - before.bytes, 800);
    }
  }
  const chain = rig.packet(makeFrame(1, 41 * 20), 20);
  t.equal(rig.send(pair.txq, [chain]), 1, "too many segments");
  t.equal(settle(pair).length, 0);
});

onPairs("short frames are lengthened", mbufs, kinds, (t, pair) => {
  const { rig } = pair;
  for (let length = 14; length < 24; length++) {
    const frame = makeFrame(length, length);
    t.equal(rig.send(pair.txq, [rig.packet(frame)]), 1);
    const wanted = Buffer.alloc(Math.max(19, length));
    wanted.set(frame);
    t.same(
      settle(pair).map((one) => one.frame),
      [wanted],
    );
  }
});

onEngines("packets of another pool go back there", mbufs, (t, rig) => {
  for (const options of [{}, { enhancedMpw: true }, { minInline: 18 }]) {
    const pair = new Mlx5Pair(rig, { size: RING, ...options });
    const other = rig.makePool({ name: "other", count: 64, dataRoom: 1024 });
    const cache = other.cacheOf(0);
    const foreign = rig.alloc(4, cache);
    for (const mbuf of foreign) lengths(rig, mbuf, 64);
    const own = rig.packet(makeFrame(1, 64));
    t.equal(rig.send(pair.txq, [own, ...foreign]), 5);
    settle(pair);
    t.same(other.audit([]), []);
    pair.end(t);
    other.close();
  }
});

onEngines("failed work requests stop the queue", mbufs, (t, rig) => {
  const wrong: [string, (pair: Mlx5Pair) => void, number, number | undefined][] = [
    ["an error", (pair) => pair.nic.tx.fail(0x02), QueueError.CQE_ERROR, 0x0d02],
    [
      "a completion of receive",
      (pair) => spoil(pair, (cqe) => void (cqe[63]! |= 0x20)),
      QueueError.BAD_CQE,
      undefined,
    ],
    ["another WQE", (pair) => spoil(pair, (cqe) => cqe.writeUInt16BE(9, 60)), QueueError.BAD_CQE, undefined],
  ];
  for (const [what, fault, error, argument] of wrong) {
    const pair = new Mlx5Pair(rig, { size: RING });
    t.equal(rig.send(pair.txq, [rig.packet(makeFrame(1, 64)), rig.packet(makeFrame(2, 64))]), 2);
    pair.nic.tx.take();
    fault(pair);
    rig.hot.txIdle(pair.txq);
    t.equal(pair.tx.block.get(Queue.ERROR), error, what);
    if (argument !== undefined) t.equal(pair.tx.block.get(Queue.ERROR_ARG), argument);
    const packet = rig.packet(makeFrame(3, 64));
    t.equal(rig.send(pair.txq, [packet]), 0);
    rig.free([packet]);
    t.equal(pair.held().length, 2);
    pair.stop();
    t.same(rig.audit(), []);
    pair.free();
  }
});

function spoil(pair: Mlx5Pair, change: (cqe: Buffer) => void): void {
  pair.nic.tx.complete();
  change(pair.nic.tx.cq.entry(pair.nic.tx.cq.producer - 1));
}

t.setTimeout(600_000);
