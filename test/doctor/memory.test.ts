// Memory: what may be pinned and mapped, hugepages, NUMA.
import t from "tap";
import { examined, failed, healthy, lineOf, nic, router } from "./made.ts";

const limits = (bytes: number | string) =>
  `Max locked memory         ${bytes}             ${bytes}             bytes\n`;
const POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB";
const NODE = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB";

t.test("RLIMIT_MEMLOCK of another user", async (t) => {
  const made = healthy(t).put("/proc/1/limits", limits(8 << 20));
  const memlock = async (memoryMib?: number, user = "alice") =>
    lineOf(
      await examined(made, { devices: [nic], user, ...(memoryMib !== undefined && { memoryMib }) }),
      "memlock",
    );
  const low = await memlock();
  t.equal(low.state, "fail");
  t.equal(low.text, "user alice: RLIMIT_MEMLOCK is 8192 KiB, 65536 KiB are needed for 64 MiB of memory");
  t.same(low.fix, [
    "as root: echo 'alice - memlock 65536' >> /etc/security/limits.conf; then log in again",
    `as root: pollmode permit alice ${nic}; then log in again`,
    "in a systemd unit: LimitMEMLOCK=65536K",
    "ask for less memory: -m 8",
  ]);
  t.match(await memlock(8), {
    state: "ok",
    text: "user alice: RLIMIT_MEMLOCK is 8192 KiB, 8192 KiB are needed",
  });
  t.match(await memlock(64, "root"), { state: "ok", text: "user root may pin as much memory as there is" });

  made.put(
    "/etc/security/limits.conf",
    "# alice - memlock 1\n* - memlock 1024 # few\nalice - memlock 65536\n@vfio - memlock 1\n",
  );
  t.match(await memlock(), { state: "ok" }, "the user's own line");
  made.put(
    "/etc/security/limits.conf",
    "@vfio soft memlock 32768\n* - memlock 99999999\n@others - memlock 1\n",
  );
  t.match((await memlock()).text, "RLIMIT_MEMLOCK is 32768 KiB", "then her group's");
  made.put("/etc/security/limits.conf", "* hard memlock 1\nalice - nofile 5\n");
  made
    .put("/etc/security/limits.d/90-a.conf", "* - memlock unlimited\n")
    .put("/etc/security/limits.d/x.txt", "alice - memlock 1\n");
  t.match(
    await memlock(),
    { state: "ok", text: /as much memory as there is/ },
    "files of limits.d, the wildcard",
  );
  made.drop("/etc/security/limits.d").drop("/proc/1/limits");
  t.match((await memlock()).text, "RLIMIT_MEMLOCK is 8192 KiB", "the kernel's own");
  made.put("/.dockerenv", "");
  t.same((await memlock()).fix, ["docker run --ulimit memlock=67108864"]);
});

