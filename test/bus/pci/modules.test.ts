// Kernel modules: there, loadable, missing; and which ones know a device.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { KernelModules } from "../../../src/bus/pci/modules.ts";
import { FakeSysfs } from "../../support/fake-sysfs.ts";

const files = {
  "modules.dep":
    "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz\nextra/igb_uio.ko:\n",
  "modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
  "modules.alias": [
    "# Aliases extracted from modules themselves.",
    "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e",
    "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e",
    "alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000",
    "alias pci:v*d*sv*sd*bc02sc0[01]i* anything_net",
    "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci",
    "alias usb:v1234p*d* usbnet",
    "",
  ].join("\n"),
  "modules.builtin.modinfo": [
    "virtio_pci.license=GPL",
    "virtio_pci.alias=pci:v00001AF4d*sv*sd*bc*sc*i*",
    "other.alias=acpi*:X:*",
    "",
  ].join("\0"),
};

function modules(t: { teardown(done: () => void): unknown }, sysfs: FakeSysfs): KernelModules {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-modules-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return new KernelModules(sysfs, folder);
}

t.test("loaded, available, missing", async (t) => {
  const sysfs = new FakeSysfs(t).addDriver("e1000e");
  const found = modules(t, sysfs);
  sysfs.put("module/uio_pci_generic/refcnt", "0");
  t.equal(found.state("e1000e"), "loaded", "its driver is there");
  t.equal(found.state("uio-pci-generic"), "loaded", "its module is");
  t.equal(found.state("vfio-pci"), "available");
  t.equal(found.state("vfio_pci"), "available");
  t.equal(found.state("igb_uio"), "available");
  t.equal(found.state("virtio-pci"), "available", "built in, though this kernel shows no driver of it");
  t.equal(found.state("ixgbe"), "missing");
  t.equal(found.state("vfio"), "missing", "another's dependency is not its own line");
});

t.test("candidates for a device", async (t) => {
  const found = modules(t, new FakeSysfs(t));
  t.same(found.candidates("pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"), [
    "e1000e",
    "anything_net",
  ]);
  t.same(found.candidates("pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00"), [
    "anything_net",
    "virtio_pci",
  ]);
  t.same(found.candidates("pci:v00008086d000010D4sv00008086sd0000A01Fbc02sc02i00"), []);
  t.same(found.candidates(""), []);
});

t.test("a kernel without lists of modules", async (t) => {
  const found = new KernelModules(new FakeSysfs(t), "/nonexistent");
  t.equal(found.state("vfio-pci"), "missing");
  t.same(found.candidates("pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"), []);
});
