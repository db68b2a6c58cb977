// The parts of bench:mlx5 that need no device: the loop, whose engines must all do the same, and the tables.
import { execFile, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { describeMachine } from "../../bench/machine.ts";
import { verbsInC } from "../../bench/mlx5/contenders.ts";
import type { LoopResult } from "../../bench/mlx5/loop/measure.ts";
import { formatResult } from "../../bench/mlx5/tables.ts";

t.setTimeout(120_000);
const program = fileURLToPath(new URL("../../bench/mlx5/loop/main.js", import.meta.url));

const skip = spawnSync("cc", ["--version"]).status === 0 ? false : "there is no C compiler (cc)";

t.test("the loop moves the same packets through C, WebAssembly and TypeScript", { skip }, async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [program, "--reps", "1", "--slices", "1"]);
  const { rows, packetsChecked }: LoopResult = JSON.parse(stdout);
  t.ok(packetsChecked > 1_000_000, `${packetsChecked} packets`);
  const engines = ["c", "wasm", "typescript"];
  t.same(
    rows.map(({ kind, engine }) => `${kind}: ${engine}`),
    ["inline 18", "no inline", "eMPW", "eMPW, compressed"].flatMap((kind) =>
      engines.map((engine) => `${kind}: ${engine}`),
    ),
  );
  for (const { engine, nsPerPacket, ratioToC } of rows) {
    t.ok(nsPerPacket > 0.5 && nsPerPacket < 5000, `${engine}: ${nsPerPacket} ns`);
    t.ok(ratioToC > 0.1);
  }
  const refused = promisify(execFile)(process.execPath, [program, "--reps", "0"]);
  await t.rejects(refused, {
    code: 1,
    stderr: /--reps "0" is no whole number from 1 to 99999\n +fix: write --reps 9/,
  });
});

t.test("the tables", async (t) => {
  const rate = (contender: string, mpps: number | null) => ({
    contender,
    mpps,
    windows: mpps ? 5 : 0,
    dropped: 1,
  });
  const rates = [
    rate("pollmode dv", 3),
    rate("pollmode ibv", 1.2),
    rate(verbsInC, 1.25),
    rate("pollmode dv, whole CQEs", null),
    rate("DPDK", 1.5),
    rate("DPDK, no eMPW", 2),
  ];
  const row = (engine: string, nsPerPacket: number) => {
    return { kind: "eMPW", engine, nsPerPacket, ratioToC: nsPerPacket / 5 } as const;
  };
  const loop = { batch: 32, packetsChecked: 1, rows: [row("c", 5), row("wasm", 5.2)] };
  const works = [{ name: "io", title: "io", rates, missing: [] }];
  const text = formatResult({ machine: describeMachine(), works, loop, missing: ["io, DPDK: it ended"] });
  t.match(
    text,
    /\| pollmode dv +\| 3\.00 \| +\*\*1\.50\*\* \| +\*\*2\.40\*\* \| +5 \| +1 \|/,
    "by DPDK's best",
  );
  t.match(text, /\| pollmode ibv +\| 1\.20 \| +\*\*0\.60\*\* \| +\*\*0\.96\*\* \|/, "by what C does");
  t.match(text, /whole CQEs +\| +- \| +\*\*-\*\* \| +\*\*-\*\* \| +0 \|/);
  t.match(text, /\| wasm +\| 5\.20 \(1\.04\) \|/);
  t.match(text, /\n- Not measured: io, DPDK: it ended$/);
});
