// What the kernel itself says of interfaces in use, in a network namespace of the test's own: addresses, routes, bridge
// and macvlan on veth pairs, the same as ip(8) says. What needs modules is in test/cli/sriov.bed.test.ts.
import { fileURLToPath } from "node:url";
import t from "tap";
import type { Use } from "../../src/devices/in-use.ts";
import type { LinkState } from "../../src/devices/link-state.ts";
import { Netns, netnsBed, Veth } from "../beds/netns.ts";
import type { UseStep } from "./guest/uses.ts";

const skip = netnsBed.missing() ?? false;
t.setTimeout(60_000);

const program = fileURLToPath(new URL("./guest/uses.js", import.meta.url));

/** Whoever runs the tests may have come by SSH himself. */
const noSession = "127.0.0.1 1 127.0.0.2 2";

async function look(netns: Netns, steps: readonly UseStep[], session = noSession) {
  const words = [`SSH_CONNECTION=${session}`, process.execPath, program, JSON.stringify(steps)];
  const text = await netns.exec("env", words);
  return JSON.parse(text) as { found: Record<string, Use[]>; state: LinkState };
}

const kinds = (uses: readonly Use[] | undefined) => uses?.map(({ kind, text }) => `${kind}: ${text}`);

const pairs = 7;
/** v0 … are the ends that are looked at, w0 … their peers. */
const setup = `
  for f in all default; do echo 0 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done
  for k in 0 1 2 3 4 5 6; do ip link set v$k down; ip link set v$k up; done
  ip address add 10.1.0.1/24 dev v0
  ip -6 address add 2001:db8:1::1/64 dev v1 nodad
  ip link add br0 type bridge; ip link set v2 master br0; ip link set br0 up
  ip address add 10.2.0.1/24 dev br0; ip route add default via 10.2.0.254 dev br0
  ip -6 route add default via fe80::1 dev br0
  ip link add link v3 name mac0 type macvlan mode bridge
  ip route add 198.51.100.0/24 nexthop via 10.1.0.2 dev v0 nexthop via 10.5.0.2 dev v5 onlink
  ip route add 203.0.113.0/24 dev v5 table 1000
`;

t.test("interfaces in use, as the kernel and ip say", { skip }, async (t) => {
  await netnsBed.setup();
  await using netns = await Netns.create();
  for (let k = 0; k < pairs; k++) await Veth.create({ name: `v${k}`, netns }, { name: `w${k}`, netns });
  await netns.exec("bash", ["-ec", setup]);
  await netns.exec(process.execPath, [
    fileURLToPath(new URL("./guest/attach-xdp.js", import.meta.url)),
    "v6",
  ]);
  const steps = Array.from({ length: pairs }, (_, k): UseStep => [`v${k}`, "", `v${k}`, ""]);
  const { found, state } = await look(netns, steps);
  t.same(kinds(found.v0), [
    "address: v0 has the address 10.1.0.1/24",
    "route: v0 has the route to 198.51.100.0/24 via 10.1.0.2",
  ]);
  t.same(kinds(found.v1), ["address: v1 has the address 2001:db8:1::1/64"]);
  t.same(kinds(found.v2), [
    "bridge: v2 is a member of bridge br0",
    "address: br0, over v2, has the address 10.2.0.1/24",
    "default-route: br0, over v2, has the default route of IPv4 via 10.2.0.254",
    "default-route: br0, over v2, has the default route of IPv6 via fe80::1",
  ]);
  t.same(kinds(found.v3), ["macvlan: mac0 (macvlan) stands on v3"]);
  t.same(kinds(found.v4), [], "up, with its peer, a link-local address and the routes that follow from it");
  t.match(kinds(found.v5), [/route: v5 has the route to/, /route: v5 has the route to/]);
  t.same(kinds(found.v6), ["xdp: v6 has an XDP program attached"]);
  await compareLinks(t, netns, state);
  await compareRoutes(t, netns, state);
  const { found: byBridge } = await look(netns, [steps[2]!, steps[4]!], "192.0.2.9 5000 10.2.0.1 22");
  t.match(kinds(byBridge.v2)?.[1], "ssh: br0, over v2, carries this session's SSH connection");
  t.same(kinds(byBridge.v4), []);
});

