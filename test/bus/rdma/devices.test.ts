// Which RDMA device a name means, and what is said where none does: over a made-up sysfs.
import t from "tap";
import { findRdmaDevice, listRdmaDevices } from "../../../src/bus/rdma/devices.ts";
import { FakeSysfs } from "../../support/fake-sysfs.ts";

type Teardown = ConstructorParameters<typeof FakeSysfs>[0];

const MELLANOX = { vendor: 0x15b3, device: 0x1017, driver: "mlx5_core" };

/** A NIC with its RDMA device, as mlx5_ib and ib_uverbs make it. */
function addRdma(sysfs: FakeSysfs, address: string, ibdev: string, uverbs: number, netdevs: string[]): void {
  sysfs.addDevice(address, { ...MELLANOX, interfaces: netdevs });
  const folder = `devices/pci0000:00/${address}`;
  sysfs.link(`class/infiniband/${ibdev}/device`, folder);
  sysfs.put(`${folder}/infiniband/${ibdev}/node_type`, "1: CA\n");
  sysfs.put(`class/infiniband_verbs/uverbs${uverbs}/ibdev`, `${ibdev}\n`);
  for (const netdev of netdevs) sysfs.link(`class/net/${netdev}/device`, folder);
}

function twoPorts(t: Teardown): FakeSysfs {
  const sysfs = new FakeSysfs(t);
  for (const driver of ["mlx5_core", "vfio-pci", "ixgbe"]) sysfs.addDriver(driver);
  sysfs.put("class/infiniband_verbs/abi_version", "6\n");
  addRdma(sysfs, "0000:5e:00.0", "mlx5_0", 0, ["enp94s0f0"]);
  addRdma(sysfs, "0000:5e:00.1", "mlx5_1", 10, ["enp94s0f1"]);
  return sysfs;
}

t.test("devices of this machine", async (t) => {
  const sysfs = twoPorts(t);
  const base = { vendor: 0x15b3, device: 0x1017, physicalFunction: undefined };
  t.same(listRdmaDevices(sysfs), [
    {
      ibdev: "mlx5_0",
      uverbs: "/dev/infiniband/uverbs0",
      pci: "0000:5e:00.0",
      netdevs: ["enp94s0f0"],
      ...base,
    },
    {
      ibdev: "mlx5_1",
      uverbs: "/dev/infiniband/uverbs10",
      pci: "0000:5e:00.1",
      netdevs: ["enp94s0f1"],
      ...base,
    },
  ]);
  t.same(listRdmaDevices(new FakeSysfs(t)), [], "a kernel without ib_uverbs has none");
});

t.test("by interface, device and PCI address", async (t) => {
  const sysfs = twoPorts(t);
  const find = (query: Parameters<typeof findRdmaDevice>[0]) =>
    findRdmaDevice(query, "net_rdma0", sysfs).ibdev;
  t.equal(find({ netdev: "enp94s0f1" }), "mlx5_1");
  t.equal(find({ ibdev: "mlx5_0" }), "mlx5_0");
  t.equal(find({ pci: "0000:5e:00.1" }), "mlx5_1");
  t.equal(find({ pci: "5E:00.0" }), "mlx5_0", "short, in capitals");
  t.equal(find({ pci: "5e:00.0", netdev: "enp94s0f0", ibdev: "mlx5_0" }), "mlx5_0", "that all mean the same");
  t.throws(() => find({ pci: "5e:00.0", netdev: "enp94s0f1" }), {
    code: "RDMA_UNKNOWN",
    message: "net_rdma0: there is no RDMA device of interface enp94s0f1, PCI address 0000:5e:00.0",
  });
});

t.test("virtual functions, and one whose interface is in another namespace", async (t) => {
  const sysfs = twoPorts(t);
  addRdma(sysfs, "0000:5e:00.2", "mlx5_2", 2, ["enp94s0f0v0"]);
  addRdma(sysfs, "0000:5e:00.3", "mlx5_3", 3, []);
  for (const vf of ["0000:5e:00.2", "0000:5e:00.3"]) {
    sysfs.link(`devices/pci0000:00/${vf}/physfn`, "devices/pci0000:00/0000:5e:00.0");
  }
  const vf = findRdmaDevice({ netdev: "enp94s0f0v0" }, "port", sysfs);
  t.match(vf, { ibdev: "mlx5_2", pci: "0000:5e:00.2", physicalFunction: "0000:5e:00.0" });
  t.match(findRdmaDevice({ pci: "5e:00.3" }, "port", sysfs), { ibdev: "mlx5_3", netdevs: [] });
});

