// Zones: what memory stands behind them, what is said when there are no hugepages, and addresses for devices.
import { readFileSync, readSync } from "node:fs";
import t from "tap";
import { F_SEAL_GROW, F_SEAL_SHRINK } from "../../src/libc/abi.ts";
import { ftruncate, getSeals } from "../../src/libc/libc.ts";
import { HUGEPAGE_BYTES, MIB, PAGE_BYTES } from "../../src/limits.ts";
import { Arena } from "../../src/memory/arena.ts";
import { IovaMap, iovaOf } from "../../src/memory/iova.ts";
import { MbufPool } from "../../src/memory/pool.ts";
import { availableBytes, freeHugepages } from "../../src/memory/system.ts";
import { dmaZone, privateZone, type Zone } from "../../src/memory/zone.ts";

const free = freeHugepages();
const tooFew = { skip: free > 88 && `needs 88 free hugepages or fewer, ${free} are free` };
const some = { skip: free < 2 && "no free hugepages on this machine" };
const little = { skip: availableBytes() > 3900 * MIB && "more memory is free than an arena can ask for" };
const quiet = { noHuge: true, warn: (text: string) => t.fail(`a warning: ${text}`) };

t.test("--no-huge: a sealed memfd of small pages, without a word", async (t) => {
  const arena = new Arena(16 * MIB);
  const zone = dmaZone(arena, { bytes: 3 * MIB, ...quiet });
  t.equal(zone.range.bytes, 4 * MIB, "whole hugepages all the same");
  t.equal(zone.pageBytes, PAGE_BYTES);
  t.equal((arena.address + BigInt(zone.range.start)) % BigInt(HUGEPAGE_BYTES), 0n);
  t.equal(getSeals(zone.fd!) & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW);
  t.throws(() => ftruncate(zone.fd!, 4096), { code: "EPERM" }, "a peer cannot shrink it");
  t.throws(() => ftruncate(zone.fd!, 8 * MIB), { code: "EPERM" });
  arena.u8.set(Buffer.from("shared"), zone.range.start + 4096);
  const bytes = Buffer.alloc(6);
  readSync(zone.fd!, bytes, 0, 6, 4096);
  t.equal(bytes.toString(), "shared", "offset in the file = offset in the zone");
  zone.close();
  t.throws(() => getSeals(zone.fd!), { code: "EBADF" });
  arena.close();
});

t.test(
  "too few hugepages: small ones, with a warning that says what it costs and how to mend it",
  tooFew,
  async (t) => {
    const pages = freeHugepages() + 8;
    const arena = new Arena((2 * pages + 8) * MIB);
    const warnings: string[] = [];
    const zone = dmaZone(arena, {
      bytes: 2 * pages * MIB,
      noHuge: false,
      warn: (text) => warnings.push(text),
    });
    t.equal(zone.pageBytes, PAGE_BYTES);
    t.equal(warnings.length, 1);
    const wanted = new RegExp(
      `^no ${pages} free 2 MiB hugepages \\(\\d+ are free\\), using 4 KiB pages: .*` +
        `Mend, as root: pollmode hugepages -p 2M -r (\\d+)M; or say --no-huge`,
    );
    t.match(warnings[0], wanted);
    const mebibytes = Number(wanted.exec(warnings[0]!)?.[1]);
    const total = /^HugePages_Total:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
    t.ok(mebibytes > 2 * Number(total), "more than there are: those that others have stay theirs");
    t.ok(getSeals(zone.fd!) & F_SEAL_SHRINK);
    arena.u8[zone.range.start + zone.range.bytes - 1] = 1;
    zone.close();
    arena.close();
  },
);

t.test("hugepages, where there are some", some, async (t) => {
  const arena = new Arena(16 * MIB);
  const zone = dmaZone(arena, { bytes: 4 * MIB, noHuge: false, warn: () => {} });
  if (zone.pageBytes !== HUGEPAGE_BYTES) return void t.comment("another process took the hugepages");
  arena.u8[zone.range.start] = 1;
  t.equal(getSeals(zone.fd!) & F_SEAL_SHRINK, F_SEAL_SHRINK);
  if (process.getuid?.() === 0) {
    const iova = new IovaMap("pa", zone);
    const physical = iova.pages!;
    t.equal(iova.of(zone.range.start + HUGEPAGE_BYTES + 5), physical[1]! + 5n);
    t.equal(physical.length, 2);
    t.ok(physical.every((address) => address > 0n && address % BigInt(HUGEPAGE_BYTES) === 0n));
    t.not(physical[0], physical[1]);
  }
  zone.close();
  arena.close();
});