t.test("what stands on an interface in other namespaces", { skip }, async (t) => {
  await netnsBed.setup();
  await using netns = await Netns.create();
  await using other = await Netns.create();
  for (let k = 0; k < 4; k++) await Veth.create({ name: `v${k}`, netns }, { name: `w${k}`, netns });
  const lines = [
    "ip link add link v0 name mac0 type macvlan mode bridge",
    `ip link set mac0 netns ${other.name}`,
    `ip link add link v1 netns ${other.name} name mac1 type macvlan mode bridge`,
    "ip link add br0 type bridge",
    "ip link set v2 master br0",
    "ip link add link br0 name mac2 type macvlan",
    `ip link set mac2 netns ${other.name}`,
    `ip link set w3 netns ${other.name}`, // a veth's other end: nothing that stands on it
  ];
  await netns.exec("bash", ["-ec", lines.join("; ")]);
  // of the same numbers, on interfaces of that namespace itself and of a third one
  await Veth.create({ name: "v3", netns: other }, { name: "w4", netns });
  await other.exec("bash", ["-ec", "ip link add link v3 name mac3 type macvlan"]);
  const steps = Array.from({ length: 4 }, (_, k): UseStep => [`v${k}`, "", `v${k}`, ""]);
  const { found } = await look(netns, steps);
  const where = `in network namespace ${other.name},`;
  t.same(kinds(found.v0), [`macvlan: mac0 (macvlan), ${where} stands on v0`]);
  t.same(kinds(found.v1), [`macvlan: mac1 (macvlan), ${where} stands on v1`]);
  t.same(kinds(found.v2), [
    "bridge: v2 is a member of bridge br0",
    `macvlan: mac2 (macvlan), ${where} stands on br0`,
  ]);
  t.same(kinds(found.v3), []);
});

t.test("an interface that stands here on one of a container's, without a name", { skip }, async (t) => {
  await netnsBed.setup();
  await using netns = await Netns.create();
  await Veth.create({ name: "v0", netns }, { name: "w0", netns });
  // a namespace that only a process has
  const child = netns.spawn("sleeper", "unshare", ["--net", "sh", "-c", "echo here; exec sleep 100"]);
  try {
    await child.waitFor(/here/, 10_000);
    await netns.exec("bash", [
      "-ec",
      `ip link add link v0 name mac0 type macvlan; ip link set mac0 netns ${child.pid}`,
    ]);
    const { found } = await look(netns, [["v0", "", "v0", ""]]);
    t.match(kinds(found.v0), [
      `macvlan: mac0 (macvlan), in the network namespace of sleep (process ${child.pid}), stands on v0`,
    ]);
  } finally {
    await child.stop("SIGKILL", 1000);
  }
});

t.test("an interface whose message is longer than what is read at once", { skip }, async (t) => {
  await netnsBed.setup();
  await using netns = await Netns.create();
  await Veth.create({ name: "v0", netns }, { name: "w0", netns });
  const names = Array.from({ length: 450 }, (_, k) => `${"long".repeat(25)}${k}`);
  const lines = names.map((name) => `link property add dev v0 altname ${name}`);
  await netns.exec("bash", [
    "-ec",
    `ip -batch - <<< "$1"; ip address add 10.1.0.1/24 dev v0`,
    "bash",
    lines.join("\n"),
  ]);
  const { found, state } = await look(netns, [["v0", "", "v0", ""]]);
  t.same(kinds(found.v0), ["address: v0 has the address 10.1.0.1/24"]);
  t.same(state.links.map(({ name }) => name).sort(), ["lo", "v0", "w0"]);
});

