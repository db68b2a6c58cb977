// The arena hands out ranges, lays files over them, and refuses what would overwrite something else.
import { spawnSync } from "node:child_process";
import { closeSync, readSync, writeSync } from "node:fs";
import t from "tap";
import { MAP_SHARED, MFD_CLOEXEC } from "../../src/libc/abi.ts";
import { addressOf, ftruncate, memfdCreate } from "../../src/libc/libc.ts";
import { MIB } from "../../src/limits.ts";
import { Arena } from "../../src/memory/arena.ts";
import { Ranges } from "../../src/memory/ranges.ts";

t.test("ranges: first fit, alignment, skew", async (t) => {
  const ranges = new Ranges("test", 100, 1000, "take less");
  const at = (bytes: number, align: number, skew = 0) => ranges.allocate("x", bytes, align, skew).start;
  t.equal(at(10, 1), 100);
  t.equal(at(10, 64), 128);
  t.equal(at(10, 1), 110, "the hole");
  t.equal(at(100, 64, 8), 184, "184 + 8 is a multiple");
  t.equal(at(40, 1), 138);
  ranges.free(128);
  t.equal(at(10, 1), 120);
  t.equal(ranges.used.length, 5);
  t.same(ranges.holding(190, 20)?.start, 184);
  t.same(ranges.holding(280, 20), undefined, "beyond its end");
});

t.test("ranges: errors name what, how much and the way out", async (t) => {
  const ranges = new Ranges("zone z", 0, 100, "take less");
  ranges.allocate("a", 60, 1);
  t.throws(() => ranges.allocate("b", 41, 1), {
    code: "OUT_OF_MEMORY",
    message: "zone z: no room for 41 bytes of b (40 bytes are free in all)",
    fix: "take less",
  });
  t.equal(ranges.allocate("b", 40, 1).start, 60, "to the last byte");
  t.throws(() => ranges.free(1), { code: "NOT_ALLOCATED", message: "zone z: nothing is allocated at 1" });
  ranges.free(0);
  t.throws(() => ranges.free(0), { code: "NOT_ALLOCATED" });
});

t.test("sizes", async (t) => {
  for (const bytes of [
    0,
    -1,
    MIB - 1,
    4096 * MIB + 1,
    Number.NaN,
    1.5 * MIB + 0.5,
    Number.POSITIVE_INFINITY,
  ]) {
    t.throws(() => new Arena(bytes), { code: "ARENA_SIZE", message: /1 MiB to 4 GiB/ });
  }
  const arena = new Arena(MIB + 1);
  t.equal(arena.bytes, MIB + 65536, "whole WebAssembly pages");
  t.equal(arena.address, addressOf(arena.u8));
  arena.close();
});

const file = (bytes: number) => {
  const fd = memfdCreate("arena-test", MFD_CLOEXEC);
  ftruncate(fd, bytes);
  return fd;
};

t.test("a file laid over a range is the file", async (t) => {
  const arena = new Arena(4 * MIB);
  const range = arena.reserve("file", 10_000, 4096);
  t.equal(range.bytes, 12288, "whole pages");
  t.equal((arena.address + BigInt(range.start)) % 4096n, 0n);
  t.ok(range.start >= 65536, "offset 0 is never handed out");
  const fd = file(12288);
  writeSync(fd, Buffer.from("from the file"), 0, 13, 4096);
  arena.overlay(range, fd, 0, MAP_SHARED);
  t.equal(Buffer.from(arena.u8.slice(range.start + 4096, range.start + 4109)).toString(), "from the file");
  arena.u8.set(Buffer.from("from the arena"), range.start);
  const back = Buffer.alloc(14);
  readSync(fd, back, 0, 14, 0);
  t.equal(back.toString(), "from the arena");
  arena.release(range);
  const again = arena.reserve("plain", 12288, 4096);
  t.equal(again.start, range.start);
  t.ok(
    arena.u8.subarray(again.start, again.start + 12288).every((byte) => byte === 0),
    "memory of its own, zeros",
  );
  arena.u8[again.start] = 1;
  readSync(fd, back, 0, 14, 0);
  t.equal(back.toString(), "from the arena", "and no longer the file");
  closeSync(fd);
  arena.close();
});

