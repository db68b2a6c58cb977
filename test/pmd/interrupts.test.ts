// What an lcore does to its receive queues before it sleeps and when it wakes, on every engine: peers are told to
// interrupt or no longer, and a frame that is there already keeps it awake.
import { Tap } from "../../pmd/tap/layout.ts";
import { TapQueue } from "../../pmd/tap/queue.ts";
import type { GuestMemory as Memory } from "../../pmd/vhost/guest-memory.ts";
import { Vring } from "../../pmd/vhost/layout.ts";
import { VhostQueue } from "../../pmd/vhost/queue.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { Queue, QueueError, QueueKind } from "../../src/hot/layout.ts";
import { close, eventfd } from "../../src/libc/libc.ts";
import { makeFrame, onEngines, type Rig, type Tap as Test } from "../support/engines.ts";
import { VhostPair } from "../support/vhost-backend.ts";
import { GuestMemory } from "../support/virtio-guest.ts";
import { modeName, VirtioPair, virtioModes } from "../support/virtio-queues.ts";
import { KernelRing } from "./af_packet/kernel-ring.ts";

const RING = 64;
const options = { mbufs: 320, dataRoom: 1024 };

/** Flags that the lcore's side writes: armed 0, disarmed 1; and nothing once the queue is halted. */
function armsAndDisarms(t: Test, { hot }: Rig, block: QueueBlock, flags: () => number): void {
  t.equal(flags(), 1, "from the start on");
  hot.rxArm(block.offset);
  t.equal(flags(), 0, "armed");
  hot.rxDisarm(block.offset);
  t.equal(flags(), 1, "disarmed");
  const kind = block.get(Queue.KIND);
  block.halt();
  hot.rxArm(block.offset);
  t.same([flags(), hot.rxPending(block.offset)], [1, 0], "halted");
  block.run(kind);
}

onEngines("net_virtio_user", options, async (t, rig) => {
  for (const mode of virtioModes) {
    await t.test(modeName(mode), async (t) => {
      const pair = new VirtioPair(rig, mode, RING);
      if (!mode.packed) pair.start(0x1_0000); // used.idx has 16 bits of it
      const { avail } = pair.rx.addresses;
      const at = Number(avail & 0xffff_ffffn) + (mode.packed ? 2 : 0);
      const pending = () => rig.hot.rxPending(pair.rxq);
      t.equal(pending(), 1, "a ring without buffers: none could fire");
      rig.receive(pair.rxq, 1);
      t.equal(pending(), 0);
      armsAndDisarms(t as unknown as Test, rig, pair.rx.block, () => rig.arena.u16[at >>> 1]!);
      for (let k = 0; k < 3 * RING; k++) {
        pair.device.rx.deliver(makeFrame(k, 60));
        if (pending() !== 1) t.fail(`frame ${k}`);
        rig.free(rig.receive(pair.rxq, 8));
        if (pending() !== 0) t.fail(`after frame ${k}`);
      }
      pair.stop();
      t.same(rig.audit(), []);
      pair.free();
    });
  }
});

onEngines("net_vhost", options, async (t, rig) => {
  for (const packed of [false, true]) {
    await t.test(packed ? "packed" : "split", async (t) => {
      const pair = new VhostPair(rig, new GuestMemory(rig), { size: RING, packed, mergeable: true });
      const { tx } = pair.guest;
      const pending = () => rig.hot.rxPending(pair.rx.offset);
      rig.arena.u16[(tx.used + (packed ? 2 : 0)) >>> 1] = 1; // as VhostQueue.start() leaves it
      armsAndDisarms(t as unknown as Test, rig, pair.rx, () => {
        return rig.arena.u16[(tx.used + (packed ? 2 : 0)) >>> 1]!;
      });
      for (let k = 0; k < 3 * RING; k++) {
        if (pending() !== 0) t.fail(`before frame ${k}`);
        pair.guest.send(makeFrame(k, 60), { indirect: false, headerApart: false, pieces: 1 });
        tx.publish();
        if (pending() !== 1) t.fail(`frame ${k}`);
        rig.free(rig.receive(pair.rx.offset, 8));
        tx.reap();
      }
      pair.rx.set(Vring.POLLED, 1);
      t.equal(pending(), 1, "a guest without a kick");
      pair.rx.set(Vring.POLLED, 0);
      if (!packed) {
        rig.arena.u16[(tx.avail + 2) >>> 1]! += RING + 1;
        t.equal(pending(), 0);
        t.equal(pair.rx.get(Queue.ERROR), QueueError.AVAIL_INDEX_JUMPED);
      }
      t.same(rig.audit(), []);
      pair.free();
    });
  }
});

