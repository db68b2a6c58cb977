import t from "tap";
import { help, parseSettings } from "../../../bench/rx-pps/options.ts";
import { describeError, PollmodeError } from "../../../src/errors.ts";

const parse = (line: string) => parseSettings(line === "" ? [] : line.split(" "));

t.test("nothing given", async (t) => {
  const { eal, ...own } = parse("");
  t.same(eal.vdevs, []);
  t.same(own, {
    seconds: 5,
    burst: 32,
    queues: 1,
    frameBytes: 64,
    app: "touch",
    rxInterrupt: false,
    engine: "wasm",
    json: false,
    plot: undefined,
  });
});

t.test("receive interrupts are for ports that are given", async (t) => {
  t.equal(parse("-a 0000:01:00.0 --rx-interrupt").rxInterrupt, true);
  t.throws(() => parse("--rx-interrupt"), { code: "OPTION_CONFLICT", fix: /-a/ });
});

t.test("everything given, among EAL options", async (t) => {
  const folder = t.testdir({});
  const line = `-l 0-1 --seconds .5 --burst 64 -m 128 --queues 2 --frame-size 9000 --no-huge --app macswap
    --engine ts --json --plot ${folder}/a.svg --file-prefix=b`;
  const settings = parse(line.replace(/\s+/g, " "));
  t.match(settings, { seconds: 0.5, burst: 64, queues: 2, frameBytes: 9000, app: "macswap", engine: "ts" });
  t.match(settings, { json: true, plot: `${folder}/a.svg` });
  t.match(settings.eal, { memoryMiB: 128, noHuge: true, filePrefix: "b" });
  t.equal(settings.eal.lcores?.length, 2);
  t.equal(parse("--seconds 0").seconds, 0);
});

t.test("what cannot be", async (t) => {
  const cases: [string, string, RegExp][] = [
    ["--seconds -1", "OPTION_VALUE", /--seconds/],
    ["--seconds=-1", "OPTION_VALUE", /"-1" is not a number from 0/],
    ["--seconds 1e3", "OPTION_VALUE", /"1e3"/],
    ["--seconds .", "OPTION_VALUE", /"\."/],
    ["--seconds 86401", "OPTION_VALUE", /86400/],
    ["--burst 0", "OPTION_VALUE", /1 to 512/],
    ["--burst 513", "OPTION_VALUE", /1 to 512/],
    ["--queues 17", "OPTION_VALUE", /1 to 16/],
    ["--queues 9 --app macswap", "OPTION_CONFLICT", /one lcore/],
    ["--queues 9 --app io", "OPTION_CONFLICT", /--app io .*one lcore/],
    ["--frame-size 59", "OPTION_VALUE", /60 to 9000/],
    ["--frame-size 9001", "OPTION_VALUE", /60 to 9000/],
    ["--frame-size 64 --vdev net_null0", "OPTION_CONFLICT", /generator's/],
    ["--app tuoch", "OPTION_VALUE", /none of touch, count, io, macswap.*fix: write --app touch/],
    ["--engine js", "OPTION_VALUE", /none of wasm, ts/],
    ["--plot a.png", "OPTION_VALUE", /no \.svg/],
    ["--plot /no-such-folder/a.svg", "OPTION_VALUE", /no-such-folder.*ENOENT/],
    ["--jsom", "OPTION_UNKNOWN", /--jsom/],
    ["word", "OPTION_WORD", /word/],
    ["-- word", "OPTION_WORD", /word/],
    ["--socket-mem 1", "OPTION_UNSUPPORTED", /--socket-mem/],
  ];
  for (const [line, code, message] of cases) {
    try {
      parse(line);
      t.fail(`${line} is taken`);
    } catch (error) {
      t.ok(error instanceof PollmodeError && error.fix !== "", line);
      t.equal((error as PollmodeError).code, code, line);
      t.match(describeError(error).replace("\n", ""), message, line);
    }
  }
  t.throws(() => parseSettings(["-l", "5"], { allowedCpus: new Set([0]) }), { code: "CPU_UNAVAILABLE" });
});

t.test("help names every option once", async (t) => {
  const text = help(100);
  for (const option of ["--seconds", "--frame-size", "--plot", "--vdev", "--in-memory"]) {
    t.equal(text.split("\n").filter((line) => line.includes(`   ${option}`)).length, 1, option);
  }
  t.same(
    text.split("\n").filter((line) => line.length > 110),
    [],
  );
});
