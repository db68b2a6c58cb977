// Makes ring.wasm of ring.ts and app.wasm of app.as.ts, as a program of its own: the compiler grows a memory, which
// detaches an ArrayBuffer, and from then on V8 checks every typed-array access of that process (docs/benchmarks.md,
// "not detached").
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildWasm } from "../../scripts/build-wasm.ts";
import { compileAssembly } from "../../src/engine/assembly.ts";
import { repositoryRoot } from "../../test/beds/paths.ts";

await buildWasm("bench/ring-loop/ring.ts", "dist/bench/ring-loop/ring.wasm");
// as the engine makes applications
const { binary } = await compileAssembly(join(repositoryRoot, "bench/ring-loop/app.as.ts"));
writeFileSync(new URL("./app.wasm", import.meta.url), binary);
