// From the firmware to the IOMMU: each cause alone, what it keeps from being looked at, and its fix word for word.
import { rmSync } from "node:fs";
import t from "tap";
import { blocked, examined, failed, healthy, lineOf, nic, router, routerNic, routerUio } from "./made.ts";

t.test("in good health", async (t) => {
  const found = await examined(healthy(t));
  t.equal(found.healthy, true);
  t.same(failed(found), []);
  t.same(
    found.lines.filter(({ state }) => state === "warn").map(({ id }) => id),
    [],
  );
  t.match(lineOf(found, "cpu").text, "AMD EPYC 7302P 16-Core Processor, AMD-V on");
  t.match(lineOf(found, "firmware"), { state: "ok", text: "ACPI describes an IOMMU: IVRS (AMD-Vi)" });
  t.match(lineOf(found, "cmdline"), { state: "ok", text: "nothing about the IOMMU: the kernel's default" });
  t.match(lineOf(found, "iommu"), { state: "ok", text: /^ivhd0: \d+ groups$/ });
  t.match(lineOf(found, "interrupt-remapping"), { state: "ok" });
  t.match(lineOf(found, "group", nic), { state: "ok", text: "group 17, its own" });
  t.match(lineOf(found, "bound", nic), { state: "ok", text: "vfio-pci has it" });
  t.match(lineOf(found, "node", nic), {
    state: "ok",
    text: "/dev/vfio/vfio and /dev/vfio/17: user root may open them",
  });
});

t.test("no IOMMU in the firmware", async (t) => {
  const made = router(t);
  const found = await examined(made, { devices: [routerNic] });
  t.same(failed(found), ["firmware"], "one cause");
  for (const id of ["cmdline", "iommu", "interrupt-remapping", "modules", "group", "bound", "node"])
    t.equal(blocked(found)[id], "firmware", `${id} follows from it`);
  const price =
    "then mind that the device can overwrite all of memory, and run pollmode as root, with hugepages";
  const line = lineOf(found, "firmware");
  t.equal(line.text, "no IOMMU: ACPI has no table DMAR (VT-d) or IVRS (AMD-Vi)");
  t.same(line.fix, [
    "turn VT-d (Intel) or AMD-Vi, there often called IOMMU, on in the firmware's setup",
    `as root: pollmode devbind --noiommu-mode -b vfio-pci ${routerNic}; ${price}`,
    `as root: pollmode devbind -b uio_pci_generic ${routerNic}; ${price}`,
  ]);

  made.put("/boot/config-6.1.0-28-amd64", "CONFIG_VFIO=m\n# CONFIG_VFIO_NOIOMMU is not set\n");
  const without = lineOf(await examined(made, { devices: [routerNic] }), "firmware").fix;
  t.match(
    without,
    [/^turn VT-d/, /^as root: pollmode devbind -b uio_pci_generic/],
    "no mode that the kernel has not",
  );
  made.put("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  t.same(
    lineOf(await examined(made, { devices: [routerNic] }), "firmware").fix.length,
    1,
    "nor UIO under lockdown",
  );
});

t.test("no IOMMU, and the kernel uses the NIC", async (t) => {
  const made = router(t);
  const state = {
    links: [{ index: 2, name: "enp1s0" }],
    addresses: [{ index: 2, family: 4, address: "192.0.2.7", prefixLength: 24 }],
    routes: [],
  };
  made.put("/netlink.json", JSON.stringify(state));
  const line = lineOf(await examined(made, { devices: [routerNic] }), "firmware");
  t.match(
    line.fix[1],
    /^as root: pollmode devbind --noiommu-mode -b vfio-pci \S+; then mind/,
    "devbind refuses it",
  );
  t.equal(line.fix.length, 2);
});

t.test("a virtual machine without IOMMU", async (t) => {
  const made = router(t).put("/proc/cpuinfo", "vendor_id : GenuineIntel\nflags : fpu hypervisor\n");
  const found = await examined(made, { devices: [routerNic] });
  t.match(
    lineOf(found, "firmware").fix[0],
    /^give the virtual machine an IOMMU, for QEMU: .*intel-iommu,intremap=on/,
  );
});

