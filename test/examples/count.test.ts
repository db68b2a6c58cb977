// The README's embedding example is examples/count.ts, word for word, and it runs.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { repositoryRoot } from "../beds/paths.ts";

const source = readFileSync(join(repositoryRoot, "examples", "count.ts"), "utf8");

t.test("the README shows it", async (t) => {
  const readme = readFileSync(join(repositoryRoot, "README.md"), "utf8");
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, block]) => block);
  t.same(blocks, [source]);
  t.ok(source.split("\n").length - 1 <= 25, "it has at most 25 lines");
});

t.test("it counts for a second", async (t) => {
  const file = fileURLToPath(new URL("../../examples/count.js", import.meta.url));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { timeout: 30_000 });
  const [, packets] = /^(\d+) packets in a second, 0 broadcasts\n$/.exec(stdout) ?? [];
  t.ok(Number(packets) > 0, stdout);
  t.equal(stderr, "");
});
