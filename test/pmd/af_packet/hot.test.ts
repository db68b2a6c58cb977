// Receive and transmit of net_af_packet against a ring that the test plays the kernel of, on every engine.

import { AfPacket, PacketType, RxStatus, TxStatus } from "../../../pmd/af_packet/layout.ts";
import { Mbuf, OlFlag, Queue, QueueError } from "../../../src/hot/layout.ts";
import { close, socketpair } from "../../../src/libc/libc.ts";
import { makeFrame, onEngines, type Rig, type Tap } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import { bytesOf, KernelRing, type Shown } from "./kernel-ring.ts";

/** Four slots a block, and bytes behind them that no slot has. */
const shape = { blockBytes: 8192, blocks: 2, frameBytes: 1680, frames: 8 };
const jumbo = { blockBytes: 16384, blocks: 4, frameBytes: 16384, frames: 4 };
const USER = RxStatus.USER;

/** The one packet that a shown frame becomes. */
function receiveOne(rig: Rig, ring: KernelRing, frame: Uint8Array, shown: Shown) {
  if (!ring.show(frame, shown)) throw new Error("the ring is full");
  const [packet] = rig.receive(ring.block, 32);
  if (packet === undefined) return undefined;
  const found = {
    bytes: bytesOf(rig, packet),
    length: rig.word(packet + Mbuf.PKT_LEN),
    flags: rig.word(packet + Mbuf.OL_FLAGS),
    tci: rig.word(packet + Mbuf.VLAN_TCI) & 0xffff,
  };
  rig.free([packet]);
  return found;
}

onEngines("frames of all sizes, round and round the ring, in chains", { dataRoom: 256 }, (t, rig) => {
  const random = new Random(71);
  for (const at of [shape, jumbo]) {
    const ring = new KernelRing(rig, at);
    const bad: string[] = [];
    let number = 0;
    let bytes = 0;
    for (let round = 0; round < 60; round++) {
      const sent: Uint8Array[] = [];
      for (let k = random.between(1, at.frames); k > 0; k--) {
        const frame = makeFrame(number++, random.between(14, at.frameBytes - 76));
        if (ring.show(frame)) sent.push(frame);
      }
      const packets = rig.receive(ring.block, 32);
      if (packets.length !== sent.length) bad.push(`${packets.length} of ${sent.length}`);
      packets.forEach((packet, k) => {
        if (!bytesOf(rig, packet).equals(sent[k]!)) bad.push(`round ${round}, frame ${k}`);
        if (rig.word(packet + Mbuf.PKT_LEN) !== sent[k]!.length) bad.push(`length of ${k}`);
        const segments = rig.arena.u16[(packet + Mbuf.NB_SEGS) >>> 1];
        if (segments !== Math.ceil(sent[k]!.length / 256)) bad.push(`${segments} segments`);
        bytes += sent[k]!.length;
      });
      rig.free(packets);
    }
    t.same(bad, []);
    t.equal(rig.stats(ring.block).bytes, bytes);
    t.same(rig.audit(), []);
    ring.free();
  }
});

onEngines("nothing where the kernel has shown nothing, nor when the queue is halted", {}, (t, rig) => {
  const ring = new KernelRing(rig, shape);
  t.same(rig.receive(ring.block, 32), []);
  ring.show(makeFrame(1, 60), { status: RxStatus.VLAN_VALID });
  t.same(rig.receive(ring.block, 32), [], "USER is the bit that counts");
  ring.setStatus(0, USER);
  ring.queue.block.halt();
  t.same(rig.receive(ring.block, 32), []);
  ring.queue.run();
  rig.free(rig.receive(ring.block, 32));
  t.equal(ring.status(0), RxStatus.KERNEL, "the slot is the kernel's again");
});

onEngines("VLAN tags: put back, or taken off", {}, (t, rig) => {
  const ring = new KernelRing(rig, shape);
  const frame = makeFrame(5, 100);
  const tagged = (tpid: number, tci: number) => {
    const tag = Buffer.alloc(4);
    tag.writeUInt16BE(tpid);
    tag.writeUInt16BE(tci, 2);
    return Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]);
  };
  const both = { status: USER | RxStatus.VLAN_VALID | RxStatus.VLAN_TPID_VALID, tci: 0xe123, tpid: 0x88a8 };
  t.same(receiveOne(rig, ring, frame, both)?.bytes, tagged(0x88a8, 0xe123));
  const old = { status: USER | RxStatus.VLAN_VALID, tci: 7, tpid: 0 };
  t.same(receiveOne(rig, ring, frame, old)?.bytes, tagged(0x8100, 7), "a kernel that tells no TPID");
  t.same(receiveOne(rig, ring, frame, { tci: 9 })?.bytes, Buffer.from(frame), "none");
  ring.queue.block.set(AfPacket.STRIP, 1);
  const { bytes, flags, tci, length } = receiveOne(rig, ring, frame, both)!;
  t.same([Buffer.compare(bytes, frame), flags, tci, length], [0, OlFlag.RX_VLAN_STRIPPED, 0xe123, 100]);
  t.equal(receiveOne(rig, ring, frame, {})?.flags, 0, "without a tag no flag");
});

