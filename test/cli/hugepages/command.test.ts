// `pollmode hugepages` on a made-up machine (--root): options as dpdk-hugepages.py has them, what is shown, exit codes.
import t from "tap";
import { main } from "../../../src/cli/hugepages/main.ts";
import { HugepageMachine } from "../../devices/fake-hugepages.ts";
import { kept } from "../tool/kept.ts";

function machine(t: { teardown(done: () => void): unknown }): HugepageMachine {
  const fake = new HugepageMachine(t).pages("2M", { total: 512 }, { total: 2 }).pages("1G", {}, { total: 3 });
  fake.dryRun([]); // which makes its /sys
  return fake.file("/etc/passwd", "root:x:0:0::/:\nalice:x:1000:1000::/:\n").file("/etc/group", "vm:x:7:\n");
}

t.test("shows: dpdk-hugepages.py's columns first", async (t) => {
  const { root } = machine(t);
  const { code, stdout } = await kept(() => main(["--root", root]));
  t.equal(code, 0);
  const rows = stdout.split("\n").map((line) => line.trim().split(/\s+/));
  t.same(rows.slice(0, 5), [
    ["Node", "Pages", "Size", "Total", "Free", "Surplus"],
    ["0", "512", "2M", "1G", "512", "0"],
    ["0", "0", "1G", "0", "0", "0"],
    ["1", "2", "2M", "4M", "2", "0"],
    ["1", "3", "1G", "3G", "3", "0"],
  ]);
  t.match(stdout, /\n\nHugepages not mounted\n$/);
});

t.test("shows mounts, who uses pages, and what is left", async (t) => {
  const fake = machine(t).mount("/dev/hugepages", "rw,pagesize=2M").page("/dev/hugepages/rtemap_4");
  fake.page("/dev/hugepages/data").program(42, "vpp", 4096);
  const { stdout } = await kept(() => main(["-s", "--root", fake.root]));
  t.match(stdout, "\nHugepages mounted on /dev/hugepages (2M)\n");
  t.match(stdout, /Process +Program +Uses\n +42 +vpp +4M\n/);
  t.match(
    stdout,
    "\n2M in 1 file that DPDK left in /dev/hugepages, and nobody has open: --clear removes what it left\n",
  );
  t.match(stdout, "\n2M in /dev/hugepages/data, which nobody has open: rm it if its content is not needed\n");
  const json = JSON.parse((await kept(() => main(["--json", "--root", fake.root]))).stdout);
  t.match(json, {
    sizes: [{ pageBytes: 2097152, total: 514, pools: [{ node: 0, total: 512 }, { node: 1 }] }, {}],
    defaultPageBytes: 2097152,
    mounts: [{ folder: "/dev/hugepages", pageBytes: 2097152 }],
    programs: [{ pid: 42, name: "vpp", bytes: 4194304 }],
    files: [{ path: "/dev/hugepages/data", isDpdk: false }, { isDpdk: true }],
  });
});

