// UIO in the lab, without an IOMMU: both drivers on both NICs, what stands in the way provoked for real and mended by
// the error's own words, and what becomes of memory.
import { setTimeout as pause } from "node:timers/promises";
import t, { type Test } from "tap";
import { Lab, labBed } from "../../beds/lab/lab.ts";
import { obey } from "../vfio/guest-run.ts";
import type { Tried } from "./guest/try-open.ts";
import { examine, guestJson, guestProgram, openError, opens, tryOpen } from "./guest-run.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(400_000);

const [e1000e, igb] = ["0000:00:03.0", "0000:00:04.0"];
const nobody = { user: 65534 };

const boot = async () => {
  await labBed.setup();
  return Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }], iommu: false });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) t.teardown(() => lab[Symbol.asyncDispose]());

t.test("no such device, the kernel's own driver, no driver, module not loaded", { skip }, async (t) => {
  const none = await openError(lab, "0000:77:00.0");
  t.match(none, { code: "PCI_UNKNOWN", message: "0000:77:00.0: this machine has no such PCI device" });
  t.match(none.fix, /0000:00:03.0 \(8086:10d3, .*0000:00:04.0 \(8086:10c9, /, "it lists those there are");
  await lab.bind(e1000e, "e1000e");
  await lab.run(`ip link set $(ls /sys/bus/pci/devices/${e1000e}/net) up`);
  const kernel = await openError(lab, e1000e);
  t.match(kernel, {
    code: "PCI_KERNEL_DRIVER",
    message: /e1000e has it, as network interface \w+ \(it is up\)$/,
  });
  await obey(lab, kernel.fix);
  await opens(t, lab, e1000e, "uio_pci_generic");
  await lab.bind(igb, "none");
  const free = await openError(lab, igb);
  t.match(free, { code: "PCI_NO_DRIVER", message: /^0000:00:04.0 has no driver/ });
  await obey(lab, free.fix);
  await opens(t, lab, igb, "uio_pci_generic");
  await lab.bind(igb, "none");
  await lab.run(`echo igb_uio > /sys/bus/pci/devices/${igb}/driver_override`);
  const module = await openError(lab, igb);
  t.match(module, { code: "UIO_MODULE", message: "0000:00:04.0: the kernel module igb_uio is not loaded" });
  await obey(lab, module.fix);
  await opens(t, lab, igb, "igb_uio");
});

t.test("uio_pci_generic", { skip }, async (t) => {
  for (const address of [e1000e, igb]) await lab.bind(address, "uio_pci_generic");
  await examine(t, lab, [e1000e, igb], "uio_pci_generic", "intx");
});

for (const [mode, kind] of [
  ["msix", "msix"],
  ["msi", "msi"],
  ["legacy", "intx"],
] as const) {
  t.test(`igb_uio, intr_mode=${mode}`, { skip }, async (t) => {
    for (const address of [e1000e, igb]) await lab.bind(address, "none");
    await lab.run(`modprobe -r igb_uio; modprobe igb_uio intr_mode=${mode}`);
    for (const address of [e1000e, igb]) await lab.bind(address, "igb_uio");
    await examine(t, lab, [e1000e, igb], "igb_uio", kind);
  });
}

t.test("VFIO without an IOMMU goes by the same bus", { skip }, async (t) => {
  await lab.bind(igb, "vfio-pci");
  await opens(t, lab, igb, "vfio-noiommu");
});

t.test("an ordinary user is told all that is lacking", { skip }, async (t) => {
  await lab.bind(e1000e, "uio_pci_generic");
  const device = `/sys/bus/pci/devices/${e1000e}`;
  const pages = await openError(lab, e1000e, {}, nobody);
  t.match(pages, { code: "IOVA_NEEDS_ADMIN", fix: /run as root/ });
  const { code, message } = await openError(lab, e1000e, { iova: "va" }, nobody);
  t.equal(code, "UIO_PERMISSION");
  const files = ["/dev/uio\\d+", `${device}/config`, ...[0, 1, 3].map((bar) => `${device}/resource${bar}`)];
  for (const file of files) t.match(message, new RegExp(`no access to ${file}(,|$)`));
  t.match(message, /user nobody has .*pagemap/);
});

t.test("addresses must be physical, and of hugepages", { skip }, async (t) => {
  const va = await openError(lab, e1000e, { iova: "va" });
  t.match(va, { code: "UIO_IOVA", message: /--iova-mode is va$/, fix: /--iova-mode pa/ });
  t.match(await openError(lab, e1000e, { noHuge: true }), { code: "IOVA_NEEDS_HUGEPAGES" });
});

t.test("no /dev/uioN", { skip }, async (t) => {
  const name = (await lab.run(`ls /sys/bus/pci/devices/${e1000e}/uio`)).trim();
  await lab.run(`rm /dev/${name}`);
  const gone = await openError(lab, e1000e);
  t.match(gone, { code: "UIO_NO_NODE", message: `${e1000e}: there is no /dev/${name}` });
  await obey(lab, gone.fix);
  await opens(t, lab, e1000e, "uio_pci_generic");
});

t.test("in use", { skip }, async (t) => {
  const command = () => lab.run(`od -An -tx2 -j4 -N2 /sys/bus/pci/devices/${e1000e}/config`);
  await t.test("by another engine, which loses nothing", async (t) => {
    await using holder = lab.startNode(guestProgram("hold"), [e1000e]);
    await holder.waitFor(/"value"/);
    const before = await command();
    const busy = await openError(lab, e1000e);
    t.match(busy, { code: "UIO_BUSY", message: new RegExp(`in use by node \\(process ${holder.pid}\\)`) });
    t.equal(await command(), before, "its bus mastering is on");
    holder.end();
    t.equal((await holder.exited).code, 0);
  });
  await t.test("by another program, which loses nothing", async (t) => {
    const name = (await lab.run(`ls /sys/bus/pci/devices/${e1000e}/uio`)).trim();
    await using holder = lab.start(`exec 3<> /dev/${name}; setpci -s 3.0 4.w=0007; echo ready; sleep 60`);
    await holder.waitFor(/ready/);
    const before = await command();
    t.match(await openError(lab, e1000e), { code: "UIO_BUSY", message: /in use by (bash|sleep) \(process/ });
    t.equal(await command(), before, "its bus mastering is on");
  });
  await opens(t, lab, e1000e, "uio_pci_generic");
});

/** How the kernel goes about a killed program: which of these functions run, in order. */
async function killTraced(t: Test, freeFds: number): Promise<string[]> {
  const tracing = "/sys/kernel/debug/tracing";
  await using holder = lab.startNode(guestProgram("hold"), [e1000e, `${freeFds}`]);
  await holder.waitFor(/"value"/);
  const { fds } = JSON.parse(holder.stdout) as { fds: { device: number; memory: number[] } };
  t.ok(fds.device > Math.max(...fds.memory), `fd ${fds.device} above those of the memory, ${fds.memory}`);
  const watched = "pci_clear_master hugetlbfs_evict_inode";
  await lab.run(`cd ${tracing}; echo ${watched} > set_ftrace_filter; echo function > current_tracer`);
  holder.signal("SIGKILL");
  await holder.exited;
  await pause(200);
  const trace = await lab.run(`cd ${tracing}; cat trace; echo nop > current_tracer`);
  return [...trace.matchAll(/: (\w+)(?: \[\w+\])? <-/g)].map(([, name]) => name!);
}

t.test("kill -9 stops DMA before it gives the memory back", { skip }, async (t) => {
  const order = ["pci_clear_master", "hugetlbfs_evict_inode"];
  t.same(await killTraced(t, 0), order);
  t.same(await killTraced(t, 12), order, "also where fds below the memory's were free");
  await opens(t, lab, e1000e, "uio_pci_generic");
  await lab.bind(e1000e, "vfio-pci");
  t.same(await killTraced(t, 12), order, "also by VFIO without an IOMMU");
  await lab.bind(e1000e, "uio_pci_generic");
});

t.test("a device that cannot be reset", { skip }, async (t) => {
  await lab.run(`echo > /sys/bus/pci/devices/${e1000e}/reset_method`);
  const { functions } = await guestJson<{ functions: object[] }>(lab, "functions", [e1000e]);
  t.match(
    functions,
    [{ reset: { done: false, changed: true }, sent: { done: true } }],
    "is driven all the same",
  );
});

t.test("hugepages that a device has do not move", { skip }, async (t) => {
  interface Pages {
    before: string[];
    after: string[];
  }
  const { moved, stayed } = await guestJson<{ moved: Pages; stayed: Pages }>(lab, "memory");
  t.match(
    moved,
    { answer: "moved", content: "here", warnings: [] },
    "those that are not pinned can be moved",
  );
  t.not(moved.after[0], moved.before[0]);
  t.match(stayed, { answer: "EBUSY", isPinned: true, content: "here", warnings: [] });
  t.same(stayed.after, stayed.before);
});

t.test("memory that may not be pinned is warned of", { skip }, async (t) => {
  const command = ["setpriv", "--bounding-set", "-ipc_lock", "prlimit", "--memlock=65536:65536"];
  const words = [...command, process.execPath, guestProgram("try-open"), e1000e];
  const { start, tries, warnings } = JSON.parse(await lab.run(words)) as Tried;
  t.match({ start, tries }, { start: undefined, tries: [{ value: { access: "uio_pci_generic" } }] });
  t.match(warnings, [/not pinned: io_uring_register .*: ENOMEM.*Mend: .*ulimit -l/]);
});

t.test("virtual functions have no INTx", { skip }, async (t) => {
  await lab.bind(igb, "igb");
  await lab.run("modprobe -r igb_uio; modprobe igb_uio");
  await lab.run(`echo 2 > /sys/bus/pci/devices/${igb}/sriov_numvfs`);
  const vf = (await lab.run(`basename $(readlink /sys/bus/pci/devices/${igb}/virtfn0)`)).trim();
  await lab.bind(vf, "igb_uio");
  const { tries } = await tryOpen(lab, vf);
  t.match(tries, [{ value: { access: "igb_uio", vectors: { msix: 1, msi: 0, intx: 0 } } }]);
  const unbound = await lab.exec(`echo ${vf} > /sys/bus/pci/drivers/igb_uio/unbind`);
  t.equal(unbound.code, 0);
  await lab.run(`echo uio_pci_generic > /sys/bus/pci/devices/${vf}/driver_override`);
  const refused = await openError(lab, vf);
  t.match(refused, { code: "UIO_REFUSED", message: /uio_pci_generic has not taken it$/ });
  await obey(lab, refused.fix, "if it was never asked to, as root: ");
  const found = await tryOpen(lab, vf);
  t.match(found.tries, [{ value: { access: "uio_pci_generic", vectors: { msix: 0, msi: 0, intx: 0 } } }]);
  await lab.run(`echo 0 > /sys/bus/pci/devices/${igb}/sriov_numvfs`);
});

t.test("kernel lockdown", { skip }, async (t) => {
  // The last one: nothing but a boot takes it back.
  await lab.run(
    "mount -t securityfs none /sys/kernel/security; echo integrity > /sys/kernel/security/lockdown",
  );
  t.match(await openError(lab, e1000e), {
    code: "UIO_LOCKDOWN",
    message: /kernel lockdown \(integrity\)/,
    fix: /vfio-pci/,
  });
});
