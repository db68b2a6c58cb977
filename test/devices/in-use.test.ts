// What counts as use of a device, over interfaces, addresses and routes made up for it.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import type { InterfaceAddress, Route } from "../../src/bus/netlink/addresses.ts";
import type { Link } from "../../src/bus/netlink/link.ts";
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import { deviceUse } from "../../src/devices/in-use.ts";
import { type LinkState, readLinkState } from "../../src/devices/link-state.ts";
import { Machine } from "../../src/devices/machine.ts";
import { FakeSysfs } from "../support/fake-sysfs.ts";

type Test = { teardown(done: () => void): unknown };

const nic = "0000:01:00.0";
const up = { flags: 0x1003, operState: "up", carrier: true, hasXdp: false };
const eth0: Link = { ...up, index: 2, name: "eth0" };
const lo: Link = { ...up, index: 1, name: "lo" };
const none: LinkState = { links: [lo, eth0], addresses: [], routes: [] };
const address = (index: number, text: string): InterfaceAddress => {
  const [address = "", length] = text.split("/");
  return { index, family: text.includes(":") ? 6 : 4, address, prefixLength: Number(length) };
};
const route = (index: number, to: string, gateway?: string, more: Partial<Route> = {}): Route => {
  const { family, address: destination, prefixLength } = address(index, to);
  const hops = [{ index, ...(gateway && { gateway }) }];
  return { family, destination, prefixLength, table: 254, isOfKernel: false, hops, ...more };
};

function fake(t: Test, interfaces = ["eth0"]): FakeSysfs {
  return new FakeSysfs(t).addDriver("igb").addDevice(nic, { driver: "igb", interfaces });
}

function put(sysfs: FakeSysfs, path: string, text: string): void {
  const at = join(sysfs.root, path);
  mkdirSync(dirname(at), { recursive: true });
  writeFileSync(at, text);
}

/** The uses as `kind: text`. */
async function uses(t: Test, state: Partial<LinkState>, env: NodeJS.ProcessEnv = {}): Promise<string[]> {
  const sysfs = fake(t);
  put(sysfs, "netlink.json", JSON.stringify({ ...none, ...state }));
  const machine = new Machine({ root: sysfs.root, sysfs, env });
  const found = await deviceUse(machine, readPciDevice(nic, sysfs));
  return found.map(({ kind, text, interface: name }) => (name === "eth0" ? `${kind}: ${text}` : `${name}?`));
}

t.test("up, with a carrier, is no use", async (t) => {
  t.same(await uses(t, {}), []);
  const addresses = [address(2, "fe80::5054:ff:fe00:1/64"), address(1, "127.0.0.1/8"), address(1, "::1/128")];
  const routes = [
    route(2, "fe80::/64", undefined, { isOfKernel: true }),
    route(2, "10.0.0.1/32", undefined, { table: 255 }),
  ];
  t.same(await uses(t, { addresses, routes }), [], "nor what every interface gets");
});

t.test("addresses and routes", async (t) => {
  t.same(await uses(t, { addresses: [address(2, "10.0.0.1/24"), address(2, "2001:db8::1/64")] }), [
    "address: eth0 has the address 10.0.0.1/24",
    "address: eth0 has the address 2001:db8::1/64",
  ]);
  t.same(await uses(t, { addresses: [address(2, "169.254.3.4/16")] }), [
    "address: eth0 has the address 169.254.3.4/16",
  ]);
  const routes = [
    route(2, "0.0.0.0/0", "10.0.0.254"),
    route(2, "::/0", "fe80::1"),
    route(2, "192.0.2.0/24", undefined, { table: 1000 }),
    route(1, "198.51.100.0/24"),
  ];
  t.same(await uses(t, { routes }), [
    "default-route: eth0 has the default route of IPv4 via 10.0.0.254",
    "default-route: eth0 has the default route of IPv6 via fe80::1",
    "route: eth0 has the route to 192.0.2.0/24",
  ]);
  const hops = [{ index: 7 }, { index: 2, gateway: "10.0.0.3" }];
  t.same(await uses(t, { routes: [route(2, "192.0.2.0/24", "", { hops })] }), [
    "route: eth0 has the route to 192.0.2.0/24 via 10.0.0.3",
  ]);
  const many = Array.from({ length: 9 }, (_, k) => route(2, `192.0.${k}.0/24`));
  t.equal((await uses(t, { routes: many })).at(-1), "route: eth0 has 5 more routes");
});

