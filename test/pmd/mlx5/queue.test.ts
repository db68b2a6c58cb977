// The control side of direct verbs' queues: what they refuse, and that they take over new rings at every start.
import t from "tap";
import { Mlx5ReceiveQueue } from "../../../pmd/mlx5/receive-queue.ts";
import { Mlx5TransmitQueue } from "../../../pmd/mlx5/transmit-queue.ts";
import { queueFault } from "../../../src/ethdev/queue-errors.ts";
import { QueueError } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines, Rig, type Tap } from "../../support/engines.ts";
import { LKEY, QPN } from "./device-model.ts";
import { Mlx5Pair } from "./rings.ts";

const options = { mbufs: 400, dataRoom: 1024 };

onEngines("stop and start", options, (t, rig) => {
  const used = [rig.private.usedBytes, rig.dma.usedBytes];
  for (const kind of [{}, { segments: 4 }, { striding: { logStrideBytes: 6, logStrides: 3 } }]) {
    const pair = new Mlx5Pair(rig, { size: 64, ...kind });
    for (let turn = 0; turn < 4; turn++) {
      const frames = Array.from({ length: 30 }, (_, k) => makeFrame(100 * turn + k, 60 + k));
      pair.fill();
      for (const frame of frames) t.ok(pair.nic.rx.deliver(frame));
      const packets = rig.receive(pair.rxq, 32);
      t.same(
        packets.map((mbuf) => rig.frame(mbuf)),
        frames.map((frame) => Buffer.from(frame)),
      );
      t.equal(rig.send(pair.txq, packets), 30);
      pair.stop();
      t.same(rig.audit(), [], "all mbufs are back, sent or not");
      t.same(pair.held(), []);
      pair.stop();
      pair.start();
    }
    pair.end(t);
  }
  t.same([rig.private.usedBytes, rig.dma.usedBytes], used, "all memory is back");
});

const rigOf = () => Rig.make("ts", options);
const refuses = async (
  t: Pick<Tap, "fail" | "match" | "same">,
  message: RegExp,
  code: string,
  make: (rig: Rig) => void,
) => {
  const rig = await rigOf();
  try {
    make(rig);
    t.fail(`nothing was refused: ${message}`);
  } catch (error) {
    t.match(error, { code, message });
    t.match((error as { fix: string }).fix, /\w/);
    t.same(rig.audit(), []);
  } finally {
    rig.close();
  }
};

const receiveOf = (
  rig: Rig,
  changes: { cqes?: number; cqeBytes?: number; wqes?: number; stride?: number } = {},
) => {
  const { cqes = 64, cqeBytes = 64, wqes = 64, stride = 16 } = changes;
  const buffer = rig.arena.address + BigInt(rig.dma.range.start);
  const cq = { buffer, entries: cqes, cqeBytes, doorbell: buffer, cqn: 1 };
  const rq = { buffer, wqes, strideBytes: stride, doorbell: buffer };
  return { cq, rq, lkey: LKEY, segments: 1, room: 1024, flags: {} };
};
const receiver = (rig: Rig) =>
  new Mlx5ReceiveQueue({ context: rig, name: "rx queue 0 of x", index: 0, size: 64 });
const sender = (rig: Rig) =>
  new Mlx5TransmitQueue({ context: rig, name: "tx queue 0 of x", index: 0, size: 64 });
const sendOf = (
  rig: Rig,
  changes: { wqebbs?: number; stride?: number; minInline?: number; outside?: boolean } = {},
) => {
  const { wqebbs = 64, stride = 64, minInline = 0, outside = false } = changes;
  const buffer = outside ? 4096n : rig.arena.address + BigInt(rig.dma.range.start);
  return {
    cq: { buffer, entries: 64, cqeBytes: 64, doorbell: buffer, cqn: 1 },
    qp: {
      qpn: QPN,
      sq: { buffer, wqebbs, strideBytes: stride },
      doorbell: buffer,
      bf: { address: buffer, bytes: 256 },
      uarOffset: 0n,
    },
    bfOffset: 0,
    bfBytes: 256,
    lkey: LKEY,
    minInline,
    enhancedMpw: false,
    bytesMax: 1518,
    offloads: {},
  };
};

t.test("what is refused, by name", async (t) => {
  const make = (rig: Rig, size: number) => new Mlx5ReceiveQueue({ context: rig, name: "rx", index: 0, size });
  for (const size of [0, 7, 48, 65536, 1.5]) {
    await refuses(t, /power of two/, "RING_SIZE", (rig) => make(rig, size));
  }
  await refuses(t, /63 CQEs/, "RING_SIZE", (rig) => receiver(rig).attach(receiveOf(rig, { cqes: 63 })));
  await refuses(t, /CQEs of 128/, "RING_SIZE", (rig) =>
    receiver(rig).attach(receiveOf(rig, { cqeBytes: 128 })),
  );
  await refuses(t, /64 CQEs/, "RING_SIZE", (rig) => {
    receiver(rig).attach({ ...receiveOf(rig), compression: "hash" });
  });
  await refuses(t, /WQEs of 8 bytes/, "RING_SIZE", (rig) =>
    receiver(rig).attach(receiveOf(rig, { stride: 8 })),
  );
  await refuses(t, /65536 WQEs/, "RING_SIZE", (rig) => {
    receiver(rig).attach(receiveOf(rig, { wqes: 65536, cqes: 65536 }));
  });
  await refuses(t, /no power of two/, "RING_SIZE", (rig) => {
    receiver(rig).attach(receiveOf(rig, { cqes: 96 }));
  });
  await refuses(t, /48 entries/, "RING_SIZE", (rig) => sender(rig).attach(sendOf(rig, { wqebbs: 48 })));
  await refuses(t, /blocks of 128/, "RING_SIZE", (rig) => sender(rig).attach(sendOf(rig, { stride: 128 })));
  await refuses(t, /147 bytes/, "INLINE_BYTES", (rig) => sender(rig).attach(sendOf(rig, { minInline: 147 })));
  await refuses(t, /outside the arena/, "RING_PLACE", (rig) =>
    sender(rig).attach(sendOf(rig, { outside: true })),
  );
});

t.test("syndromes in words", async (t) => {
  t.match(queueFault(QueueError.CQE_ERROR, 0x0e04), {
    name: "CQE_ERROR",
    text: /protection/,
    argument: 0x0e04,
  });
  t.match(queueFault(QueueError.CQE_ERROR, 0x0d01)?.text, /length/);
  t.match(queueFault(QueueError.CQE_ERROR, 0x0d05)?.text, /flushed/);
  t.match(queueFault(QueueError.CQE_ERROR, 0x0dff), { name: "CQE_ERROR", fix: /start/ });
  t.match(queueFault(QueueError.BAD_CQE, 1), { name: "BAD_CQE", fix: /mode=ibv/ });
});
