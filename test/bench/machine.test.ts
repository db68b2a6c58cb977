import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { describeMachine, formatMachine, parseCpuinfo, readHugepages } from "../../bench/machine.ts";

t.test("this machine", async (t) => {
  const machine = describeMachine();
  t.match(machine, { node: process.version, kernel: /^\d+\.\d+/, commit: /^(unknown|[0-9a-f]{7,}\+?)$/ });
  t.ok(machine.cores >= 1);
  t.not(machine.cpuModel, "");
  t.ok(Math.abs(Date.parse(machine.date) - Date.now()) < 60_000, "now");
  t.match(formatMachine(machine), /^machine: .+\npollmode .+$/);
  t.same(JSON.parse(JSON.stringify(machine)).kernel, machine.kernel, "goes into JSON");
});

t.test("/proc/cpuinfo", async (t) => {
  const intel = "processor\t: 0\nmodel name\t: Intel(R)  Xeon(R) CPU @ 2.60GHz\ncpu MHz\t\t: 3100.5\n";
  t.same(parseCpuinfo(intel), { cpuModel: "Intel(R) Xeon(R) CPU @ 2.60GHz", cpuMHz: 2600 });
  const amd = "model name\t: AMD EPYC 9B14\ncpu MHz\t\t: 2599.998\nmodel name\t: second\ncpu MHz\t\t: 1\n";
  t.same(parseCpuinfo(amd), { cpuModel: "AMD EPYC 9B14", cpuMHz: 2599.998 });
  t.same(parseCpuinfo(""), { cpuModel: "unknown CPU", cpuMHz: undefined });
});

t.test("hugepages", async (t) => {
  const pages = (free: string, total: string) => ({
    free_hugepages: `${free}\n`,
    nr_hugepages: `${total}\n`,
  });
  const folder = t.testdir({
    "hugepages-1048576kB": pages("0", "1"),
    "hugepages-2048kB": pages("12", "64"),
    other: {},
  });
  const both = [
    { sizeKiB: 2048, free: 12, total: 64 },
    { sizeKiB: 1048576, free: 0, total: 1 },
  ];
  t.same(readHugepages(folder), both);
  t.same(readHugepages(join(folder, "none")), []);
  const machine = { ...describeMachine(), hugepages: both, cores: 1, cpuMHz: 2600.4 };
  t.match(formatMachine(machine), "2600 MHz, 1 core, ");
  t.match(formatMachine(machine), "hugepages free: 12/64 of 2 MiB, 0/1 of 1024 MiB,");
  t.match(formatMachine({ ...machine, hugepages: [], cpuMHz: undefined }), "hugepages free: none");
});

t.test("the commit", async (t) => {
  const folder = t.testdir({ file: "1" });
  t.equal(describeMachine("/").commit, "unknown", "outside git");
  const git = (...args: string[]) => execFileSync("git", ["-C", folder, ...args], { stdio: "ignore" });
  git("init");
  git("add", "file");
  git("-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-m", "first");
  t.match(describeMachine(folder).commit, /^[0-9a-f]{7,}$/);
  writeFileSync(join(folder, "file"), "2");
  t.match(describeMachine(folder).commit, /^[0-9a-f]{7,}\+$/, "changed");
});