t.test("members, and what their master is used for", async (t) => {
  for (const kind of ["bond", "bridge", "team", "openvswitch"]) {
    const links = [
      { ...eth0, master: 5, memberKind: kind },
      { ...up, index: 5, name: "top", kind },
    ];
    const state = {
      links,
      addresses: [address(5, "10.0.0.1/24")],
      routes: [route(5, "0.0.0.0/0", "10.0.0.254")],
    };
    t.same(await uses(t, state), [
      `${kind}: eth0 is a member of ${kind} top`,
      "address: top, over eth0, has the address 10.0.0.1/24",
      "default-route: top, over eth0, has the default route of IPv4 via 10.0.0.254",
    ]);
  }
  const vrf = [
    { ...eth0, master: 5, memberKind: "vrf" },
    { ...up, index: 5, name: "red", kind: "vrf" },
  ];
  const inVrf = await uses(t, { links: vrf, addresses: [address(5, "127.0.0.1/8")] });
  t.same(inVrf, ["vrf: eth0 is a member of vrf red"], "which is no more than a table of routes");
  t.same(await uses(t, { links: [{ ...eth0, master: 9 }] }), ["member: eth0 is a member of interface 9"]);
  t.same(await uses(t, { links: [{ ...eth0, master: 9, memberKind: "bond" }] }), [
    "bond: eth0 is a member of bond interface 9",
  ]);
});

t.test("Open vSwitch: the daemon alone knows which of its interfaces a port belongs to", async (t) => {
  const kind = "openvswitch";
  const links = [
    { ...eth0, master: 5 },
    { ...up, index: 5, name: "ovs-system", kind },
    { ...up, index: 6, name: "br-ex", kind },
  ];
  t.match(await uses(t, { links, addresses: [address(6, "10.0.0.1/24")] }), [
    "openvswitch: eth0 is a member of openvswitch ovs-system",
    "address: br-ex, over eth0, has the address 10.0.0.1/24",
  ]);
});

t.test("what stands on it, however high", async (t) => {
  const links = [
    { ...eth0, master: 5 },
    { ...up, index: 5, name: "bond0", kind: "bond", master: 6 },
    { ...up, index: 6, name: "br0", kind: "bridge" },
    { ...up, index: 7, name: "br0.9", kind: "vlan", lower: 6 },
    { ...up, index: 8, name: "mac0", kind: "macvtap", lower: 2 },
    { ...up, index: 9, name: "ipv0", kind: "ipvlan", lower: 2 },
    { ...up, index: 10, name: "sec0", kind: "macsec", lower: 2 },
    { ...up, index: 11, name: "veth0", kind: "veth", lower: 2 },
    { ...up, index: 12, name: "far0", kind: "vlan", lower: 2, lowerIsElsewhere: true },
    { ...up, index: 13, name: "br1", kind: "bridge" },
  ];
  t.same(await uses(t, { links, addresses: [address(7, "10.0.0.1/24"), address(13, "10.1.0.1/24")] }), [
    "bond: eth0 is a member of bond bond0",
    "bridge: bond0, over eth0, is a member of bridge br0",
    "vlan: br0.9 (vlan) stands on br0",
    "address: br0.9, over eth0, has the address 10.0.0.1/24",
    "macvlan: mac0 (macvtap) stands on eth0",
    "ipvlan: ipv0 (ipvlan) stands on eth0",
    "stacked: sec0 (macsec) stands on eth0",
  ]);
  const circle = [
    { ...eth0, kind: "vlan", lower: 5, master: 5 },
    { ...up, index: 5, name: "x", kind: "bond", lower: 2 },
  ];
  t.equal((await uses(t, { links: circle })).length, 3, "a circle is gone round once");
});

t.test("an XDP program", async (t) => {
  t.same(await uses(t, { links: [{ ...eth0, hasXdp: true }] }), ["xdp: eth0 has an XDP program attached"]);
});

