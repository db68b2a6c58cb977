import t from "tap";
import { helpText, mergeTables, type OptionTable } from "../../src/eal/option-table.ts";
import { dpdkOnlyOptions, ealOptionTable, parseEal, parseProgram } from "../../src/eal/options.ts";

const eal = (...argv: string[]) => parseEal(argv).eal;

t.test("nothing given", async (t) => {
  t.same(parseEal([]), {
    eal: {
      lcores: undefined,
      memoryMiB: undefined,
      noHuge: false,
      inMemory: false,
      filePrefix: "pollmode",
      vdevs: [],
      allow: [],
      block: [],
      noPci: false,
      iovaMode: undefined,
      logLevels: [],
      memoryChannels: undefined,
      help: false,
      version: false,
    },
    rest: [],
  });
});

t.test("a command line of testpmd's", async (t) => {
  const line =
    "-l 0-1 -n 4 -m 1024 --no-huge --in-memory --file-prefix=a1 --single-file-segments --no-pci --iova-mode va " +
    "--vdev net_virtio_user0,path=/tmp/s,queues=2 --vdev=net_null1 --log-level pmd.*:debug --log-level=5 " +
    "-- -i --forward-mode=io -l 7 --";
  const { eal, rest } = parseEal(line.split(" "));
  t.match(eal, {
    lcores: [
      { lcore: 0, cpus: [0] },
      { lcore: 1, cpus: [1] },
    ],
    memoryMiB: 1024,
    memoryChannels: 4,
    noHuge: true,
    inMemory: true,
    filePrefix: "a1",
    noPci: true,
    iovaMode: "va",
    logLevels: [
      { pattern: "pmd.*", level: 8 },
      { pattern: "*", level: 5 },
    ],
  });
  t.same(
    eal.vdevs.map(({ name }) => name),
    ["net_virtio_user0", "net_null1"],
  );
  t.same(rest, ["-i", "--forward-mode=io", "-l", "7", "--"]);
});

t.test("spellings", async (t) => {
  t.same(eal("--lcores", "(0,1)@0").lcores?.length, 2);
  t.same(eal("--lcores=0@0,1@1").lcores?.length, 2);
  t.same(eal("-l0-3").lcores?.length, 4);
  t.same(eal("-c", "0x6").lcores, [
    { lcore: 1, cpus: [1] },
    { lcore: 2, cpus: [2] },
  ]);
  t.equal(eal("-m64").memoryMiB, 64);
  t.equal(eal("-m=64").memoryMiB, 64);
  t.same(
    eal("-a", "01:00.0,rss=1", "--allow=0000:02:00.1").allow.map(({ name }) => name),
    ["0000:01:00.0", "0000:02:00.1"],
  );
  t.same(eal("-b", "01:00.0", "--block", "02:00.0").block, ["0000:01:00.0", "0000:02:00.0"]);
  t.same(eal("--log-level=lib.eal,7", "--log-level", "warn", "--log-level=0").logLevels, [
    { pattern: "lib.eal", level: 7 },
    { pattern: "*", level: 5 },
    { pattern: "*", level: 0 },
  ]);
  for (const kind of ["legacy", "msi", "msix"]) t.equal(eal("--vfio-intr", kind).vfioIntr, kind);
  t.equal(eal().vfioIntr, undefined);
  t.equal(eal("-h").help, true);
  t.equal(eal("--version").version, true);
});

t.test("wrong values", async (t) => {
  const cases: [string, string, RegExp][] = [
    ["-l", "OPTION_VALUE", /^-l needs a value \(LIST\), but has none/],
    ["-l --no-pci", "OPTION_VALUE", /-l needs a value .* is followed by --no-pci/],
    ["--lcores=", "OPTION_VALUE", /--lcores needs a value/],
    ["-l 0,0", "LCORE_DUPLICATE", /^-l\/--lcores "0,0"/],
    ["-l 0 -l 1", "OPTION_REPEATED", /--lcores is given 2 times: 0 and 1/],
    ["-l 0 -c 1", "OPTION_CONFLICT", /-l 0 and -c 1/],
    ["-m 0", "OPTION_VALUE", /-m "0" is not a whole number from 1/],
    ["-m 64M", "OPTION_VALUE", /-m "64M"/],
    ["-n 0", "OPTION_VALUE", /-n "0"/],
    ["--no-huge=1", "OPTION_VALUE", /--no-huge takes no value/],
    ["--file-prefix a/b", "OPTION_VALUE", /cannot be part of a file name/],
    ["--iova-mode dc", "OPTION_VALUE", /neither va nor pa/],
    ["--vfio-vf-token 12", "OPTION_VALUE", /"12" is no UUID/],
    ["--vfio-intr intx", "OPTION_VALUE", /--vfio-intr "intx" is none of legacy, msi, msix/],
    ["--log-level loud", "OPTION_VALUE", /"loud" is no level/],
    ["--log-level :7", "OPTION_VALUE", /is no level/],
    ["--vdev net_null0 --vdev net_null0", "DEVARGS_REPEATED", /net_null0 is given twice/],
    ["--vdev 0000:01:00.0", "DEVARGS", /is a PCI device/],
    ["-a net_null0", "DEVARGS", /is no PCI address/],
    ["-a 01:00.0 -b 02:00.0", "OPTION_CONFLICT", /exclude each other/],
    ["--no-pci -a 01:00.0", "OPTION_CONFLICT", /contradict/],
    ["stray", "OPTION_WORD", /unexpected "stray"/],
  ];
  for (const [line, code, message] of cases) {
    t.throws(() => eal(...line.split(" ")), { name: "PollmodeError", code, message, fix: /.+/ }, line);
  }
  const onlyCpu0 = { allowedCpus: new Set([0]) };
  t.throws(() => parseEal(["-l", "0-1"], onlyCpu0), { code: "CPU_UNAVAILABLE" });
});