t.test("only reserved ranges, once", async (t) => {
  const arena = new Arena(4 * MIB);
  const fd = file(MIB);
  const range = arena.reserve("mine", 8192, 4096);
  const lay = (start: number, bytes: number, name = "mine") =>
    arena.overlay({ name, start, bytes }, fd, 0, MAP_SHARED);
  t.throws(() => lay(range.start + 65536, 4096), {
    code: "ARENA_RANGE",
    message: /^mine: 4096 bytes at \d+ are not/,
  });
  t.throws(() => lay(range.start, 12288), { code: "ARENA_RANGE" }, "longer than what was reserved");
  t.throws(() => lay(range.start - 4096, 8192), { code: "ARENA_RANGE" });
  t.throws(() => lay(range.start, 8192, "other"), { code: "ARENA_RANGE", message: /^other/ });
  t.throws(() => lay(0, 65536), { code: "ARENA_RANGE" });
  arena.overlay(range, fd, 0, MAP_SHARED);
  t.throws(() => lay(range.start + 4096, 4096), {
    code: "ARENA_OVERLAP",
    message: /mine is already laid over/,
  });
  t.throws(() => arena.overlay(range, fd, 0, MAP_SHARED), { code: "ARENA_OVERLAP" });
  arena.release(range);
  t.throws(() => arena.overlay(range, fd, 0, MAP_SHARED), { code: "ARENA_RANGE" });
  t.throws(() => arena.overlay(arena.reserve("bad fd", 4096, 4096), 9999, 0, MAP_SHARED), { code: "EBADF" });
  arena.close();
  closeSync(fd);
});

t.test("several parts of a range: what lies between them stays memory, release takes all away", async (t) => {
  const arena = new Arena(4 * MIB);
  const fd = file(12288);
  writeSync(fd, Buffer.from("abc"), 0, 3, 8192);
  const range = arena.reserve("BAR3", 12288, 4096);
  const lay = (at: number) =>
    arena.overlay({ name: "BAR3", start: range.start + at, bytes: 4096 }, fd, at, MAP_SHARED);
  lay(0);
  lay(8192);
  arena.u8.fill(7, range.start, range.start + 8192);
  const back = Buffer.alloc(8192);
  readSync(fd, back, 0, 8192, 0);
  t.equal(back[4095], 7, "the file");
  t.equal(back[4096], 0, "the hole is not the file");
  t.equal(Buffer.from(arena.u8.slice(range.start + 8192, range.start + 8195)).toString(), "abc");
  arena.release(range);
  const again = arena.reserve("BAR3", 12288, 4096);
  t.equal(again.start, range.start);
  t.equal(arena.u8[again.start + 8192], 0, "and no longer the file");
  lay(8192);
  arena.close();
  closeSync(fd);
});

t.test("a range that is released twice does not take another's place away", async (t) => {
  const arena = new Arena(4 * MIB);
  const first = arena.reserve("first", 8192, 4096);
  arena.release(first);
  const second = arena.reserve("second", 8192, 4096);
  t.equal(second.start, first.start);
  arena.u8[second.start] = 42;
  t.throws(() => arena.release(first), { code: "ARENA_RANGE", message: /^first/ });
  t.equal(arena.u8[second.start], 42, "its memory is untouched");
  arena.release(second);
  arena.close();
});

t.test("full, and closed", async (t) => {
  const arena = new Arena(2 * MIB);
  t.throws(() => arena.reserve("much", 2 * MIB, 4096), { code: "OUT_OF_MEMORY", fix: /arenaMib/ });
  const range = arena.reserve("some", MIB, 4096);
  arena.u8[range.start] = 1;
  arena.close();
  arena.close();
  t.throws(() => arena.overlay(range, 0, 0, MAP_SHARED), { code: "ARENA_RANGE" });
  const next = new Arena(2 * MIB);
  const reused = next.reserve("some", MIB, 4096);
  t.equal(next.u8[reused.start], 0, "a memory that is used again begins with zeros");
  next.close();
});

/** Runs statements in a process of its own, which prints what it caught. */
function inChild(statements: string): string {
  const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const script = `
    import { readFileSync } from "node:fs";
    import { execFileSync } from "node:child_process";
    const { Arena } = await import(${url("../../src/memory/arena.js")});
    const { dmaZone } = await import(${url("../../src/memory/zone.js")});
    const limit = (what, value) => execFileSync("prlimit", ["--pid", String(process.pid), "--" + what + "=" + value]);
    const caught = (body) => {
      try { body(); return "nothing"; } catch (e) { return e.code + "|" + e.message + "|" + e.fix; }
    };
    ${statements}`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
  });
  return stdout.trim() || stderr;
}

t.test("a limit on address space (RLIMIT_AS) is a named error", async (t) => {
  const said = inChild(`
    const kib = Number(/VmSize:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
    limit("as", (kib + 512 * 1024) * 1024);
    console.log(caught(() => new Arena(4096 * 1048576)));`);
  t.match(said, /^ARENA_ADDRESS_SPACE\|arena of 4096 MiB: .*\|.*arenaMib.*ulimit -v/);
});

t.test(
  "no file descriptors left (RLIMIT_NOFILE) fails by its name, and nothing stays reserved",
  async (t) => {
    const said = inChild(`
    const arena = new Arena(16 * 1048576);
    const options = { bytes: 2 * 1048576, noHuge: true, warn() {} };
    limit("nofile", 3);
    console.log(caught(() => dmaZone(arena, options)), arena.ranges.used.length);`);
    t.match(said, /^EMFILE\|.* 0$/);
  },
);
