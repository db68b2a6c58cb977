// Makes loop.wasm of drain.ts, as a program of its own: the compiler grows a memory, which detaches an ArrayBuffer, and
// from then on V8 checks every typed-array access of that process (docs/benchmarks.md, "not detached").
import { buildWasm } from "../../../scripts/build-wasm.ts";

await buildWasm("bench/mlx5/loop/drain.ts", "dist/bench/mlx5/loop/loop.wasm");