t.test("without an IOMMU, and served all the same", async (t) => {
  const made = router(t);
  const uio = await examined(made);
  t.equal(uio.healthy, true, "through UIO");
  t.match(lineOf(uio, "firmware"), { state: "skipped", text: /the NICs are driven without one$/ });
  t.match(lineOf(uio, "iommu"), { state: "warn", text: /only root may drive it$/ });
  t.match(lineOf(uio, "bound", routerUio), { state: "ok", text: "uio_pci_generic has it" });
  made
    .put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n")
    .put("/sys/kernel/iommu_groups/0/name", "vfio-noiommu\n")
    .link(`/sys/kernel/iommu_groups/0/devices/${routerNic}`, `/sys/bus/pci/devices/${routerNic}`)
    .link(`/sys/bus/pci/devices/${routerNic}/iommu_group`, "/sys/kernel/iommu_groups/0")
    .put("/dev/vfio/vfio", "")
    .put("/dev/vfio/noiommu-0", "")
    .bind(routerNic, "vfio-pci");
  const found = await examined(made, { devices: [routerNic] });
  t.same(failed(found), []);
  t.match(lineOf(found, "no-iommu"), { state: "ok" });
  t.match(
    lineOf(found, "node", routerNic).text,
    "/dev/vfio/vfio and /dev/vfio/noiommu-0: user root may open them",
  );
  made.put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
  const off = await examined(made, { devices: [routerNic] });
  t.same(failed(off), ["no-iommu"]);
  t.same(lineOf(off, "no-iommu").fix, [
    "as root: echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
  ]);
  t.match(blocked(off), { node: "no-iommu", rights: "no-iommu" });
});

t.test("off on the kernel's command line", async (t) => {
  const made = router(t).put("/sys/firmware/acpi/tables/DMAR", "");
  const missing = await examined(made, { devices: [routerNic] });
  t.same(failed(missing), ["cmdline"]);
  t.equal(blocked(missing).iommu, "cmdline");
  t.equal(
    lineOf(missing, "cmdline").fix[0],
    "add intel_iommu=on iommu=pt to the kernel's command line, in the boot loader's configuration; then reboot",
  );
  made.put("/usr/sbin/update-grub", "").put("/etc/default/grub", "");
  t.equal(
    lineOf(await examined(made, { devices: [routerNic] }), "cmdline").fix[0],
    `as root: sed -i 's/^GRUB_CMDLINE_LINUX="/&intel_iommu=on iommu=pt /' /etc/default/grub && ` +
      "update-grub; then reboot",
  );
  made.put("/usr/sbin/grubby", "");
  t.equal(
    lineOf(await examined(made, { devices: [routerNic] }), "cmdline").fix[0],
    "as root: grubby --update-kernel=ALL --args='intel_iommu=on iommu=pt'; then reboot",
  );
  made.put("/proc/cmdline", "quiet intel_iommu=off\n");
  t.match(lineOf(await examined(made, { devices: [routerNic] }), "cmdline"), {
    state: "fail",
    text: "intel_iommu=off keeps the IOMMU off",
    fix: [/^take intel_iommu=off off the kernel's command line, .*; then reboot$/],
  });
  made.put("/proc/cmdline", "quiet intel_iommu=on\n");
  const silent = await examined(made, { devices: [routerNic] });
  t.same(failed(silent), ["iommu"], "and where all seems right, the kernel's log is asked");
  t.match(lineOf(silent, "iommu").fix[0], "dmesg | grep -i -e DMAR -e AMD-Vi -e iommu");
  made
    .put("/proc/cmdline", "quiet\n")
    .put("/boot/config-6.1.0-28-amd64", "CONFIG_INTEL_IOMMU_DEFAULT_ON=y\n");
  t.same(
    failed(await examined(made, { devices: [routerNic] })),
    ["iommu"],
    "a kernel that turns it on by itself",
  );
});

t.test("ACPI hidden, as in a container", async (t) => {
  const made = router(t);
  rmSync(`${made.root}/sys/firmware`, { recursive: true });
  const found = await examined(made, { devices: [routerNic] });
  t.match(lineOf(found, "firmware"), { state: "skipped", text: /cannot be seen here/ });
  t.same(failed(found), ["iommu"]);
});

t.test("an IOMMU without groups", async (t) => {
  const made = healthy(t);
  rmSync(`${made.root}/sys/kernel/iommu_groups`, { recursive: true });
  const found = await examined(made, { devices: [nic] });
  t.match(lineOf(found, "iommu"), { state: "fail", text: "ivhd0, but no IOMMU groups" });
});

t.test("interrupt remapping", async (t) => {
  const made = healthy(t).put(
    "/proc/interrupts",
    " 24: 0 PCI-MSI 524288-edge nvme0q0\n 25: 0 DMAR-MSI 0-edge dmar0\n",
  );
  const off = await examined(made);
  t.match(lineOf(off, "interrupt-remapping"), {
    state: "fail",
    text: "off: the IOMMU does not check interrupts, and VFIO then gives no device away",
    fix: [
      /^turn x2APIC and interrupt remapping on in the firmware's setup.*; then reboot$/,
      /^as root: modprobe vfio_iommu_type1; echo 1 > \/sys\/module\/\S+\/allow_unsafe_interrupts; then mind/,
    ],
  });
  made.put("/proc/cmdline", "intremap=off\n");
  t.match(
    lineOf(await examined(made), "interrupt-remapping").fix[0],
    /^take intremap=off off the kernel's command line/,
  );
  made.put("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n");
  t.match(lineOf(await examined(made), "interrupt-remapping"), { state: "warn" });
  made.drop("/proc/interrupts");
  t.match(lineOf(await examined(made), "interrupt-remapping"), { state: "skipped" });
});
