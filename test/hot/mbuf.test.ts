// Pools and caches: every mbuf is always somewhere, and only once.
import { Cache, Mbuf, Pool } from "../../src/hot/layout.ts";
import { makeFrame, onEngines } from "../support/engines.ts";
import { Random } from "../support/random.ts";

onEngines("alloc gives every mbuf once, empty; then none", { mbufs: 200, dataRoom: 1000 }, (t, rig) => {
  const mbufs = rig.alloc(150);
  mbufs.push(...rig.alloc(50));
  t.equal(new Set(mbufs).size, 200);
  t.equal(rig.pool.dataRoom, 1024, "whole cache lines");
  for (const mbuf of mbufs) {
    const word = (at: number) => rig.word(mbuf + at);
    if (word(Mbuf.DATA) !== word(Mbuf.BUF) + 128 || word(Mbuf.DATA) % 64 !== 0) t.fail("DATA");
    if (word(Mbuf.NEXT) || word(Mbuf.DATA_LEN) || word(Mbuf.PKT_LEN)) t.fail("not empty");
    if (word(Mbuf.PORT) !== 0x10000 || word(Mbuf.POOL) !== rig.pool.block) t.fail("PORT, NB_SEGS or POOL");
  }
  t.equal(rig.hot.mbufAllocBulk(rig.cache, rig.out, 1), 0);
  rig.free(mbufs.slice(0, 10));
  t.equal(rig.hot.mbufAllocBulk(rig.cache, rig.out, 11), 0, "all or none");
  t.equal(rig.hot.cacheCount(rig.cache), 10);
  t.same(rig.pool.audit(mbufs.slice(10)), []);
  t.equal(rig.pool.available(), 10);
  rig.free(mbufs.slice(10));
  t.same(rig.audit(), []);
});

onEngines("a cache gives buffers back in the order they came", { mbufs: 128 }, (t, rig) => {
  const first = rig.alloc(64);
  rig.free(first);
  t.same(rig.alloc(64), first);
  rig.free(first);
});

onEngines("audit finds what is lost, doubled or foreign", { mbufs: 64 }, (t, rig) => {
  const [a, b] = rig.alloc(2) as [number, number];
  t.match(rig.audit([]), [/2 mbufs of rig are lost/]);
  t.match(rig.pool.audit([a, b, b]), [/mbuf \d+ of rig is there twice/]);
  t.match(rig.pool.audit([a, b + 4]), [/is no mbuf of rig/]);
  rig.pool.give([a, b]);
  t.same(rig.audit(), []);
});

onEngines("chains are freed whole", { mbufs: 128, dataRoom: 128 }, (t, rig) => {
  const packets = [1, 128, 129, 1000].map((length) => rig.packet(makeFrame(length, length)));
  t.same(
    packets.map((mbuf) => rig.segments(mbuf).length),
    [1, 1, 2, 8],
  );
  t.same(rig.audit(packets), []);
  rig.free(packets);
  t.same(rig.audit(), []);
  for (const mbuf of rig.alloc(128)) if (rig.word(mbuf + Mbuf.NEXT) !== 0) t.fail("NEXT of a free mbuf");
});

onEngines("packets of another pool go to this lcore's cache of that pool", { mbufs: 64 }, (t, rig) => {
  const other = rig.makePool({ name: "other", count: 4096, dataRoom: 128 });
  const theirs = other.cacheOf(0);
  const mine = other.cacheOf(1);
  const cacheOfOne = rig.pool.cacheOf(1);
  const mixed = [...rig.alloc(3), ...rig.alloc(3, theirs)];
  rig.free(mixed, cacheOfOne);
  t.equal(rig.hot.cacheCount(cacheOfOne), 3);
  t.equal(rig.hot.cacheCount(mine), 3);
  // more than a cache keeps: the rest must come within reach of the other lcore again
  for (let round = 0; round < 12; round++) {
    for (let k = 0; k < 8; k++) {
      if (rig.hot.mbufAllocBulk(theirs, rig.out, 64) === 0) return void t.fail(`round ${round}: it starves`);
      rig.hot.mbufFreeBulk(cacheOfOne, rig.out, 64);
    }
  }
  t.same([...other.audit([]), ...rig.audit()], []);
  other.close();
});

onEngines("what one lcore frees, another can draw", { mbufs: 4096, dataRoom: 128 }, (t, rig) => {
  const other = rig.pool.cacheOf(1);
  for (const chained of [false, true]) {
    for (let round = 0; round < 200; round++) {
      const mbufs = rig.alloc(64);
      if (chained) for (let k = 0; k < 64; k += 2) rig.put(mbufs[k]! + Mbuf.NEXT, mbufs[k + 1]!);
      rig.free(chained ? mbufs.filter((_, k) => k % 2 === 0) : mbufs, other);
    }
    t.ok(rig.hot.cacheCount(other) <= 2048 + 64, "the cache gives back above its mark");
    t.same(rig.audit(), []);
  }
});

onEngines("nobody waits for a pool that another lcore holds", { mbufs: 4096, dataRoom: 128 }, (t, rig) => {
  const lock = rig.pool.block + Pool.LOCK;
  const mbufs = [
    ...rig.alloc(512),
    ...rig.alloc(512),
    ...rig.alloc(512),
    ...rig.alloc(512),
    ...rig.alloc(512),
  ];
  rig.put(lock, 1);
  t.equal(rig.hot.mbufAllocBulk(rig.cache, rig.out, 1), 0, "the cache is empty, the stack not to be had");
  t.equal(rig.hot.cacheFill(rig.cache, 1), 0);
  for (let k = 0; k < 2560; k += 512) rig.free(mbufs.slice(k, k + 512));
  t.equal(rig.hot.cacheCount(rig.cache), 2560, "kept above the mark");
  t.equal(rig.hot.mbufAllocBulk(rig.cache, rig.out, 512), 512, "what the cache holds can be had");
  rig.put(lock, 0);
  rig.hot.mbufFreeBulk(rig.cache, rig.out, 512);
  t.equal(rig.hot.cacheCount(rig.cache), 1280, "the older half went back");
  t.equal(rig.word(lock), 0);
  t.same(rig.audit(), []);
});

onEngines("random traffic over three lcores and chains", { mbufs: 1024, dataRoom: 128 }, (t, rig) => {
  const random = new Random(11);
  const caches = [0, 1, 2].map((lcore) => rig.pool.cacheOf(lcore));
  for (const cache of caches) {
    rig.put(cache + Cache.HIGH, 64); // spills often
    rig.put(cache + Cache.HEAD, 0xfffffff0); // running indices that wrap
    rig.put(cache + Cache.TAIL, 0xfffffff0);
  }
  const held: number[] = [];
  for (let step = 0; step < 4000; step++) {
    const cache = random.pick(caches);
    const n = random.between(1, 40);
    if (random.chance(50)) {
      if (rig.hot.mbufAllocBulk(cache, rig.out, n) === n) {
        const [first, ...rest] = rig.words(rig.out, n) as [number, ...number[]];
        const chain = random.chance(30) && rest.length > 0;
        if (chain) rig.put(first + Mbuf.NEXT, rest.shift()!);
        held.push(first, ...rest);
      }
    } else rig.free(held.splice(random.below(held.length + 1), n), cache);
    if (step % 50 === 0 && rig.audit(held).length > 0)
      return void t.same(rig.audit(held), [], `step ${step}`);
  }
  t.same(rig.audit(held), []);
});
