// Which NICs are looked at, who has them, and their IOMMU groups.
import t from "tap";
import { blocked, examined, failed, healthy, known, lineOf, nic, router, routerUio, spare } from "./made.ts";

t.test("which NICs", async (t) => {
  const made = healthy(t);
  const all = await examined(made);
  t.same(
    all.situation.nics.map(({ pci }) => pci.address),
    [nic, "0000:01:00.3"],
    "those that are bound for user space",
  );
  t.match(
    lineOf(all, "nics").text,
    /^0000:01:00.2 \(I350\), 0000:01:00.3 \(I350\); not looked at: 0000:01:00.0 /,
  );
  made.bind(nic, undefined).bind("0000:01:00.3", undefined);
  const state = {
    links: [{ index: 2, name: "enp1s0f0", parent: "0000:01:00.0", parentBus: "pci" }],
    addresses: [{ index: 2, family: 4, address: "192.0.2.7", prefixLength: 24 }],
    routes: [],
  };
  made.put("/netlink.json", JSON.stringify(state));
  const none = await examined(made);
  t.not(none.situation.nics[0]?.pci.address, "0000:01:00.0", "else one that the kernel does not use");
  t.match(
    lineOf(none, "nics").text,
    /, for none is bound for user space yet; .*enp1s0f0 has the address 192.0.2.7\/24/,
  );
  const used = await examined(made, { devices: ["01:00.0"] });
  t.same(failed(used), ["bound"]);
  const line = lineOf(used, "bound", "0000:01:00.0");
  t.equal(line.text, "0000:01:00.0 is in use by the kernel: enp1s0f0 has the address 192.0.2.7/24");
  t.same(line.fix, [
    "take another NIC",
    "as root: pollmode devbind --force -b vfio-pci 0000:01:00.0; " +
      "then mind that enp1s0f0 is gone with all that it is used for",
  ]);
});

t.test("no NIC that pollmode drives", async (t) => {
  const found = await examined(healthy(t), { known: [{ vendor: 0x8086, device: 0x10c9, chip: "82576" }] });
  t.equal(found.healthy, true, "virtual ports do without");
  t.match(lineOf(found, "nics"), {
    state: "warn",
    text: /no NIC that pollmode drives \(82576\).*; virtual ports do without/,
  });
  for (const id of ["firmware", "iommu", "modules", "memlock", "dma-entries"]) {
    t.match(lineOf(found, id), {
      state: "skipped",
      text: "of no matter: there is no NIC to drive, and virtual ports do without",
    });
  }
  t.match(lineOf(found, "hugepages"), { state: "ok" });
  const named = await examined(healthy(t), { devices: ["enp1s0f0"], known: known.slice(0, 1) });
  t.same(failed(named), ["nics"]);
  t.match(lineOf(named, "nics"), {
    text: "pollmode has no driver for 0000:01:00.0 (8086:1521); it drives 82574L",
    fix: ["name a NIC that it drives", "let the kernel drive it: --vdev net_af_packet0,iface=enp1s0f0"],
  });
  t.match(blocked(named), { iommu: "nics", bound: "nics" });
});

t.test("bound to the kernel's driver, to none, to UIO behind an IOMMU", async (t) => {
  const made = healthy(t);
  const kernel = await examined(made, { devices: [spare] });
  t.same(failed(kernel), ["bound"]);
  t.match(lineOf(kernel, "bound", spare), {
    text: `${spare} has the kernel's driver igb, as enp1s0f1, not vfio-pci`,
    fix: [`as root: pollmode devbind -b vfio-pci ${spare}`],
  });
  t.match(blocked(kernel), { node: "bound" });
  made.bind(spare, undefined);
  t.match(lineOf(await examined(made, { devices: [spare] }), "bound", spare), {
    text: `${spare} has no driver, as enp1s0f1, not vfio-pci`,
    fix: [`as root: pollmode devbind -b vfio-pci ${spare}`],
  });
  made.put("/.dockerenv", "").put("/proc/self/mountinfo", "23 28 0:21 / /sys ro,nosuid - sysfs sysfs rw\n");
  t.match(lineOf(await examined(made, { devices: [spare] }), "bound", spare).fix, [
    `on the host, as root: pollmode devbind -b vfio-pci ${spare}`,
  ]);

  const uio = healthy(t).bind(nic, "uio_pci_generic").put(`/sys/bus/pci/devices/${nic}/uio/uio0/name`, "x");
  const behind = await examined(uio, { devices: [nic] });
  t.same(failed(behind), ["bound"]);
  t.match(lineOf(behind, "bound", nic), {
    text: /an IOMMU translates this device's addresses \(IOMMU group 17 has the type DMA-FQ, not identity\)/,
    fix: [
      `as root: pollmode devbind -b vfio-pci ${nic}`,
      `as root: pollmode devbind -u ${nic}; echo identity > /sys/kernel/iommu_groups/17/type; ` +
        `pollmode devbind -b uio_pci_generic ${nic}`,
      "add iommu=pt to the kernel's command line; then reboot",
    ],
  });
  uio.put("/sys/kernel/iommu_groups/17/type", "identity\n").put("/dev/uio0", "");
  t.same(failed(await examined(uio, { devices: [nic] })), []);
});

