// The numbers in src/bus/pci/registers.ts, against what the C compiler makes of linux/pci_regs.h.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import * as registers from "../../../src/bus/pci/registers.ts";

const compiler = spawnSync("gcc", ["--version"]).status === 0 && existsSync("/usr/include/linux/pci_regs.h");

t.test("registers.ts has C's numbers", { skip: !compiler && "no gcc, or no linux/pci_regs.h" }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-pci-regs-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const names = Object.keys(registers);
  const lines = names.map((name) => `  printf("${name} %lu\\n", (unsigned long)(${name}));`);
  const includes = ["stdio", "linux/pci_regs"].map((header) => `#include <${header}.h>`);
  writeFileSync(
    join(folder, "a.c"),
    [...includes, "int main(void) {", ...lines, "  return 0;", "}", ""].join("\n"),
  );
  execFileSync("gcc", ["-o", join(folder, "a"), join(folder, "a.c")]);
  const values = execFileSync(join(folder, "a"), { encoding: "utf8" }).trim().split("\n");
  t.same(
    Object.entries(registers).map(([name, value]) => `${name} ${value}`),
    values,
  );
});
