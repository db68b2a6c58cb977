// Makes hot.wasm of src/hot/entry.ts. Where a file X.ts has an X.as.ts beside it, AssemblyScript reads that one in its
// place: mem.ts (intrinsics) always, simd.ts (vector variants) unless `plain`. hot-plain.wasm, with the plain functions
// alone, exists for the tests that compare the two.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

const sourceText = (file: string) => readFileSync(file, "utf8");

/**
 * Compiles `entry` (relative to the repository) to `output` (likewise). The memory is imported, its size open. `read`:
 * where sources come from.
 */
export async function buildWasm(
  entry: string,
  output: string,
  plain = false,
  read: (file: string) => string = sourceText,
): Promise<void> {
  const replace = (asked: string) => {
    const file = asked.replace(/\.ts\.ts$/, ".ts"); // asc adds an ending of its own to imports that have one
    const variant = file.replace(/\.ts$/, ".as.ts");
    return existsSync(variant) && !(plain && file.endsWith("simd.ts")) ? variant : file;
  };
  mkdirSync(dirname(join(root, output)), { recursive: true });
  // 65536 pages (4 GiB) is the largest an arena can be; any smaller shared memory satisfies the import.
  const size = ["--importMemory", "--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65536"];
  const speed = [
    "-O3",
    "--noAssert",
    "--runtime",
    "stub",
    "--enable",
    "threads",
    "--enable",
    "simd",
    "--converge",
  ];
  const { error, stdout, stderr } = await asc.main([entry, "-o", output, ...size, ...speed], {
    readFile: (name, base) => {
      const file = replace(resolve(root, base, name));
      return existsSync(file) ? read(file) : null;
    },
    writeFile: (name, contents) => writeFileSync(resolve(root, name), contents),
    listFiles: () => [],
  });
  process.stdout.write(stdout.toString());
  process.stderr.write(stderr.toString());
  if (error) throw error;
}

/** What applications in AssemblyScript import (src/lcore/worker-assembly.ts), all in one folder. */
function copyDeclarations(): void {
  const folder = join(root, "dist/src/engine/assembly");
  mkdirSync(folder, { recursive: true });
  for (const name of ["index", "no-heap"]) {
    copyFileSync(join(root, `src/engine/assembly/${name}.as.ts`), join(folder, `${name}.ts`));
  }
  copyFileSync(join(root, "src/hot/mem.as.ts"), join(folder, "mem.ts"));
  copyFileSync(join(root, "src/hot/simd.as.ts"), join(folder, "simd.ts"));
  copyFileSync(join(root, "src/hot/layout.ts"), join(folder, "layout.ts"));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  copyDeclarations();
  await buildWasm("src/hot/entry.ts", "dist/src/hot/hot.wasm");
  await buildWasm("src/hot/entry.ts", "dist/src/hot/hot-plain.wasm", true);
}
