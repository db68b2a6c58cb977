// Flow rules in the NIC's terms, and each thing that it cannot do by its name.
import t from "tap";
import { Flows } from "../../../pmd/mlx5/flows.ts";
import { UNSPREAD } from "../../../pmd/mlx5/rss.ts";
import type { RssConfig } from "../../../src/ethdev/driver.ts";
import type { FlowAction, FlowItem, FlowRule } from "../../../src/ethdev/flow.ts";

const RSS: Required<RssConfig> = { ...UNSPREAD, types: ["ipv4", "ipv4-udp"], table: [0, 1, 0, 1] };

function rig(hasDefaultMiss = true) {
  const host = {
    port: "net_rdma0",
    hasDefaultMiss,
    rss: () => RSS,
    fails: false,
    applied: 0,
    isolated: false,
  };
  const flows = new Flows({
    ...host,
    apply: () => {
      if (host.fails) throw new Error("the NIC refuses");
      host.applied++;
    },
    isolate: (on) => {
      host.isolated = on;
    },
  });
  return { flows, host };
}

const TO_1: FlowAction = { action: "queue", index: 1 };
const rule = (pattern: FlowItem[], actions: FlowAction[] = [TO_1], priority?: number): FlowRule => ({
  ingress: true,
  pattern,
  actions,
  ...(priority === undefined ? {} : { priority }),
});
const made = (one: FlowRule) => {
  const { flows } = rig();
  flows.create(one);
  return flows.now;
};

t.test("a 5-tuple to a queue", async (t) => {
  const udp = rule([
    { item: "eth" },
    { item: "ipv4", src: { spec: Uint8Array.of(10, 0, 0, 1) }, dst: { spec: Uint8Array.of(192, 168, 0, 1) } },
    { item: "void" },
    { item: "udp", src: { spec: 1024, mask: 0xff00 }, dst: { spec: 53 } },
  ]);
  t.same(made(udp), [
    {
      priority: 0,
      specs: [
        { kind: "eth", value: {}, mask: {} },
        {
          kind: "ipv4",
          value: { source: 0x0a000001, destination: 0xc0a80001 },
          mask: { source: 0xffffffff, destination: 0xffffffff },
        },
        {
          kind: "udp",
          value: { source: 1024, destination: 53 },
          mask: { source: 0xff00, destination: 0xffff },
        },
      ],
      to: { kind: "none", table: [1] },
    },
  ]);
});

t.test("fields of all headers", async (t) => {
  const address = new Uint8Array(16).fill(1);
  const [only] = made(
    rule([
      {
        item: "eth",
        dst: { spec: Uint8Array.of(2, 0, 0, 0, 0, 1), mask: Uint8Array.of(255, 0, 0, 0, 0, 0) },
      },
      { item: "ipv6", dst: { spec: address }, tc: { spec: 4 }, proto: { spec: 6 }, flow: { spec: 77 } },
      { item: "tcp", dst: { spec: 80 } },
    ]),
  );
  t.match(only!.specs[0], { value: { destination: Uint8Array.of(2, 0, 0, 0, 0, 0) } }, "masked bits are 0");
  t.match(only!.specs[1], {
    value: { destination: address, trafficClass: 4, nextHeader: 6, flowLabel: 77 },
    mask: { destination: new Uint8Array(16).fill(255), trafficClass: 255, flowLabel: 0xfffff },
  });
  const [arp] = made(rule([{ item: "eth", type: { spec: 0x0806 } }], [{ action: "drop" }]));
  t.match(arp, { priority: 2, to: "drop", specs: [{ value: { etherType: 0x0806 } }] });
});

t.test("tags: by value, by bits, and any", async (t) => {
  const tag = (vlan: Omit<Extract<FlowItem, { item: "vlan" }>, "item">) =>
    made(
      rule([
        { item: "eth", type: { spec: 0x8100 } },
        { item: "vlan", ...vlan },
      ]),
    ).map(({ specs }) => specs[0]);
  t.match(tag({ vid: { spec: 5 } }), [{ value: { vlan: 5 }, mask: { vlan: 0xfff } }]);
  t.match(tag({ tci: { spec: 0xe005 } }), [{ value: { vlan: 0xe005 }, mask: { vlan: 0xffff } }]);
  t.match(tag({ pcp: { spec: 7 }, dei: { spec: 1 }, inner_type: { spec: 0x0800 } }), [
    { value: { vlan: 0xf000, etherType: 0x0800 }, mask: { vlan: 0xf000, etherType: 0xffff } },
  ]);
  t.match(tag({}), [
    { value: { vlan: 0 }, mask: { vlan: 0x1000 } },
    { value: { vlan: 0x1000 }, mask: { vlan: 0x1000 } },
  ]);
});