onEngines("a tag put back across two segments' border", { dataRoom: 128 }, (t, rig) => {
  const ring = new KernelRing(rig, shape);
  for (const length of [123, 124, 125, 128, 252, 253]) {
    const frame = makeFrame(length, length);
    const shown = { status: USER | RxStatus.VLAN_VALID, tci: 5 };
    const wanted = Buffer.concat([frame.subarray(0, 12), Buffer.of(0x81, 0, 0, 5), frame.subarray(12)]);
    t.same(receiveOne(rig, ring, frame, shown)?.bytes, wanted, `${length} bytes`);
  }
  t.same(rig.audit(), []);
});

onEngines("checksums: found right, or filled in", {}, (t, rig) => {
  const ring = new KernelRing(rig, shape);
  const frame = makeFrame(6, 101);
  t.equal(
    receiveOne(rig, ring, frame, { status: USER | RxStatus.CHECKSUM_VALID })?.flags,
    OlFlag.RX_L4_CKSUM_GOOD,
  );
  const status = USER | RxStatus.CHECKSUM_NOT_READY;
  const found = receiveOne(rig, ring, frame, { status, checksum: [34, 6] })!;
  t.equal(found.flags, OlFlag.RX_L4_CKSUM_GOOD);
  let sum = 0;
  const word = (bytes: Uint8Array, at: number) => bytes[at]! * 256 + (bytes[at + 1] ?? 0);
  for (let k = 34; k < 101; k += 2) sum += word(frame, k); // the field holds the pseudo header's sum
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  t.equal(word(found.bytes, 40), ~sum & 0xffff || 0xffff);
  found.bytes.set(frame.subarray(40, 42), 40);
  t.same(found.bytes, Buffer.from(frame), "and nothing else is changed");
  for (const checksum of [
    [90, 10],
    [0xffff, 0xffff],
    [200, 0],
  ] as [number, number][]) {
    const left = receiveOne(rig, ring, frame, { status, checksum })!;
    t.same(
      [left.flags, Buffer.compare(left.bytes, frame)],
      [0, 0],
      `${checksum}: beyond the frame, left alone`,
    );
  }
});

onEngines("frames that are dropped, and their slots given back", {}, (t, rig) => {
  const ring = new KernelRing(rig, shape);
  const frame = makeFrame(8, 60);
  t.notOk(receiveOne(rig, ring, frame, { length: 61 }), "truncated");
  t.notOk(receiveOne(rig, ring, frame, { length: 13, snaplen: 13 }), "a runt");
  t.notOk(receiveOne(rig, ring, frame, { packetType: PacketType.OUTGOING }), "our own");
  t.equal(rig.stats(ring.block).errors, 2);
  t.equal(rig.counter(ring.block + AfPacket.TRUNCATED), 1);
  t.same(
    [0, 1, 2].map((k) => ring.status(k)),
    [0, 0, 0],
  );
  t.ok(receiveOne(rig, ring, frame, {}), "the next one comes");
});

const hostile: [string, Shown][] = [
  ["within the header", { mac: 61 }],
  ["beyond the slot", { mac: 1681 }],
  ["longer than the slot", { snaplen: 1680 - 76 + 1, length: 1680 - 76 + 1 }],
  ["of 4 GiB", { snaplen: 0xffff_ffff, length: 0xffff_ffff }],
];
for (const [what, shown] of hostile) {
  onEngines(`a frame ${what} stops the queue`, {}, (t, rig) => {
    const ring = new KernelRing(rig, shape);
    t.notOk(receiveOne(rig, ring, makeFrame(1, 60), shown));
    t.equal(ring.queue.block.get(Queue.ERROR), QueueError.BAD_RING_FRAME);
    t.notOk(ring.queue.block.running);
    t.same(rig.audit(), []);
  });
}

onEngines("random words in the headers: no trap, no mbuf lost", { dataRoom: 512 }, (t, rig) => {
  const random = new Random(72);
  let faults = 0;
  const ring = new KernelRing(rig, shape);
  for (let k = 0; k < 3000; k++) {
    const odd = () => random.below(4) === 0;
    ring.show(makeFrame(k, 64), {
      status: (random.word() | USER) >>> 0,
      ...(odd() ? { mac: random.below(0x10000) } : {}),
      ...(odd() ? { snaplen: random.word(), length: random.word() } : {}),
      checksum: [random.below(0x10000), random.below(0x10000)],
      tci: random.below(0x10000),
    });
    rig.free(rig.receive(ring.block, 4));
    if (ring.queue.block.running) continue;
    faults++;
    ring.restart();
  }
  t.ok(faults > 10);
  t.same(rig.audit(), []);
});

