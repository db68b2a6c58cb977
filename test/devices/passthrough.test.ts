// What gives devices of recorded machines to a virtual machine: QEMU's arguments, libvirt's XML, what is refused.
import { spawnSync } from "node:child_process";
import t from "tap";
import { findDevices } from "../../src/devices/find.ts";
import { libvirtXml, qemuArguments, usedProperties } from "../../src/devices/guest-devices.ts";
import { findMdev } from "../../src/devices/mdev.ts";
import { type PassthroughRequest, planPassthrough } from "../../src/devices/passthrough.ts";
import { MIB } from "../../src/limits.ts";
import { RecordedMachine } from "../support/recorded-machine.ts";
import { elementsOf } from "../support/xml.ts";

const token = "14d63f20-8445-11ea-8900-1f9ce7d5650d";

function plan(recorded: RecordedMachine, words: string[], request: Partial<PassthroughRequest> = {}) {
  const machine = recorded.machine();
  const all = { mdevs: [], wholeGroup: false, vfToken: undefined, memoryBytes: undefined, ...request };
  return planPassthrough(machine, { devices: findDevices(machine, words), ...all });
}

const devicesOf = (args: readonly string[]) => args.filter((_, k) => k % 2 === 1);

t.test("a device that VFIO has: ready", async (t) => {
  const found = plan(new RecordedMachine(t, "server-i350"), ["01:00.2"]);
  t.same([found.first, found.warnings, found.lockedBytes], [[], [], undefined]);
  t.same(qemuArguments(found), [
    "-device",
    "pcie-root-port,id=pollmode1,bus=pcie.0,chassis=101",
    "-device",
    "vfio-pci,host=0000:01:00.2,bus=pollmode1,addr=00.0",
  ]);
  const xml = libvirtXml(found);
  t.same(xml, {
    devices: [
      "<hostdev mode='subsystem' type='pci' managed='no'>",
      "  <source>",
      "    <address domain='0x0000' bus='0x01' slot='0x00' function='0x2'/>",
      "  </source>",
      "</hostdev>",
    ].join("\n"),
    overrides: undefined,
  });
});

t.test("a device with its kernel's driver: what comes first", async (t) => {
  const found = plan(new RecordedMachine(t, "server-82599"), ["enp3s0f1"]);
  t.same(found.first, ["pollmode devbind -b vfio-pci 0000:03:00.1"]);
  t.match(libvirtXml(found).devices, /managed='yes'/, "or libvirt binds it");
  t.match(libvirtXml(found, { managed: false }).devices, /managed='no'/);
});

t.test("two ports of one NIC, each in a group: two functions of one device in the guest", async (t) => {
  const recorded = new RecordedMachine(t, "server-i350");
  t.same(devicesOf(qemuArguments(plan(recorded, ["01:00.2", "01:00.3"]))), [
    "pcie-root-port,id=pollmode1,bus=pcie.0,chassis=101",
    "vfio-pci,host=0000:01:00.2,bus=pollmode1,addr=00.0,multifunction=on",
    "vfio-pci,host=0000:01:00.3,bus=pollmode1,addr=00.1",
  ]);
  const elements = elementsOf(
    `<devices>${libvirtXml(plan(recorded, ["01:00.2", "01:00.3"])).devices}</devices>`,
  );
  const guest = { type: "pci", domain: "0x0000", bus: "0x10", slot: "0x00" };
  t.same(
    elements.filter(({ path }) => path !== "devices"),
    [
      { path: "devices/controller", attributes: { type: "pci", index: "16", model: "pcie-root-port" } },
      ...[2, 3].flatMap((fn, k) => [
        { path: "devices/hostdev", attributes: { mode: "subsystem", type: "pci", managed: "no" } },
        { path: "devices/hostdev/source", attributes: {} },
        {
          path: "devices/hostdev/source/address",
          attributes: { domain: "0x0000", bus: "0x01", slot: "0x00", function: `0x${fn}` },
        },
        {
          path: "devices/hostdev/address",
          attributes: { ...guest, function: `0x${k}`, ...(k === 0 && { multifunction: "on" }) },
        },
      ]),
    ],
  );
});

t.test("one device of a shared group: the rest has to leave the host too", async (t) => {
  const found = plan(new RecordedMachine(t, "desktop-shared-group"), ["01:00.0"]);
  t.same(found.first, ["pollmode devbind -b vfio-pci 0000:01:00.1 0000:02:00.0"]);
  t.match(found.warnings, [
    /^0000:01:00\.1 \(ixgbe, enp1s0f1\) shares IOMMU group 1 and has to leave the host/,
    /^0000:02:00\.0 \(xhci_hcd\) shares IOMMU group 1/,
  ]);
  t.equal(qemuArguments(found).length, 4);
});

