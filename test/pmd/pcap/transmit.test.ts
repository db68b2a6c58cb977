// net_pcap's transmit queues, on each engine: what was sent stands in the file; what the file does not take waits.
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, readSync, statSync } from "node:fs";
import t from "tap";
import { PcapTx } from "../../../pmd/pcap/layout.ts";
import { PCAP_BATCH_BYTES } from "../../../src/limits.ts";
import { type CapturedPacket, PacketReader } from "../../../src/pcap/reader.ts";
import { makeFrame, onEngines } from "../../support/engines.ts";
import { newPath, openOutput } from "./queues.ts";

t.setTimeout(60_000);

function parse(bytes: Buffer): CapturedPacket[] {
  const reader = new PacketReader("written");
  const packets = [...reader.push(bytes)].map((packet) => ({ ...packet, data: Buffer.from(packet.data) }));
  reader.end();
  return packets;
}

const lengths = [60, 61, 62, 63, 64, 14, 1514, 2048, 2049, 9000];
const nowNs = () => BigInt(Math.floor((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
const formats = ["pcap", "pcap-us", "pcapng"] as const;

onEngines("every format: bytes, lengths, stamps of the wall clock that never go back", {}, async (t, rig) => {
  for (const format of formats) {
    const path = newPath();
    const begin = nowNs();
    const queue = openOutput(rig, { path, format });
    for (let burst = 0; burst < 5; burst++) {
      const packets = lengths.map((length, k) => rig.packet(makeFrame(burst * 100 + k, length)));
      t.equal(rig.send(queue.block.offset, packets), packets.length);
    }
    t.equal(statSync(path).size < 200, true, "nothing is written before there is time for it");
    rig.hot.txIdle(queue.block.offset);
    const written = parse(readFileSync(path));
    t.equal(written.length, 50);
    t.equal(queue.xstats().tx_q0_file_bytes, statSync(path).size);
    t.equal(await queue.stop(), undefined);
    queue.free();
    const bytes = lengths.reduce((sum, length) => sum + length, 0);
    let last = begin - 1000n;
    written.forEach(({ data, length, stampNs }, k) => {
      const wanted = makeFrame(Math.floor(k / 10) * 100 + (k % 10), lengths[k % 10]!);
      if (Buffer.compare(data, wanted) !== 0 || length !== wanted.length) t.fail(`packet ${k}`);
      if (stampNs! < last || stampNs! > nowNs() + 1_000_000n) t.fail(`packet ${k} is stamped ${stampNs}`);
      last = stampNs!;
    });
    t.equal(
      bytes * 5,
      written.reduce((sum, { length }) => sum + length, 0),
    );
  }
  t.same(rig.audit(), []);
});

let clockMs = 0;
onEngines("stamps are exact to the nanosecond", { now: () => clockMs }, async (t, rig) => {
  for (const format of formats) {
    const path = newPath();
    const queue = openOutput(rig, { path, format });
    queue.block.set(PcapTx.EPOCH_SECONDS, 1_700_000_000);
    rig.arena.f64[(queue.block.offset + PcapTx.EPOCH_MS) >>> 3] = 999.5;
    const times = [0, 0.25, 0.5, 0.500001, 1000, 86_400_000.125, 1e9];
    for (clockMs of times) rig.send(queue.block.offset, [rig.packet(makeFrame(0, 60))]);
    await queue.stop();
    queue.free();
    const grain = format === "pcap-us" ? 1000n : 1n;
    const wanted = times.map((ms) => 1_700_000_000_999_500_000n + BigInt(Math.round(ms * 1e6)));
    const found = parse(readFileSync(path)).map(({ stampNs }) => stampNs!);
    // a double has the milliseconds of 11 days to 0.1 ns, and cuts what is behind the nanosecond
    const right = found.every((ns, k) => wanted[k]! - ns >= 0n && wanted[k]! - ns <= grain);
    t.ok(right, `${format}: ${found}`);
  }
});

onEngines("snaplen cuts frames, chains too, and tells the length they had", {}, async (t, rig) => {
  for (const format of formats) {
    const path = newPath();
    const queue = openOutput(rig, { path, format, snaplen: 100 });
    const frames = [60, 100, 101, 1514, 9000].map((length, k) => makeFrame(k, length));
    rig.send(queue.block.offset, [...frames.map((frame) => rig.packet(frame)), rig.packet(frames[4]!, 33)]);
    t.equal(queue.xstats().tx_q0_cut_packets, 4);
    await queue.stop();
    queue.free();
    const found = parse(readFileSync(path));
    t.same(
      found.map(({ data }) => data.length),
      [60, 100, 100, 100, 100, 100],
    );
    t.same(
      found.map(({ length }) => length),
      [60, 100, 101, 1514, 9000, 9000],
    );
    t.ok(found.every(({ data }, k) => Buffer.compare(data, frames[Math.min(k, 4)]!.subarray(0, 100)) === 0));
  }
  t.same(rig.audit(), []);
});

onEngines("more than a batch goes out by itself", {}, async (t, rig) => {
  const path = newPath("pcapng");
  const queue = openOutput(rig, { path, format: "pcapng" });
  const count = Math.ceil((3 * PCAP_BATCH_BYTES) / 1546 / 32) * 32;
  for (let sent = 0; sent < count; sent += 32) {
    const packets = Array.from({ length: 32 }, (_, k) => rig.packet(makeFrame(sent + k, 1514)));
    if (rig.send(queue.block.offset, packets) !== 32) t.fail("a burst was refused");
  }
  t.ok(statSync(path).size > 2 * PCAP_BATCH_BYTES);
  await queue.stop();
  queue.free();
  const found = parse(readFileSync(path));
  t.equal(found.length, count);
  t.ok(found.every(({ data }, k) => Buffer.compare(data, makeFrame(k, 1514)) === 0));
  t.same(rig.audit(), []);
});

onEngines(
  "a full device: packets are refused, the reason is told once, nothing is torn",
  {},
  async (t, rig) => {
    t.throws(() => openOutput(rig, { path: "/dev/full" }), { code: "ENOSPC" }, "not even the header");
    const path = newPath();
    const good = openOutput(rig, { path });
    const fd = openSync("/dev/full", "w");
    const own = good.block.get(PcapTx.FD);
    good.block.set(PcapTx.FD, fd);
    let taken = 0;
    for (let k = 0; k < 700; k++) {
      const packet = rig.packet(makeFrame(k, 1000));
      const sent = rig.send(good.block.offset, [packet]);
      taken += sent;
      if (sent === 0) rig.free([packet]);
    }
    t.equal(taken, Math.floor(PCAP_BATCH_BYTES / 1016), "as many as the batch holds");
    t.equal(rig.stats(good.block.offset).stalled, 700 - taken);
    t.match(good.takeFault(), { code: "ENOSPC", message: `p0, tx 0: write ${path}: ENOSPC` });
    t.equal(good.takeFault(), undefined);
    good.block.set(PcapTx.FD, own);
    rig.hot.txIdle(good.block.offset);
    t.equal(await good.stop(), undefined);
    good.free();
    closeSync(fd);
    t.equal(parse(readFileSync(path)).length, taken, "when there is room again all of it is written");
    t.same(rig.audit(), []);
  },
);

onEngines("a FIFO whose reader is slow", {}, async (t, rig) => {
  const path = newPath("fifo");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const queue = openOutput(rig, { path, format: "pcapng" });
  const parts: Buffer[] = [];
  const read = () => {
    const bytes = Buffer.alloc(30_000);
    try {
      parts.push(bytes.subarray(0, readSync(reader, bytes)));
    } catch {
      // nothing is there
    }
  };
  const frames = Array.from({ length: 300 }, (_, k) => makeFrame(k, 1000));
  for (const frame of frames) {
    t.equal(rig.send(queue.block.offset, [rig.packet(frame)]), 1);
    rig.hot.txIdle(queue.block.offset);
  }
  t.equal(queue.takeFault(), undefined, "that it is full is no fault");
  for (let k = 0; k < 30; k++) {
    read();
    rig.hot.txIdle(queue.block.offset);
  }
  t.equal(await queue.stop(), undefined);
  queue.free();
  read();
  closeSync(reader);
  t.same(
    parse(Buffer.concat(parts)).map(({ data }) => data),
    frames.map((frame) => Buffer.from(frame)),
  );
  t.same(rig.audit(), []);
});

onEngines("stopped with a reader that does not read: the rest is counted as errors", {}, async (t, rig) => {
  const path = newPath("fifo");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const queue = openOutput(rig, { path });
  for (let k = 0; k < 200; k++) rig.send(queue.block.offset, [rig.packet(makeFrame(k, 1000))]);
  rig.hot.txIdle(queue.block.offset);
  const fault = await queue.stop();
  const { packets, errors } = rig.stats(queue.block.offset);
  t.match(fault, { code: "EAGAIN", message: new RegExp(`${errors} packets were not written`) });
  t.equal(packets + errors, 200);
  t.ok(errors > 100 && packets > 50, `${packets} written`);
  queue.free();
  closeSync(reader);
});
