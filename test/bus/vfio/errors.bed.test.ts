// What stands in VFIO's way, provoked for real in the lab: the error names it, its fix is obeyed word for word, and
// then the device opens.
import t from "tap";
import { Lab, labBed } from "../../beds/lab/lab.ts";
import { obey, openError, opens, tryOpen, whileHeld } from "./guest-run.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const [e1000e, igb] = ["0000:00:03.0", "0000:00:04.0"];
/** Of q35's own chip: three functions in one IOMMU group. */
const [sata, smbus] = ["0000:00:1f.2", "0000:00:1f.3"];
const NOBODY = 65534;
const MIB = 1 << 20;

const boot = async () => {
  await labBed.setup();
  return Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }], cpus: 1 });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) t.teardown(() => lab[Symbol.asyncDispose]());

t.test("no such device, module not loaded, another driver's", { skip }, async (t) => {
  t.match(await openError(lab, "0000:77:00.0"), {
    code: "PCI_UNKNOWN",
    message: "0000:77:00.0: this machine has no such PCI device",
  });
  const module = await openError(lab, e1000e);
  t.match(module, { code: "VFIO_MODULE", message: /0000:00:03.0: the kernel module vfio-pci is not loaded/ });
  await obey(lab, module.fix);
  await opens(t, lab, e1000e);
  await lab.bind(igb, "igb");
  const bound = await openError(lab, igb);
  t.match(bound, { code: "VFIO_NOT_BOUND", message: "0000:00:04.0 has the driver igb, not vfio-pci" });
  await obey(lab, bound.fix);
  await opens(t, lab, [igb, e1000e]);
});

t.test("an ordinary user: permission, and the limit on locked memory", { skip }, async (t) => {
  const user = { user: NOBODY, memlockBytes: 64 * MIB };
  const permission = await openError(lab, e1000e, { exec: user });
  t.match(permission, {
    code: "VFIO_PERMISSION",
    message: "0000:00:03.0: user nobody may not open /dev/vfio/1",
    fix: "as root: chown nobody /dev/vfio/1",
  });
  await obey(lab, permission.fix);
  await opens(t, lab, e1000e, { exec: user });

  const few = { user: NOBODY, memlockBytes: 8 * MIB };
  await opens(t, lab, e1000e, { memoryMib: 8, exec: few });
  const memlock = await openError(lab, e1000e, { memoryMib: 32, exec: few });
  t.match(memlock, {
    code: "VFIO_MEMLOCK",
    message:
      "zone dma, 33554432 bytes: RLIMIT_MEMLOCK is 8192 KiB, 32768 KiB are needed (32768 to map, 0 locked already)",
    fix: /^ulimit -l 32768 .*echo 'nobody - memlock 32768' >> \/etc\/security\/limits.conf.* LimitMEMLOCK=32768K;/,
  });
  const kib = Number(/^ulimit -l (\d+)/.exec(memlock.fix)?.[1]);
  await opens(t, lab, e1000e, { memoryMib: 32, exec: { user: NOBODY, memlockBytes: kib * 1024 } });
  await opens(t, lab, e1000e, { memoryMib: 32, exec: { memlockBytes: 8 * MIB } }); // root is not bound by it
});

t.test("in use", { skip }, async (t) => {
  await whileHeld(lab, e1000e, "", async (pid) => {
    t.match(await openError(lab, e1000e), {
      code: "VFIO_BUSY",
      message: `0000:00:03.0: /dev/vfio/1 is in use by node (process ${pid})`,
      fix: "stop it",
    });
    t.match(await openError(lab, e1000e, { exec: { user: NOBODY } }), {
      code: "VFIO_BUSY",
      message: /in use by a process of another user$/,
      fix: /fuser -v \/dev\/vfio\/1/,
    });
    await opens(t, lab, igb);
  });
  await opens(t, lab, e1000e);
  await whileHeld(lab, e1000e, "", async (pid) => void (await lab.run(`kill -9 ${pid}`)));
  await opens(t, lab, e1000e); // the kernel took it back
});

t.test("a node that is not there, as in a container", { skip }, async (t) => {
  for (const node of ["/dev/vfio/vfio", "/dev/vfio/1"]) {
    const hide = `mkdir -p /tmp/vfio; cp -a /dev/vfio/. /tmp/vfio; rm /tmp/vfio/${node.slice(10)}`;
    const exec = {
      prefix: ["unshare", "-m", "bash", "-c", `${hide}; mount --bind /tmp/vfio /dev/vfio; exec "$@"`, "bash"],
    };
    const error = await openError(lab, e1000e, { exec });
    t.match(error, { code: "VFIO_NO_NODE", message: `0000:00:03.0: there is no ${node}` });
    t.match(error.fix, `--device ${node}`);
  }
});

t.test("dma_entry_limit", { skip }, async (t) => {
  await lab.writeFile("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "0");
  const limit = await openError(lab, e1000e);
  t.match(limit, {
    code: "VFIO_DMA_ENTRY_LIMIT",
    message: "zone dma, 8388608 bytes: 1 DMA mappings are needed, the container may have 0 more",
  });
  await obey(lab, limit.fix, "before the start: ");
  await opens(t, lab, e1000e);
});

t.test("a group that is not viable", { skip }, async (t) => {
  const override = `echo i801_smbus > /sys/bus/pci/devices/${smbus}/driver_override`;
  const drive = `modprobe i2c_i801; ${override}; echo ${smbus} > /sys/bus/pci/drivers_probe`;
  await lab.run(drive);
  await lab.bind(sata, "vfio-pci");
  const error = await openError(lab, sata, { bar: 5 });
  t.match(error, {
    code: "VFIO_GROUP_NOT_VIABLE",
    message: /^0000:00:1f.2: IOMMU group \d+ is not viable, .*: 0000:00:1f.3 \(driver i801_smbus\)$/,
  });
  await obey(lab, error.fix, "or to nobody: ");
  const result = await tryOpen(lab, [sata], { bar: 5 });
  t.match(result, { tries: [{ value: { vendor: 0x8086, reset: false } }] }, "it has no reset, and says so");
  await lab.run(drive);
  await obey(lab, (await openError(lab, sata)).fix, "give them to vfio-pci: ");
  await opens(t, lab, [sata, smbus], { bar: -1 }); // two devices of one group
});

t.test("an IOMMU that does not check interrupts", { skip }, async (t) => {
  await lab[Symbol.asyncDispose](); // one guest at a time
  await using old = await Lab.boot({ nics: [{ model: "e1000e" }], kernelArguments: ["intremap=off"] });
  await old.bind(e1000e, "vfio-pci");
  const error = await openError(old, e1000e);
  t.match(error, { code: "VFIO_INTERRUPT_REMAPPING", fix: /x2APIC/ });
  await obey(old, error.fix);
  t.match(await tryOpen(old, [e1000e]), { tries: [{ value: { vendor: 0x8086 } }] });
});