onEngines(
  "net_vhost: a ring as the guest describes it, with a kick eventfd and without",
  options,
  (t, rig) => {
    const rings = rig.private.allocate("a guest's ring", 4096);
    const offsets = { ringOffset: (_what: string, address: bigint) => rings + Number(address) };
    const memory = offsets as unknown as Memory;
    const queue = new VhostQueue(rig.private, rig.pool, 0, 1);
    const ring = {
      index: 1,
      size: 16,
      base: 0,
      packed: false,
      desc: 0n,
      avail: 256n,
      used: 512n,
      callFd: undefined,
    };
    queue.block.set(Queue.CACHE, rig.cache);
    for (const [kickFd, pending] of [
      [undefined, 1],
      [5, 0],
      [undefined, 1],
    ] as const) {
      queue.start(memory, { ...ring, kickFd }, false);
      t.equal(rig.hot.rxPending(queue.block.offset), pending);
      t.equal(rig.arena.u16[(rings + 512) >>> 1], 1, "the guest need not kick");
      queue.block.halt();
    }
    queue.free();
    rig.private.free(rings);
  },
);

onEngines("net_af_packet", options, (t, rig) => {
  const ring = new KernelRing(rig, { blockBytes: 8192, blocks: 2, frameBytes: 1680, frames: 8 });
  const pending = () => rig.hot.rxPending(ring.block);
  for (let k = 0; k < 20; k++) {
    if (pending() !== 0) t.fail(`before frame ${k}`);
    ring.show(makeFrame(k, 60));
    if (pending() !== 1) t.fail(`frame ${k}`);
    rig.free(rig.receive(ring.block, 8));
  }
  rig.hot.rxArm(ring.block); // nothing to be told
  rig.hot.rxDisarm(ring.block);
  ring.show(makeFrame(20, 60));
  ring.queue.block.halt();
  t.equal(pending(), 0, "halted");
  t.same(rig.audit(), []);
  ring.free();
});

onEngines("net_tap", { mbufs: 64, dataRoom: 1024 }, (t, rig) => {
  const queue = new TapQueue(rig, "rx queue 0 of a test", 0);
  const fd = eventfd(); // non-blocking, and it never has anything
  queue.block.set(Queue.CACHE, rig.cache);
  queue.block.set(Tap.FD, fd);
  queue.fit(1500);
  queue.run();
  const pending = () => rig.hot.rxPending(queue.block.offset);
  const all = rig.alloc(64);
  t.same(rig.receive(queue.block.offset, 8), []);
  t.equal(pending(), 1, "no mbufs to read into: frames may wait");
  rig.free(all);
  t.same(rig.receive(queue.block.offset, 8), []);
  t.equal(pending(), 0);
  queue.drain();
  t.same(rig.audit(), []);
  queue.free();
  close(fd);
});

/** Kinds that have no interrupts keep an lcore awake: their ports refuse rxInterrupts, so none should be asked. */
onEngines("all others", options, (t, rig) => {
  for (const kind of [QueueKind.NULL, QueueKind.RING, QueueKind.PCAP]) {
    const block = new QueueBlock(rig.private, "a queue", 0, 0);
    block.run(kind);
    rig.hot.rxArm(block.offset);
    rig.hot.rxDisarm(block.offset);
    t.equal(rig.hot.rxPending(block.offset), 1);
    block.free();
  }
});