t.test("allocations: zeroed, aligned, named when they do not fit", async (t) => {
  const arena = new Arena(16 * MIB);
  const zone = privateZone(arena, 2 * MIB);
  const at = zone.allocate("a", 100);
  t.equal(at % 64, 0);
  t.equal(zone.usedBytes, 128);
  arena.u8.fill(7, at, at + 128);
  zone.free(at);
  t.equal(zone.allocate("b", 128), at);
  t.ok(arena.u8.subarray(at, at + 128).every((byte) => byte === 0));
  t.equal(zone.allocate("c", 64, 4096) % 4096, 0);
  t.throws(() => zone.allocate("rings", 3 * MIB), {
    code: "OUT_OF_MEMORY",
    message: /^zone private: .* of rings/,
  });
  t.throws(() => zone.free(at + 64), { code: "NOT_ALLOCATED" });
  zone.close();
  arena.close();
});

t.test("an arena too small for the zone keeps nothing of it", async (t) => {
  const arena = new Arena(2 * MIB);
  t.throws(() => dmaZone(arena, { bytes: 4 * MIB, ...quiet }), { code: "OUT_OF_MEMORY", fix: /arenaMib/ });
  t.ok(arena.reserve("rest", MIB, 4096));
  arena.close();
});

t.test("more memory than there is", little, async (t) => {
  const arena = new Arena(4096 * MIB);
  t.throws(() => dmaZone(arena, { bytes: 4000 * MIB, ...quiet }), {
    code: "OUT_OF_MEMORY",
    message: /^-m: 4000 MiB asked for, \d+ MiB of memory are available$/,
    fix: /^use -m \d+ or less$/,
  });
  arena.close();
});

t.test("addresses for devices", async (t) => {
  t.equal(iovaOf(0x1234), 0x1_0000_1234n);
  const arena = new Arena(16 * MIB);
  const zone = dmaZone(arena, { bytes: 2 * MIB, ...quiet });
  t.throws(() => new IovaMap("pa", zone), {
    code: "IOVA_NEEDS_HUGEPAGES",
    message: /iova-mode pa/,
    fix: /pollmode hugepages -p 2M -r \d+M$/,
  });
  // memory that was never touched has no physical address, just as memory that the kernel does not show
  const range = arena.reserve("untouched", 2 * MIB, HUGEPAGE_BYTES);
  const shown = { range, arena, pageBytes: HUGEPAGE_BYTES } as unknown as Zone;
  t.throws(() => new IovaMap("pa", shown), { code: "IOVA_NEEDS_ADMIN", fix: /run as root|iova-mode va/ });
  zone.close();
  arena.close();
});

t.test("pool options are checked, and a pool that does not fit leaves nothing behind", async (t) => {
  const arena = new Arena(16 * MIB);
  const zone = privateZone(arena, 2 * MIB);
  const dma = dmaZone(arena, { bytes: 2 * MIB, ...quiet });
  const make = (count: number, dataRoom: number) =>
    new MbufPool(zone, dma, new IovaMap("va", dma), { name: "p", count, dataRoom });
  for (const count of [0, 63, 1.5, (1 << 20) + 1, Number.NaN]) {
    t.throws(() => make(count, 2048), {
      code: "POOL_OPTION",
      message: /^pool p: count .* is not between 64 and/,
    });
  }
  for (const room of [127, 16385, Number.NaN]) {
    t.throws(() => make(64, room), { code: "POOL_OPTION", message: /^pool p: data room/ });
  }
  t.throws(() => make(4096, 2048), { code: "OUT_OF_MEMORY", message: /buffers of pool p/, fix: /-m 2/ });
  t.equal(zone.usedBytes, 0);
  const pool = make(64, 2048);
  pool.cacheOf(3);
  t.equal(pool.cacheOf(3), pool.cacheOf(3));
  pool.close();
  t.equal(zone.usedBytes + dma.usedBytes, 0);
  arena.close();
});