t.test("RLIMIT_MEMLOCK of this process", async (t) => {
  const made = healthy(t).put("/proc/self/limits", limits(64 << 20));
  const status = (locked: number) => `VmLck:\t${locked} kB\nCapEff:\t0000000000000000\n`;
  const user = `${process.geteuid?.()}`;
  made.put("/proc/self/status", status(0));
  t.match(lineOf(await examined(made, { user }), "memlock").state, "ok");
  made.put("/proc/self/status", status(4));
  t.match(lineOf(await examined(made, { user }), "memlock"), {
    state: "fail",
    text: /RLIMIT_MEMLOCK is 65536 KiB, 65540 KiB are needed/,
    fix: [/memlock 65540' >> /, /pollmode permit/, /LimitMEMLOCK=65540K/, "ask for less memory: -m 62"],
  });
});

t.test("dma_entry_limit", async (t) => {
  const limit = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";
  const made = healthy(t);
  t.match(lineOf(await examined(made), "dma-entries"), {
    state: "ok",
    text: "65535 mappings are allowed (dma_entry_limit), 32 are needed at most",
  });
  made.put(limit, "31\n");
  t.match(lineOf(await examined(made), "dma-entries"), {
    state: "warn",
    text: /--iova-mode pa may need 32 mappings/,
  });
  made.put(limit, "0\n");
  const none = await examined(made);
  t.same(failed(none), ["dma-entries"]);
  t.same(lineOf(none, "dma-entries").fix, [`as root: echo 65535 > ${limit}`]);
  made.drop(limit);
  t.match(lineOf(await examined(made), "dma-entries"), { state: "skipped" });
});

t.test("hugepages", async (t) => {
  const made = healthy(t);
  const line = async (memoryMib: number) => lineOf(await examined(made, { memoryMib }), "hugepages");
  t.match(await line(1536), { state: "ok", text: "768 of 1024 hugepages of 2 MiB are free, 768 are needed" });
  const few = await line(1538);
  t.equal(few.state, "warn", "behind an IOMMU it goes without");
  t.match(
    few.text,
    "768 of 1024 hugepages of 2 MiB are free, 769 are needed: pollmode then takes 4 KiB pages",
  );
  t.same(few.fix, [
    `as root: pollmode hugepages -p 2M -n 0 -r 2050M`,
    "if the memory is too scattered by now: hugepages=769 on the kernel's command line",
  ]);
  made.put(`${NODE}/surplus_hugepages`, "24\n");
  t.equal(
    (await line(1538)).fix[0],
    `as root: pollmode hugepages -p 2M -n 0 -r 2002M`,
    "surplus pages are none of the pool",
  );
  made.put("/.dockerenv", "");
  t.same((await line(1538)).fix, [`on the host, as root: pollmode hugepages -p 2M -n 0 -r 2002M`]);
  made.put("/proc/self/cgroup", "0::/\n").put("/sys/fs/cgroup/hugetlb.2MB.max", "33554432\n");
  t.match(await line(64), {
    state: "warn",
    text: /, but its control group allows 16: /,
    fix: ["raise the container's limit: 64Mi of hugepages-2Mi, as Kubernetes has it"],
  });
  made.put("/sys/fs/cgroup/hugetlb.2MB.max", "max\n");
  t.match(await line(64), { state: "ok" });

  const physical = router(t);
  t.match(lineOf(await examined(physical), "hugepages"), { state: "ok" });
  for (const at of [POOL, NODE]) physical.put(`${at}/nr_hugepages`, "0\n").put(`${at}/free_hugepages`, "0\n");
  const none = await examined(physical);
  t.same(failed(none), ["hugepages"], "without an IOMMU they are a must");
  t.equal(lineOf(none, "hugepages").fix[0], "as root: pollmode hugepages -p 2M -n 0 -r 64M");
  physical.drop("/sys/kernel/mm/hugepages");
  t.match(lineOf(await examined(physical), "hugepages"), {
    state: "fail",
    text: /^the kernel has no hugepages of 2 MiB/,
  });
});

t.test("hugetlbfs", async (t) => {
  const made = healthy(t);
  t.match(lineOf(await examined(made), "hugetlbfs"), { state: "ok", text: "mounted at /dev/hugepages" });
  made.put("/proc/mounts", "proc /proc proc rw 0 0\n");
  t.match(lineOf(await examined(made), "hugetlbfs"), {
    state: "skipped",
    text: /^not mounted; pollmode needs no mount/,
  });
});

t.test("NUMA", async (t) => {
  const made = healthy(t);
  t.match(lineOf(await examined(made), "numa", nic), {
    state: "skipped",
    text: "the machine has one NUMA node",
  });
  const node1 = "/sys/devices/system/node/node1";
  made.put(`${node1}/cpulist`, "16-31\n").put(`${node1}/hugepages/hugepages-2048kB/nr_hugepages`, "0\n");
  t.match(lineOf(await examined(made), "numa", nic), {
    state: "ok",
    text: "the NIC is at NUMA node 0: run its lcores on the CPUs 0-31 (-l), under numactl -m 0",
  });
  made.put(`${NODE}/free_hugepages`, "8\n").put(`${NODE}/nr_hugepages`, "100\n");
  t.match(lineOf(await examined(made), "numa", nic), {
    state: "warn",
    text: /; 8 hugepages are free there, 32 are needed$/,
    fix: [`as root: pollmode hugepages -p 2M -n 0 -r 248M`],
  });
  made.put(`${POOL}/free_hugepages`, "8\n");
  t.equal(
    lineOf(await examined(made), "hugepages").fix[0],
    `as root: pollmode hugepages -p 2M -n 0 -r 248M`,
    "near the NIC",
  );
  made.put(`/sys/bus/pci/devices/${nic}/numa_node`, "-1\n");
  t.match(lineOf(await examined(made), "numa", nic), { state: "skipped", text: /does not tell/ });
});
