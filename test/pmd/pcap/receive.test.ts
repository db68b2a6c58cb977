// net_pcap's receive queues, on each engine: every format, windows that slide, faults, passes, pacing.
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, truncateSync, writeSync } from "node:fs";
import t from "tap";
import { PcapLimit, PcapRx } from "../../../pmd/pcap/layout.ts";
import { Mbuf, Queue } from "../../../src/hot/layout.ts";
import { PCAP_BLOCK_BYTES_MAX, PCAP_FRAME_BYTES_MAX, PCAP_READ_BYTES } from "../../../src/limits.ts";
import { pcapHeader, pcapRecord } from "../../../src/pcap/pcap.ts";
import { enhancedPacket, interfaceDescription, sectionHeader } from "../../../src/pcap/pcapng.ts";
import { flavours, motley, type TestPacket, unknownBlock } from "../../pcap/captures.ts";
import { makeFrame, onEngines } from "../../support/engines.ts";
import { closeInput, drain, newPath, openInput, reference, save } from "./queues.ts";

t.setTimeout(120_000);

const BASE_NS = 1_700_000_000_000_000_000n;
const packetsOf = (lengths: readonly number[]): TestPacket[] =>
  lengths.map((length, k) => ({ stampNs: BASE_NS + BigInt(k) * 1000n, data: makeFrame(k, length) }));
const same = (frames: readonly Buffer[], packets: readonly TestPacket[]) =>
  frames.length === packets.length &&
  frames.every((frame, k) => Buffer.compare(frame, packets[k]!.data) === 0);

const mixed = packetsOf([60, 14, 61, 1514, 62, 63, 2048, 2049, 9000, 60]);

t.test("limits are those that hot code has", async (t) => {
  t.equal(PCAP_BLOCK_BYTES_MAX, PcapLimit.BLOCK_BYTES);
  t.equal(PCAP_FRAME_BYTES_MAX, PcapLimit.FRAME_BYTES);
  t.equal(PCAP_READ_BYTES, PcapLimit.READ_BYTES);
});

onEngines("every format, byte order and resolution", {}, async (t, rig) => {
  for (const { name, write } of flavours) {
    for (const burst of [1, 3, 32]) {
      const queue = openInput(rig, save(write(mixed)));
      const { frames, code } = drain(rig, queue, burst);
      t.equal(code, undefined);
      t.ok(same(frames, mixed), `${name}, bursts of ${burst}`);
      closeInput(queue);
    }
  }
  t.same(rig.audit(), []);
});

onEngines("sections, interfaces and blocks of all kinds", {}, async (t, rig) => {
  const bytes = motley(mixed);
  const queue = openInput(rig, save(bytes, "pcapng"));
  const found = drain(rig, queue);
  t.same(found, reference(bytes));
  t.equal(found.frames.length, 20);
  t.equal(queue.xstats().rx_q0_other_link_type, 4);
  t.equal(queue.xstats().rx_q0_file_ended, 1);
  closeInput(queue);
});

onEngines("packets say how long they are, where from, and are counted", {}, async (t, rig) => {
  const queue = openInput(rig, save(flavours[0]!.write([...mixed, ...packetsOf([13, 0])])));
  queue.block.set(Queue.ORIGIN, 0x10007);
  const packets = rig.receive(queue.block.offset, 32);
  t.equal(packets.length, 10);
  t.same(
    packets.map((mbuf) => rig.word(mbuf + Mbuf.PKT_LEN)),
    mixed.map(({ data }) => data.length),
  );
  t.same(
    packets.map((mbuf) => rig.arena.u16[(mbuf + Mbuf.NB_SEGS) >>> 1]),
    [1, 1, 1, 1, 1, 1, 1, 2, 5, 1],
  );
  t.ok(packets.every((mbuf) => rig.arena.u16[(mbuf + Mbuf.PORT) >>> 1] === 7));
  t.same(rig.audit(packets), []);
  rig.free(packets);
  t.same(rig.receive(queue.block.offset, 32), []);
  const bytes = mixed.reduce((sum, { data }) => sum + data.length, 0);
  t.same(
    rig.stats(queue.block.offset),
    { packets: 10, bytes, errors: 2, stalled: 0 },
    "two runts are errors",
  );
  closeInput(queue);
  t.same(rig.audit(), []);
});

onEngines("cut short at every byte: what is whole comes, then the fault", {}, async (t, rig) => {
  const few = packetsOf([60, 61, 62]);
  for (const { name, write } of [
    ...flavours.filter((_, k) => k % 3 === 0),
    { name: "motley", write: motley },
  ]) {
    const bytes = write(few);
    const bad: string[] = [];
    for (let length = 0; length < bytes.length; length++) {
      const queue = openInput(rig, save(bytes.subarray(0, length)));
      const { frames, code, offset } = drain(rig, queue);
      const wanted = reference(bytes.subarray(0, length));
      const right = same(
        frames,
        wanted.frames.map((data) => ({ stampNs: 0n, data })),
      );
      if (!right || code !== wanted.code || offset !== wanted.offset)
        bad.push(
          `${length}: ${frames.length} ${code} ${offset}, not ${JSON.stringify(wanted.code)} ${wanted.offset}`,
        );
      closeInput(queue);
    }
    t.same(bad, [], name);
  }
  t.same(rig.audit(), []);
});

