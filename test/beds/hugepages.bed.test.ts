import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import t from "tap";
import { freePages, hugepagesMissing, hugetlbfsMount, reserveHugepages } from "./hugepages.ts";

const missing = process.getuid?.() === 0 ? hugepagesMissing(8) : "reserving hugepages needs root";
const total = () => Number(readFileSync("/proc/sys/vm/nr_hugepages", "utf8"));

/** Runs code that has this module's reserveHugepages, in a process of its own, to its end. */
function runElsewhere(code: string): void {
  const module = new URL("./hugepages.js", import.meta.url).href;
  const script = `import { reserveHugepages } from ${JSON.stringify(module)}; ${code}`;
  spawnSync(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit", timeout: 20_000 });
}

t.test("reservations nest and give back what they took", { skip: missing ?? false }, async (t) => {
  const before = total();
  const outer = reserveHugepages(4);
  t.equal(total(), before + 4);
  const inner = reserveHugepages(2);
  t.equal(total(), before + 6);
  t.ok(freePages()! >= 6);
  outer.release();
  outer.release();
  t.equal(total(), before + 2, "the second release does nothing");
  inner[Symbol.dispose]();
  t.equal(total(), before);
});

t.test("they end with their process", { skip: missing ?? false }, async (t) => {
  const before = total();
  runElsewhere("reserveHugepages(3);");
  t.equal(total(), before, "at its exit");
  runElsewhere("reserveHugepages(3); process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000);");
  t.equal(total(), before, "by SIGTERM");
  runElsewhere("reserveHugepages(3); process.kill(process.pid, 'SIGKILL');");
  t.equal(total(), before + 3, "not by SIGKILL");
  reserveHugepages(1).release();
  t.equal(total(), before, "but the next reservation takes those back");
});

t.test("more than there is memory for", { skip: missing ?? false }, async (t) => {
  const before = total();
  t.throws(() => reserveHugepages(2 ** 24), { code: "HUGEPAGES_MISSING", fix: /nr_hugepages/ });
  t.equal(total(), before);
});

t.test("a hugetlbfs is mounted", { skip: missing ?? false }, async (t) => {
  t.ok(existsSync(hugetlbfsMount()));
});