t.test("nexthop objects, and a kernel that tells no more than their ids", { skip }, async (t) => {
  await netnsBed.setup();
  await using netns = await Netns.create();
  await Veth.create({ name: "v0", netns }, { name: "w0", netns });
  const lines = [
    "echo 0 > /proc/sys/net/ipv4/nexthop_compat_mode",
    "ip nexthop add id 7 via 10.1.0.2 dev v0 onlink",
    "ip nexthop add id 8 group 7",
    "ip route add 198.51.100.0/24 nhid 7",
    "ip route add 203.0.113.0/24 nhid 8",
  ];
  await netns.exec("bash", ["-ec", lines.join("; ")]);
  const { found } = await look(netns, [["v0", "", "v0", ""]]);
  t.same(kinds(found.v0), [
    "route: v0 has the route to 198.51.100.0/24",
    "route: v0 has the route to 203.0.113.0/24",
  ]);
});

type Assert = Pick<typeof t, "same" | "ok">;

async function compareLinks(t: Assert, netns: Netns, { links, addresses }: LinkState): Promise<void> {
  interface IpLink {
    ifindex: number;
    ifname: string;
    operstate: string;
    address: string;
    master?: string;
    linkinfo?: { info_kind?: string; info_slave_kind?: string };
    addr_info: { local: string; prefixlen: number }[];
  }
  const wanted = JSON.parse(await netns.exec("ip", ["-j", "-d", "address", "show"])) as IpLink[];
  t.same(
    links.map((link) => ({
      ...{
        ifindex: link.index,
        ifname: link.name,
        operstate: link.operState.toUpperCase(),
        address: link.mac,
      },
      ...{
        master: links.find(({ index }) => index === link.master)?.name,
        kind: link.kind,
        member: link.memberKind,
      },
      addresses: addresses
        .filter(({ index }) => index === link.index)
        .map((own) => `${own.address}/${own.prefixLength}`),
    })),
    wanted.map(({ ifindex, ifname, operstate, address, master, linkinfo, addr_info: own }) => ({
      ...{ ifindex, ifname, operstate, address },
      ...{ master, kind: linkinfo?.info_kind, member: linkinfo?.info_slave_kind },
      addresses: own.map(({ local, prefixlen }) => `${local}/${prefixlen}`),
    })),
  );
}

async function compareRoutes(t: Assert, netns: Netns, { links, routes }: LinkState): Promise<void> {
  interface IpRoute {
    type?: string;
    dst: string;
    gateway?: string;
    dev?: string;
    table?: string;
    nexthops?: { gateway?: string; dev: string }[];
  }
  const listed: string[] = [];
  for (const family of ["-4", "-6"]) {
    const text = await netns.exec("ip", ["-j", family, "route", "show", "table", "all"]);
    for (const { dst, gateway, dev, table, type, nexthops } of JSON.parse(text) as IpRoute[]) {
      if (table === "local" || (type !== undefined && type !== "unicast")) continue;
      const hops = nexthops ?? [{ gateway, dev }];
      listed.push(
        `${dst} ${hops.map((hop) => `${hop.gateway ?? ""}@${hop.dev}`).join(" ")} ${table ?? "main"}`,
      );
    }
  }
  const name = (index: number) => links.find((link) => link.index === index)?.name;
  const own = routes
    .filter(({ table }) => table !== 255)
    .map(({ destination, prefixLength, hops, table, family }) => {
      const isHost = prefixLength === (family === 4 ? 32 : 128);
      const dst = prefixLength === 0 ? "default" : isHost ? destination : `${destination}/${prefixLength}`;
      const to = hops.map(({ index, gateway = "" }) => `${gateway}@${name(index)}`).join(" ");
      return `${dst} ${to} ${table === 254 ? "main" : table}`;
    });
  t.same(own.sort(), listed.sort());
  t.ok(
    listed.some((line) => line.includes("@v0 ") && line.includes("@v5")),
    "a multipath route among them",
  );
}
