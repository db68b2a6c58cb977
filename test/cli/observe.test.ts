// The command lines of observe and permit, on a recorded machine.
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { withInterval } from "../../src/cli/observe/command.ts";
import { main as observe } from "../../src/cli/observe/main.ts";
import { main as permit } from "../../src/cli/permit/main.ts";
import { RecordedMachine } from "../support/recorded-machine.ts";
import { kept } from "./tool/kept.ts";

const vf = "0000:03:10.2";

function server(t: { teardown(done: () => void): unknown }): RecordedMachine {
  const recorded = new RecordedMachine(t, "server-82599")
    .put("/proc/4711/comm", "node\n")
    .put("/proc/4711/cmdline", "/usr/bin/node\0/opt/dist/pollmode.js\0rx-pps\0-a\x0003:10.2\0")
    .put("/proc/4711/status", "Uid:\t1000\t1000\t1000\t1000\nVmLck:\t   65536 kB\nVmPin:\t     512 kB\n")
    .put("/proc/4711/limits", "Max locked memory         4294967296           4294967296           bytes\n")
    .put(
      "/proc/interrupts",
      "       CPU0  CPU1\n 42:   3   9  IR-PCI-MSI 524288-edge      vfio-msix[0](0000:03:10.2)\n",
    )
    .put(`/sys/bus/pci/devices/${vf}/msi_irqs/42`, "msix\n")
    .put("/etc/passwd", "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n");
  mkdirSync(join(recorded.root, "proc/4711/fd"), { recursive: true });
  symlinkSync("/dev/vfio/33", join(recorded.root, "proc/4711/fd/17"));
  return recorded;
}

t.test("--watch takes a number, if there is one", async (t) => {
  t.same(withInterval(["--watch", "2", vf]), ["--watch", "--interval", "2", vf]);
  t.same(withInterval(["--watch=0.5"]), ["--watch", "--interval", "0.5"]);
  t.same(withInterval([vf, "--watch"]), [vf, "--watch"]);
  t.same(withInterval(["--watch", vf]), ["--watch", vf], "a device");
  t.same(withInterval(["--watch", "03:10.2"]), ["--watch", "03:10.2"]);
  const wrong = (...argv: string[]) => kept(() => observe(argv));
  t.match(await wrong("--watch", "0"), { code: 2, stderr: /"0" is no time from 0.1 to 86400 seconds/ });
  t.match(await wrong("--watch=soon"), { code: 2, stderr: /"soon" is no time/ });
  t.match(await wrong("--interval", "2"), { code: 2, stderr: /--interval is for --watch/ });
});

t.test("observe, for people", async (t) => {
  const { root } = server(t);
  const { code, stdout } = await kept(() => observe(["--root", root]));
  t.equal(code, 0);
  t.match(stdout, "IOMMU: Intel VT-d, dmar0, ");
  t.match(stdout, /, 11 of 65536 domains in use/);
  t.match(stdout, /^0000:03:10\.2 +vfio-pci +33 +DMA-FQ +\/dev\/vfio\/33 +4711$/m);
  t.match(
    stdout,
    /^4711 +alice +64 MiB +512 KiB +4096 MiB +\/dev\/vfio\/33 +node pollmode.js rx-pps -a 03:10.2$/m,
  );
  t.match(stdout, /^0000:03:10\.2 +42 +msix +12 +- +1,0 +vfio-msix\[0\]\(0000:03:10\.2\)$/m);
  t.match(stdout, /not to be seen: debugfs is not mounted\n {2}to see them: mount -t debugfs/);
});

t.test("observe, for programs", async (t) => {
  const { root } = server(t);
  const { stdout } = await kept(() => observe(["--root", root, "--json", "03:10.2"]));
  t.match(JSON.parse(stdout), {
    units: [{ name: "dmar0" }, { name: "dmar1" }],
    devices: [{ address: vf, heldBy: [4711], vectors: [{ count: 12, cpus: { 0: 3, 1: 9 } }] }],
    holders: [{ pid: 4711, user: "alice", lockedBytes: 67_108_864 }],
    iommu: { missing: { fix: "mount -t debugfs debugfs /sys/kernel/debug" } },
  });
  t.match(await kept(() => observe(["--root", root, "0000:99:00.0"])), {
    code: 2,
    stderr: /no such PCI device/,
  });
});

t.test("tables and counts", async (t) => {
  const recorded = server(t);
  const intel = "/sys/kernel/debug/iommu/intel";
  recorded.put(
    `${intel}/dmar_translation_struct`,
    "IOMMU dmar0: Root Table Address: 0x1000\n" +
      "03:10.2\t0x0:0x1001\t0x0000000000000902:0x000000010303f001\t-1\t0x0:0x0:0x0\n",
  );
  const page = "0x0000000100000 |\t0x0\t0x1017f9003\t0x1017fa003\t0x120000083\t0x0\n";
  recorded.put(`${intel}/${vf}/domain_translation_struct`, `Device ${vf} @0x10303f000\n${page}`);
  recorded.put(
    `${intel}/invalidation_queue`,
    "Invalidation queue on IOMMU: dmar0\n Base: 0x1\tHead: 1\tTail: 3\n",
  );
  const { stdout } = await kept(() => observe(["--root", recorded.root, "--tables"]));
  t.match(stdout, /^0000:03:10\.2 +dmar0 +9 +translated +0x10303f000 +1 +2 MiB$/m);
  t.match(stdout, "dmar0: 2 commands wait in its queue");
  const without = await kept(() => observe(["--root", recorded.root]));
  t.match(without.stdout, "--tables counts what is mapped");
});

t.test("permit's command line", async (t) => {
  const { root } = server(t);
  const run = (...argv: string[]) => kept(() => permit(["--root", root, ...argv]));
  t.match(await run(), { code: 2, stderr: /permit needs a user or @GROUP[\s\S]*fix: pollmode permit/ });
  t.match(await run("alise"), { code: 2, stderr: /did you mean alice/ });
  t.match(await run("alice", "--memory", "lots"), {
    code: 2,
    stderr: /neither a number of MiB nor unlimited/,
  });
  t.match(await run("alice", "--memory", "0"), { code: 2 });
  t.match(await run("alice", "--memory", "1", "--remove"), { code: 2, stderr: /exclude each other/ });
  t.match(await run("alice", "0000:99:00.0"), { code: 2 });
  const shown = await run("alice", "03:10.2", "--memory", "256");
  t.equal(shown.code, 0, shown.stderr);
  t.notMatch(shown.stdout, "rules.d", "without udev no rule");
});

t.test("permit shows its files", async (t) => {
  const recorded = server(t)
    .put("/usr/lib/udev/rules.d/50-udev-default.rules", "")
    .put("/run/udev/control", "");
  recorded.put("/etc/security/limits.conf", "");
  const run = (...argv: string[]) => kept(() => permit(["--root", recorded.root, ...argv]));
  const { code, stdout } = await run("alice", "03:10.2", "--memory", "256");
  t.equal(code, 0);
  t.match(stdout, `TEST=="/sys/kernel/iommu_groups/%k/devices/${vf}", OWNER="alice"`);
  t.match(stdout, "alice hard memlock 262144\n");
  t.match(stdout, /^udevadm control --reload$/m);
  const { changes } = JSON.parse((await run("alice", "--json", "--memory", "unlimited")).stdout);
  t.equal(changes.length, 4);
});