onEngines("windows slide across records; blocks that no window holds are passed over", {}, async (t, rig) => {
  const many = packetsOf(Array.from({ length: 1500 }, (_, k) => 60 + ((k * 331) % 1455)));
  for (const { name, write } of [flavours[0]!, flavours[2]!, flavours[4]!, flavours[11]!]) {
    const queue = openInput(rig, save(write(many)));
    const { frames, code } = drain(rig, queue);
    t.ok(code === undefined && same(frames, many), `${name}: ${frames.length}`);
    closeInput(queue);
  }
  const between = Buffer.concat([
    sectionHeader(),
    interfaceDescription(),
    ...many
      .slice(0, 20)
      .flatMap(({ stampNs, data }, k) => [
        enhancedPacket({ interface: 0, stamp: stampNs, data }),
        unknownBlock(k * 71_000, false),
      ]),
  ]);
  const queue = openInput(rig, save(between));
  const { frames, code } = drain(rig, queue);
  t.ok(code === undefined && same(frames, many.slice(0, 20)), `${code}, ${frames.length}`);
  closeInput(queue);
  const cut = openInput(rig, save(between.subarray(0, between.length - 8)));
  t.match(drain(rig, cut), { code: "PCAP_TRUNCATED" }, "within a block that is passed over");
  closeInput(cut);
  t.same(rig.audit(), []);
});