t.test("a whole group: a root port for each device of the host, no bridges", async (t) => {
  const found = plan(new RecordedMachine(t, "desktop-shared-group"), ["01:00.0"], { wholeGroup: true });
  t.same(found.first, ["pollmode devbind -b vfio-pci 0000:01:00.1 0000:02:00.0"]);
  t.same(found.warnings, []);
  t.same(devicesOf(qemuArguments(found)), [
    "pcie-root-port,id=pollmode1,bus=pcie.0,chassis=101",
    "vfio-pci,host=0000:01:00.0,bus=pollmode1,addr=00.0,multifunction=on",
    "vfio-pci,host=0000:01:00.1,bus=pollmode1,addr=00.1",
    "pcie-root-port,id=pollmode2,bus=pcie.0,chassis=102",
    "vfio-pci,host=0000:02:00.0,bus=pollmode2,addr=00.0",
  ]);
});

t.test("conventional PCI goes behind a bridge of the guest", async (t) => {
  const found = plan(new RecordedMachine(t, "desktop-shared-group"), ["04:01.0"]);
  t.same(devicesOf(qemuArguments(found)), [
    "pcie-root-port,id=pollmode1,bus=pcie.0,chassis=101",
    "pcie-pci-bridge,id=pollmode1pci,bus=pollmode1",
    "vfio-pci,host=0000:04:01.0,bus=pollmode1pci,addr=01.0",
  ]);
  t.same(found.first, ["pollmode devbind -b vfio-pci 0000:04:01.0 0000:04:00.0"]);
});

t.test("a bridge in the way is taken from its driver: VFIO takes none", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group").bind("0000:03:00.0", "shpchp");
  t.same(plan(recorded, ["04:01.0"]).first, [
    "pollmode devbind -b vfio-pci 0000:04:01.0 0000:04:00.0",
    "pollmode devbind -u 0000:03:00.0",
  ]);
});

t.test("VF tokens: for whom the kernel wants one, and for nobody else", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599");
  const vfs = ["03:10.0", "03:10.2"];
  t.match(plan(recorded, vfs), { warnings: [] }, "the kernel's driver has the physical function");
  t.throws(() => plan(recorded, vfs, { vfToken: token }), { code: "OPTION_CONFLICT" });
  recorded.bind("0000:03:00.0", "vfio-pci");
  t.throws(() => plan(recorded, ["03:10.2"]), {
    code: "VFIO_TOKEN_MISSING",
    message: /0000:03:10.2 .*0000:03:00.0/,
  });
  const found = plan(recorded, ["03:10.2"], { vfToken: token });
  t.same(
    devicesOf(qemuArguments(found))[1],
    `vfio-pci,host=0000:03:10.2,bus=pollmode1,addr=00.0,vf-token=${token}`,
  );
  t.same(usedProperties(qemuArguments(found)), ["host", "bus", "addr", "vf-token"]);
  const { devices, overrides } = libvirtXml(found);
  t.match(elementsOf(devices), [
    { path: "hostdev" },
    {},
    {},
    { path: "hostdev/alias", attributes: { name: "ua-0000-03-10-2" } },
  ]);
  t.match(elementsOf(overrides!), [
    { path: "qemu:override", attributes: { "xmlns:qemu": "http://libvirt.org/schemas/domain/qemu/1.0" } },
    { path: "qemu:override/qemu:device", attributes: { alias: "ua-0000-03-10-2" } },
    { path: "qemu:override/qemu:device/qemu:frontend" },
    { attributes: { name: "vf-token", type: "string", value: token } },
  ]);
  const two = plan(recorded, vfs, { vfToken: token });
  t.equal(two.guestDevices.length, 2, "virtual functions are devices of their own");
  const pf = plan(recorded, ["03:00.0"], { vfToken: token });
  t.match(devicesOf(qemuArguments(pf))[1], /vf-token/, "a physical function sets it");
});

t.test("a mediated device", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group");
  const parent = "/sys/devices/pci0000:00/0000:00:02.0";
  const type = `${parent}/mdev_supported_types/i915-GVTg_V5_8`;
  recorded
    .put(`${parent}/${token}/uevent`, "")
    .link(`/sys/bus/mdev/devices/${token}`, `${parent}/${token}`)
    .link("/sys/class/mdev_bus/0000:00:02.0", parent)
    .put(`${type}/device_api`, "vfio-pci\n")
    .put(`${type}/available_instances`, "1\n")
    .link(`${type}/devices/${token}`, `${parent}/${token}`);
  const machine = recorded.machine();
  const found = plan(recorded, ["04:01.0"], { mdevs: [findMdev(machine, token)] });
  t.same(
    devicesOf(qemuArguments(found)).at(-1),
    `vfio-pci,sysfsdev=/sys/bus/mdev/devices/${token},bus=pollmode2,addr=00.0`,
  );
  t.match(elementsOf(`<d>${libvirtXml(found).devices}</d>`).slice(-3), [
    { attributes: { mode: "subsystem", type: "mdev", managed: "no", model: "vfio-pci" } },
    {},
    { path: "d/hostdev/source/address", attributes: { uuid: token } },
  ]);
  recorded.put(`${type}/device_api`, "vfio-ccw\n");
  t.throws(() => plan(recorded, [], { mdevs: [findMdev(recorded.machine(), token)] }), {
    code: "MDEV_NOT_PCI",
  });
});

