// Bulk moves, with vectors and without, against plain JavaScript.
import { Mbuf } from "../../src/hot/layout.ts";
import { onEngines } from "../support/engines.ts";
import { Random } from "../support/random.ts";

const AREA = 2048;

onEngines("copyFrame: every size to 600, odd addresses, nothing beside it", {}, (t, rig) => {
  const random = new Random(21);
  const from = rig.private.allocate("source", AREA);
  const to = rig.private.allocate("target", AREA);
  const source = random.bytes(AREA);
  rig.arena.u8.set(source, from);
  const bad: string[] = [];
  for (let n = 0; n <= 600; n++) {
    for (const [a, b] of [
      [0, 0],
      [1, 0],
      [0, 3],
      [random.below(64), random.below(64)],
    ] as const) {
      const wanted = new Uint8Array(AREA).fill(0xaa);
      wanted.set(source.subarray(a, a + n), 64 + b);
      rig.arena.u8.fill(0xaa, to, to + AREA);
      rig.hot.copyFrame(to + 64 + b, from + a, n);
      if (Buffer.compare(rig.arena.u8.slice(to, to + AREA), wanted) !== 0)
        bad.push(`${n} bytes, ${a} to ${b}`);
    }
  }
  t.same(bad, []);
});

onEngines("copyWords: every count to 100", {}, (t, rig) => {
  const random = new Random(22);
  const from = rig.private.allocate("source", AREA);
  const to = rig.private.allocate("target", AREA);
  const bad: number[] = [];
  for (let n = 0; n <= 100; n++) {
    const words = Array.from({ length: 110 }, () => random.word());
    const [a, b] = [random.below(4), random.below(4)];
    words.forEach((word, k) => {
      rig.put(from + 4 * (a + k), word);
    });
    rig.arena.u32.fill(7, to >>> 2, (to + AREA) >>> 2);
    rig.hot.copyWords(to + 4 * (b + 1), from + 4 * a, n);
    const wanted = [...Array(b + 1).fill(7), ...words.slice(0, n), 7];
    if (rig.words(to, wanted.length).some((word, k) => word !== wanted[k])) bad.push(n);
  }
  t.same(bad, []);
});

onEngines("swapMacs exchanges 6 and 6 bytes and nothing else", {}, (t, rig) => {
  const random = new Random(23);
  const at = rig.private.allocate("frame", 128);
  for (let k = 0; k < 100; k++) {
    const bytes = random.bytes(128);
    const shift = 4 * random.below(16);
    rig.arena.u8.set(bytes, at);
    rig.hot.swapMacs(at + shift);
    const wanted = bytes.slice();
    wanted.set(bytes.subarray(shift + 6, shift + 12), shift);
    wanted.set(bytes.subarray(shift, shift + 6), shift + 6);
    if (Buffer.compare(rig.arena.u8.slice(at, at + 128), wanted) !== 0) t.fail(`at ${shift}`);
  }
  t.pass("100 frames");
});

onEngines("equalRun may stop short, never goes beyond", {}, (t, rig) => {
  const random = new Random(24);
  const a = rig.private.allocate("a", 512);
  const b = rig.private.allocate("b", 512);
  let long = 0;
  for (let round = 0; round < 2000; round++) {
    const n = random.below(100);
    const same = random.below(n + 1);
    const [sa, sb] = [4 * random.below(4), 4 * random.below(4)];
    for (let k = 0; k < n + 4; k++) {
      const word = random.word();
      rig.put(a + sa + 4 * k, word);
      rig.put(b + sb + 4 * k, k === same ? word ^ (1 << random.below(32)) : word);
    }
    const run = rig.hot.equalRun(a + sa, b + sb, n);
    if (run > same || run > n) t.fail(`${run} of ${same}`);
    if (run + 4 <= same) t.fail(`${run} of ${same}: far too short`);
    if (run > 0) long++;
  }
  t.ok(long > 1000);
});

onEngines("writeMbuf writes six words, and no seventh", {}, (t, rig) => {
  const [mbuf] = rig.alloc(1) as [number];
  rig.arena.u32.fill(0xeeeeeeee, mbuf >>> 2, (mbuf >>> 2) + 8);
  rig.hot.writeMbuf(mbuf, 0x80001234, 0xfffff, 0x1ffff);
  t.same(rig.words(mbuf, 8), [0x80001234, 0xfffff, 0xfffff, 0, 0x1ffff, 0, 0xeeeeeeee, 0xeeeeeeee]);
  t.same(rig.word(mbuf + Mbuf.RSS_HASH), 0xeeeeeeee);
  rig.free([mbuf]);
});

onEngines("sumBytes: every size to 600 and 64 KiB, odd addresses, all ones", {}, (t, rig) => {
  const random = new Random(25);
  const bytes = random.bytes(70_000).fill(0xff, 40_000);
  const at = rig.private.allocate("bytes", bytes.length);
  rig.arena.u8.set(bytes, at);
  const wanted = (from: number, n: number) => {
    let sum = 0;
    for (let k = 0; k < n; k++) sum += bytes[from + k]! << (8 * (k & 1));
    while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
    return sum;
  };
  const bad: string[] = [];
  const check = (from: number, n: number) => {
    if (rig.hot.sumBytes(at + from, n) !== wanted(from, n)) bad.push(`${n} bytes at ${from}`);
  };
  for (let n = 0; n <= 600; n++) for (const from of [0, 1, random.below(64), 40_001]) check(from, n);
  for (const n of [9000, 20_000, 29_999]) for (const from of [0, 1, 2, 40_000]) check(from, n);
  check(0, 65_535);
  check(1, 65_535);
  t.same(bad, []);
});
