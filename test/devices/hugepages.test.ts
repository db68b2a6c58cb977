// Hugepages: what is read, what is changed, what is refused, and that a fault at any step leaves all as it was.
import { closeSync, existsSync, openSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { changeHugepages } from "../../src/devices/hugepage-setup.ts";
import { hugepageUse } from "../../src/devices/hugepage-users.ts";
import { formatBytes, hugepagesOf, parseBytes } from "../../src/devices/hugepages.ts";
import type { Change } from "../../src/devices/machine.ts";
import { LOCK_SH } from "../../src/libc/abi.ts";
import { flock } from "../../src/libc/libc.ts";
import { MIB } from "../../src/limits.ts";
import { HugepageMachine } from "./fake-hugepages.ts";

/** Of an error. */
type Wanted = { code: string; message?: string | RegExp; fix?: string | RegExp };
const GIB = 1024 * MIB;
const folder = "/dev/hugepages";
const node = (number: number, size = 2048) =>
  `devices/system/node/node${number}/hugepages/hugepages-${size}kB`;

/** Two nodes with pages of both sizes. */
function twoNodes(t: { teardown(done: () => void): unknown }): HugepageMachine {
  return new HugepageMachine(t).pages("2M", { total: 4 }, { total: 2 }).pages("1G", {}, { total: 1 });
}

t.test("what there is", async (t) => {
  const fake = twoNodes(t).mount("/dev/hugepages", "rw,relatime,pagesize=2M");
  fake.mount("/mnt/a b", "rw,relatime,uid=1000,pagesize=1024M", "nodev").mount("/old", "rw");
  fake.sysfs.put("kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "3\n");
  const found = hugepagesOf(fake.machine);
  t.match(found, {
    defaultPageBytes: 2 * MIB,
    sizes: [
      { pageBytes: 2 * MIB, total: 6, free: 6, reserved: 3, surplus: 0 },
      { pageBytes: GIB, total: 1, free: 1, reserved: 0 },
    ],
    mounts: [
      { folder: "/dev/hugepages", pageBytes: 2 * MIB },
      { folder: "/mnt/a b", pageBytes: GIB, source: "nodev" },
      { folder: "/old", pageBytes: 2 * MIB },
    ],
  });
  t.match(found.sizes[1]?.pools, [
    { node: 0, total: 0 },
    { node: 1, total: 1, free: 1, path: node(1, 1024 * 1024) },
  ]);
});

t.test("kernels without NUMA, and without hugepages", async (t) => {
  const flat = new HugepageMachine(t).withoutNuma("2M", { total: 3 });
  t.match(hugepagesOf(flat.machine).sizes, [{ total: 3, pools: [{ node: undefined, total: 3 }] }]);
  changeHugepages(flat.machine, { reserve: { bytes: 8 * MIB }, folder });
  t.equal(hugepagesOf(flat.machine).sizes[0]?.total, 4);
  const reserve = { reserve: { bytes: 8 * MIB, node: 0 }, folder };
  t.throws(() => changeHugepages(flat.machine, reserve), { code: "HUGEPAGES_NODE", fix: /leave out --node/ });
  const none = new HugepageMachine(t).file("/proc/meminfo", "MemFree: 1 kB\n");
  t.match(hugepagesOf(none.machine), { sizes: [], defaultPageBytes: undefined, mounts: [] });
  t.throws(() => changeHugepages(none.machine, { reserve: { bytes: 1 }, folder }), {
    code: "HUGEPAGES_SIZE",
    message: "this kernel has no hugepages",
  });
});

t.test("sizes as options and hugetlbfs write them", async (t) => {
  for (const [text, bytes] of [
    ["2M", 2 * MIB],
    ["1g", GIB],
    ["512K", 512 * 1024],
    ["4096", 4096],
    ["0", 0],
    ["1024M", GIB],
  ] as const) {
    t.equal(parseBytes(text), bytes, text);
  }
  for (const text of ["", "M", "2MB", "-1", "1.5G", "0x10", " 2M", "99999999999999999G", "1T"]) {
    t.equal(parseBytes(text), undefined, JSON.stringify(text));
  }
  t.same([0, 1, 2 * MIB, GIB, 1536 * MIB, 6144, 4097].map(formatBytes), [
    "0",
    "1",
    "2M",
    "1G",
    "1536M",
    "6K",
    "4097",
  ]);
});

t.test("reserve: on each node, on one, more and fewer", async (t) => {
  const fake = twoNodes(t);
  changeHugepages(fake.machine, { reserve: { bytes: 16 * MIB }, folder });
  t.match(fake.state(), { [node(0)]: "8 8 0", [node(1)]: "8 8 0" });
  changeHugepages(fake.machine, { reserve: { bytes: 2 * MIB, node: 1 }, folder });
  t.match(fake.state(), { [node(0)]: "8 8 0", [node(1)]: "1 1 0" });
  changeHugepages(fake.machine, { reserve: { bytes: 2 * GIB, node: 0 }, pageBytes: GIB, folder });
  t.match(fake.state(), { [node(0, 1024 * 1024)]: "2 2 0", [node(1, 1024 * 1024)]: "1 1 0" });
  fake.sysfs.writes.length = 0;
  changeHugepages(fake.machine, { reserve: { bytes: 2 * MIB, node: 1 }, folder });
  t.same(fake.sysfs.writes, [], "nothing is written where there is nothing to do");
});

t.test("what cannot be reserved", async (t) => {
  const fake = new HugepageMachine(t).pages("2M", {}, {});
  const start = fake.state();
  const fails = (plan: object, error: Wanted) =>
    t.throws(() => changeHugepages(fake.machine, { folder, ...plan }), error);
  fails(
    { reserve: { bytes: GIB }, pageBytes: GIB },
    {
      code: "HUGEPAGES_SIZE",
      message: "this machine has no hugepages of 1G: it has 2M",
      fix: "use --pagesize 2M",
    },
  );
  fake.file("/proc/cpuinfo", "flags\t\t: fpu pse lm\n");
  fails(
    { reserve: { bytes: GIB }, pageBytes: GIB },
    { code: "HUGEPAGES_SIZE", message: /no pdpe1gb/, fix: /--pagesize 2M; .*-cpu host/ },
  );
  fails({ mount: {}, pageBytes: GIB }, { code: "HUGEPAGES_SIZE" });
  fails(
    { reserve: { bytes: 2 * MIB, node: 7 } },
    { code: "HUGEPAGES_NODE", fix: "use --node 0 or --node 1" },
  );
  fails(
    { reserve: { bytes: 3 * MIB } },
    { code: "OPTION_VALUE", message: /3M are no whole/, fix: "ask for 4M" },
  );
  t.same(fake.state(), start);
});

t.test("the kernel grants a part: as many as before, and why", async (t) => {
  const fake = new HugepageMachine(t).pages("2M", { total: 5 }, { total: 3, room: 20 });
  const start = fake.state();
  const reserve = (bytes: number) => () => changeHugepages(fake.machine, { reserve: { bytes }, folder });
  t.throws(reserve(80 * MIB), {
    code: "HUGEPAGES_PARTIAL",
    message:
      /^node 1 gave 20 of 40 hugepages of 2M: its memory is fragmented \(100 MiB free or cached before\).*before$/,
    fix: /drop_caches; echo 1 > .*compact_memory; .*hugepagesz=2M hugepages=40; .*--node 1 --reserve 40M/,
  });
  t.same(fake.state(), start, "node 0, which had them all, too");
  t.throws(reserve(GIB), {
    message: /too little memory \(100 MiB free or cached before\) for 1018 MiB more/,
  });
  t.same(fake.state(), start);
});

t.test("clear: all sizes and nodes, and what DPDK left", async (t) => {
  const fake = twoNodes(t).mount(folder, "rw,pagesize=2M");
  for (const name of ["rtemap_0", "rtemap_1", "pmd7map_12"]) fake.page(`${folder}/${name}`);
  fake.heldByFiles("2M", folder);
  t.match(fake.state(), { [node(0)]: "4 1 0" });
  fake.program(50, "bash", 0);
  const { removed } = changeHugepages(fake.machine, { clear: true, folder });
  t.same(
    removed,
    ["pmd7map_12", "rtemap_0", "rtemap_1"].map((name) => `${folder}/${name}`),
  );
  t.notOk(existsSync(join(fake.root, folder, "rtemap_0")));
  for (const pool of fake.sysfs.rooms.keys()) t.equal(fake.state()[pool], "0 0 0", pool);
});

t.test("clear is refused while somebody has pages", async (t) => {
  const refused = (fake: HugepageMachine, message: RegExp, fix: RegExp) => {
    const start = fake.state();
    t.throws(() => changeHugepages(fake.machine, { clear: true, folder }), {
      code: "HUGEPAGES_IN_USE",
      message,
      fix,
    });
    t.same(fake.state(), start);
    t.same(fake.sysfs.writes, []);
  };
  const used = () =>
    new HugepageMachine(t).pages("2M", { total: 4, free: 2 }).mount(folder, "rw,pagesize=2M");
  refused(
    used().program(42, "dpdk-testpmd", 4096),
    /cleared: 2 of 2M are in use by dpdk-testpmd \(process 42, 4M\)$/,
    /^stop it$/,
  );
  refused(used(), /in use by somebody that cannot be seen from here/, /ipcs -m/);
  const mapped = used().page(`${folder}/rtemap_0`).page(`${folder}/rtemap_1`);
  mapped.program(7, "vpp", 0, [`${folder}/rtemap_1`]);
  refused(mapped, /2M are in use by vpp \(process 7\)/, /^stop it$/);
  t.ok(existsSync(join(mapped.root, folder, "rtemap_0")), "no file is gone");
  const opened = used().page(`${folder}/rtemap_0`).page(`${folder}/rtemap_1`);
  refused(opened.program(8, "vpp", 0, [], [`${folder}/rtemap_0`]), /vpp \(process 8\)/, /^stop it$/);
  const locked = used().page(`${folder}/rtemap_0`).page(`${folder}/rtemap_1`);
  const fd = openSync(join(locked.root, folder, "rtemap_1"), "r");
  t.teardown(() => closeSync(fd));
  flock(fd, LOCK_SH); // as a DPDK in another container has it
  refused(locked, /1 of 2M are in use by a program elsewhere that has \S+rtemap_1 open$/, /on the host/);
  const data = used().page(`${folder}/mine/data`).page(`${folder}/rtemap_1`);
  refused(data, /in use by the file \/dev\/hugepages\/mine\/data$/, /rm \/dev\/hugepages\/mine\/data/);
  const promised = new HugepageMachine(t).pages("2M", { total: 4 });
  promised.sysfs.put("kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "3\n");
  promised.program(9, "qemu", 0, ["/anon_hugepage (deleted)"]);
  refused(promised, /3 of 2M are in use by qemu \(process 9\)/, /^stop it$/);
});

t.test("fewer than are used are refused, on the node that has them", async (t) => {
  const fake = new HugepageMachine(t)
    .pages("2M", { total: 4, free: 1 }, { total: 4 })
    .program(42, "vpp", 6144);
  const start = fake.state();
  const to = (pages: number, onNode?: number) => () =>
    changeHugepages(fake.machine, { reserve: { bytes: pages * 2 * MIB, node: onNode }, folder });
  t.throws(to(2), {
    code: "HUGEPAGES_IN_USE",
    message: /cannot be made fewer: 3 of 2M .* vpp \(process 42, 6M\)/,
  });
  t.same(fake.state(), start);
  to(2, 1)();
  to(3, 0)();
  t.match(fake.state(), { [node(0)]: "3 0 0", [node(1)]: "2 2 0" });
  fake.sysfs.put("kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "2\n");
  t.throws(to(1, 1), { code: "HUGEPAGES_IN_USE", message: /5 of 2M/ }, "promised ones may lie on any node");
});

t.test("mount and unmount", async (t) => {
  const fake = twoNodes(t);
  const change = (plan: object) => changeHugepages(fake.machine, { folder, ...plan });
  t.same(change({ unmount: true }).notes, ["/dev/hugepages is not mounted"]);
  change({ mount: { uid: 1000, gid: 7 }, pageBytes: GIB });
  t.same(fake.commands, [
    "mkdir /dev/hugepages",
    "mount -t hugetlbfs -o pagesize=1073741824,uid=1000,gid=7 nodev /dev/hugepages",
  ]);
  t.same(change({ mount: {}, pageBytes: GIB }).notes, ["/dev/hugepages already mounted"]);
  for (const plan of [
    { mount: {} },
    { mount: { uid: 8 }, pageBytes: GIB },
    { mount: { gid: 0 }, pageBytes: GIB },
  ]) {
    t.throws(() => change(plan), { code: "HUGEPAGES_MOUNTED", fix: /--unmount/ });
  }
  t.equal(fake.commands.length, 2);
  fake.page(`${folder}/data`);
  t.throws(() => change({ unmount: true }), {
    code: "HUGEPAGES_IN_USE",
    message: /file \/dev\/hugepages\/data/,
  });
  fake.program(12, "qemu", 2048, [`${folder}/data`]);
  t.throws(() => change({ unmount: true }), { code: "HUGEPAGES_IN_USE", message: /qemu \(process 12, 2M\)/ });
  t.match(hugepageUse(fake.machine, hugepagesOf(fake.machine).mounts), {
    programs: [{ pid: 12, name: "qemu", bytes: 2 * MIB }],
    files: [{ path: `${folder}/data`, bytes: 2 * MIB, pageBytes: GIB, isOpen: true, isDpdk: false }],
  });
});

t.test("unmounting takes along what DPDK left", async (t) => {
  const fake = twoNodes(t).mount(folder, "rw,relatime,pagesize=2M").page(`${folder}/rtemap_0`);
  fake.mount("/mnt/huge", "rw,pagesize=2M").page("/mnt/huge/rtemap_0");
  t.same(changeHugepages(fake.machine, { unmount: true, folder }).removed, [`${folder}/rtemap_0`]);
  t.same(fake.commands, ["umount /dev/hugepages"]);
  const held = twoNodes(t)
    .mount(folder, "rw,pagesize=2M")
    .page(`${folder}/rtemap_0`)
    .heldByFiles("2M", folder);
  const none = { reserve: { bytes: 0 }, folder };
  t.throws(() => changeHugepages(held.machine, none), { code: "HUGEPAGES_IN_USE", message: /rtemap_0/ });
  held.sysfs.used.set(node(0), () => 0); // what the kernel frees with the mount
  changeHugepages(held.machine, { ...none, unmount: true });
  t.match(held.state(), { [node(0)]: "0 0 0", [node(1)]: "0 0 0" });
});

t.test("all of it; a fault at each step leaves all as it was", async (t) => {
  const make = () => {
    const fake = new HugepageMachine(t).pages("2M", { total: 4 }, { total: 2 }).pages("1G", {}, { total: 1 });
    return fake.mount("/dev/huge", "rw,relatime,uid=3,pagesize=2M", "none");
  };
  const plan = { clear: true, unmount: true, reserve: { bytes: 2 * GIB }, mount: {}, pageBytes: GIB };
  const good = make();
  changeHugepages(good.machine, { ...plan, folder: "/dev/huge" });
  t.match(good.state(), {
    [node(0)]: "0 0 0",
    [node(1)]: "0 0 0",
    [node(0, 1024 * 1024)]: "2 2 0",
    [node(1, 1024 * 1024)]: "2 2 0",
    mounts: "proc /proc proc rw 0 0\nnodev /dev/huge hugetlbfs rw,relatime,pagesize=1024M 0 0\n",
  });
  const faults: [string, (fake: HugepageMachine) => void, string][] = [
    ["node 0 not emptied", ({ sysfs }) => sysfs.failWrites(/node0.*2048kB/, "EIO", "0"), "EIO"],
    ["node 1 not emptied", ({ sysfs }) => sysfs.failWrites(/node1.*2048kB/, "EIO", "0"), "EIO"],
    ["node 0 not filled", ({ sysfs }) => sysfs.failWrites(/node0.*1048576kB/, "EINVAL", "2"), "EINVAL"],
    ["node 1 filled in part", ({ sysfs }) => sysfs.rooms.set(node(1, 1024 * 1024), 1), "HUGEPAGES_PARTIAL"],
    ["umount fails", (fake) => fake.failing.push(/^umount/), "COMMAND_FAILED"],
    ["umount does nothing", (fake) => fake.idle.push(/^umount/), "HUGEPAGES_MOUNT"],
    ["mount fails", (fake) => fake.failing.push(/^mount .* nodev/), "COMMAND_FAILED"],
    ["mount does nothing", (fake) => fake.idle.push(/^mount .* nodev/), "HUGEPAGES_MOUNT"],
  ];
  for (const [name, break_, code] of faults) {
    const fake = make();
    break_(fake);
    const start = fake.state();
    t.throws(() => changeHugepages(fake.machine, { ...plan, folder: "/dev/huge" }), {
      code,
      message: /; all is as it was before$/,
    });
    t.same(fake.state(), start, name);
  }
  for (const command of [/^mkdir .*b$/, /^mount/]) {
    const fake = make();
    fake.failing.push(command);
    const start = fake.state();
    const nested = { ...plan, unmount: false, folder: "/dev/a/b" };
    t.throws(() => changeHugepages(fake.machine, nested), { code: "COMMAND_FAILED" });
    t.same(fake.state(), start, `${command}: folders that were made are gone`);
  }
});

t.test("files that DPDK left do not come back", async (t) => {
  const fake = twoNodes(t)
    .mount(folder, "rw,pagesize=2M")
    .page(`${folder}/rtemap_0`)
    .heldByFiles("2M", folder);
  fake.sysfs.failWrites(/node1/, "EIO", "0");
  t.throws(() => changeHugepages(fake.machine, { clear: true, folder }), {
    code: "EIO",
    message: /; all is as it was before, but for files that DPDK had left \(1\)$/,
  });
  t.match(fake.state(), { [node(0)]: "4 4 0", [node(1)]: "2 2 0", [node(1, 1024 * 1024)]: "1 1 0" });
});

t.test("what cannot be put back is named, with the commands that do", async (t) => {
  const fake = new HugepageMachine(t).pages("2M", { total: 5 }, { total: 3, room: 20 });
  fake.sysfs.failWrites(/node0/, "EIO", "5");
  t.throws(() => changeHugepages(fake.machine, { reserve: { bytes: 80 * MIB }, folder }), {
    code: "HUGEPAGES_NOT_RESTORED",
    message: /^node 1 gave 20 of 40.*; not all could be put back as it was$/,
    fix: /; then, as root: pollmode hugepages -p 2M -n 0 -r 10M$/,
  });
  t.match(fake.state(), { [node(0)]: "40 40 0", [node(1)]: "3 3 0" });
});

t.test("a dry run: the writes and commands, and nothing is done", async (t) => {
  const fake = twoNodes(t).mount("/dev/huge", "rw,pagesize=2M").page("/dev/huge/rtemap_3");
  fake.heldByFiles("2M", "/dev/huge");
  const start = fake.state();
  const changes: Change[] = [];
  const plan = { clear: true, unmount: true, reserve: { bytes: 8 * MIB }, mount: {}, folder: "/dev/huge" };
  changeHugepages(fake.dryRun(changes), plan);
  const shown = changes.map((change) => {
    if (change.kind === "run") return change.command.join(" ");
    const path = change.path.replace(/^.*?\/(sys|dev)\//, "/$1/");
    return change.kind === "write" ? `${change.value} > ${path}` : `${change.kind} ${path}`;
  });
  t.same(shown, [
    "remove /dev/huge/rtemap_3",
    "umount /dev/huge",
    `0 > /sys/${node(1, 1024 * 1024)}/nr_hugepages`,
    `4 > /sys/${node(1)}/nr_hugepages`,
    "mount -t hugetlbfs -o pagesize=2097152 nodev /dev/huge",
  ]);
  const now = fake.state();
  t.same({ ...now, folders: "" }, { ...start, folders: "" });
  t.ok(existsSync(join(fake.root, "dev/huge/rtemap_3")));
});
