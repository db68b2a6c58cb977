// Which frames are the port's: the rules of each state, and that a change of them is the smallest.
import t from "tap";
import { UNSPREAD } from "../../../pmd/mlx5/rss.ts";
import { PRIORITIES, type Rule, RuleSet } from "../../../pmd/mlx5/rules.ts";
import {
  FLOW_PRIORITIES,
  Steering,
  type SteeringState,
  steeringRules,
  vlanBlocks,
} from "../../../pmd/mlx5/steering.ts";
import type { RdmaContext } from "../../../src/bus/rdma/context.ts";
import type { RssConfig } from "../../../src/ethdev/driver.ts";

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const OTHER = Uint8Array.of(2, 0, 0, 0, 0, 2);
const GROUP = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
const GROUP6 = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);

const SPREAD: Required<RssConfig> = { ...UNSPREAD, types: ["ipv4", "ipv6-tcp"], table: [0, 1] };
const plain: SteeringState = {
  macs: [MAC],
  groups: [],
  promiscuous: false,
  allMulticast: false,
  filtersVlans: false,
  vlans: [],
  isolated: false,
};

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** `14 020000000001/ffffffffffff eth/ipv4 -> ipv4 0,1` */
function shown({ priority, specs, to, copy }: Rule): string {
  const [eth] = specs;
  if (eth?.kind !== "eth") return "no eth";
  const { value, mask } = eth;
  const tag = value.vlan === undefined ? "" : ` vlan ${value.vlan}/${mask?.vlan}`;
  const match = `${hex(value.destination!)}/${hex(mask!.destination!)}${tag}`;
  const where = typeof to === "string" ? to : `${to.kind} ${to.table.join()}`;
  return `${priority} ${match} ${specs.map(({ kind }) => kind).join("/")} -> ${where}${copy ? " and kernel" : ""}`;
}
const rules = (change: Partial<SteeringState>, rss = UNSPREAD) =>
  steeringRules({ ...plain, ...change }, rss).map(shown);

t.test("own address alone, broadcast with a copy", async (t) => {
  t.same(rules({}), [
    "15 020000000001/ffffffffffff eth -> none 0",
    "13 ffffffffffff/ffffffffffff eth -> none 0 and kernel",
  ]);
  t.same(rules({}, SPREAD), [
    "13 020000000001/ffffffffffff eth/ipv6/tcp -> ipv6-tcp 0,1",
    "14 020000000001/ffffffffffff eth/ipv4 -> ipv4 0,1",
    "15 020000000001/ffffffffffff eth -> none 0,1",
    "13 ffffffffffff/ffffffffffff eth -> ipv4 0,1 and kernel",
  ]);
});

t.test("a copied frame meets one rule of the port's, whatever is on", async (t) => {
  const state = { ...plain, macs: [MAC, OTHER], groups: [GROUP, GROUP6] };
  for (const allMulticast of [false, true]) {
    const copied = steeringRules({ ...state, allMulticast }, SPREAD).filter(({ copy }) => copy);
    t.same(
      copied.map(shown),
      allMulticast
        ? ["13 010000000000/010000000000 eth -> ipv4 0,1 and kernel"]
        : [
            "13 ffffffffffff/ffffffffffff eth -> ipv4 0,1 and kernel",
            "13 01005e000001/ffffffffffff eth -> ipv4 0,1 and kernel",
            "13 333300000001/ffffffffffff eth -> none 0,1 and kernel",
          ],
    );
  }
  const six: Required<RssConfig> = { ...SPREAD, types: ["ipv6"] };
  t.match(rules({ groups: [GROUP6] }, six).join("\n"), /333300000001\/f+ eth -> ipv6 0,1 and kernel/);
});

t.test("promiscuous: everything, once; isolated: nothing", async (t) => {
  const everything = { promiscuous: true, allMulticast: true, filtersVlans: true, groups: [GROUP] };
  t.same(rules(everything), ["15 000000000000/000000000000 eth -> none 0"]);
  t.same(rules({ ...everything, isolated: true }), []);
});

t.test("VLAN filter: those let in, then other tagged frames to the kernel, then untagged ones", async (t) => {
  t.same(rules({ filtersVlans: true, vlans: [7] }), [
    "11 020000000001/ffffffffffff vlan 7/4095 eth -> none 0",
    "9 ffffffffffff/ffffffffffff vlan 7/4095 eth -> none 0 and kernel",
    "12 000000000000/000000000000 vlan 0/4096 eth -> kernel",
    "12 000000000000/000000000000 vlan 4096/4096 eth -> kernel",
    "15 020000000001/ffffffffffff eth -> none 0",
    "13 ffffffffffff/ffffffffffff eth -> none 0 and kernel",
  ]);
  t.same(rules({ vlans: [7] }), rules({}), "off: VLANs are as good as none");
  const all = steeringRules({ ...plain, filtersVlans: true, vlans: [7] }, SPREAD);
  t.ok(all.every(({ priority }) => priority >= FLOW_PRIORITIES && priority < PRIORITIES));
});

