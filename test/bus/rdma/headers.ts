// Asks a C compiler what infiniband/verbs.h and mlx5dv.h say.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const headers = ["verbs", "mlx5dv"].map((name) => `/usr/include/infiniband/${name}.h`);
const compiler = spawnSync("gcc", ["--version"]).status === 0;

/** Why nothing can be asked; false: it can. softMlx5Bed installs what is missing. */
export const headersMissing: string | false =
  compiler && headers.every((path) => existsSync(path)) ? false : "no gcc, or no libibverbs-dev";

/** What the body of a main function prints, line by line. */
export function runC(body: readonly string[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-rdma-c-"));
  try {
    const includes = ["stdio.h", "stddef.h", "string.h", "arpa/inet.h", ...headers];
    const lines = includes.map((path) =>
      path.startsWith("/") ? `#include "${path}"` : `#include <${path}>`,
    );
    const source = [...lines, "int main(void) {", ...body, "return 0;", "}", ""];
    writeFileSync(join(folder, "ask.c"), source.join("\n"));
    execFileSync("gcc", ["-w", "-o", join(folder, "ask"), join(folder, "ask.c")]);
    return execFileSync(join(folder, "ask"), { encoding: "utf8" }).trimEnd().split("\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
}