t.test("options of DPDK that we do not have, and unknown ones", async (t) => {
  const thrown = (code: string, message: string, fix: RegExp) => ({ code, message, fix });
  const unsupported = "DPDK's --proc-type is not supported";
  t.throws(() => eal("--proc-type", "primary"), thrown("OPTION_UNSUPPORTED", unsupported, /lcores/));
  t.throws(() => eal("--socket-mem=64,0"), { code: "OPTION_UNSUPPORTED", fix: /-m/ });
  t.throws(() => eal("-w", "01:00.0"), {
    code: "OPTION_UNSUPPORTED",
    message: "DPDK's -w is not supported",
    fix: /-a/,
  });
  t.throws(
    () => eal("--no-hug"),
    thrown("OPTION_UNKNOWN", "unknown option --no-hug", /did you mean --no-huge/),
  );
  t.throws(() => eal("--lcore", "0"), { code: "OPTION_UNKNOWN", fix: /--lcores/ });
  t.throws(() => eal("--xyzzy"), thrown("OPTION_UNKNOWN", "unknown option --xyzzy", /^--help lists/));
  t.throws(() => eal("-z"), thrown("OPTION_UNKNOWN", "unknown option -z", /^--help lists/));
  t.throws(
    () => eal("-lcores", "0-1"),
    thrown("OPTION_UNKNOWN", "-lcores: long options take two dashes", /--lcores/),
  );
  t.throws(() => eal("--constructor"), { code: "OPTION_UNKNOWN" });
  const both = Object.keys(dpdkOnlyOptions).filter((name) => name in ealOptionTable);
  t.same(both, [], "no option is both supported and not");
});

const own = {
  duration: { short: "d", value: "SECONDS", meaning: "How long to measure.", byDefault: "10" },
  port: { value: "N", multiple: true, meaning: "Ports to use." },
  json: { meaning: "Print JSON." },
} as const satisfies OptionTable;

t.test("a program's own options among the EAL's", async (t) => {
  const line = ["--json", "-l", "0", "-d", "5", "--port", "0", "--no-pci", "--port=1"];
  const { eal, values, words, rest } = parseProgram(line, own);
  const typed: { duration: string | undefined; port: string[]; json: boolean } = values;
  t.same(typed, { duration: "5", port: ["0", "1"], json: true });
  t.match(eal, { noPci: true, lcores: [{ lcore: 0 }] });
  t.same([words, rest], [[], []]);
  t.same(parseProgram([], own).values, { duration: undefined, port: [], json: false });
  t.throws(() => parseProgram(["word"], own), { code: "OPTION_WORD" });
  const free = parseProgram(["word", "--json", "--", "--not-ours"], own, { words: true });
  t.same([free.words, free.rest], [["word"], ["--not-ours"]]);
  t.throws(() => parseProgram(["--duratoin", "3"], own), { code: "OPTION_UNKNOWN", fix: /--duration/ });
});

t.test("the VF token is a UUID", async (t) => {
  const uuid = "14D63F20-8445-11EA-8900-1F9CE7D5650D";
  t.equal(parseEal(["--vfio-vf-token", uuid]).eal.vfioVfToken, uuid.toLowerCase());
  t.equal(parseEal([]).eal.vfioVfToken, undefined);
});

t.test("clashing tables are a mistake in the program", async (t) => {
  t.throws(() => mergeTables(ealOptionTable, { vdev: { meaning: "" } }), {
    code: "OPTION_TABLE",
    message: /--vdev/,
  });
  t.throws(() => mergeTables(ealOptionTable, { x: { short: "l", meaning: "" } }), { message: /-l is both/ });
});

t.test("the help names every option with its meaning and default", async (t) => {
  const sections = [
    { title: "EAL options", table: ealOptionTable },
    { title: "options of rx-pps", table: own },
  ];
  const text = helpText("pollmode rx-pps [options]", sections, 90);
  t.match(text, /^usage: pollmode rx-pps \[options\]\n\nEAL options:\n {2}-l, --lcores LIST/);
  t.match(text, / {2}-d, --duration SECONDS +How long to measure\. \(default: 10\)\n/);
  t.match(text, /--port N +Ports to use\. May be repeated\.\n/);
  for (const name of [...Object.keys(ealOptionTable), ...Object.keys(own)]) t.match(text, `--${name}`);
  t.ok(
    text.split("\n").every((line) => line.length <= 90),
    "wrapped",
  );
});