t.test("a scalable function, and a software device", async (t) => {
  const sysfs = twoPorts(t);
  const folder = "devices/pci0000:00/0000:5e:00.0/mlx5_core.sf.4";
  sysfs.put(`${folder}/net/enp94s0f0s88/address`, "02:00:00:00:00:01\n");
  sysfs.link("class/infiniband/mlx5_4/device", folder);
  sysfs.put("class/infiniband_verbs/uverbs4/ibdev", "mlx5_4\n");
  t.match(findRdmaDevice({ netdev: "enp94s0f0s88" }, "port", sysfs), {
    ibdev: "mlx5_4",
    pci: undefined,
    vendor: 0x15b3,
    device: 0x1017,
  });
  sysfs.put("class/infiniband/rxe0/node_type", "1: CA\n");
  sysfs.put("class/infiniband_verbs/uverbs5/ibdev", "rxe0\n");
  t.match(findRdmaDevice({ ibdev: "rxe0" }, "port", sysfs), { pci: undefined, vendor: 0, netdevs: [] });
});

t.test("switchdev mode: representors are no interfaces of the device", async (t) => {
  const sysfs = twoPorts(t);
  const folder = "devices/pci0000:00/0000:5e:00.0/net";
  const names = { a_vf: "pf0vf1", a_sf: "pf0sf88", a_host: "c1pf0", enp94s0f0: "p0" };
  for (const [name, port] of Object.entries(names)) {
    sysfs.put(`${folder}/${name}/phys_port_name`, `${port}\n`);
  }
  sysfs.put(`${folder}/b_other/phys_port_name/none`, ""); // one without a name cannot be read (EOPNOTSUPP; here EISDIR)
  t.same(listRdmaDevices(sysfs)[0]!.netdevs, ["b_other", "enp94s0f0"]);
  t.equal(findRdmaDevice({ netdev: "enp94s0f0" }, "port", sysfs).ibdev, "mlx5_0");
  for (const netdev of ["a_vf", "a_sf", "a_host"]) {
    t.throws(() => findRdmaDevice({ netdev }, "port", sysfs), { code: "RDMA_UNKNOWN" }, netdev);
  }
});

t.test("a renamed interface is found by its new name", async (t) => {
  const sysfs = new FakeSysfs(t);
  sysfs.addDriver("mlx5_core");
  addRdma(sysfs, "0000:5e:00.0", "rocep94s0f0", 0, ["storage0"]);
  t.match(findRdmaDevice({ netdev: "storage0" }, "port", sysfs), { ibdev: "rocep94s0f0" });
  t.throws(() => findRdmaDevice({ netdev: "storage1" }, "port", sysfs), {
    code: "RDMA_UNKNOWN",
    fix: "did you mean storage0? there are: rocep94s0f0 (0000:5e:00.0, storage0)",
  });
});

/** One device for both functions, as mlx5_core's LAG makes it; the second function has none. */
function bond(t: Teardown): FakeSysfs {
  const sysfs = new FakeSysfs(t);
  sysfs.addDriver("mlx5_core");
  sysfs.put("class/infiniband_verbs/abi_version", "6\n");
  addRdma(sysfs, "0000:5e:00.0", "mlx5_bond_0", 0, ["enp94s0f0"]);
  sysfs.addDevice("0000:5e:00.1", { ...MELLANOX, interfaces: ["enp94s0f1"] });
  sysfs.link("class/net/enp94s0f1/device", "devices/pci0000:00/0000:5e:00.1");
  sysfs.put("class/net/bond0/bonding/slaves", "enp94s0f0 enp94s0f1\n");
  const gids = "class/infiniband/mlx5_bond_0/ports/1/gid_attrs/ndevs";
  for (const gid of ["0", "1"]) sysfs.put(`${gids}/${gid}`, "bond0\n");
  sysfs.put(`${gids}/2`, "bond0.7\n"); // a VLAN on it has addresses too
  sysfs.put(`${gids}/3/none`, ""); // an empty entry cannot be read (EINVAL; here EISDIR)
  return sysfs;
}

t.test("a bond: one device of several interfaces and functions", async (t) => {
  const sysfs = bond(t);
  t.same(listRdmaDevices(sysfs)[0]!.netdevs, ["enp94s0f0", "bond0", "enp94s0f1"]);
  for (const netdev of ["bond0", "enp94s0f0", "enp94s0f1"]) {
    t.equal(findRdmaDevice({ netdev }, "port", sysfs).ibdev, "mlx5_bond_0", netdev);
  }
  for (const pci of ["5e:00.0", "5e:00.1"]) {
    t.equal(findRdmaDevice({ pci }, "port", sysfs).ibdev, "mlx5_bond_0", pci);
  }
  t.throws(() => findRdmaDevice({ netdev: "bond0.7" }, "port", sysfs), { code: "RDMA_UNKNOWN" });
});

