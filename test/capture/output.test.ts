// Where captures go: files and their names as tcpdump's -C, -G and -W make them, whole sections, ends that are told.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import t from "tap";
import { type CaptureOutput, FileOutput, ReaderGone, StreamOutput } from "../../src/capture/output.ts";
import type { RingReader } from "../../src/capture/reader.ts";
import { Recorder } from "../../src/capture/recorder.ts";
import { enhancedPacket } from "../../src/pcap/pcapng.ts";
import { readPackets } from "../../src/pcap/reader.ts";

const origin = {
  port: 3,
  name: "net_x0",
  driver: "net_x",
  mac: [2, 0, 0, 0, 0, 1],
  speed: 10_000,
  snaplen: 262_144,
};

/** A reader that has `count` packets of `bytes` each, `atOnce` at a time, numbered in their first word. */
class FakeReader {
  private next = 0;
  private readonly count: number;
  private readonly bytes: number;
  private readonly atOnce: number;
  /** Before each reading. */
  onRead: () => void = () => {};

  constructor(count: number, bytes = 100, atOnce = Number.POSITIVE_INFINITY) {
    this.count = count;
    this.bytes = bytes;
    this.atOnce = atOnce;
  }

  get pending(): boolean {
    return this.next < this.count;
  }
  get counters() {
    return { seen: this.count + 7, accepted: this.count + 2, dropped: 2 };
  }
  read(into: Buffer, limits: { packets: number; bytes: number }) {
    this.onRead();
    let bytes = 0;
    let packets = 0;
    while (this.pending && packets < Math.min(limits.packets, this.atOnce) && bytes < limits.bytes) {
      const data = Buffer.alloc(this.bytes);
      data.writeUInt32LE(this.next++);
      const block = enhancedPacket({
        interface: 0,
        stamp: BigInt(this.next),
        data,
        direction: "in",
        queue: 0,
      });
      block.copy(into, bytes);
      bytes += block.length;
      packets++;
    }
    return { bytes, packets };
  }
}

function record(reader: FakeReader, output: CaptureOutput, count?: number) {
  let stops = 0;
  const recorder = new Recorder({
    reader: reader as unknown as RingReader,
    output,
    origin,
    filter: "ip",
    count,
    stopTaps: async () => void stops++,
  });
  return { recorder, stops: () => stops };
}

async function numbers(path: string | Buffer): Promise<number[]> {
  const found: number[] = [];
  const source =
    typeof path === "string"
      ? path
      : (async function* () {
          yield path;
        })();
  for await (const { data } of readPackets(source)) found.push(Buffer.from(data).readUInt32LE(0));
  return found;
}

const upTo = (n: number, from = 0) => Array.from({ length: n - from }, (_, k) => from + k);

function folder(t: { teardown(work: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), "pollmode-capture-"));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

t.test("one file, ended by request: what there is is written first", async (t) => {
  const file = join(folder(t), "a.pcapng");
  const { recorder, stops } = record(new FakeReader(5000), new FileOutput(file));
  recorder.end();
  await recorder.run();
  t.same(await numbers(file), upTo(5000));
  t.equal(stops(), 1);
  t.same(recorder.stats, { captured: 5000, seen: 5007, received: 5002, dropped: 2 });
});

t.test("a count is kept to the packet", async (t) => {
  const file = join(folder(t), "a.pcapng");
  const { recorder } = record(new FakeReader(5000, 100, 64), new FileOutput(file), 1001);
  await recorder.run();
  t.same(await numbers(file), upTo(1001));
});

t.test("-C: files of a size, FILE, FILE1, FILE2 …", async (t) => {
  const path = folder(t);
  const { recorder } = record(new FakeReader(1000), new FileOutput(join(path, "a"), { bytes: 50_000 }), 1000);
  await recorder.run();
  t.same(readdirSync(path).sort(), ["a", "a1", "a2", "a3"]);
  const parts: number[] = [];
  for (const name of ["a", "a1", "a2", "a3"]) {
    parts.push(...(await numbers(join(path, name))));
    const { length } = readFileSync(join(path, name));
    if (name !== "a3") t.ok(length > 50_000 && length < 50_600, `${name}: ${length} bytes`);
  }
  t.same(parts, upTo(1000));
});

t.test("-C -W: a ring, the numbers padded", async (t) => {
  const path = folder(t);
  const output = new FileOutput(join(path, "a"), { bytes: 5000, files: 11 });
  const { recorder } = record(new FakeReader(1000), output, 1000);
  await recorder.run();
  t.same(
    readdirSync(path).sort(),
    upTo(11).map((k) => `a${String(k).padStart(2, "0")}`),
  );
  const kept: number[] = [];
  for (const name of readdirSync(path)) kept.push(...(await numbers(join(path, name))));
  t.ok(kept.includes(999) && !kept.includes(0), "the oldest are gone");
  t.equal(new Set(kept).size, kept.length);
});

t.test("-G: names by time; -W ends it", async (t) => {
  const path = folder(t);
  const reader = new FakeReader(1e9, 100, 1);
  const output = new FileOutput(join(path, "%Y-%H%M%S.pcapng"), { seconds: 1, files: 2 });
  const { recorder } = record(reader, output);
  reader.onRead = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  await recorder.run();
  const names = readdirSync(path).sort();
  t.equal(names.length, 2, names.join(" "));
  for (const name of names) t.match(name, /^20\d\d-\d{6}\.pcapng$/);
  const found = [...(await numbers(join(path, names[0]!))), ...(await numbers(join(path, names[1]!)))];
  t.same(found, upTo(recorder.stats.captured));
});

t.test("-C and -G together", async (t) => {
  const path = folder(t);
  const output = new FileOutput(join(path, "x%Y"), { bytes: 30_000, seconds: 3600, files: 100 });
  const { recorder } = record(new FakeReader(500), output, 500);
  await recorder.run();
  const year = new Date().getFullYear();
  t.same(readdirSync(path).sort(), [`x${year}00`, `x${year}01`, `x${year}02`]);
});

t.test("a stream: it is written to, not ended; a slow one is waited for", async (t) => {
  const parts: Buffer[] = [];
  const slow = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      parts.push(chunk);
      setTimeout(done, 1);
    },
  });
  const { recorder } = record(new FakeReader(20_000), new StreamOutput(slow), 20_000);
  await recorder.run();
  t.same(await numbers(Buffer.concat(parts)), upTo(20_000));
  t.notOk(slow.writableEnded);
});

t.test("outputs that fail", async (t) => {
  const file = record(new FakeReader(10), new FileOutput("/nonexistent/folder/a"));
  await t.rejects(file.recorder.run(), {
    code: "CAPTURE_OUTPUT",
    message: /folder\/a/,
    fix: "make the folder first",
  });
  t.equal(file.stops(), 1);
  const full = record(new FakeReader(10_000), new FileOutput("/dev/full"));
  await t.rejects(full.recorder.run(), { code: "CAPTURE_OUTPUT", message: /ENOSPC/, fix: /-C 100 -W 10/ });
  const stream = new PassThrough();
  stream.destroy();
  const gone = record(new FakeReader(10), new StreamOutput(stream));
  await gone.recorder.run();
  t.equal(gone.stops(), 1, "a reader that has gone is an end, no failure");
  const torn = new PassThrough();
  const midway = record(new FakeReader(100_000), new StreamOutput(torn));
  setTimeout(() => torn.destroy(), 20);
  await midway.recorder.run();
  t.equal(midway.stops(), 1);
  t.ok(new ReaderGone("x") instanceof Error);
});