t.test("a physical function with virtual functions", async (t) => {
  const made = healthy(t);
  const at = `/sys/bus/pci/devices/${spare}`;
  made.put(`${at}/sriov_numvfs`, "1\n").link(`${at}/virtfn0`, "/sys/bus/pci/devices/0000:01:10.1");
  t.match(lineOf(await examined(made, { devices: [spare] }), "bound", spare), {
    state: "fail",
    text: `${spare} has virtual functions (0000:01:10.1), which have its queues`,
    fix: [
      "take one of them",
      `as root: pollmode sriov remove ${spare}; then mind that they are gone, whoever uses them`,
    ],
  });
  made
    .bind(nic, undefined)
    .bind("0000:01:00.3", undefined)
    .put("/sys/bus/pci/devices/0000:01:00.0/sriov_numvfs", "1\n");
  const chosen = (await examined(made)).situation.nics.map(({ pci }) => pci.address);
  t.same(chosen, [nic], "nor is it the one that could be spared");
});

t.test("a group that is not viable", async (t) => {
  const made = healthy(t);
  const [group, other] = ["/sys/kernel/iommu_groups/17", "0000:01:00.1"];
  made.link(`${group}/devices/${other}`, `/sys/bus/pci/devices/${other}`);
  const found = await examined(made, { devices: [nic] });
  t.same(failed(found), ["group"]);
  t.match(blocked(found), { node: "group" });
  const line = lineOf(found, "group", nic);
  t.equal(line.text, `IOMMU group 17 is not viable: the kernel drives others of it, ${other} (driver igb)`);
  const then = "; then nobody drives them: pollmode groups shows what they are";
  t.same(line.fix, [
    `as root: pollmode devbind -b vfio-pci ${other}${then}`,
    `as root: pollmode devbind -u ${other}${then}`,
  ]);
  const state = {
    links: [{ index: 2, name: "enp1s0f1" }],
    addresses: [{ index: 2, family: 4, address: "192.0.2.7", prefixLength: 24 }],
    routes: [],
  };
  made.put("/netlink.json", JSON.stringify(state));
  t.match(lineOf(await examined(made, { devices: [nic] }), "group", nic), {
    text: /; 0000:01:00\.1 cannot be bound to vfio-pci, it is in use: enp1s0f1 has the address 192\.0\.2\.7\/24$/,
    fix: ["take that out of use, or put the NIC into another slot"],
  });
  made.bind(other, "vfio-pci");
  t.match(lineOf(await examined(made, { devices: [nic] }), "group", nic), {
    state: "ok",
    text: "group 17, viable, shared by 2 devices",
  });
  made.put(`${group}/reserved_regions`, "0x00000000e8000000 0x00000000e8000fff direct\n");
  t.match(lineOf(await examined(made, { devices: [nic] }), "group", nic), {
    state: "warn",
    text: /the firmware wants/,
  });
  made.drop(`/sys/bus/pci/devices/${nic}/iommu_group`);
  t.match(lineOf(await examined(made, { devices: [nic] }), "group", nic), {
    state: "fail",
    text: `${nic} has no IOMMU group, though this machine has an IOMMU`,
  });
});

t.test("links", async (t) => {
  const made = healthy(t);
  const link = async (of: string) => lineOf(await examined(made, { devices: [of] }), "link", of);
  t.match(await link("0000:01:00.0"), { state: "ok", text: "enp1s0f0 has a link, 1000 Mbit/s" });
  t.match(await link(spare), {
    state: "warn",
    text: "enp1s0f1 is up and has no link",
    fix: ["plug the cable in"],
  });
  t.match(await link(nic), { state: "skipped" });
  made.drop("/sys/class/net/enp1s0f1/carrier");
  t.match(await link(spare), { state: "skipped", text: "enp1s0f1 is down: its link shows when it is up" });
});

t.test("a virtual function whose physical function is down", async (t) => {
  const made = healthy(t).link(`/sys/bus/pci/devices/${nic}/physfn`, `/sys/bus/pci/devices/${spare}`);
  const flags = "/sys/class/net/enp1s0f1/flags";
  made.put(flags, "0x1002\n");
  t.match(lineOf(await examined(made, { devices: [nic] }), "link", nic), {
    state: "fail",
    text: "enp1s0f1, the interface of its physical function, is down: a virtual function does nothing then",
    fix: ["as root: ip link set enp1s0f1 up"],
  });
  made.put(flags, "0x1003\n");
  t.match(lineOf(await examined(made, { devices: [nic] }), "link", nic), { state: "skipped" });
});

t.test("a NIC through UIO, in good health", async (t) => {
  const found = await examined(router(t));
  t.equal(found.healthy, true);
  t.match(lineOf(found, "verbs", routerUio), { state: "skipped", text: /the NIC is no bifurcated one/ });
  t.match(lineOf(found, "rights", routerUio), { state: "ok", text: "root, with the rights that it takes" });
  t.match(lineOf(found, "group", routerUio), {
    state: "skipped",
    text: "of no matter: the NIC is driven through UIO",
  });
});
