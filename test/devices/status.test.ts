import t from "tap";
import { deviceGroups } from "../../src/devices/device-groups.ts";
import { deviceStatus, userSpaceDevices } from "../../src/devices/status.ts";
import { FakeMachine } from "../support/fake-machine.ts";
import { RecordedMachine } from "../support/recorded-machine.ts";

const groups = (...names: string[]) => deviceGroups.filter(({ name }) => names.includes(name));

t.test("who has the NICs of a server", async (t) => {
  const machine = new RecordedMachine(t, "server-82599").machine();
  const [net] = await deviceStatus(machine, groups("net"));
  t.match(net, { group: "net", title: "Network" });
  t.match(net!.userSpace, [{ address: "0000:03:10.2", driver: "vfio-pci", interfaces: [], numaNode: 0 }]);
  const kernel = net!.kernel.map(({ address, driver, interfaces }) => [address, driver, ...interfaces]);
  t.same(kernel, [
    ["0000:01:00.0", "tg3", "eno1"],
    ["0000:01:00.1", "tg3", "eno2"],
    ["0000:03:00.0", "ixgbe", "enp3s0f0"],
    ["0000:03:00.1", "ixgbe", "enp3s0f1"],
    ["0000:03:10.0", "ixgbevf", "enp3s0f0v0"],
  ]);
  t.same(net!.other, []);
  t.ok(net!.kernel.every(({ unused }) => unused.includes("vfio-pci")));
  t.ok(
    net!.kernel.every(({ driver, unused }) => !unused.includes(driver!)),
    "without the one that has it",
  );
  t.same(
    userSpaceDevices(machine).map(({ address }) => address),
    ["0000:03:10.2"],
  );
});

t.test("modules as lspci and the loaded drivers for user space have them", async (t) => {
  const machine = FakeMachine.make(t);
  machine.put("/lib/modules/6.1.0/modules.alias", "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n");
  machine.kernel
    .addDriver("e1000e", { ids: ["8086:10d3"] })
    .addDriver("vfio-pci")
    .addDriver("uio_pci_generic")
    .addDevice("0000:00:03.0", { driver: "e1000e", interfaces: ["eth0"] })
    .addDevice("0000:00:04.0", { driver: "uio_pci_generic" })
    .addDevice("0000:00:05.0", { device: 0xfffe });
  const [net] = await deviceStatus(machine, groups("net"));
  t.same(net?.kernel[0]?.unused, ["vfio-pci", "uio_pci_generic"]);
  t.same(net?.userSpace[0]?.unused, ["e1000e", "vfio-pci"]);
  t.same(net?.other[0]?.unused, ["vfio-pci", "uio_pci_generic"]);
  t.equal(net?.other[0]?.name, "Device", "as lspci calls what pci.ids does not know");
});

t.test("what is in use is told", async (t) => {
  const machine = FakeMachine.make(t);
  const link = { index: 2, name: "eth0", flags: 3, operState: "up", carrier: true, hasXdp: false };
  const address = { index: 2, family: 4, address: "10.0.0.1", prefixLength: 24 };
  machine.put("/netlink.json", JSON.stringify({ links: [link], addresses: [address], routes: [] }));
  machine.kernel.addDriver("e1000e").addDevice("0000:00:03.0", { driver: "e1000e", interfaces: ["eth0"] });
  const [net] = await deviceStatus(machine, groups("net"));
  t.match(net?.kernel[0]?.use, [{ kind: "address", text: "eth0 has the address 10.0.0.1/24" }]);
});

t.test("each kind of device by class, vendor and number, as dpdk-devbind.py tells them", async (t) => {
  const wanted: Record<string, [name: string, vendor: number, device: number, code: number][]> = {
    net: [
      ["PKX", 0x177d, 0xa0dd, 0x088000],
      ["AVP", 0x1af4, 0x1110, 0x050000],
      ["IFPGA", 0x8086, 0x0b30, 0x120000],
      ["any NIC", 0x1234, 0x5678, 0x028000],
    ],
    baseband: [["any accelerator", 0x8086, 0x0d5c, 0x120001]],
    crypto: [
      ["QAT", 0x8086, 0x37c8, 0x0b4000],
      ["any", 0x1234, 0x0001, 0x100000],
    ],
    dma: [
      ["IOAT", 0x8086, 0x2021, 0x088000],
      ["DSA", 0x8086, 0x0b25, 0x088000],
      ["HiSilicon", 0x19e5, 0xa122, 0x088000],
    ],
    event: [["DLB", 0x8086, 0x2710, 0x0b4000]],
    mempool: [["NPA", 0x177d, 0xa0fb, 0x088000]],
    compress: [["ZIP", 0x177d, 0xa037, 0x120000]],
    misc: [
      ["NTB", 0x8086, 0x347e, 0x068000],
      ["virtio-blk", 0x1af4, 0x1042, 0x010000],
    ],
    regex: [["REE", 0x177d, 0xa0f4, 0x088000]],
    ml: [["ML", 0x177d, 0xa092, 0x088000]],
  };
  t.same(deviceGroups.map(({ name }) => name).sort(), Object.keys(wanted).sort());
  const strangers: [number, number, number][] = [
    [0x1234, 0x2021, 0x088000], // IOAT's number, of another vendor
    [0x8086, 0x2022, 0x088000],
    [0x8086, 0xa282, 0x010601],
    [0x1022, 0x1485, 0x0b4000], // a processor, not Intel's
  ];
  for (const [group, kinds] of Object.entries(wanted)) {
    const machine = FakeMachine.make(t);
    const all = [...kinds.map(([, ...numbers]) => numbers), ...strangers];
    for (const [index, [vendor, device, code]] of all.entries()) {
      machine.kernel.addDevice(`0000:0${index}:00.0`, { vendor: vendor!, device: device!, class: code! });
    }
    const [section] = await deviceStatus(machine, groups(group));
    const found = section!.other.map(({ address }) => Number(address.slice(5, 7)));
    t.same(
      found,
      kinds.map((_, index) => index),
      group,
    );
  }
});
