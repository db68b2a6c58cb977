// A port as an async iterator and as streams: every frame comes through once, in order and unchanged.
import { pipeline } from "node:stream/promises";
import t from "tap";
import { Pollmode } from "../../src/pollmode.ts";
import { FrameRing } from "../../src/streams/frame-ring.ts";
import { PacketStream } from "../../src/streams/packets.ts";
import { until } from "../acceptance/support.ts";

t.setTimeout(60_000);

const frameOf = (number: number) => {
  const frame = new Uint8Array(60 + (number % 1400)).fill(number);
  new DataView(frame.buffer).setUint32(14, number);
  return frame;
};

async function startEngine(): Promise<Pollmode> {
  const vdev = ["net_ring0,nodeaction=s:0:CREATE", "net_ring1,nodeaction=s:0:ATTACH"];
  const engine = await Pollmode.start({ lcores: "0-1", noHuge: true, vdev });
  for (const port of engine.ports) {
    await port.configure();
    await port.start();
  }
  return engine;
}

t.test("send() at one end, for await at the other", async (t) => {
  await using engine = await startEngine();
  const count = 20_000;
  {
    await using a = await PacketStream.open(engine, { lcore: 0, port: engine.port(0) });
    await using b = await PacketStream.open(engine, { lcore: 1, port: engine.port(1), ringBytes: 1 << 24 });
    const sending = (async () => {
      for (let k = 0; k < count; k++) await a.send(frameOf(k));
    })();
    const start = performance.now();
    let wrong = 0;
    let seen = 0;
    for await (const frame of b) {
      if (Buffer.compare(frame, frameOf(seen)) !== 0) wrong++;
      if (++seen === count) break;
    }
    t.comment(`${Math.round(count / (performance.now() - start))} frames a millisecond`);
    await sending;
    t.same(
      { wrong, seen, a: a.dropped, b: b.dropped },
      {
        wrong: 0,
        seen: count,
        a: { received: 0, sent: 0 },
        b: { received: 0, sent: 0 },
      },
    );
    await t.rejects(a.send(new Uint8Array(4)), { code: "STREAM_FRAME" });
    await b.send(new Uint8Array(9000));
    await until("the drop of a frame longer than an mbuf", () => b.dropped.sent === 1);
    await a.close();
    await t.rejects(a.send(frameOf(0)), { code: "STREAM_CLOSED" });
  }
  await t.rejects(PacketStream.open(engine, { lcore: 0, port: engine.port(0), ringBytes: 5 }), {
    code: "STREAM_RING",
  });
  for (const port of engine.ports) await port.close();
  t.same(engine.pool.audit([]), [], "every mbuf is back");
});

t.test("Node.js streams", async (t) => {
  await using engine = await startEngine();
  await using a = await PacketStream.open(engine, { lcore: 0, port: engine.port(0) });
  await using b = await PacketStream.open(engine, { lcore: 1, port: engine.port(1) });
  const echo = pipeline(b.readable(), b.writable()).catch(() => undefined); // ends when b is closed
  const writer = a.writable();
  const back: number[] = [];
  for (let k = 0; k < 100; k++) writer.write(frameOf(k));
  for await (const frame of a.readable()) {
    back.push(new DataView((frame as Uint8Array).buffer).getUint32(14));
    if (back.length === 100) break;
  }
  t.same(
    back,
    Array.from({ length: 100 }, (_, k) => k),
  );
  await b.close();
  await echo;
});

t.test("the ring: full, wrapped, counted", async (t) => {
  const writer = new FrameRing(256);
  const reader = new FrameRing(writer.buffer);
  const bytes = Uint8Array.from({ length: 100 }, (_, k) => k);
  let next = 0;
  let expected = 0;
  for (let round = 0; round < 1000; round++) {
    const n = (round * 7) % 97;
    if (writer.push(bytes, next % 3, n)) next++;
    else {
      const frame = reader.take();
      t.ok(frame, "a full ring has frames");
      if (frame!.some((byte, k) => byte !== (expected % 3) + k)) t.fail("a frame was changed");
      expected++;
    }
  }
  while (reader.take()) expected++;
  t.equal(expected, next);
  t.notOk(writer.push(bytes, 0, 300), "longer than the ring");
  writer.drop();
  t.equal(reader.dropped, 1);
});