t.test("VLANs as blocks", async (t) => {
  const every = Array.from({ length: 4096 }, (_, vlan) => vlan);
  t.same(vlanBlocks([]), []);
  t.same(vlanBlocks([7]), [{ vlan: 7, mask: 0xfff }]);
  t.same(vlanBlocks([9, 8, 10, 5]), [
    { vlan: 5, mask: 0xfff },
    { vlan: 8, mask: 0xffe },
    { vlan: 10, mask: 0xfff },
  ]);
  t.same(vlanBlocks(every), [{ vlan: 0, mask: 0 }]);
  const odd = every.filter((vlan) => vlan % 7 !== 3 && vlan > 100);
  const blocks = vlanBlocks(odd);
  const held = every.filter((vlan) => blocks.filter((one) => (vlan & one.mask) === one.vlan).length === 1);
  t.same(held, odd, "each is in one block, and no other is");
  t.ok(vlanBlocks(every.slice(0, 4095)).length <= 12);
  t.same(rules({ filtersVlans: true, vlans: every }), rules({}), "all: as without a filter");
});

t.test("what cannot be is named, and changes nothing", async (t) => {
  const steering = new Steering("net_rdma0", MAC, false);
  t.throws(() => steering.withMac(GROUP), { code: "MAC_ADDRESS" });
  t.throws(() => steering.withAddedMac(Uint8Array.of(2)), { code: "MAC_ADDRESS" });
  t.throws(() => steering.withoutMac(MAC), { code: "MAC_OWN" });
  t.throws(() => steering.withGroups([OTHER]), { code: "MAC_ADDRESS" });
  t.throws(() => steering.withVlanFilter(true), { code: "NOT_SUPPORTED", fix: /mode=dv/ });
  t.same(steering.withVlanFilter(false), { filtersVlans: false });
  const applied: boolean[] = [];
  const fail = () => {
    applied.push(steering.now.promiscuous);
    throw new Error("the NIC refuses");
  };
  t.throws(() => steering.change({ promiscuous: true }, fail), /refuses/);
  t.equal(steering.now.promiscuous, false);
  t.same(applied, [true, false], "what was done of it is taken back");
  for (let k = 1; k <= 128; k++)
    steering.change(steering.withAddedMac(Uint8Array.of(2, 0, 0, 0, 1, k)), () => {});
  t.throws(() => steering.withAddedMac(OTHER), { code: "MAC_COUNT" });
  for (let k = 0; k < 128; k++) steering.change(steering.withVlan(2 * k, true), () => {});
  t.throws(() => steering.withVlan(3000, true), { code: "VLAN_COUNT" });
  t.same(steering.withVlan(2, true).vlans?.length, 128, "again the same one");
  t.same(steering.withVlan(3, true).vlans?.length, 129, "a neighbour");
  t.throws(
    () => {
      for (let k = 0; k < 128; k++) steering.change(steering.withVlan(2 * k, false), () => {});
      for (let k = 0; k < 300; k++) steering.change(steering.withVlan(4095 - 5 * k, true), () => {});
    },
    { code: "VLAN_COUNT" },
  );
});

/** A context that notes what is made and destroyed; the `n`-th call of create fails. */
function rig(failAt = 0) {
  const log: string[] = [];
  let calls = 0;
  const create = (rule: Rule) => {
    if (++calls === failAt) throw new Error("no room");
    const name = String(rule.priority);
    log.push(`+${name}`);
    return { destroy: () => log.push(`-${name}`) };
  };
  const context = {
    createFlow: (_: unknown, rule: Rule) => create(rule),
    createDvFlow: (rule: Rule) => create(rule),
  } as unknown as RdmaContext;
  const users = { count: 0 };
  const spreaders = {
    take: () => {
      users.count++;
      return {};
    },
    release: () => users.count--,
  } as unknown as ConstructorParameters<typeof RuleSet>[1];
  const take = () => log.splice(0).join(" ");
  return { set: new RuleSet(context, spreaders), take, users };
}

const rule = (priority: number, queue: number): Rule => ({
  priority,
  specs: [{ kind: "eth", value: { destination: MAC } }],
  to: { kind: "none", table: [queue] },
});

t.test(
  "only what changes is touched; a rule whose queue changes goes before the new one comes",
  async (t) => {
    const { set, take, users } = rig();
    const key = UNSPREAD.key;
    set.sync([rule(1, 0), rule(2, 0), rule(3, 0)], key);
    t.equal(take(), "+1 +2 +3");
    set.sync([rule(1, 0), rule(2, 1), rule(4, 0)], key);
    t.equal(take(), "-2 +2 +4 -3");
    set.sync([rule(1, 0), rule(2, 1), rule(4, 0)], new Uint8Array(40));
    t.equal(take(), "", "a key matters to those that hash alone");
    t.equal(users.count, 3);
    set.clear();
    t.equal(take(), "-4 -2 -1");
    t.equal(users.count, 0);
  },
);

t.test("what fails leaves the rules before, in all they were", async (t) => {
  const { set, take, users } = rig(5);
  const key = UNSPREAD.key;
  set.sync([rule(1, 0), rule(2, 0), rule(3, 0)], key);
  take();
  t.throws(() => set.sync([rule(1, 1), rule(5, 0)], key), /no room/);
  t.equal(take(), "-1 +1 -1 +1", "the new one away, the old one back");
  t.equal(users.count, 3);
  set.sync([rule(1, 0), rule(2, 0), rule(3, 0)], key);
  t.equal(take(), "", "nothing was lost");
});
