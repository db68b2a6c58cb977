import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { dpdkOnlyTable, forwardTable, programTable } from "../../../src/cli/testpmd/option-tables.ts";
import { help, parseTestpmd, type TestpmdOptions } from "../../../src/cli/testpmd/options.ts";
import { PollmodeError } from "../../../src/errors.ts";

const limits = { allowedCpus: new Set([0, 1, 2, 3]) };

/** Options of a command line's part after `--`, blanks between its words. */
function parse(app: string, eal = ""): TestpmdOptions {
  const words = (text: string) => text.split(" ").filter((word) => word !== "");
  const parsed = parseTestpmd([...words(eal), "--", ...words(app)], limits);
  if (parsed.what !== "run") throw new Error(`parsed as ${parsed.what}`);
  return parsed.options;
}

function fault(run: () => unknown): PollmodeError {
  try {
    run();
  } catch (error) {
    if (error instanceof PollmodeError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

t.test("without options: testpmd's defaults", async (t) => {
  const options = parse("");
  t.match(options, {
    interactive: false,
    autoStart: false,
    txFirst: false,
    statsPeriod: 0,
    mbufDataRoom: 2048,
    deviceStart: true,
    ports: undefined,
    nbPorts: undefined,
    http: undefined,
    engine: "wasm",
  });
  t.match(options.forward, {
    mode: "io",
    burst: 32,
    nbCores: 1,
    topology: "paired",
    rxq: 1,
    txq: 1,
    rxd: undefined,
    txpkts: [64],
    flushRx: true,
    rssTypes: ["ipv4", "ipv6"],
    flows: 1024,
  });
});

/** Each option's meaning, as the object it gives. */
const meanings: readonly [app: string, expected: Record<string, unknown>, where?: "forward"][] = [
  ["-i", { interactive: true }],
  ["--interactive --auto-start", { interactive: true, autoStart: true }],
  ["-a", { autoStart: true }],
  ["-ia", { interactive: true, autoStart: true }],
  ["--tx-first", { txFirst: true }],
  ["--stats-period=5", { statsPeriod: 5 }],
  ["--stats-period 0", { statsPeriod: 0 }],
  ["--cmdline-file=/tmp/x", { cmdlineFile: "/tmp/x" }],
  ["--mbuf-size=2176", { mbufDataRoom: 2048 }],
  ["--mbuf-size=9344", { mbufDataRoom: 9216 }],
  ["--total-num-mbufs=4096", { mbufs: 4096 }],
  ["--nb-ports=2", { nbPorts: 2 }],
  ["--portmask=0x5", { ports: { option: "--portmask", ids: [0, 2] } }],
  ["--portmask=f", { ports: { ids: [0, 1, 2, 3] } }],
  ["--portlist=3,0-1", { ports: { option: "--portlist", ids: [3, 0, 1] } }],
  ["--portlist=1,1", { ports: { ids: [1] } }],
  ["--coremask=0xc", { corelist: [2, 3], forward: { nbCores: 2 } }],
  ["--coremask=0xe --nb-cores=2", { corelist: [1, 2, 3], forward: { nbCores: 2 } }],
  ["--disable-device-start", { deviceStart: false }],
  ["--http=9464", { http: { host: "127.0.0.1", port: 9464 } }],
  ["--http=0.0.0.0:80", { http: { host: "0.0.0.0", port: 80 } }],
  ["--http=[::1]:9000", { http: { host: "::1", port: 9000 } }],
  ["--engine=ts", { engine: "ts" }],
  ["--forward-mode=macswap", { mode: "macswap" }, "forward"],
  ["--forward-mode app=./x.ts", { mode: "app=./x.ts" }, "forward"],
  ["--nb-cores=3", { nbCores: 3 }, "forward"],
  ["--port-topology=chained", { topology: "chained" }, "forward"],
  ["--port-topology=loop", { topology: "loop" }, "forward"],
  ["--rxq=4 --txq=2 --rxd=512 --txd=256", { rxq: 4, txq: 2, rxd: 512, txd: 256 }, "forward"],
  ["--burst=512", { burst: 512 }, "forward"],
  ["--max-pkt-len=9018", { maxPktLen: 9018 }, "forward"],
  ["--txpkts=64,128", { txpkts: [64, 128] }, "forward"],
  ["--txonly-multi-flow --flowgen-flows=7", { multiFlow: true, flows: 7 }, "forward"],
  ["--display-xstats=a,b", { displayXstats: ["a", "b"] }, "forward"],
  ["--record-burst-stats", { recordBurstStats: true }, "forward"],
  ["--no-flush-rx", { flushRx: false }, "forward"],
  ["--flow-isolate-all", { flowIsolate: true }, "forward"],
  ["--disable-rss", { rssTypes: [] }, "forward"],
  ["--rss-ip", { rssTypes: ["ipv4", "ipv6"] }, "forward"],
  ["--rss-udp", { rssTypes: ["ipv4-udp", "ipv6-udp"] }, "forward"],
  ["--enable-rx-cksum", { rxChecksum: true }, "forward"],
  ["--enable-hw-vlan", { vlanStrip: true, vlanFilter: true }, "forward"],
  ["--enable-hw-vlan-strip --enable-scatter", { vlanStrip: true, vlanFilter: false }, "forward"],
  ["--enable-hw-vlan-filter", { vlanStrip: false, vlanFilter: true }, "forward"],
  ["--disable-link-check", { linkCheck: false }, "forward"],
  ["--no-lsc-interrupt", { linkWait: true }, "forward"],
  ["--rx-interrupt --stamp", { rxInterrupt: true, stamp: true }, "forward"],
  [
    "--noisy-tx-sw-buffer-size=512 --noisy-tx-sw-buffer-flushtime=20 --noisy-lkup-memory=4 " +
      "--noisy-lkup-num-writes=1 --noisy-lkup-num-reads=2 --noisy-lkup-num-reads-writes=3",
    { noisy: { bufferPackets: 512, flushMs: 20, memoryMib: 4, writes: 1, reads: 2, readWrites: 3 } },
    "forward",
  ],
];

t.test("each option's meaning", async (t) => {
  for (const [app, expected, where] of meanings) {
    const options = parse(app);
    t.match(where ? options.forward : options, expected, app);
  }
  const named = meanings.map(([app]) => app).join(" ");
  const all = Object.keys({ ...programTable, ...forwardTable });
  const others = ["help", "eth-peer", "eth-peers-configfile"]; // in tests of their own
  t.same(
    all.filter((name) => !named.includes(`--${name}`) && !others.includes(name)),
    [],
    "no option is left out here",
  );
});

t.test("-a means one thing before `--` and another after it", async (t) => {
  const options = parse("-a", "-a 0000:01:00.0 -l 0-2");
  t.equal(options.autoStart, true);
  t.same(
    options.eal.allow.map(({ name }) => name),
    ["0000:01:00.0"],
  );
});

t.test("peers' addresses, by option and by file", async (t) => {
  const file = join(t.testdir({}), "peers");
  writeFileSync(file, "02:00:00:00:00:0a\n02:00:00:00:00:0B\n");
  const { ethPeers } = parse(
    `--eth-peers-configfile=${file} --eth-peer=1,2:0:0:0:0:c --eth-peer=3,ff:ff:ff:ff:ff:ff`,
  ).forward;
  t.same(
    [...ethPeers].map(([port, mac]) => [port, Buffer.from(mac).toString("hex")]),
    [
      [0, "02000000000a"],
      [1, "02000000000c"],
      [3, "ffffffffffff"],
    ],
  );
  writeFileSync(file, "02:00:00:00:00:0a\nnonsense\n");
  t.match(
    fault(() => parse(`--eth-peers-configfile=${file}`)),
    { code: "OPTION_VALUE", message: /--eth-peers-configfile .*, line 2: "nonsense"/ },
  );
});

t.test("what testpmd says while it reads its options", async (t) => {
  t.same(parse("--forward-mode=io -i -a --cmdline-file cmds").notes, [
    "Set io packet forwarding mode",
    "Interactive-mode selected",
    "Auto-start selected",
    "CLI commands to be read from cmds",
  ]);
});

/** Command lines that are wrong; the option is the first word of each. */
const wrong: readonly [app: string, code: string, fix?: RegExp][] = [
  ["--forward-mode=macswop", "FORWARD_MODE", /did you mean macswap\?.*txonly/],
  ["--forward-mode=app=", "FORWARD_MODE", /app=/],
  ["--forward-mode=ieee1588", "FORWARD_MODE", /PTP/],
  ["--forward-mode=count", "FORWARD_MODE"],
  ["--nb-cores=0", "OPTION_VALUE", /--nb-cores=1/],
  ["--nb-cores=x", "OPTION_VALUE"],
  ["--nb-cores=-1", "OPTION_VALUE"],
  ["--coremask=0", "OPTION_VALUE"],
  ["--coremask=0xg", "OPTION_VALUE"],
  ["--nb-ports=0", "OPTION_VALUE"],
  ["--nb-ports=33", "OPTION_VALUE"],
  ["--portmask=", "OPTION_VALUE"],
  ["--portmask=0", "OPTION_VALUE"],
  ["--portlist=1-", "OPTION_VALUE"],
  ["--portlist=3-1", "OPTION_VALUE"],
  ["--portlist=99", "OPTION_VALUE"],
  ["--portlist=0 --portmask=1", "OPTION_CONFLICT"],
  ["--port-topology=pared", "OPTION_VALUE", /--port-topology=paired/],
  ["--rxq=0", "OPTION_VALUE"],
  ["--rxq=17", "OPTION_VALUE"],
  ["--txq=1.5", "OPTION_VALUE"],
  ["--rxd=0", "OPTION_VALUE"],
  ["--txd=99999", "OPTION_VALUE"],
  ["--burst=0", "OPTION_VALUE"],
  ["--burst=513", "OPTION_VALUE", /--burst=32/],
  ["--mbuf-size=128", "OPTION_VALUE", /2176/],
  ["--mbuf-size=2176,2176", "OPTION_VALUE"],
  ["--total-num-mbufs=1024", "OPTION_VALUE"],
  ["--max-pkt-len=63", "OPTION_VALUE", /1518/],
  ["--txpkts=0", "OPTION_VALUE"],
  ["--txpkts=41", "OPTION_VALUE", /42 bytes/],
  ["--txpkts=4000", "OPTION_VALUE"],
  ["--txpkts=64,,64", "OPTION_VALUE"],
  ["--flowgen-flows=0", "OPTION_VALUE"],
  ["--eth-peer=02:00:00:00:00:01", "OPTION_VALUE", /PORT|--eth-peer=0,/],
  ["--eth-peer=0,02:00:00:00:00", "OPTION_VALUE", /six bytes/],
  ["--eth-peer=99,02:00:00:00:00:01", "OPTION_VALUE"],
  ["--eth-peers-configfile=/nowhere", "OPTION_VALUE"],
  ["--noisy-lkup-memory=x", "OPTION_VALUE"],
  ["--rss-ip --rss-udp", "OPTION_CONFLICT"],
  ["--stats-period=x", "OPTION_VALUE"],
  ["--http=localhost", "OPTION_VALUE", /127\.0\.0\.1:9464/],
  ["--http=1.2.3.4:99999", "OPTION_VALUE"],
  ["--engine=c", "OPTION_VALUE"],
  ["--tx-first -i", "OPTION_CONFLICT", /start tx_first/],
  ["--stats-period=1 -i", "OPTION_CONFLICT"],
  ["--burst=1 --burst=2", "OPTION_REPEATED"],
  ["--bursts=1", "OPTION_UNKNOWN", /--burst\?/],
  ["--burst", "OPTION_VALUE"],
  ["-burst", "OPTION_UNKNOWN"],
  ["word", "OPTION_WORD"],
];

t.test("a wrong option is named, with what mends it", async (t) => {
  for (const [app, code, fix] of wrong) {
    const error = fault(() => parse(app));
    t.equal(error.code, code, app);
    const name = /^-*[a-z-]+/.exec(app)![0];
    t.ok(error.message.includes(code === "OPTION_WORD" ? "word" : name), `${app}: ${error.message}`);
    t.match(error.fix, fix ?? /./, `${app}: ${error.fix}`);
  }
});

t.test("what DPDK's testpmd has and this one has not is named as such", async (t) => {
  for (const [name, instead] of Object.entries(dpdkOnlyTable)) {
    const error = fault(() => parse(`--${name}=1`));
    t.match(
      error,
      { code: "OPTION_UNSUPPORTED", message: `DPDK's --${name} is not supported`, fix: instead },
      name,
    );
  }
  const both = Object.keys(dpdkOnlyTable).filter((name) => name in programTable || name in forwardTable);
  t.same(both, []);
});

t.test("help and version", async (t) => {
  t.equal(parseTestpmd(["--help"], limits).what, "help");
  t.equal(parseTestpmd(["--", "-h"], limits).what, "help");
  t.equal(parseTestpmd(["-v"], limits).what, "version");
  const text = help(100);
  for (const name of Object.keys({ ...programTable, ...forwardTable })) t.match(text, `--${name}`, name);
  t.match(text, /io, .*macswap/);
  t.ok(text.split("\n").every((line) => line.length <= 100));
});
