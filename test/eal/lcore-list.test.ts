import t from "tap";
import { formatCpus, parseCoremask, parseLcoreList } from "../../src/eal/lcore-list.ts";
import { LCORES_MAX } from "../../src/limits.ts";

const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** `lcore:cpus` each, the short way to write a result. */
function parsed(text: string, ...rest: [Parameters<typeof parseLcoreList>[1]?]): string {
  return parseLcoreList(text, ...rest)
    .map(({ lcore, cpus }) => `${lcore}:${formatCpus(cpus)}`)
    .join(" ");
}

t.test("the examples in DPDK's documentation", async (t) => {
  t.equal(parsed("1-3"), "1:1 2:2 3:3");
  t.equal(parsed("1@(1,2)"), "1:1-2");
  t.equal(parsed("1@31,2@32,3@33"), "1:31 2:32 3:33");
  t.equal(parsed("(1-3)@(31-33)"), "1:31-33 2:31-33 3:31-33");
  const nine = "0:0,6 1:1 2:5-7 3:0,2 4:0,2 5:0,2 6:0,6 7:7 8:8";
  t.equal(parsed("1,2@(5-7),(3-5)@(0,2),(0,6),7-8"), nine, "nine lcores, in order");
});

t.test("other spellings", async (t) => {
  t.equal(parsed("0-3,5"), "0:0 1:1 2:2 3:3 5:5");
  t.equal(parsed("0@0,1@1"), "0:0 1:1");
  t.equal(parsed("(0,1)@0"), "0:0 1:0");
  t.equal(parsed("0-3@(4-7)"), "0:4-7 1:4-7 2:4-7 3:4-7");
  t.equal(parsed("(0-1)@0-1"), "0:0-1 1:0-1");
  t.equal(parsed("3-0"), "0:0 1:1 2:2 3:3", "DPDK takes a range backwards");
  t.equal(parsed(" 0 , ( 1 - 2 )\t@ ( 4 , 5 ) "), "0:0 1:4-5 2:4-5", "blanks");
  t.equal(parsed("127"), "127:127");
  t.equal(parsed("0@1023"), "0:1023");
});

t.test("malformed lists name the word and its place", async (t) => {
  const cases: [string, RegExp][] = [
    ["", /the list ends \(at position 1\)/],
    ["0,,1", /expected the number of an lcore, but there is "," \(at position 3\)/],
    ["0,1,", /the list ends \(at position 5\)/],
    ["0@", /expected the number of a CPU, but the list ends \(at position 3\)/],
    ["@0", /there is "@" \(at position 1\)/],
    ["0-", /ends the range, but the list ends \(at position 3\)/],
    ["0-1-2", /expected "," or the end of the list, but there is "-" \(at "-2", position 4\)/],
    ["()", /there is "\)" \(at position 2\)/],
    ["(0,1", /"\)" to end the group, but the list ends \(at position 5\)/],
    ["0(1)", /there is "\(" \(at "\(1\)", position 2\)/],
    ["0,two", /there is "t" \(at "two", position 3\)/],
    ["0x1", /there is "x"/],
    ["-1", /there is "-" \(at "-1", position 1\)/],
    ["0@1@2", /there is "@"/],
    ["1.5", /there is "\."/],
  ];
  for (const [text, message] of cases) {
    t.throws(() => parseLcoreList(text), { code: "LCORE_LIST", message, fix: /-l 0-3,5/ }, `"${text}"`);
  }
});

t.test("lists that cannot be had", async (t) => {
  const allowedCpus = new Set([0, 1, 3]);
  t.throws(() => parseLcoreList("0,1,0"), {
    code: "LCORE_DUPLICATE",
    message: '--lcores "0,1,0": lcore 0 is named twice (at "0", position 5)',
  });
  t.throws(() => parseLcoreList("0-3,(2,4)@1"), {
    code: "LCORE_DUPLICATE",
    message: /lcore 2 .*"\(2,4\)", position 5/,
  });
  t.throws(() => parseLcoreList("0-3", { allowedCpus, option: "-l" }), {
    code: "CPU_UNAVAILABLE",
    message: /^-l "0-3": CPU 2 is not online, or this process may not use it \(at "0-3", position 1\)/,
    fix: /the CPUs 0-1,3;/,
  });
  t.throws(() => parseLcoreList("0@(1,3),1@7", { allowedCpus }), { message: /CPU 7 .*"7", position 11/ });
  t.throws(() => parseLcoreList("(0,9)", { allowedCpus }), { code: "CPU_UNAVAILABLE", message: /CPU 9/ });
  t.equal(parsed("9@(1,3)", { allowedCpus }), "9:1,3", "an lcore needs no CPU of its number");
  t.throws(() => parseLcoreList("0-3", { lcoresMax: 3 }), {
    code: "LCORE_TOO_MANY",
    message: /more than 3 lcores/,
  });
  t.throws(() => parseLcoreList("128"), {
    code: "LCORE_TOO_HIGH",
    message: /lcore 128 is too high/,
    fix: /0@128/,
  });
  t.throws(() => parseLcoreList("0-99999999999"), {
    code: "LCORE_TOO_HIGH",
    message: /99999999999 is too high/,
  });
  t.throws(() => parseLcoreList("0@1024"), { code: "LCORE_TOO_HIGH" });
  t.equal(parseLcoreList(`0-${LCORES_MAX - 1}`).length, LCORES_MAX);
});

t.test("-c masks", async (t) => {
  const cores = (mask: string) => parseCoremask(mask).map(({ lcore }) => lcore);
  t.same(cores("0x3"), [0, 1]);
  t.same(cores("f0"), [4, 5, 6, 7]);
  t.same(cores("0X80000000000000000"), [67], "beyond 64 bits");
  t.same(parseCoremask("2"), [{ lcore: 1, cpus: [1] }]);
  for (const mask of ["", "0x", "xyz", "-1", "0,1"])
    t.throws(() => parseCoremask(mask), { code: "LCORE_MASK" }, mask);
  t.throws(() => parseCoremask("0"), { code: "LCORE_MASK", message: /names no core/ });
  t.throws(() => parseCoremask("0x5", { allowedCpus: new Set([0]) }), {
    code: "CPU_UNAVAILABLE",
    message: /^-c 0x5 .*CPU 2 /,
  });
});

t.test("formatCpus", async (t) => {
  t.equal(formatCpus([]), "");
  t.equal(formatCpus([3, 1, 2, 7, 9, 8, 2]), "1-3,7-9");
  t.equal(formatCpus(range(0, 63)), "0-63");
});
