// Makes the live page of --http (src/telemetry/page) ready for browsers: bundles its script with uPlot
// and its style sheet into dist, copies the rest, and checks its types. Nothing of it is fetched from elsewhere.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
/** Where it really is: a private build may have a link to it. */
const source = realpathSync(join(root, "src/telemetry/page"));
const output = join(root, "dist/src/telemetry/page");
const require = createRequire(import.meta.url);

mkdirSync(output, { recursive: true });
const license = readFileSync(join(dirname(require.resolve("uplot/package.json")), "LICENSE"), "utf8").trim();
await build({
  entryPoints: { page: join(source, "main.ts") },
  outfile: join(output, "page.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  banner: { js: `/*! uPlot: ${license} */` },
});
await build({
  entryPoints: [join(source, "page.css")],
  outfile: join(output, "page.css"),
  bundle: true,
  minify: true,
});
for (const file of ["index.html", "icon.svg"]) copyFileSync(join(source, file), join(output, file));
execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", source], { stdio: "inherit" });
