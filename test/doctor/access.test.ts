// Nodes in /dev, rights, and what a bifurcated NIC takes instead.
import { chmodSync, chownSync } from "node:fs";
import t from "tap";
import { RecordedMachine } from "../support/recorded-machine.ts";
import { blocked, examined, failed, healthy, lineOf, nic, router, routerUio } from "./made.ts";

const asUser = { devices: [nic], user: "alice" };

t.test("nodes of VFIO", async (t) => {
  const made = healthy(t);
  chmodSync(`${made.root}/dev/vfio/vfio`, 0o666);
  chmodSync(`${made.root}/dev/vfio/17`, 0o600);
  const closed = await examined(made, asUser);
  t.match(lineOf(closed, "node", nic), {
    state: "fail",
    text: "user alice may not open /dev/vfio/17",
    fix: ["as root: chown alice /dev/vfio/17", "as root: pollmode permit alice 0000:01:00.2"],
  });
  chmodSync(`${made.root}/dev/vfio/17`, 0o606);
  t.match(lineOf(await examined(made, asUser), "node", nic), {
    state: "ok",
    text: /user alice may open them$/,
  });
  made.drop("/dev/vfio/17");
  const missing = await examined(made, asUser);
  t.same(failed(missing).includes("node"), true);
  t.match(lineOf(missing, "node", nic), {
    text: "there is no /dev/vfio/17",
    fix: ["as root: modprobe vfio-pci; udevadm trigger"],
  });
  made.put("/.dockerenv", "");
  t.match(lineOf(await examined(made, asUser), "node", nic), {
    text: "there is no /dev/vfio/17 in this container",
    fix: ["give it to the container: docker run --device /dev/vfio/17"],
  });
});

t.test(
  "by the group that owns it",
  { skip: process.getuid?.() !== 0 && "only root gives files away" },
  async (t) => {
    const made = healthy(t);
    chmodSync(`${made.root}/dev/vfio/vfio`, 0o666);
    chmodSync(`${made.root}/dev/vfio/17`, 0o660);
    chownSync(`${made.root}/dev/vfio/17`, 0, 110);
    t.match(lineOf(await examined(made, asUser), "node", nic), { state: "ok" }, "alice is in the group vfio");
    chownSync(`${made.root}/dev/vfio/17`, 0, 111);
    t.match(lineOf(await examined(made, asUser), "node", nic), { state: "fail" });
    chmodSync(`${made.root}/dev/vfio/17`, 0o066);
    chownSync(`${made.root}/dev/vfio/17`, 1000, 0);
    t.match(
      lineOf(await examined(made, asUser), "node", nic),
      { state: "fail" },
      "the owner's bits are what counts",
    );
  },
);

t.test("a node that cannot be opened, whoever owns it", async (t) => {
  const made = healthy(t).drop("/dev/vfio/17").put("/dev/vfio/17/folder", ""); // EISDIR, as no real node has it
  const self = `${process.geteuid?.()}`;
  const found = await examined(made, { devices: [nic], user: self });
  t.match(lineOf(found, "node", nic), { state: "fail", text: /EISDIR/ });
  t.match(
    lineOf(await examined(made, { devices: [nic], user: "4711" }), "node", nic).text,
    /^user 4711 may not open/,
  );
});

t.test("without an IOMMU: root alone, with all its rights", async (t) => {
  const made = router(t);
  chmodSync(`${made.root}/dev/uio0`, 0o666);
  const user = await examined(made, { user: "alice" });
  t.same(failed(user), ["rights"]);
  t.match(lineOf(user, "rights", routerUio), {
    text: "user alice may not drive a NIC without an IOMMU, which reaches all of memory: only root may",
    fix: ["run pollmode as root; or turn the IOMMU on, and any user may"],
  });
  made.drop("/dev/uio0");
  t.match(lineOf(await examined(made), "node", routerUio), {
    text: "there is no /dev/uio0",
    fix: ["as root: mknod /dev/uio0 c $(tr : ' ' < /sys/class/uio/uio0/dev)"],
  });
});

t.test(
  "root without its rights, as in a container",
  { skip: process.getuid?.() !== 0 && "for root" },
  async (t) => {
    const made = router(t).put(
      "/proc/self/status",
      "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n",
    );
    made.put("/run/.containerenv", "");
    const found = await examined(made);
    t.same(failed(found), ["rights"]);
    t.match(lineOf(found, "rights", routerUio), {
      text: "root here lacks CAP_SYS_ADMIN",
      fix: ["docker run --cap-add SYS_ADMIN"],
    });
  },
);

t.test("verbs, for a bifurcated NIC", async (t) => {
  const port = "0000:3d:00.0";
  const known = [{ vendor: 0x15b3, device: 0x1019, chip: "ConnectX-5" }];
  const options = { devices: [port], known };
  const made = new RecordedMachine(t, "server-connectx5").put("/etc/passwd", "alice:x:1000:1000:::\n");
  const bare = await examined(made, options);
  t.same(failed(bare), ["verbs"]);
  t.match(lineOf(bare, "verbs", port), {
    text: "rdma-core is not installed: there is no libibverbs.so.1, no libmlx5.so.1",
    fix: [
      "as root: apt-get install libibverbs1 ibverbs-providers",
      "elsewhere install the package rdma-core",
    ],
  });
  made.put("/usr/lib64/libibverbs.so.1", "").put("/usr/lib64/libmlx5.so.1", "");
  chmodSync(`${made.root}/dev/infiniband/uverbs0`, 0o666);
  const found = await examined(made, options);
  t.same(failed(found), [], "it is in a bond, and that is no matter");
  t.match(
    lineOf(found, "verbs", port).text,
    "mlx5_0, /dev/infiniband/uverbs0: queues beside its kernel driver",
  );
  t.match(lineOf(found, "group", port), {
    state: "skipped",
    text: "of no matter: the NIC stays with its kernel driver",
  });
  t.match(lineOf(found, "modules"), { state: "skipped" });
  t.match(lineOf(await examined(made, { ...options, user: "alice" }), "verbs", port), {
    text: "user alice has no CAP_NET_RAW, which raw packet queues take",
    fix: ["as root: setcap cap_net_raw+ep $(which node)"],
  });
  chmodSync(`${made.root}/dev/infiniband/uverbs0`, 0o600);
  t.match(lineOf(await examined(made, { ...options, user: "alice" }), "verbs", port), {
    text: "user alice may not open /dev/infiniband/uverbs0",
    fix: ["as root: chmod 666 /dev/infiniband/uverbs0"],
  });
  made.drop("/dev/infiniband/uverbs0");
  t.match(lineOf(await examined(made, options), "verbs", port), {
    text: "there is no /dev/infiniband/uverbs0 for mlx5_0",
    fix: ["udevadm trigger, as root"],
  });
  made.drop("/sys/module/ib_uverbs");
  t.match(lineOf(await examined(made, options), "verbs", port).fix, [
    "as root: modprobe -a ib_uverbs mlx5_ib",
  ]);
  t.same(blocked(await examined(made, options)), {});
});