t.test("spread over queues as the port spreads, by kind", async (t) => {
  const spread = made(rule([{ item: "eth" }, { item: "ipv4" }], [{ action: "rss", queues: [2, 3, 1] }], 1));
  t.match(spread, [
    { priority: 3, to: { kind: "ipv4-udp", table: [2, 3, 1, 2] } },
    { priority: 4, to: { kind: "ipv4", table: [2, 3, 1, 2] } },
  ]);
});

t.test("priorities: a user's has three of the NIC's, the longer match first", async (t) => {
  const priority = (pattern: FlowItem[], user?: number) => made(rule(pattern, [TO_1], user))[0]!.priority;
  t.equal(priority([{ item: "eth" }, { item: "ipv6" }, { item: "udp" }]), 0);
  t.equal(priority([{ item: "eth" }, { item: "ipv6" }]), 1);
  t.equal(priority([{ item: "eth" }], 2), 8);
});

t.test("back to the kernel", async (t) => {
  const ssh = rule(
    [{ item: "eth" }, { item: "ipv4" }, { item: "tcp", dst: { spec: 22 } }],
    [{ action: "passthru" }],
  );
  t.match(made(ssh), [{ to: "kernel" }]);
  t.throws(() => rig(false).flows.create(ssh), { code: "FLOW_RULE", fix: /mode=dv/ });
});

const IPV4: FlowItem[] = [{ item: "eth" }, { item: "ipv4" }];
const REFUSED: readonly (readonly [what: RegExp, rule: FlowRule])[] = [
  [/the pattern does not begin with eth/, rule([{ item: "ipv4" }])],
  [/the pattern is empty/, rule([])],
  [/does not compare icmp/, rule([...IPV4, { item: "icmp" }])],
  [/does not compare sctp/, rule([...IPV4, { item: "sctp" }])],
  [/udp stands behind eth/, rule([{ item: "eth" }, { item: "udp" }])],
  [/eth stands behind ipv4/, rule([...IPV4, { item: "eth" }])],
  [/compare ipv4 ttl/, rule([{ item: "eth" }, { item: "ipv4", ttl: { spec: 1 } }])],
  [/compare ipv6 hop/, rule([{ item: "eth" }, { item: "ipv6", hop: { spec: 1 } }])],
  [/compare tcp flags/, rule([...IPV4, { item: "tcp", flags: { spec: 2 } }])],
  [/no ranges/, rule([...IPV4, { item: "udp", dst: { spec: 1, last: 9 } }])],
  [/not that of a tag/, rule([{ item: "eth", type: { spec: 0x0806 } }, { item: "vlan" }])],
  [
    /vlan vid is compared twice/,
    rule([{ item: "eth" }, { item: "vlan", tci: { spec: 1 }, vid: { spec: 1 } }]),
  ],
  [/group 1/, { ...rule(IPV4), group: 1 }],
  [/priority 3/, rule(IPV4, [TO_1], 3)],
  [/what is received/, { ...rule(IPV4), ingress: false, egress: true }],
  [/what is received/, { ...rule(IPV4), transfer: true }],
  [/mark: a packet has no place/, rule(IPV4, [{ action: "mark", id: 1 }, TO_1])],
  [/flag: a packet has no place/, rule(IPV4, [TO_1, { action: "flag" }])],
  [/do not count/, rule(IPV4, [{ action: "count" }, TO_1])],
  [/queue and drop/, rule(IPV4, [TO_1, { action: "drop" }])],
];
for (const [what, refused] of REFUSED) {
  t.test(`refused: ${what.source}`, async (t) => {
    const { flows, host } = rig();
    t.throws(() => flows.validate(refused), { code: "FLOW_RULE", message: what });
    t.throws(() => flows.create(refused), { code: "FLOW_RULE" });
    t.equal(host.applied, 0);
    t.same(flows.now, []);
  });
}

t.test("rules for the same packets are refused: the kernel would give both their packets", async (t) => {
  const { flows } = rig();
  const first = flows.create(rule(IPV4));
  t.throws(() => flows.create(rule(IPV4, [{ action: "drop" }])), {
    code: "FLOW_RULE",
    message: /same packets/,
  });
  t.throws(() => flows.validate(rule(IPV4, [{ action: "rss", queues: [0, 1] }])), { code: "FLOW_RULE" });
  flows.create(rule(IPV4, [{ action: "drop" }], 1));
  flows.destroy(first);
  flows.create(rule(IPV4, [{ action: "drop" }]));
});

t.test("what the NIC refuses is not kept; what it cannot take away stays", async (t) => {
  const { flows, host } = rig();
  const kept = flows.create(rule(IPV4));
  host.fails = true;
  t.throws(() => flows.create(rule([{ item: "eth" }])), /refuses/);
  t.equal(flows.now.length, 1);
  t.throws(() => flows.destroy(kept), /refuses/);
  t.equal(flows.now.length, 1);
  flows.isolate(true);
  t.equal(host.isolated, true);
});