onEngines("the longest frame there may be, and lengths beyond it", { mbufs: 1024 }, async (t, rig) => {
  const longest = packetsOf([PCAP_FRAME_BYTES_MAX, 60]);
  for (const { name, write } of [flavours[0]!, flavours[4]!]) {
    const queue = openInput(rig, save(write(longest)));
    t.ok(same(drain(rig, queue).frames, longest), name);
    closeInput(queue);
  }
  for (const length of [PCAP_FRAME_BYTES_MAX + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
    const record = pcapRecord(BASE_NS, Buffer.alloc(60));
    record.writeUInt32LE(length, 8);
    const queue = openInput(rig, save(Buffer.concat([flavours[0]!.write(mixed.slice(0, 2)), record])));
    const found = drain(rig, queue);
    t.equal(found.frames.length, 2);
    t.match(found, {
      code: "PCAP_CORRUPT",
      offset: 24 + 76 + 30,
      message: new RegExp(`a packet of ${length} bytes`),
    });
    closeInput(queue);
    const block = enhancedPacket({ interface: 0, stamp: 0n, data: Buffer.alloc(60) });
    block.writeUInt32LE(length, 4);
    const head = Buffer.concat([sectionHeader(), interfaceDescription()]);
    const next = openInput(rig, save(Buffer.concat([head, block])));
    t.match(drain(rig, next), { code: "PCAP_CORRUPT", offset: head.length });
    closeInput(next);
  }
  t.same(rig.audit(), []);
});

onEngines(
  "too few mbufs: nothing is lost, the queue goes on when there are some",
  { mbufs: 64 },
  async (t, rig) => {
    const many = packetsOf([60, 60, 9000, 61, 62]);
    const queue = openInput(rig, save(flavours[0]!.write(many)));
    const taken = rig.alloc(60);
    const frames: Buffer[] = [];
    const first = rig.receive(queue.block.offset, 32);
    t.equal(first.length, 2, "the third needs five mbufs");
    t.equal(rig.stats(queue.block.offset).stalled, 1);
    t.same(rig.receive(queue.block.offset, 32), []);
    t.same(rig.audit([...taken, ...first]), []);
    frames.push(...first.map((mbuf) => rig.frame(mbuf)));
    rig.free([...first, ...taken]);
    t.ok(same([...frames, ...drain(rig, queue).frames], many));
    closeInput(queue);
    t.same(rig.audit(), []);
  },
);

onEngines("passes: loops=N, without end, of files in the window and larger ones", {}, async (t, rig) => {
  for (const size of [10, 3000]) {
    const list = packetsOf(Array.from({ length: size }, (_, k) => 60 + (k % 1400)));
    for (const { write } of [flavours[0]!, flavours[9]!]) {
      const path = save(write(list));
      const queue = openInput(rig, path, { loops: 3 });
      const { frames } = drain(rig, queue);
      t.ok(same(frames, [...list, ...list, ...list]), `${size} packets, 3 times`);
      t.equal(queue.xstats().rx_q0_passes, 3);
      closeInput(queue);
      // as if it were too large to be kept: it is read again from the file
      const sliding = openInput(rig, path, { loops: 2 });
      sliding.block.set(PcapRx.KEEP, 0);
      sliding.block.set(PcapRx.WINDOW_BYTES, 600_000);
      t.ok(same(drain(rig, sliding).frames, [...list, ...list]), `${size} packets, read twice`);
      closeInput(sliding);
    }
  }
  const endless = openInput(rig, save(flavours[1]!.write(mixed)), { loops: Number.POSITIVE_INFINITY });
  let count = 0;
  for (let k = 0; k < 100; k++) {
    const packets = rig.receive(endless.block.offset, 32);
    packets.forEach((mbuf, j) => {
      const { data } = mixed[(count + j) % mixed.length]!;
      if (Buffer.compare(rig.frame(mbuf), data) !== 0) t.fail(`packet ${count + j}`);
    });
    count += packets.length;
    rig.free(packets);
  }
  t.equal(count, 3200, "full bursts, across the end too");
  closeInput(endless);
});

onEngines("files without packets end, whatever the number of passes", {}, async (t, rig) => {
  const empty = [pcapHeader(), sectionHeader(), Buffer.concat([sectionHeader(), interfaceDescription()])];
  for (const bytes of [...empty, Buffer.concat([sectionHeader(), unknownBlock(50_000, false)])]) {
    const queue = openInput(rig, save(bytes), { loops: Number.POSITIVE_INFINITY });
    t.same(drain(rig, queue, 32, 10), { frames: [], code: undefined, offset: undefined });
    t.equal(queue.xstats().rx_q0_passes, 1);
    closeInput(queue);
  }
});

let clockMs = 0;
onEngines("pace: packets come when their stamps say", { now: () => clockMs }, async (t, rig) => {
  const gapsMs = [0, 1, 1, 5, 5.5, 3, 100];
  const list = gapsMs.map((ms, k) => ({
    stampNs: BASE_NS + BigInt(Math.round(ms * 1e6)),
    data: makeFrame(k, 60),
  }));
  // the sixth's stamp goes back: it follows at once
  const due = [0, 1, 1, 5, 5.5, 5.5, 100];
  for (const { name, grainNs, write } of flavours.filter(({ grainNs }) => grainNs < 1_000_000n)) {
    const queue = openInput(rig, save(write(list)), { pace: true, loops: 2 });
    const arrivals: number[] = [];
    for (clockMs = 1000; clockMs < 1210; clockMs += 0.25) {
      const packets = rig.receive(queue.block.offset, 32);
      arrivals.push(...packets.map(() => clockMs - 1000));
      rig.free(packets);
    }
    const wanted = [...due, ...due.map((ms) => ms + 100.25)];
    const slack = 0.251 + Number(grainNs) / 1e6;
    const right = arrivals.length === 14 && arrivals.every((ms, k) => Math.abs(ms - wanted[k]!) <= slack);
    t.ok(right, `${name}: ${arrivals}`);
    closeInput(queue);
  }
  t.same(rig.audit(), []);
});

onEngines("a FIFO: bytes as they come, without waiting; its writer's end is the end", {}, async (t, rig) => {
  const path = newPath("fifo");
  execFileSync("mkfifo", [path]);
  const queue = openInput(rig, path);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  const bytes = flavours[5]!.write(mixed);
  const frames: Buffer[] = [];
  const poll = () => {
    const packets = rig.receive(queue.block.offset, 32);
    frames.push(...packets.map((mbuf) => rig.frame(mbuf)));
    rig.free(packets);
  };
  for (let at = 0; at < bytes.length; at += 97) {
    poll();
    writeSync(writer, bytes, at, Math.min(97, bytes.length - at));
    poll();
  }
  t.notOk(queue.ended);
  poll();
  t.ok(same(frames, mixed));
  closeSync(writer);
  poll();
  t.ok(queue.ended);
  t.equal(queue.takeFault(), undefined);
  closeInput(queue);
});

onEngines(
  "a file that is cut short while it is read ends there, and nothing else does",
  {},
  async (t, rig) => {
    const many = packetsOf(Array.from({ length: 3000 }, () => 1000));
    for (const loops of [1, 2]) {
      const path = save(flavours[0]!.write(many));
      const queue = openInput(rig, path, { loops });
      rig.free(rig.receive(queue.block.offset, 32));
      truncateSync(path, 24 + 500 * 1016 + 700);
      const { frames, code, offset } = drain(rig, queue);
      t.equal(frames.length, 468);
      t.match({ code, offset }, { code: "PCAP_TRUNCATED", offset: 24 + 500 * 1016 });
      closeInput(queue);
    }
    t.same(rig.audit(), []);
  },
);

onEngines("a read that fails is told with its errno", {}, async (t, rig) => {
  const queue = openInput(rig, save(flavours[0]!.write(mixed)));
  const folder = openSync("/", constants.O_RDONLY);
  queue.block.set(PcapRx.FD, folder);
  t.match(drain(rig, queue), { frames: [], code: "EISDIR", message: /^read\(p0, rx 0: .*at offset 0\)/ });
  closeSync(folder);
  closeInput(queue);
});
