// The same against a real kernel: binding in both directions, SR-IOV, BARs and configuration space of QEMU's 82574L and
// 82576, and the errors that the kernel gives.
import { fileURLToPath } from "node:url";
import t from "tap";
import { type ExecOptions, Lab, labBed } from "../../beds/lab/lab.ts";
import { obey } from "../vfio/guest-run.ts";
import type { Step } from "./guest/steps.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const [nic, pf, vf0] = ["0000:00:03.0", "0000:00:04.0", "0000:00:14.0"];

interface Outcome {
  value?: unknown;
  error?: { code: string; message: string; fix: string };
}

const boot = async () => {
  await labBed.setup();
  return Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }] });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) t.teardown(() => lab[Symbol.asyncDispose]());

async function guest(steps: readonly Step[], options: ExecOptions = {}): Promise<Outcome[]> {
  const program = fileURLToPath(new URL("./guest/steps.js", import.meta.url));
  const { code, stdout, stderr } = await lab.node(program, [JSON.stringify(steps)], options);
  if (code !== 0) throw new Error(`steps in the guest, exit code ${code}:\n${stderr}${stdout}`);
  return JSON.parse(stdout) as Outcome[];
}

const sh = async (command: string) => (await lab.run(command)).trim();
const override = (address: string) => sh(`cat /sys/bus/pci/devices/${address}/driver_override`);
const driverOf = (address: string) => sh(`basename $(readlink /sys/bus/pci/devices/${address}/driver)`);

t.test("what the kernel shows of its NICs", { skip }, async (t) => {
  const [all, candidates, config, igb] = await guest([
    { do: "scan" },
    { do: "candidates", address: nic },
    { do: "config", address: nic },
    { do: "config", address: pf },
  ]);
  const ids = { vendor: 0x8086, class: 0x020000, iommuGroup: Number };
  t.match(
    (all?.value as { address: string }[]).filter(({ address }) => [nic, pf].includes(address)),
    [
      { ...ids, device: 0x10d3 },
      { ...ids, device: 0x10c9, sriov: { numVfs: 0, vfs: [] } },
    ],
  );
  t.same(
    candidates?.value,
    (await sh(`modprobe -R $(cat /sys/bus/pci/devices/${nic}/modalias)`)).split("\n"),
  );
  const type = 9; // integrated endpoints: they are on the root bus
  t.match(config?.value, { isComplete: true, msix: { vectors: 5, tableBar: 3 }, express: { type } });
  t.match(igb?.value, {
    hasFlr: true,
    sriov: { totalVfs: 8, vfOffset: 0x80, vfStride: 2, vfDevice: 0x10ca },
  });
  const [user] = await guest([{ do: "config", address: nic }], { user: 1000 });
  t.match(user?.value, { device: 0x10d3, isComplete: false, capabilities: [] }, "an ordinary user sees less");
});

t.test("from the kernel's driver to each other one, and back", { skip }, async (t) => {
  await guest([{ do: "bind", address: nic, driver: "e1000e", load: true }]);
  const name = await sh(`ls /sys/bus/pci/devices/${nic}/net`);
  for (const driver of ["vfio-pci", "uio_pci_generic", "igb_uio"]) {
    const [start, bound, there, status, master, , back] = await guest([
      { do: "read", address: nic },
      { do: "bind", address: nic, driver, load: true },
      { do: "read", address: nic },
      { do: "register", address: nic, bar: 0, at: 8 },
      { do: "busMaster", address: nic },
      { do: "restore" },
      { do: "read", address: nic },
    ]);
    t.match(start?.value, { driver: "e1000e", interfaces: [name] });
    t.match(bound?.value, { address: nic, driver: "e1000e" });
    const isUio = driver !== "vfio-pci";
    t.match(there?.value, { driver, interfaces: [], ...(isUio && { uio: /^uio\d+$/ }) });
    t.notMatch(there?.value, { driverOverride: /./ }, "left clean");
    // 82574 datasheet, STATUS: bit 19 is GIO Master Enable Status, those above it are 0
    if (isUio) t.equal(Number.parseInt(status?.value as string, 16) >>> 19, 1, "its STATUS register");
    t.same(master?.value, [true, false]);
    t.match(back?.value, { driver: "e1000e", interfaces: [/./] });
  }
  const [unbound, none] = await guest([
    { do: "unbind", address: nic },
    { do: "read", address: nic },
  ]);
  t.match(unbound?.value, { driver: "e1000e" });
  t.notMatch(none?.value, { driver: /./ });
  t.equal(await override(nic), "(null)");
  await sh(`echo ${nic} > /sys/bus/pci/drivers_probe`);
  t.equal(await driverOf(nic), "e1000e", "and the kernel's driver may take it by itself");
});

