// devbind side by side with Debian's dpdk-devbind.py on the same guest: what each of them shows, and what the kernel's
// state is after each of them has bound the same devices to the same drivers. QEMU's 82574L, 82576 and virtio-net, VFs
// of a second 82576, and two NICs behind a conventional bridge, which share an IOMMU group.
import { fileURLToPath } from "node:url";
import t from "tap";
import { dpdkBed } from "../../beds/dpdk.ts";
import { type ExecOptions, Lab, labBed } from "../../beds/lab/lab.ts";
import type { Kept } from "../tool/kept.ts";
import type { Step } from "./guest/steps.ts";

const skip = labBed.missing() ?? dpdkBed.missing() ?? false;
t.setTimeout(600_000);

const [e1000e, igb, pf, vf0, vf1] = ["00:03.0", "00:04.0", "00:06.0", "00:16.0", "00:16.2"].map(
  (short) => `0000:${short}`,
) as [string, string, string, string, string];
const [first, second] = ["0000:01:01.0", "0000:01:02.0"];
const toggled = [e1000e, igb, vf0, vf1];

const boot = async () => {
  await dpdkBed.setup();
  await labBed.setup();
  const devices = ["pcie-pci-bridge,id=conventional,bus=pcie.0,addr=1a.0"];
  for (const slot of [1, 2]) devices.push(`e1000,bus=conventional,addr=${slot}.0,romfile=`);
  const models = ["e1000e", "igb", "virtio", "igb"] as const; // an igb's VFs take the slots of the NIC after it, too
  return Lab.boot({ nics: models.map((model) => ({ model })), devices });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) t.teardown(() => lab[Symbol.asyncDispose]());

/** Each call is a process of its own. */
async function ours(steps: readonly Step[], options: ExecOptions = {}): Promise<Kept[]> {
  const program = fileURLToPath(new URL("./guest/steps.js", import.meta.url));
  const { code, stdout, stderr } = await lab.node(program, [JSON.stringify(steps)], options);
  if (code !== 0) throw new Error(`steps in the guest, exit code ${code}:\n${stderr}${stdout}`);
  return JSON.parse(stdout) as Kept[];
}

const theirs = (...args: string[]) => lab.exec(["/usr/bin/dpdk-devbind.py", ...args]);

/** Drivers and overrides of all that is bound to and fro. Older programs clear an override by a byte of zero. */
async function kernelState(): Promise<string> {
  const script = `cd /sys/bus/pci/devices; for d in ${toggled.join(" ")}; do
    override=$(tr -d '\\0' < $d/driver_override)
    echo $d $(basename "$(readlink $d/driver)") "[$override]" $(ls $d/net 2> /dev/null | wc -l)
  done`;
  return (await lab.run(script)).replaceAll("[(null)]", "[]");
}

/** Both at once: the guest has two CPUs. */
async function sameStatus(t: Tap, ...args: string[]): Promise<string> {
  const [[own], dpdk] = await Promise.all([ours([args]), theirs(...args)]);
  t.same([own?.code, dpdk.code], [0, 0]);
  t.equal(own?.stdout, dpdk.stdout, args.join(" "));
  return own?.stdout ?? "";
}
type Tap = Pick<typeof t, "same" | "equal" | "match">;

t.test("the same status, and the same state in both directions", { skip }, async (t) => {
  await lab.run(`modprobe -a e1000 e1000e igb igbvf virtio_net vfio-pci uio_pci_generic bonding bridge
    echo 2 > /sys/bus/pci/devices/${pf}/sriov_numvfs
    name=$(ls /sys/bus/pci/devices/${pf}/net); ip address add 10.7.0.1/24 dev $name; ip link set $name up`);
  const start = await kernelState();
  t.equal(start, `${e1000e} e1000e [] 1\n${igb} igb [] 1\n${vf0} igbvf [] 1\n${vf1} igbvf [] 1\n`);
  const status = await sameStatus(t, "--status-dev", "net");
  t.match(status, new RegExp(`^${pf} .*drv=igb unused=vfio-pci,uio_pci_generic \\*Active\\*$`, "m"));

  const [bound] = await ours([["-b", "vfio-pci", e1000e, "00:04.0", "0000:00:16.*"]]);
  t.match(bound, { code: 0, stderr: "" });
  const onVfio = await kernelState();
  t.equal(onVfio, toggled.map((address) => `${address} vfio-pci [] 0\n`).join(""));
  await theirs("-b", "e1000e", e1000e);
  await theirs("-b", "igb", igb);
  await theirs("-b", "igbvf", vf0, vf1);
  t.equal(await kernelState(), start, "dpdk-devbind.py gives back what pollmode took");
  await theirs("-b", "vfio-pci", ...toggled);
  t.equal(await kernelState(), onVfio, "and takes it in the same way");
  await sameStatus(t, "--status-dev", "net");
  const [back] = await ours([["--restore"]]);
  t.match(back, { code: 0, stderr: "" });
  t.equal(await kernelState(), start, "pollmode gives back what it had itself taken first");
});

