// Receive and transmit of net_tap, on every engine, over a socket pair in the TAP's place: a frame at a time, for a
// stream has no borders.
import { readSync, writeSync } from "node:fs";
import { Tap } from "../../../pmd/tap/layout.ts";
import { TapQueue } from "../../../pmd/tap/queue.ts";
import { Mbuf, Queue } from "../../../src/hot/layout.ts";
import { close, socketpair } from "../../../src/libc/libc.ts";
import { makeFrame, onEngines, type Rig, type RigOptions, type Tap as Test } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import { bytesOf } from "../af_packet/kernel-ring.ts";

interface Bench {
  queue: TapQueue;
  block: number;
  far: number;
}

function onTap(
  name: string,
  mtu: number,
  options: RigOptions,
  body: (t: Test, rig: Rig, at: Bench) => void,
): void {
  onEngines(name, options, (t, rig) => {
    const [near, far] = socketpair();
    const queue = new TapQueue(rig, "rx queue 0 of a test", 0);
    queue.block.set(Queue.CACHE, rig.cache);
    queue.block.set(Tap.FD, near);
    queue.fit(mtu);
    queue.run();
    try {
      body(t, rig, { queue, block: queue.block.offset, far });
      queue.drain();
      t.same(rig.audit(), [], "every mbuf is back");
    } finally {
      close(near);
      close(far);
    }
  });
}

onTap("frames of all sizes, read into one mbuf and into several", 9000, { dataRoom: 512 }, (t, rig, at) => {
  const random = new Random(81);
  const bad: string[] = [];
  for (let k = 0; k < 200; k++) {
    const mtu = [128, 1500, 9000][k % 3]!; // changes while the queue holds mbufs
    at.queue.fit(mtu);
    const frame = makeFrame(k, random.between(14, mtu + 22));
    writeSync(at.far, frame);
    const packets = rig.receive(at.block, 8);
    if (packets.length !== 1 || !bytesOf(rig, packets[0]!).equals(frame)) bad.push(`frame ${k}`);
    if (rig.arena.u16[(packets[0]! + Mbuf.NB_SEGS) >>> 1] !== Math.ceil(frame.length / 512))
      bad.push(`chain ${k}`);
    rig.free(packets);
  }
  t.same(bad, []);
  t.equal(rig.stats(at.block).packets, 200);
});

onTap("nothing there; a runt; a frame longer than can be", 1500, { dataRoom: 1536 }, (t, rig, at) => {
  t.same(rig.receive(at.block, 8), []);
  writeSync(at.far, makeFrame(1, 13));
  t.same(rig.receive(at.block, 8), []);
  writeSync(at.far, makeFrame(1, 1536));
  t.same(rig.receive(at.block, 8), []);
  t.same([rig.stats(at.block).errors, at.queue.truncated], [2, 1]);
  at.queue.block.set(Tap.FD, 0xffff_ffff);
  t.same(rig.receive(at.block, 8), [], "EBADF is nothing there too");
});

onTap("no mbuf to be had: the frame waits", 1500, { mbufs: 64 }, (t, rig, at) => {
  const taken = rig.alloc(64);
  writeSync(at.far, makeFrame(1, 60));
  t.same(rig.receive(at.block, 8), []);
  t.equal(rig.stats(at.block).stalled, 1);
  rig.free(taken);
  const packets = rig.receive(at.block, 8);
  t.equal(packets.length, 1);
  rig.free(packets);
});

onTap("transmit: one segment, and chains", 9000, { dataRoom: 2048 }, (t, rig, at) => {
  const random = new Random(82);
  const bad: string[] = [];
  const read = Buffer.alloc(10000);
  for (let k = 0; k < 200; k++) {
    const frame = makeFrame(k, random.between(14, 9014));
    const packet = rig.packet(frame, random.between(Math.max(64, Math.ceil(frame.length / 100)), 2048));
    if (rig.send(at.block, [packet]) !== 1) bad.push(`${k} was refused`);
    if (Buffer.compare(read.subarray(0, readSync(at.far, read)), frame) !== 0) bad.push(`frame ${k}`);
  }
  t.same(bad, []);
  t.equal(rig.stats(at.block).packets, 200);
});

onTap("transmit: what the interface would not take; what it refuses now", 1500, {}, (t, rig, at) => {
  t.equal(rig.send(at.block, [rig.packet(makeFrame(1, 13)), rig.packet(makeFrame(1, 1515))]), 2);
  t.equal(rig.send(at.block, [rig.packet(makeFrame(1, 600), 2)]), 1, "300 segments");
  t.equal(rig.stats(at.block).errors, 3);
  const tagged = makeFrame(1, 1518);
  tagged.set([0x81, 0], 12);
  t.equal(rig.send(at.block, [rig.packet(tagged)]), 1);
  t.equal(rig.stats(at.block).packets, 1);
  at.queue.block.set(Tap.FD, 0xffff_ffff);
  const packet = rig.packet(makeFrame(1, 60));
  t.equal(rig.send(at.block, [packet]), 0, "still the caller's");
  t.equal(rig.stats(at.block).stalled, 1);
  rig.free([packet]);
});