t.test("what a dry run prints can be run", async (t) => {
  const { root } = machine(t);
  const lines = async (...argv: string[]) => {
    const { code, stdout, stderr } = await kept(() => main(["--dry-run", "--root", root, ...argv]));
    return code === 0 ? stdout.replaceAll(root, "").trimEnd().split("\n") : [stderr];
  };
  const counter = (node: number, kib = 2048) =>
    `/sys/devices/system/node/node${node}/hugepages/hugepages-${kib}kB/nr_hugepages`;
  const GIB = 1024 * 1024;
  t.same(await lines("-r", "8M", "-n", "1"), [`echo 4 > ${counter(1)}`]);
  t.same(await lines("-r", "1G"), [`echo 512 > ${counter(1)}`], "node 0 has so many");
  t.same(await lines("-p", "1G", "--setup", "2G", "-U", "alice", "--group", "vm"), [
    `echo 0 > ${counter(0)}`,
    `echo 0 > ${counter(1)}`,
    `echo 2 > ${counter(1, GIB)}`,
    `echo 2 > ${counter(0, GIB)}`,
    "mkdir /dev/hugepages",
    "mount -t hugetlbfs -o pagesize=1073741824,uid=1000,gid=7 nodev /dev/hugepages",
    "# /dev/hugepages is not mounted",
  ]);
  t.same(await lines("-m", "-d", "/mnt/huge/"), [
    "mkdir /mnt",
    "mkdir /mnt/huge",
    "mount -t hugetlbfs -o pagesize=2097152 nodev /mnt/huge",
  ]);
  t.same(await lines("-r", "1G", "-n", "0"), ["# nothing to change"]);
  const other = machine(t)
    .mount("/mnt/huge", "rw,pagesize=2M")
    .page("/mnt/huge/rtemap_1")
    .page("/mnt/huge/rtemap_2");
  const clear = await kept(() => main(["--root", other.root, "-c"]));
  t.match(clear.stdout, /^rm .*\/rtemap_1\nrm .*\/rtemap_2\necho 0 > /);
  t.match(clear.stdout, /\n# \/mnt\/huge: without 2 files that DPDK left there\n$/);
  const json = await kept(() => main(["--json", "--dry-run", "--root", root, "-c"]));
  t.match(JSON.parse(json.stdout), {
    changes: [/^echo 0 > /, /^echo 0 > /, /^echo 0 > /],
    result: { removed: [] },
  });
});

t.test("refused: somebody has pages", async (t) => {
  const fake = machine(t).program(42, "vpp", 4096);
  fake.sysfs.put("devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "510\n");
  fake.sysfs.addUp("hugepages-2048kB");
  const { code, stderr } = await kept(() => main(["--clear", "--root", fake.root]));
  t.equal(code, 3);
  t.equal(
    stderr,
    "pollmode hugepages: the hugepages cannot be cleared: 2 of 2M are in use by vpp (process 42, 4M)\n  fix: stop it\n",
  );
});

t.test("a wrong command line", async (t) => {
  const { root } = machine(t);
  const fails = async (words: string, code: number, text: RegExp) => {
    const result = await kept(() => main(["--root", root, ...words.split(" ").filter(Boolean)]));
    t.match(result, { code, stdout: "", stderr: text }, words);
  };
  await fails("--reserve 2GB", 2, /--reserve "2GB" is no size\n {2}fix: write --reserve 512M or 2G/);
  await fails("--reserve", 2, /needs a value/);
  await fails("-r 3M", 2, /3M are no whole number of hugepages of 2M\n {2}fix: ask for 4M/);
  await fails("-r 1", 2, /no whole number/);
  await fails("-p 0 -r 1G", 2, /--pagesize "0" is no size/);
  await fails("-r 1G -n all", 2, /--node "all" is no number/);
  await fails("-r 1G -n 7", 1, /there is no NUMA node 7 .*\n {2}fix: use --node 0 or --node 1/);
  await fails("-r 1G -p 64K", 1, /no hugepages of 64K: it has 2M, 1G/);
  await fails("-c -n 1", 2, /--node is for --reserve/);
  await fails("-c -p 1G", 2, /--pagesize is for --reserve or --mount; --clear is for all sizes/);
  await fails("-r 1G -d /mnt", 2, /--directory is for --mount or --unmount/);
  await fails("-r 1G -U alice", 2, /--user is for --mount/);
  await fails("-m -d mnt", 2, /--directory "mnt" is no absolute path/);
  await fails("-m -d /", 2, /no absolute path/);
  await fails("-m -U alise", 2, /there is no user "alise" .*\n {2}fix: did you mean alice/);
  await fails("--setup 1G --reserve 1G", 2, /both name a size/);
  await fails("1G", 2, /unexpected "1G"/);
  await fails("--reserv 1G", 2, /did you mean --reserve/);
});
