// Completions that cannot be: what direct verbs' receive queues do about them, on every engine.
import t from "tap";
import { Mbuf, Queue, QueueError } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines } from "../../support/engines.ts";
import { Mlx5Pair } from "./rings.ts";

const RING = 64;
const mbufs = { mbufs: 1200, dataRoom: 1024 };
const striding = { logStrideBytes: 6, logStrides: 5 };

/** A fault put into a completion, and what the queue stops with. */
const faults: [string, (pair: Mlx5Pair) => void, number, number | undefined][] = [
  ["an error", (pair) => pair.nic.rx.fail(0x04), QueueError.CQE_ERROR, 0x0e04],
  ["a flush", (pair) => pair.nic.rx.fail(0x05), QueueError.CQE_ERROR, 0x0e05],
  ["another WQE", skipWqe, QueueError.BAD_CQE, 6],
  ["a length", (pair) => spoil(pair, (cqe) => cqe.writeUInt32BE(1025, 44)), QueueError.BAD_LENGTH, 1025],
  [
    "a huge length",
    (pair) => spoil(pair, (cqe) => cqe.writeUInt32BE(0xffff_fff0, 44)),
    QueueError.BAD_LENGTH,
    undefined,
  ],
  [
    "an opcode of transmit",
    (pair) => spoil(pair, (cqe) => void (cqe[63]! &= 0x0f)),
    QueueError.BAD_CQE,
    undefined,
  ],
  ["inline data", (pair) => spoil(pair, (cqe) => void (cqe[63]! |= 4)), QueueError.BAD_CQE, undefined],
  ["a session", (pair) => spoil(pair, (cqe) => void (cqe[63]! |= 12)), QueueError.BAD_CQE, undefined],
];

function skipWqe(pair: Mlx5Pair): void {
  pair.nic.rx.head++;
  pair.nic.rx.deliver(makeFrame(1, 60));
}

function spoil(pair: Mlx5Pair, change: (cqe: Buffer) => void): void {
  pair.nic.rx.deliver(makeFrame(1, 60));
  change(pair.nic.rx.cq.entry(pair.nic.rx.cq.producer - 1));
}

onEngines("what cannot be stops the queue", mbufs, async (t, rig) => {
  for (const [what, fault, error, argument] of faults) {
    const pair = new Mlx5Pair(rig, { size: RING });
    pair.fill();
    for (let k = 0; k < 5; k++) pair.nic.rx.deliver(makeFrame(k, 60));
    fault(pair);
    const packets = rig.receive(pair.rxq, 32);
    t.equal(packets.length, 5, "the packets before it");
    t.equal(pair.rx.block.get(Queue.ERROR), error, what);
    if (argument !== undefined) t.equal(pair.rx.block.get(Queue.ERROR_ARG), argument);
    t.notOk(pair.rx.block.running);
    t.same(rig.receive(pair.rxq, 32), []);
    rig.free(packets);
    pair.stop();
    t.same(rig.audit(), []);
    pair.free();
  }
});

onEngines("no limit lets a frame be longer than its buffers", mbufs, (t, rig) => {
  for (const compression of [undefined, "hash"] as const) {
    const pair = new Mlx5Pair(rig, { size: RING, room: 9000, ...(compression ? { compression } : {}) });
    pair.fill();
    pair.rx.setRoom(0xffff);
    const frames = Array.from({ length: 12 }, (_, k) => makeFrame(k, 60));
    if (compression) pair.nic.rx.deliverCompressed(frames, true);
    else for (const frame of frames) pair.nic.rx.deliver(frame);
    const [cqe, at] = compression ? [pair.nic.rx.cq.entry(1), 8 * 6 + 4] : [pair.nic.rx.cq.entry(6), 44];
    cqe.writeUInt32BE(1025, at);
    const packets = rig.receive(pair.rxq, 32);
    t.equal(packets.length, 6, "the packets before it");
    t.equal(pair.rx.block.get(Queue.ERROR), QueueError.BAD_LENGTH);
    rig.free(packets);
    pair.stop();
    t.same(rig.audit(), []);
    pair.free();
  }
});