onEngines("no mbuf to be had: the frame waits", { mbufs: 64 }, (t, rig) => {
  const ring = new KernelRing(rig, shape);
  const taken = rig.alloc(64);
  ring.show(makeFrame(1, 60));
  t.same(rig.receive(ring.block, 8), []);
  t.equal(rig.stats(ring.block).stalled, 1);
  rig.free(taken);
  t.equal(rig.receive(ring.block, 8).length, 1);
});

/** A transmit queue whose socket is one end of a pair: send(2) of nothing succeeds. */
async function sending(
  rig: Rig,
  at: typeof shape,
  body: (ring: KernelRing) => void | Promise<void>,
): Promise<void> {
  const fds = socketpair();
  const ring = new KernelRing(rig, at);
  ring.queue.block.set(AfPacket.FD, fds[0]);
  ring.queue.block.set(AfPacket.FRAME_MAX, at.frameBytes - 84);
  try {
    await body(ring);
  } finally {
    for (const fd of fds) close(fd);
  }
}

onEngines("transmit: all sizes, in segments, round and round the ring", {}, async (t, rig) => {
  const random = new Random(73);
  await sending(rig, shape, (ring) => {
    const bad: string[] = [];
    for (let round = 0; round < 60; round++) {
      const frames = Array.from({ length: random.between(1, 8) }, (_, k) => {
        return makeFrame(round * 8 + k, random.between(14, 1596));
      });
      const packets = frames.map((frame) =>
        rig.packet(frame, random.between(Math.ceil(frame.length / 8) + 14, 2048)),
      );
      if (rig.send(ring.block, packets) !== frames.length) bad.push(`round ${round} was not taken`);
      for (const frame of frames) if (!ring.take()?.equals(frame)) bad.push(`round ${round}`);
      if (ring.take()) bad.push("more than there is");
    }
    t.same(bad, []);
    t.same(rig.audit(), []);
    t.equal(ring.queue.block.get(AfPacket.PENDING), 0);
  });
});

onEngines("transmit: a full ring refuses, and goes on", {}, async (t, rig) => {
  await sending(rig, shape, (ring) => {
    const packets = Array.from({ length: 10 }, (_, k) => rig.packet(makeFrame(k, 60)));
    t.equal(rig.send(ring.block, packets), 8);
    t.equal(rig.stats(ring.block).stalled, 2);
    t.equal(rig.send(ring.block, packets.slice(8)), 0);
    ring.take();
    ring.setStatus(1, TxStatus.WRONG_FORMAT);
    t.equal(rig.send(ring.block, packets.slice(8)), 2, "a slot that the kernel did not want is free too");
    t.same(rig.audit(), []);
  });
});

onEngines("transmit: what the interface would not take is an error of the frame", {}, async (t: Tap, rig) => {
  await sending(rig, shape, (ring) => {
    const longest = 1680 - 84;
    const tagged = makeFrame(3, longest + 4);
    tagged.set([0x81, 0], 12);
    const lying = rig.packet(makeFrame(1, 200), 100);
    rig.put(lying + Mbuf.PKT_LEN, 150);
    const short = rig.packet(makeFrame(1, 200), 100);
    rig.put(short + Mbuf.PKT_LEN, 300);
    const packets = [rig.packet(makeFrame(1, 13)), rig.packet(makeFrame(2, longest + 1)), lying, short];
    t.equal(rig.send(ring.block, packets), 4);
    t.equal(rig.stats(ring.block).errors, 4);
    t.notOk(ring.take());
    t.equal(rig.send(ring.block, [rig.packet(tagged)]), 1);
    t.same(ring.take(), Buffer.from(tagged), "a tag does not count");
    const insert = rig.packet(makeFrame(4, 64));
    rig.put(insert + Mbuf.OL_FLAGS, OlFlag.TX_VLAN);
    rig.put(insert + Mbuf.VLAN_TCI, 0x2005);
    rig.send(ring.block, [insert]);
    const frame = makeFrame(4, 64);
    t.same(
      ring.take(),
      Buffer.concat([frame.subarray(0, 12), Buffer.of(0x81, 0, 0x20, 5), frame.subarray(12)]),
    );
    t.equal(rig.stats(ring.block).packets, 2);
    t.same(rig.audit(), []);
  });
});

onEngines("transmit: what send(2) refuses waits for the next call", {}, async (t, rig) => {
  await sending(rig, shape, (ring) => {
    const good = ring.queue.block.get(AfPacket.FD);
    ring.queue.block.set(AfPacket.FD, 0xffff_ffff);
    t.equal(rig.send(ring.block, [rig.packet(makeFrame(1, 60))]), 1);
    t.equal(ring.queue.block.get(AfPacket.PENDING), 1);
    t.equal(rig.counter(ring.block + AfPacket.REFUSED), 1);
    ring.queue.block.set(AfPacket.FD, good);
    rig.hot.txIdle(ring.block);
    t.equal(ring.queue.block.get(AfPacket.PENDING), 0);
  });
});
