// Makes the C program of this folder, for as long as somebody uses it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PollmodeError } from "../../../src/errors.ts";
import { repositoryRoot } from "../../../test/beds/paths.ts";

interface Program extends Disposable {
  readonly path: string;
}

/** Error: CC_FAILED. */
export function buildVerbs(): Program {
  const cwd = join(repositoryRoot, "bench", "mlx5", "verbs");
  const sources = readdirSync(cwd).filter((file) => file.endsWith(".c"));
  const flags = ["-O3", "-march=native", "-Wall", "-Wextra", "-Werror", "-pthread"];
  const folder = mkdtempSync(join(tmpdir(), "pollmode-mlx5-verbs-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const path = join(folder, "verbs");
  try {
    const words = [...flags, "-o", path, ...sources, "-libverbs"];
    execFileSync("cc", words, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  } catch (cause) {
    remove();
    const { code, stderr } = cause as NodeJS.ErrnoException & { stderr?: Buffer };
    const why = code === "ENOENT" ? "there is no C compiler" : String(stderr ?? cause);
    const fix = "apt-get install gcc libc6-dev libibverbs-dev";
    throw new PollmodeError("CC_FAILED", `cc ${sources.join(" ")} in ${cwd}: ${why}`, fix, { cause });
  }
  return { path, [Symbol.dispose]: remove };
}
