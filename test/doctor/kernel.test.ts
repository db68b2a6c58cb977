// Modules, lockdown, secure boot, how the kernel was built.
import { gzipSync } from "node:zlib";
import t from "tap";
import { kernelOption, noIommuMode } from "../../src/doctor/kernel-config.ts";
import { blocked, examined, failed, healthy, lineOf, nic, router, routerUio } from "./made.ts";

t.test("the module vfio-pci", async (t) => {
  const made = healthy(t).bind(nic, undefined).bind("0000:01:00.3", undefined);
  made.drop("/sys/bus/pci/drivers/vfio-pci").drop("/sys/module/vfio_pci");
  const found = await examined(made, { devices: [nic] });
  t.same(failed(found), ["modules"]);
  t.match(blocked(found), { bound: "modules", node: "modules", "dma-entries": "modules" });
  t.same(lineOf(found, "modules").fix, [`as root: pollmode devbind -b vfio-pci ${nic}`]);
  t.equal(lineOf(found, "bound", nic).text, "not looked at, because of modules");

  made.put("/.dockerenv", "").put("/lib/modules/6.1.0-28-amd64/modules.dep", "");
  t.match(lineOf(await examined(made, { devices: [nic] }), "modules").fix, [
    /^on the host, as root: pollmode devbind /,
  ]);
  made.drop("/.dockerenv");
  t.match(lineOf(await examined(made, { devices: [nic] }), "modules"), {
    text: "the kernel 6.1.0-28-amd64 has no module vfio-pci",
    fix: [/^install a kernel that has it/],
  });
  made.put("/boot/config-6.1.0-28-amd64", "# CONFIG_VFIO_PCI is not set\n");
  t.match(
    lineOf(await examined(made, { devices: [nic] }), "modules").text,
    /was built without CONFIG_VFIO_PCI$/,
  );
});

t.test("the module vfio_iommu_type1", async (t) => {
  const made = healthy(t).drop("/sys/module/vfio_iommu_type1");
  t.match(
    lineOf(await examined(made), "modules"),
    { state: "ok" },
    "iommufd may stand in for what is not to be had",
  );
  made.put(
    "/lib/modules/6.1.0-28-amd64/modules.dep",
    "kernel/drivers/vfio/vfio_iommu_type1.ko: kernel/drivers/vfio/vfio.ko\n",
  );
  t.match(lineOf(await examined(made), "modules"), {
    state: "fail",
    fix: ["as root: modprobe vfio_iommu_type1"],
  });
});

t.test("lockdown and secure boot", async (t) => {
  const variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
  const made = router(t).put(variable, Buffer.from([6, 0, 0, 0, 1]));
  t.match(lineOf(await examined(made), "lockdown"), { state: "ok", text: "off, secure boot is on" });
  made.put("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  const locked = await examined(made);
  t.same(failed(locked), ["lockdown"]);
  t.match(lineOf(locked, "lockdown"), {
    text: `integrity, secure boot is on: nobody may drive a device through UIO (${routerUio}), not even root`,
    fix: [/^bind the device to vfio-pci, which lockdown allows; or turn secure boot off/],
  });
  t.match(blocked(locked), { bound: "lockdown", node: "lockdown", rights: "lockdown" });
  const vfio = healthy(t).put("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
  vfio.put(variable, Buffer.from([6, 0, 0, 0, 0]));
  t.match(lineOf(await examined(vfio), "lockdown"), {
    state: "ok",
    text: "confidentiality, secure boot is off: VFIO is allowed, UIO and modules without signature are not",
  });
  vfio.drop("/sys/kernel/security/lockdown");
  t.match(lineOf(await examined(vfio), "lockdown"), { state: "ok", text: /^the kernel shows no lockdown/ });
});

t.test("how the kernel was built", async (t) => {
  const made = healthy(t);
  const machine = made.machine();
  t.equal(kernelOption(machine, "CONFIG_VFIO"), "m");
  t.equal(kernelOption(machine, "CONFIG_VFIO_NOIOMMU"), "n");
  made.put("/proc/config.gz", gzipSync("CONFIG_VFIO_NOIOMMU=y\n"));
  t.equal(kernelOption(machine, "CONFIG_VFIO_NOIOMMU"), "y", "the running kernel's own word comes first");
  made.drop("/proc/config.gz").drop("/boot/config-6.1.0-28-amd64");
  t.equal(kernelOption(machine, "CONFIG_VFIO"), undefined);
  t.equal(noIommuMode(machine), "off", "the loaded module has the parameter");
  made.put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
  t.equal(noIommuMode(machine), "on");
  made.drop("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
  t.equal(noIommuMode(machine), "absent");
  made.drop("/sys/module/vfio");
  t.equal(noIommuMode(machine), "unknown");
});