t.test("refused: bridges, what mlx5 drives, what has no IOMMU", async (t) => {
  const desktop = new RecordedMachine(t, "desktop-shared-group");
  for (const bridge of ["00:01.0", "00:1f.0", "03:00.0"]) {
    t.throws(() => plan(desktop, [bridge]), { code: "DEVICE_IS_BRIDGE", message: new RegExp(bridge) });
  }
  const mlx5 = new RecordedMachine(t, "server-connectx5");
  t.throws(() => plan(mlx5, ["ens1f0np0"]), {
    code: "DEVICE_BIFURCATED",
    fix: /pollmode sriov create 0000:3d:00\.0 .*devbind -b vfio-pci --force 0000:3d:00\.0/,
  });
  mlx5.bind("0000:3d:00.0", "vfio-pci");
  t.same(plan(mlx5, ["3d:00.0"]).first, [], "who has taken it from there meant it");
  t.throws(() => plan(new RecordedMachine(t, "desktop-no-iommu"), ["01:00.0"]), { code: "VFIO_NO_IOMMU" });
});

t.test("what the user should know: locked memory, virtual functions, the firmware's memory", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group"); // 8 MiB, no capability
  const found = plan(recorded, ["01:00.0"], { wholeGroup: true, memoryBytes: 4096 * MIB });
  t.equal(found.lockedBytes, 5120 * MIB);
  t.match(found.warnings, [/QEMU locks 5120 MiB, and RLIMIT_MEMLOCK is 8 MiB here: ulimit -l 5242880 /]);
  const server = new RecordedMachine(t, "server-82599"); // root
  server.put(
    "/sys/kernel/iommu_groups/32/reserved_regions",
    "0x0000000078000000 0x00000000780fffff direct\n",
  );
  t.match(plan(server, ["03:00.0"], { memoryBytes: 64 * 1024 * MIB }).warnings, [
    /^IOMMU group 32: the firmware wants/,
    /^0000:03:00\.0 has 2 virtual functions: pollmode sriov remove/,
  ]);
});

const qemu = "qemu-system-x86_64";
const noQemu = spawnSync(qemu, ["--version"]).status !== 0 && `no ${qemu}`;

t.test("QEMU itself takes the arguments", { skip: noQemu }, async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group");
  const help = spawnSync(qemu, ["-device", "vfio-pci,help"], { encoding: "utf8" }).stdout;
  for (const name of ["host", "sysfsdev", "addr", "multifunction"])
    t.match(help, new RegExp(`^ +${name}=`, "m"));
  const start = (args: string[], input = "") =>
    spawnSync(qemu, ["-machine", "q35", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio", ...args], {
      encoding: "utf8",
      input,
      timeout: 20_000,
    });
  const shared = qemuArguments(plan(recorded, ["01:00.0", "04:01.0"], { wholeGroup: true }));
  // no host here has these addresses: QEMU gets as far as to look for the first
  const absent = shared.map((text) => text.replace(/host=0000:/, "host=fffe:"));
  const [first] = devicesOf(absent).filter((text) => text.startsWith("vfio-pci"));
  t.match(start(absent).stderr, new RegExp(`${first}: vfio .*fffe:01:00.0: no such host device`));
  // and with a device that needs no host's in their place, it takes all of them
  const stand = absent.map((text) => text.replace(/^vfio-pci,host=[^,]+/, "e1000e,romfile="));
  const anonymous = "/machine/peripheral-anon";
  const commands = [
    { execute: "qmp_capabilities" },
    { execute: "qom-list", arguments: { path: anonymous } },
    { execute: "qom-get", arguments: { path: `${anonymous}/device[1]`, property: "addr" } },
    { execute: "quit" },
  ];
  const { status, stdout, stderr } = start(
    stand,
    commands.map((command) => JSON.stringify(command)).join("\n"),
  );
  t.equal(status, 0, stderr);
  t.equal([...stdout.matchAll(/"child<e1000e>"/g)].length, 5);
  t.match(stdout, /"return": 1\b/, "the second function's devfn");
});