t.test("a bond whose members have devices of their own", async (t) => {
  const sysfs = twoPorts(t);
  sysfs.put("class/net/bond0/bonding/slaves", "enp94s0f0 enp94s0f1\n");
  for (const ibdev of ["mlx5_0", "mlx5_1"]) {
    sysfs.put(`class/infiniband/${ibdev}/ports/1/gid_attrs/ndevs/0`, "bond0\n");
  }
  t.equal(findRdmaDevice({ netdev: "enp94s0f1" }, "port", sysfs).ibdev, "mlx5_1");
  t.equal(findRdmaDevice({ pci: "5e:00.1" }, "port", sysfs).ibdev, "mlx5_1");
  t.throws(() => findRdmaDevice({ netdev: "bond0" }, "port", sysfs), {
    code: "RDMA_AMBIGUOUS",
    message: /interface bond0 may mean mlx5_0 \(.*\) or mlx5_1 \(/,
    fix: "name one of them: ibdev=mlx5_0",
  });
});

t.test("what is not there: the nearest, and all there are", async (t) => {
  const sysfs = twoPorts(t);
  sysfs.addDevice("0000:01:00.0", { driver: "ixgbe", interfaces: ["eth0"] });
  sysfs.link("class/net/eth0/device", "devices/pci0000:00/0000:01:00.0");
  const all = "there are: mlx5_0 (0000:5e:00.0, enp94s0f0), mlx5_1 (0000:5e:00.1, enp94s0f1)";
  const fails = (query: Parameters<typeof findRdmaDevice>[0]) => () =>
    findRdmaDevice(query, "net_rdma0", sysfs);
  t.throws(fails({ ibdev: "mlx5_2" }), {
    code: "RDMA_UNKNOWN",
    message: "net_rdma0: there is no RDMA device of ibdev mlx5_2",
    fix: `did you mean mlx5_0? ${all}`,
  });
  t.throws(fails({ netdev: "enp94s0f2" }), { code: "RDMA_UNKNOWN", fix: `did you mean enp94s0f0? ${all}` });
  t.throws(fails({ netdev: "eth0" }), { code: "RDMA_UNKNOWN", fix: all }, "a NIC of another kind");
  t.throws(fails({ pci: "no address" }), { code: "RDMA_UNKNOWN", fix: all });
  t.throws(fails({}), { code: "RDMA_AMBIGUOUS" });
});

t.test("what stands in the way of a function without an RDMA device", async (t) => {
  const sysfs = twoPorts(t);
  sysfs.addDevice("0000:5e:00.4", { ...MELLANOX, interfaces: ["ens4"] });
  sysfs.link("class/net/ens4/device", "devices/pci0000:00/0000:5e:00.4");
  const fails = (query: Parameters<typeof findRdmaDevice>[0]) => () => findRdmaDevice(query, "port", sysfs);
  const noModule = {
    code: "RDMA_MODULE",
    message: /0000:5e:00.4 has no RDMA device: the kernel modules mlx5_ib and ib_uverbs are not loaded/,
    fix: "as root: modprobe -a mlx5_ib ib_uverbs",
  };
  t.throws(fails({ pci: "5e:00.4" }), noModule);
  t.throws(fails({ netdev: "ens4" }), noModule);
  sysfs.addDevice("0000:5e:00.5", { ...MELLANOX, driver: "vfio-pci" });
  t.throws(fails({ pci: "5e:00.5" }), {
    code: "RDMA_NO_DRIVER",
    message: /has the driver vfio-pci: an mlx5 is used beside its kernel driver/,
    fix: /pollmode devbind -b mlx5_core 0000:5e:00.5$/,
  });
});

t.test("no ib_uverbs; a container that shows no devices", async (t) => {
  const bare = new FakeSysfs(t);
  t.throws(() => findRdmaDevice({ ibdev: "mlx5_0" }, "port", bare), { code: "RDMA_MODULE" });
  bare.put("class/infiniband_verbs/abi_version", "6\n");
  t.throws(() => findRdmaDevice({ ibdev: "mlx5_0" }, "port", bare), {
    code: "RDMA_UNKNOWN",
    message: "port: there is no RDMA device of ibdev mlx5_0, nor any other",
    fix: /rdma link/,
  });
});