t.test("this session's SSH connection", async (t) => {
  const ssh = "ssh: eth0 carries this session's SSH connection";
  const connection = (text: string) => ({ SSH_CONNECTION: text });
  const lowerThan = (state: Partial<LinkState>, text: string) => uses(t, state, connection(text));
  const own = { addresses: [address(2, "10.0.0.1/24")] };
  t.match(await lowerThan(own, "192.0.2.9 5000 10.0.0.1 22"), [
    ssh,
    "address: eth0 has the address 10.0.0.1/24",
  ]);
  t.match(await lowerThan(own, "::ffff:192.0.2.9 5000 ::ffff:10.0.0.1 22"), [ssh]);
  t.notMatch(await lowerThan(own, "192.0.2.9 5000 10.0.0.2 22"), [/ssh/]);
  t.same(await lowerThan({}, "fe80::9%eth0 5000 fe80::1%eth0 22"), [ssh], "the zone names it");
  t.same(await lowerThan({}, "nonsense"), []);
  // the address is on lo, as of routers: the way back counts
  const routed = {
    addresses: [address(1, "10.9.9.9/32")],
    routes: [route(7, "0.0.0.0/0"), route(2, "192.0.2.0/24", undefined, { isOfKernel: true })],
  };
  t.same(await lowerThan(routed, "192.0.2.9 5000 10.9.9.9 22"), [ssh]);
  t.same(await lowerThan(routed, "198.51.100.1 5000 10.9.9.9 22"), [], "by the default route, elsewhere");
  t.same(await lowerThan(routed, "127.0.0.1 5000 127.0.0.1 22"), []);
  t.same(await lowerThan(routed, "x:y 5000 10.9.9.9 22"), []);
  const links = [
    { ...eth0, master: 5 },
    { ...up, index: 5, name: "bond0", kind: "bond" },
  ];
  const bonded = { links, addresses: [address(5, "2001:db8::1/64")] };
  t.match(await lowerThan(bonded, "2001:db8::9 5000 2001:db8::1 22"), [
    "bond: eth0 is a member of bond bond0",
    "ssh: bond0, over eth0, carries this session's SSH connection",
  ]);
});

t.test("sudo has dropped SSH_CONNECTION: a process above has it", async (t) => {
  const sysfs = fake(t);
  put(sysfs, "netlink.json", JSON.stringify({ ...none, addresses: [address(2, "10.0.0.1/24")] }));
  put(sysfs, `proc/${process.ppid}/environ`, "HOME=/\0");
  put(sysfs, `proc/${process.ppid}/stat`, `${process.ppid} (su do) x) S 77 1 1`);
  put(sysfs, "proc/77/environ", "A=b\0SSH_CONNECTION=192.0.2.9 5000 10.0.0.1 22\0");
  const machine = new Machine({ root: sysfs.root, sysfs });
  t.match(await deviceUse(machine, readPciDevice(nic, sysfs)), [{ kind: "ssh" }, { kind: "address" }]);
});

t.test("interfaces in other network namespaces", async (t) => {
  const gone = fake(t, []);
  const look = (sysfs: FakeSysfs, state?: LinkState) =>
    deviceUse(new Machine({ root: sysfs.root, sysfs, env: {} }), readPciDevice(nic, sysfs), state);
  t.same(await look(gone), [], "its driver has made none");
  mkdirSync(join(gone.root, "bus/pci/devices", nic, "net"));
  t.match(await look(gone), [{ interface: "", kind: "namespace", text: /ip -all netns exec ip link/ }]);
  const virtio = fake(t, []);
  mkdirSync(join(virtio.root, "bus/pci/devices", nic, "virtio3/net"), { recursive: true });
  t.match(await look(virtio), [{ kind: "namespace" }]);
  t.match(await look(fake(t), { ...none, links: [lo] }), [{ interface: "eth0", kind: "namespace" }]);
  const byParent = {
    ...none,
    links: [{ ...eth0, name: "lan0", parentBus: "pci", parent: nic, hasXdp: true }],
  };
  t.match(await look(fake(t, []), byParent), [{ interface: "lan0", kind: "xdp" }], "sysfs is another's");
});

t.test("recorded machines", async (t) => {
  const sysfs = fake(t);
  const machine = new Machine({ root: sysfs.root, sysfs });
  t.equal(readLinkState(machine), undefined);
  t.same(await deviceUse(machine, readPciDevice(nic, sysfs)), [], "nothing is known of its addresses");
  for (const text of ["{", "null", "[]", '{"links":{}}', '{"links":[1]}', '{"links":[],"routes":5}']) {
    put(sysfs, "netlink.json", text);
    t.throws(() => readLinkState(machine), { code: "RECORD_VALUE" }, text);
  }
  put(sysfs, "netlink.json", '{"links":[]}');
  t.same(readLinkState(machine), { links: [], elsewhere: [], addresses: [], routes: [] });
});
