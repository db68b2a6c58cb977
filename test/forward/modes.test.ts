// The forwarding modes, over rings that the test fills and empties.
import { IcmpEcho } from "../../src/forward/icmpecho.ts";
import { Mode } from "../../src/forward/modes.ts";
import { udpTemplate } from "../../src/forward/streams.ts";
import { TxOnly } from "../../src/forward/txonly.ts";
import { Mbuf, Stream } from "../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig } from "../support/engines.ts";
import { makeRing, RingEnd, type StreamWords, TestLcore } from "../support/lcore.ts";

const MAC = Buffer.from("0a1b2c3d4e5f", "hex");
const PEER = Buffer.from("020304050607", "hex");

/** A mode between two rings. */
function between(rig: Rig, mode: Mode, words: StreamWords["words"] = []) {
  const [rx, tx] = [new RingEnd(rig), new RingEnd(rig, makeRing(rig, 64))];
  const lcore = new TestLcore(rig, [{ mode, rx: rx.block, tx: tx.block, words }]);
  return { rx, tx, lcore, stream: lcore.streams[0]! };
}

const frames = [60, 61, 64, 300, 1500, 14].map((length) => makeFrame(length, length));

onEngines("io: every frame unchanged; what is refused is freed and counted", {}, (t, rig) => {
  const { rx, tx, lcore, stream } = between(rig, Mode.IO);
  rx.put(frames.map((frame) => rig.packet(frame)));
  lcore.run();
  const sent = tx.take();
  t.same(
    sent.map((mbuf) => rig.frame(mbuf)),
    frames.map((frame) => Buffer.from(frame)),
  );
  t.ok(sent.every((mbuf) => rig.arena.u16[(mbuf + Mbuf.PORT) >>> 1] === 1));
  rig.free(sent);
  rx.put(Array.from({ length: 100 }, (_, k) => rig.packet(makeFrame(k, 60))));
  lcore.run();
  t.equal(rig.counter(stream + Stream.TX_DROPPED), 36);
  t.equal(rig.stats(tx.block.offset).stalled, 36);
  t.equal(rig.stats(tx.block.offset).packets, 70);
  t.equal(rig.stats(tx.block.offset).bytes, 1999 + 64 * 60);
  rig.free(tx.take());
  t.same(rig.audit(), []);
});

onEngines("macswap", {}, (t, rig) => {
  const { rx, tx, lcore } = between(rig, Mode.MACSWAP);
  rx.put(frames.map((frame) => rig.packet(frame)));
  lcore.run();
  const sent = tx.take();
  const swapped = frames.map((f) => Buffer.concat([f.subarray(6, 12), f.subarray(0, 6), f.subarray(12)]));
  t.same(
    sent.map((mbuf) => rig.frame(mbuf)),
    swapped,
  );
  rig.free(sent);
  t.same(rig.audit(), []);
});

onEngines("count and touch free what comes", {}, (t, rig) => {
  for (const mode of [Mode.COUNT, Mode.TOUCH]) {
    const { rx, tx, lcore } = between(rig, mode);
    rx.put(frames.map((frame) => rig.packet(frame, 128)));
    lcore.run();
    t.same(tx.take(), []);
    t.equal(rig.stats(rx.block.offset).packets, frames.length);
  }
  t.same(rig.audit(), []);
});

onEngines("txonly: the template, at every size", {}, (t, rig) => {
  const template = rig.private.allocate("template", TxOnly.TEMPLATE_BYTES);
  for (const size of [60, 64, 1500]) {
    const frame = udpTemplate(MAC, size);
    rig.arena.u8.set(frame, template);
    const { tx, lcore, stream } = between(rig, Mode.TXONLY, [
      [TxOnly.TEMPLATE, template],
      [TxOnly.SIZE, size],
    ]);
    lcore.run();
    const sent = tx.take();
    t.equal(sent.length, 64, "a full ring, and no more");
    const given = Buffer.from(frame.subarray(0, Math.min(64, size)));
    t.ok(sent.every((mbuf) => rig.frame(mbuf).length === size));
    t.ok(sent.every((mbuf) => rig.frame(mbuf).subarray(0, given.length).equals(given)));
    t.equal(sum(frame.subarray(14, 34)), 0xffff, "the IPv4 header's checksum");
    t.equal(rig.counter(stream + Stream.TX_DROPPED), 0, "refused frames are no drops");
    rig.free(sent);
  }
  t.same(rig.audit(), []);
});