t.test("UIO, and no driver at all", { skip }, async (t) => {
  const start = await kernelState();
  const [bound, unbound] = await ours([
    ["-b", "uio_pci_generic", e1000e, igb],
    ["-u", vf0],
  ]);
  t.match([bound, unbound], [{ code: 0 }, { code: 0 }]);
  const mixed = await kernelState();
  t.match(
    mixed,
    new RegExp(`^${e1000e} uio_pci_generic \\[\\] 0\n${igb} uio_.*\n${vf0} +\\[\\] 0\n${vf1} igbvf`),
  );
  await sameStatus(t, "--status-dev", "net");
  const [restored] = await ours([["--restore"]]);
  t.equal(restored?.code, 0);
  t.equal(await kernelState(), start);
  await theirs("-b", "uio_pci_generic", e1000e, igb);
  await theirs("-u", vf0);
  t.equal(await kernelState(), mixed, "the same by dpdk-devbind.py");
  const steps = [
    ["-b", "e1000e", e1000e],
    ["-b", "igb", igb],
    ["-b", "igbvf", vf0],
  ];
  const [, , , foreign] = await ours([...steps, ["-b", "e1000e", igb]]);
  t.match(foreign, {
    code: 1,
    stderr: /ENODEV.*it is back as it was, with igb\n.*e1000e does not know this device/,
  });
  t.equal(await kernelState(), start, "by name, from where dpdk-devbind.py left it");
  await lab.run("rm /run/pollmode/bindings.json /var/lib/pollmode/bindings.json"); // that is what it was before
});

t.test("a NIC in use is refused, by what the kernel says of it", { skip }, async (t) => {
  const name = (await lab.run(`ls /sys/bus/pci/devices/${e1000e}/net`)).trim();
  const bind: Step = ["-b", "vfio-pci", e1000e];
  const ways: [setup: string, undo: string, message: RegExp][] = [
    [
      `ip address add 10.8.0.1/24 dev ${name}`,
      `ip address flush dev ${name}`,
      /has the address 10\.8\.0\.1\/24/,
    ],
    [
      `ip link set ${name} up; ip -6 address add 2001:db8::1/64 dev ${name} nodad`,
      `ip -6 address flush dev ${name}`,
      /has the address 2001:db8::1\/64/,
    ],
    [
      `ip link set ${name} up; ip route add default dev ${name}`,
      "ip route del default",
      /default route of IPv4/,
    ],
    [
      `ip link set ${name} down; ip link add bond9 type bond; ip link set ${name} master bond9`,
      "ip link del bond9",
      /member of bond bond9/,
    ],
    [
      `ip link add br9 type bridge; ip link set ${name} master br9`,
      "ip link del br9",
      /member of bridge br9/,
    ],
  ];
  const results = await ours(ways.flatMap(([setup, undo]) => [`set -e; ${setup}`, bind, undo]));
  for (const [index, [setup, , message]] of ways.entries()) {
    const [made, refused, undone] = results.slice(3 * index, 3 * index + 3);
    t.match([made?.code, undone?.code], [0, 0], `${setup}: ${made?.stderr}${undone?.stderr}`);
    t.match(refused, { code: 3, stdout: "", stderr: message }, setup);
  }
  const [address, forced, restored] = await ours([
    `ip address add 10.8.0.1/24 dev ${name}`,
    [...bind, "--force"],
    ["--restore"],
  ]);
  t.equal(address?.code, 0);
  t.match(forced, { code: 0, stderr: /--force breaks that .*10\.8\.0\.1\/24/ });
  t.match(restored, { code: 0, stdout: new RegExp(`^${e1000e}: vfio-pci -> e1000e\n$`) });
});

t.test("a whole IOMMU group for an ordinary user", { skip }, async (t) => {
  const [alone, , whole] = await ours([
    ["-b", "vfio-pci", first],
    ["--restore"],
    ["-b", "vfio-pci", "--group", "-U", "1000", "-G", "nogroup", first, "--json"],
  ]);
  t.match(alone, { code: 0, stderr: /programs cannot open its IOMMU group .*0000:01:02\.0 \(e1000\)/ });
  const { devices } = JSON.parse(whole!.stdout) as { devices: { address: string; node: string }[] };
  t.match(devices, [
    { address: first, result: "changed" },
    { address: second, result: "changed" },
  ]);
  const node = devices[0]!.node;
  t.match(node, /^\/dev\/vfio\/\d+$/);
  t.equal((await lab.run(`stat -c '%u %G' ${node}`)).trim(), "1000 nogroup");
  const open = await lab.exec(["bash", "-c", `exec 3<>${node}; ls -l /proc/$$/fd/3`], { user: 1000 });
  t.match(open, { code: 0, stdout: new RegExp(`${node}\n`) });
  await using holder = lab.start(["bash", "-c", `exec 3<>${node}; echo holds; sleep 100`], { user: 1000 });
  await holder.waitFor(/holds/);
  const [held] = await ours([["-u", second, "--force"]]);
  t.match(held, { code: 3, stderr: /0000:01:02\.0 is in use: .* is open in / });
  await holder.kill();
  const [restored, user] = await Promise.all([
    ours([["--restore"]]),
    ours([["-b", "vfio-pci", igb]], { user: 1000 }),
  ]);
  t.match(restored, [{ code: 0, stderr: "" }]);
  t.match(user, [{ code: 1, stderr: /run as root/ }]);
});