t.test(
  "what the kernel refuses, it says by an error with its mend, and nothing is changed",
  { skip },
  async (t) => {
    await guest([{ do: "bind", address: nic, driver: "e1000e", load: true }]);
    await sh("modprobe -r igb_uio; modprobe igbvf");
    const [missing, foreign, claimed] = await guest([
      { do: "bind", address: nic, driver: "igb_uio" },
      { do: "bind", address: nic, driver: "igbvf" },
      { do: "register", address: nic, bar: 0, at: 8 },
    ]);
    t.match(missing?.error, { code: "PCI_DRIVER_MISSING", fix: "as root: modprobe igb_uio" });
    t.match(foreign?.error, {
      code: "PCI_BIND",
      message: /igbvf\/bind.*ENODEV.*it is back as it was, with e1000e$/,
      fix: /use e1000e or vfio-pci/,
    });
    t.match(claimed?.error, { code: "PCI_BAR_REFUSED", message: /e1000e has claimed the region/ });
    const [user] = await guest([{ do: "bind", address: nic, driver: "vfio-pci" }], { user: 1000 });
    t.match(user?.error, { code: "PCI_BIND", message: /driver_override.*EACCES/, fix: /run as root/ });
    t.equal(await driverOf(nic), "e1000e");
    t.equal(await override(nic), "(null)");
  },
);

t.test("virtual functions, with the PF on igb and on vfio-pci", { skip }, async (t) => {
  const vfs = [0, 2, 4].map((fn) => `0000:00:14.${fn}`);
  const [, three, two, vf, bound, , busy] = await guest([
    { do: "bind", address: pf, driver: "igb", load: true },
    { do: "vfs", address: pf, count: 3, autoprobe: false },
    { do: "vfs", address: pf, count: 2 },
    { do: "read", address: vf0 },
    { do: "bind", address: vf0, driver: "vfio-pci", load: true },
    { do: "hold", address: vf0 },
    { do: "vfs", address: pf, count: 0 },
  ]);
  t.same(three?.value, vfs);
  t.same(two?.value, vfs.slice(0, 2));
  t.match(vf?.value, { device: 0x10ca, physicalFunction: pf });
  t.match(bound?.value, { address: vf0 });
  t.match(busy?.error, { code: "PCI_IN_USE", message: /0000:00:14.0 is in use: .*open in .*process \d+/ });
  const [bind, none, gone] = await guest([
    { do: "bind", address: pf, driver: "vfio-pci" },
    { do: "vfs", address: pf, count: 0 },
    { do: "bind", address: pf, driver: "vfio-pci" },
  ]);
  t.match(bind?.error, { code: "PCI_HAS_VFS", message: /2 virtual functions/ });
  t.same(none?.value, []);
  t.match(gone?.value, { driver: "igb" });
  const [refused] = await guest([{ do: "vfs", address: pf, count: 1 }]);
  t.match(refused?.error, { code: "SRIOV_FAILED", fix: `as root: pollmode sriov create ${pf} --count 1` });
  await obey(lab, refused!.error!.fix);
  const [one, zero, back] = await guest([
    { do: "vfs", address: pf, count: 1 },
    { do: "vfs", address: pf, count: 0 },
    { do: "bind", address: pf, driver: "igb" },
  ]);
  t.same(one?.value, [vf0]);
  t.same(zero?.value, []);
  t.match(back?.value, { driver: "vfio-pci" });
});