/** The one's-complement sum of big-endian words (RFC 1071): 0xffff over data with a right checksum. */
function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let k = 0; k < bytes.length; k += 2) total += (bytes[k]! << 8) | (bytes[k + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

function withChecksum(bytes: Buffer, at: number): Buffer {
  bytes.writeUInt16BE(~sum(bytes) & 0xffff, at);
  return bytes;
}

function arp(operation: number): Buffer {
  const body = Buffer.from(`0001080006040000${PEER.toString("hex")}0a000001${"00".repeat(6)}0a000002`, "hex");
  body.writeUInt16BE(operation, 6);
  return Buffer.concat([Buffer.alloc(6, 0xff), PEER, Buffer.from("0806", "hex"), body, Buffer.alloc(18)]);
}

function icmp(type: number, payload: Buffer, ipOptions = 0, fragment = 0): Buffer {
  const message = withChecksum(Buffer.concat([Buffer.from([type, 0, 0, 0, 0x12, 0x34, 0, 1]), payload]), 2);
  const header = Buffer.alloc(20 + ipOptions);
  header.set([0x45 + ipOptions / 4, 0], 0);
  header.writeUInt16BE(header.length + message.length, 2);
  header.writeUInt16BE(fragment, 6);
  header.set([64, 1], 8);
  header.set([10, 0, 0, 1, 10, 0, 0, 2], 12);
  const ethernet = Buffer.concat([MAC, PEER, Buffer.from("0800", "hex")]);
  return Buffer.concat([ethernet, withChecksum(header, 10), message]);
}

const echoWords = [
  [IcmpEcho.MAC_LOW, MAC.readUInt32LE(0)],
  [IcmpEcho.MAC_HIGH, MAC.readUInt16LE(4)],
] as const;

onEngines("icmpecho answers ARP requests", {}, (t, rig) => {
  const { rx, tx, lcore } = between(rig, Mode.ICMPECHO, echoWords);
  rx.put([rig.packet(arp(1)), rig.packet(arp(1).subarray(0, 42))]);
  lcore.run();
  const sent = tx.take();
  t.same(
    sent.map((mbuf) => rig.frame(mbuf).length),
    [60, 42],
  );
  const hex = (from: number, to: number) => rig.frame(sent[0]!).toString("hex", from, to);
  t.equal(hex(0, 12), PEER.toString("hex") + MAC.toString("hex"));
  t.equal(hex(12, 22), "08060001080006040002", "a reply");
  t.equal(hex(22, 32), `${MAC.toString("hex")}0a000002`, "the address asked for is here");
  t.equal(hex(32, 42), `${PEER.toString("hex")}0a000001`);
  rig.free(sent);
  t.same(rig.audit(), []);
});

onEngines("icmpecho answers echo requests with right checksums", {}, (t, rig) => {
  const { rx, tx, lcore } = between(rig, Mode.ICMPECHO, echoWords);
  // payloads that bring the request's checksum to all its edges, f7ff and ffff among them
  const payloads = [0, 1, 2, 10, 56, 1400].map((length) => Buffer.from(makeFrame(length, length)));
  const edges = [0x0000, 0x07ff, 0x0800, 0xf7fe, 0xf7ff, 0xf800, 0xffff].map((want) => {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE((0xffff * 4 - want - 0x0800 - 0x1234 - 1) % 0xffff, 0);
    return payload;
  });
  const requests = [...payloads, ...edges].map((payload) => icmp(8, payload));
  requests.push(icmp(8, Buffer.alloc(8), 12));
  rx.put(requests.map((frame) => rig.packet(frame)));
  lcore.run();
  const sent = tx.take();
  t.equal(sent.length, requests.length);
  sent.forEach((mbuf, k) => {
    const frame = rig.frame(mbuf);
    const ihl = (frame[14]! & 15) * 4;
    t.equal(frame.toString("hex", 0, 12), PEER.toString("hex") + MAC.toString("hex"));
    t.same([...frame.subarray(26, 34)], [10, 0, 0, 2, 10, 0, 0, 1]);
    t.equal(frame[14 + ihl], 0);
    t.equal(sum(frame.subarray(14, 14 + ihl)), 0xffff, "IPv4 checksum");
    t.equal(sum(frame.subarray(14 + ihl)), 0xffff, `ICMP checksum of request ${k}`);
    t.ok(frame.subarray(14 + ihl + 4).equals(requests[k]!.subarray(14 + ihl + 4)), "payload");
  });
  rig.free(sent);
  t.same(rig.audit(), []);
});

onEngines("icmpecho drops everything else, and counts it", {}, (t, rig) => {
  const { rx, tx, lcore, stream } = between(rig, Mode.ICMPECHO, echoWords);
  const broken = (change: (frame: Buffer) => void) => {
    const frame = icmp(8, Buffer.alloc(20));
    change(frame);
    return frame;
  };
  const others = [
    arp(2),
    arp(1).subarray(0, 41),
    icmp(0, Buffer.alloc(20)),
    icmp(8, Buffer.alloc(20), 0, 0x2000),
    icmp(8, Buffer.alloc(20), 0, 0x0010),
    broken((frame) => frame.writeUInt16BE(0x86dd, 12)),
    broken((frame) => frame.writeUInt8(0x65, 14)),
    broken((frame) => frame.writeUInt8(0x44, 14)),
    broken((frame) => frame.writeUInt8(0x4f, 14)),
    broken((frame) => frame.writeUInt8(17, 23)),
    Buffer.from(makeFrame(3, 14)),
    Buffer.from(makeFrame(4, 1500)),
  ];
  rx.put(others.map((frame) => rig.packet(frame)));
  rx.put([rig.packet(icmp(8, Buffer.alloc(20)))]);
  lcore.run();
  const sent = tx.take();
  t.equal(sent.length, 1);
  t.equal(rig.counter(stream + Stream.BAD), others.length);
  rig.free(sent);
  t.same(rig.audit(), []);
});

onEngines(
  "icmpecho: an lcore that only drops does not starve the one that draws",
  { mbufs: 4096, dataRoom: 128 },
  (t, rig) => {
    const rx = new RingEnd(rig, makeRing(rig, 256), rig.pool.cacheOf(1));
    const lcore = new TestLcore(rig, [{ mode: Mode.ICMPECHO, rx: rx.block, tx: rx.block, words: echoWords }]);
    for (let round = 0; round < 60; round++) {
      rx.put(rig.alloc(128));
      lcore.run();
    }
    t.same(rig.audit(), []);
  },
);
