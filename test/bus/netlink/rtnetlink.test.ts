// What rtnetlink says, as a kernel said it: test/fixtures/netlink.json holds the bodies of messages of Linux 6.1, taken
// in the lab from a bond of an e1000e with a VLAN on it, and an igb with two virtual functions.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import * as abi from "../../../src/bus/netlink/abi.ts";
import { parseAddress, parseRoute } from "../../../src/bus/netlink/addresses.ts";
import { attribute, nest, words } from "../../../src/bus/netlink/attributes.ts";
import { linkRequest, parseLink } from "../../../src/bus/netlink/link.ts";
import { encodeVf, parseVfs, type VfSettings } from "../../../src/bus/netlink/vf.ts";
import { PollmodeError } from "../../../src/errors.ts";
import { repositoryRoot } from "../../beds/paths.ts";
import { Random } from "../../support/random.ts";

type Recorded = Record<"links" | "addresses" | "routes" | "vfs", string[]>;
const recorded = JSON.parse(
  readFileSync(join(repositoryRoot, "test/fixtures/netlink.json"), "utf8"),
) as Recorded;
const bodies = (kind: keyof Recorded) => recorded[kind].map((text) => Buffer.from(text, "hex"));

const links = bodies("links").map(parseLink);
const named = (name: string) => links.find((link) => link.name === name);
const indexOf = (name: string) => named(name)?.index ?? Number.NaN;

t.test("interfaces", async (t) => {
  t.match(named("lo"), { index: 1, operState: "unknown", mac: "00:00:00:00:00:00", hasXdp: false });
  t.notOk(named("lo")!.kind ?? named("lo")!.lower ?? named("lo")!.master);
  t.match(named("eth0"), {
    parentBus: "pci",
    parent: "0000:00:03.0",
    memberKind: "bond",
    master: indexOf("bond0"),
  });
  t.match(named("bond0"), { kind: "bond", operState: "up", carrier: true });
  t.match(named("bond0.5"), { kind: "vlan", lower: indexOf("bond0") });
  t.match(named("macvlan0"), { kind: "macvlan", lower: indexOf("bond0") });
  t.match(named("eth1"), { parent: "0000:00:04.0", operState: "up" });
  t.match(named("veth0"), { kind: "veth", lowerIsElsewhere: true });
});

t.test("addresses", async (t) => {
  const all = bodies("addresses").map(parseAddress);
  const of = (name: string) => all.filter((own) => own?.index === indexOf(name));
  t.match(of("bond0"), [
    { family: 4, address: "192.0.2.1", prefixLength: 24 },
    { family: 6, address: "2001:db8::1", prefixLength: 64 },
    { family: 6, address: /^fe80::/, prefixLength: 64 },
  ]);
  t.match(
    of("eth1"),
    [{ address: "10.9.0.1", prefixLength: 32 }, { address: /^fe80::/ }],
    "not the peer's 10.9.0.2",
  );
});

t.test("routes", async (t) => {
  const all = bodies("routes").flatMap((body) => parseRoute(body, () => []) ?? []);
  const [bond, table] = [indexOf("bond0"), 254];
  const to = (destination: string) => all.filter((route) => route.destination === destination);
  t.match(to("0.0.0.0"), [
    { family: 4, prefixLength: 0, table, isOfKernel: false, hops: [{ index: bond, gateway: "192.0.2.254" }] },
  ]);
  t.match(to("::"), [{ family: 6, prefixLength: 0, hops: [{ index: bond, gateway: "2001:db8::fe" }] }]);
  const hops = ["192.0.2.2", "192.0.2.3"].map((gateway) => ({ index: bond, gateway }));
  t.match(to("198.51.100.0"), [{ prefixLength: 24, hops }]);
  t.match(to("2001:db8:5::"), [{ hops: [{ gateway: "2001:db8::2" }, { gateway: "2001:db8::3" }] }]);
  t.match(
    to("203.0.113.0"),
    [{ hops: [{ index: bond, gateway: "fe80::1" }] }],
    "by way of an IPv6 neighbour",
  );
  t.match(to("192.0.2.0"), [{ isOfKernel: true }]);
  t.match(to("198.18.0.0"), [{ table: 1000 }], "a table whose number has more than 8 bits");
  t.notOk(all.some(({ hops }) => hops.length === 0 || hops.some(({ index }) => !(index > 0))));
});

t.test("virtual functions", async (t) => {
  const vfs = parseVfs(bodies("vfs")[0]!);
  t.same([...vfs.keys()], [0, 1]);
  t.match(vfs.get(0), {
    mac: "02:00:00:00:00:07",
    vlan: { id: 100, qos: 3, protocol: "802.1Q" },
    rate: { min: 0, max: 500 },
    trust: true,
    spoofCheck: false,
  });
  t.match(vfs.get(1), { vlan: { id: 0 }, rate: { min: 0, max: 0 }, trust: false, spoofCheck: true });
});