onEngines("one entry out of the ordinary, wherever it stands", mbufs, (t, rig) => {
  const odd: [string, (cqe: Buffer) => void, number][] = [
    ["a runt", (cqe) => cqe.writeUInt32BE(13, 44), QueueError.NONE],
    ["too long a frame", (cqe) => cqe.writeUInt32BE(501, 44), QueueError.NONE],
    ["longer than the buffer", (cqe) => cqe.writeUInt32BE(1025, 44), QueueError.BAD_LENGTH],
    ["2^32 - 1 bytes", (cqe) => cqe.writeUInt32BE(0xffff_ffff, 44), QueueError.BAD_LENGTH],
    ["another WQE", (cqe) => cqe.writeUInt16BE(0x1234, 60), QueueError.BAD_CQE],
    ["an error", (cqe) => void (cqe[63] = 0xe0 | (cqe[63]! & 1)), QueueError.CQE_ERROR],
    ["the NIC's still", (cqe) => void (cqe[63]! ^= 1), QueueError.NONE],
    ["inline data", (cqe) => void (cqe[63]! |= 4), QueueError.BAD_CQE],
  ];
  for (const [what, change, error] of odd) {
    for (let place = 0; place < 9; place++) {
      const pair = new Mlx5Pair(rig, { size: RING, room: 500 });
      pair.fill();
      const frames = Array.from({ length: 9 }, (_, k) => makeFrame(k, 60 + k));
      for (const frame of frames) pair.nic.rx.deliver(frame);
      const cqe = pair.nic.rx.cq.entry(place);
      change(cqe);
      if (error === QueueError.CQE_ERROR) cqe[55] = 4;
      const goesOn = what === "a runt" || what === "too long a frame";
      const wanted = frames.filter((_, k) => k < place || (goesOn && k > place));
      const packets = rig.receive(pair.rxq, 32);
      t.same(
        packets.map((mbuf) => rig.frame(mbuf)),
        wanted.map((frame) => Buffer.from(frame)),
        `${what}, entry ${place}`,
      );
      t.equal(pair.rx.block.get(Queue.ERROR), error);
      t.equal(
        rig.stats(pair.rxq).bytes,
        packets.reduce((sum, mbuf) => sum + rig.word(mbuf + Mbuf.PKT_LEN), 0),
      );
      rig.free(packets);
      pair.stop();
      t.same(rig.audit(), []);
      pair.free();
    }
  }
});

onEngines("a session cannot have more packets than there are buffers", mbufs, (t, rig) => {
  for (const count of [0, RING + 1, 0xffff_ffff]) {
    const pair = new Mlx5Pair(rig, { size: RING, compression: "hash" });
    pair.fill();
    pair.nic.rx.deliverCompressed([makeFrame(1, 60), makeFrame(2, 60)], true);
    pair.nic.rx.cq.entry(0).writeUInt32BE(count, 44);
    t.same(rig.receive(pair.rxq, 32), []);
    t.equal(pair.rx.block.get(Queue.ERROR), QueueError.BAD_CQE);
    pair.stop();
    t.same(rig.audit(), []);
    pair.free();
  }
});

onEngines("strides that cannot be stop the queue", mbufs, (t, rig) => {
  const changes: [string, (cqe: Buffer) => void][] = [
    ["none", (cqe) => cqe.writeUInt32BE(60, 44)],
    ["more than a WQE has", (cqe) => cqe.writeUInt32BE(33 * 0x10000 + 60, 44)],
    ["beyond the WQE", (cqe) => cqe.writeUInt16BE(32, 60)],
    ["of another WQE", (cqe) => cqe.writeUInt16BE(3, 2)],
    ["too few for the frame", (cqe) => cqe.writeUInt32BE(0x10000 + 65, 44)],
    ["a filler of too many", (cqe) => cqe.writeUInt32BE(0x8000_0000 + 33 * 0x10000, 44)],
  ];
  for (const [what, change] of changes) {
    const pair = new Mlx5Pair(rig, { size: RING, striding });
    pair.fill();
    spoil(pair, change);
    t.same(rig.receive(pair.rxq, 32), []);
    t.ok([QueueError.BAD_CQE, QueueError.BAD_LENGTH].includes(pair.rx.block.get(Queue.ERROR)), what);
    pair.stop();
    t.same(rig.audit(), []);
    pair.free();
  }
});

t.setTimeout(600_000);