t.test("settings of virtual functions: what is sent is what is read", async (t) => {
  const settings: VfSettings = {
    mac: "02:00:00:00:00:09",
    vlan: { id: 4095, qos: 7, protocol: "802.1ad" },
    rate: { min: 10, max: 4_000_000_000 },
    trust: false,
    spoofCheck: true,
    linkState: "disable",
  };
  const list = nest(abi.IFLA.VFINFO_LIST, nest(abi.IFLA_VF_INFO, ...encodeVf(3, settings)));
  t.same(parseVfs(Buffer.concat([linkRequest(5), list])), new Map([[3, settings]]));
  const unknown = words(3, abi.VF_SETTING_UNKNOWN);
  const silent = [abi.IFLA_VF.TRUST, abi.IFLA_VF.SPOOFCHK, abi.IFLA_VF.LINK_STATE].map((type) =>
    attribute(type, unknown),
  );
  const mac = encodeVf(3, { mac: "02:00:00:00:00:09" });
  const some = nest(abi.IFLA.VFINFO_LIST, nest(abi.IFLA_VF_INFO, ...mac, ...silent));
  t.same(
    parseVfs(Buffer.concat([linkRequest(5), some])).get(3),
    { mac: "02:00:00:00:00:09" },
    "-1: not told",
  );
});

/** As rtnl_fill_vf makes it: the list's length is what 16 bits hold of it. `told`: other than that. */
function linkOf(count: number, told?: number): Buffer {
  const vfs = Array.from({ length: count }, (_, vf) => {
    const settings = { mac: macOf(vf), vlan: { id: vf, qos: 0, protocol: "802.1Q" } as const };
    const others = Buffer.alloc(100); // of which nothing is read
    return nest(abi.IFLA_VF_INFO, ...encodeVf(vf, settings), attribute(99, others));
  });
  const header = Buffer.alloc(abi.NLATTR_BYTES);
  header.writeUInt16LE((told ?? abi.NLATTR_BYTES + Buffer.concat(vfs).length) & 0xffff);
  header.writeUInt16LE(abi.IFLA.VFINFO_LIST, 2);
  const number = attribute(abi.IFLA.NUM_VF, words(count));
  const after = nest(abi.IFLA.LINKINFO, attribute(1, Buffer.from("more\0")));
  return Buffer.concat([linkRequest(5), number, header, ...vfs, after]);
}

const macOf = (vf: number) => `02:00:00:00:${`000${vf.toString(16)}`.slice(-4).replace(/..(?=.)/, "$&:")}`;

t.test("more virtual functions than the length of their list can tell", async (t) => {
  for (const count of [0, 1, 300, 330, 400, 1000, 4000]) {
    const vfs = parseVfs(linkOf(count));
    t.equal(vfs.size, count, `${linkOf(count).length} bytes`);
    const wrong = [...vfs].filter(([vf, { mac, vlan }]) => mac !== macOf(vf) || vlan?.id !== vf);
    t.same(wrong, []);
  }
  const malformed = {
    code: "NETLINK_MALFORMED",
    message: /a list of 1000 virtual functions, \d+ bytes, says it/,
  };
  t.throws(() => parseVfs(linkOf(1000, 500)), malformed);
  const cut = linkOf(1000).subarray(0, 100_000);
  t.throws(() => parseVfs(cut), { code: "NETLINK_MALFORMED" }, "part of it is missing");
});

t.test("no message of any shape does more than fail by name", async (t) => {
  const random = new Random(Number(process.env.FUZZ_SEED ?? Date.now()));
  const parsers = {
    links: parseLink,
    addresses: parseAddress,
    routes: (body: Buffer) => parseRoute(body, () => []),
    vfs: parseVfs,
  };
  let refused = 0;
  for (const [kind, parse] of Object.entries(parsers)) {
    const all = bodies(kind as keyof Recorded);
    for (let k = 0; k < 3000; k++) {
      const body = Buffer.from(random.pick(all));
      for (let m = random.between(1, 4); m > 0; m--) body[random.below(body.length)] = random.word() & 255;
      const cut = random.chance(30) ? body.subarray(0, random.below(body.length + 1)) : body;
      try {
        parse(cut);
      } catch (error) {
        const isNamed = error instanceof PollmodeError && error.code === "NETLINK_MALFORMED";
        if (!isNamed)
          throw new Error(`seed ${random.seed}, ${kind}: ${cut.toString("hex")}`, { cause: error });
        refused++;
      }
    }
  }
  t.ok(refused > 500, `${refused} refused`);
});
