// A port's flow rules: numbers, checks that no driver has to make, names of what a driver has not.
import t from "tap";
import type { FlowDevice, FlowRule } from "../../src/ethdev/flow.ts";
import { PortFlow } from "../../src/ethdev/port-flow.ts";

const rule = (changes: Partial<FlowRule> = {}): FlowRule => ({
  ingress: true,
  pattern: [{ item: "eth", type: { spec: 0x88f7 } }],
  actions: [{ action: "queue", index: 1 }],
  ...changes,
});

function rig(parts: Partial<FlowDevice> | null = {}) {
  const live = new Set<unknown>();
  const device: FlowDevice = {
    validate: () => {},
    create: (made) => {
      live.add(made);
      return made;
    },
    destroy: (handle) => void live.delete(handle),
    ...parts,
  };
  const flow = new PortFlow(() => ({
    title: "port 0 (net_x0)",
    driver: "net_x",
    device: parts === null ? undefined : device,
    rxQueues: 2,
  }));
  return { flow, live };
}

t.test("rules are numbered as testpmd numbers them", async (t) => {
  const { flow, live } = rig();
  t.same(
    [flow.create(rule()), flow.create(rule({ priority: 2 })), flow.create(rule({ group: 1 }))],
    [0, 1, 2],
  );
  flow.destroy(1);
  t.equal(flow.create(rule()), 3, "one more than the highest");
  t.same(
    flow.list().map(({ id }) => id),
    [0, 3, 2],
    "by group, priority, number",
  );
  t.same(
    flow.list([1]).map(({ id }) => id),
    [2],
  );
  t.equal(live.size, 3);
  t.throws(() => flow.destroy(1), { code: "FLOW_ID", fix: "there are 0, 2, 3" });
  flow.flush();
  t.equal(live.size, 0);
  t.same(flow.list(), []);
  t.equal(flow.create(rule()), 0);
});

t.test("a rule is a copy: what the caller changes later is not the rule's", async (t) => {
  const { flow } = rig();
  const actions = [{ action: "queue" as const, index: 1 }];
  flow.create(rule({ actions }));
  actions[0]!.index = 0;
  t.same(flow.list()[0]?.rule.actions, [{ action: "queue", index: 1 }]);
});

t.test("what no device would take", async (t) => {
  const { flow, live } = rig();
  const wrong: readonly [FlowRule, RegExp][] = [
    [rule({ ingress: false }), /no direction/],
    [rule({ actions: [] }), /no action/],
    [rule({ actions: [{ action: "void" }] }), /no action/],
    [rule({ actions: [{ action: "queue", index: 2 }] }), /receive queue 2/],
    [rule({ actions: [{ action: "queue", index: 0.5 }] }), /receive queue 0.5/],
    [rule({ actions: [{ action: "rss", queues: [0, 7] }] }), /receive queue 7/],
    [rule({ actions: [{ action: "rss", queues: [] }] }), /no queues/],
    [rule({ actions: [{ action: "mark", id: -1 }] }), /mark -1/],
    [rule({ actions: [{ action: "steal" } as never] }), /no action steal/],
    [rule({ group: -1 }), /group -1/],
    [rule({ priority: 2 ** 32 }), /priority/],
    [rule({ pattern: [{ item: "ether" } as never] }), /no item ether/],
    [rule({ pattern: [{ item: "eth", kind: { spec: 1 } } as never] }), /no field kind/],
    [rule({ pattern: [{ item: "eth", type: { spec: 0x10000 } }] }), /eth type does not fit/],
    [rule({ pattern: [{ item: "eth", type: {} } as never] }), /eth type does not fit/],
    [rule({ pattern: [{ item: "udp", dst: { spec: 1, last: -2 } }] }), /udp dst does not fit/],
    [rule({ pattern: [{ item: "ipv4", src: { spec: new Uint8Array(3) } }] }), /ipv4 src does not fit/],
    [rule({ pattern: [{ item: "ipv4", src: { spec: 1 } } as never] }), /ipv4 src does not fit/],
    [rule({ pattern: new Array(33).fill({ item: "void" }) }), /too long/],
  ];
  for (const [one, message] of wrong) {
    t.throws(() => flow.validate(one), { code: "FLOW_RULE", message });
    t.throws(() => flow.create(one), { code: "FLOW_RULE", message });
  }
  t.equal(live.size, 0);
});

t.test("what a driver has not", async (t) => {
  const none = rig(null).flow;
  for (const ask of [() => none.create(rule()), () => none.validate(rule())]) {
    t.throws(ask, { code: "NOT_SUPPORTED", message: "port 0 (net_x0): net_x has not flow rules" });
  }
  const isolation = { code: "NOT_SUPPORTED", message: "port 0 (net_x0): net_x has not flow isolation" };
  t.throws(() => none.isolate(true), { ...isolation, fix: /^leave --flow-isolate-all out/ });
  t.same(none.list(), []);
  none.flush();
  const { flow } = rig();
  t.throws(() => flow.isolate(true), isolation);
  const counting = flow.create(rule({ actions: [{ action: "count" }] }));
  t.throws(() => flow.query(counting), { code: "NOT_SUPPORTED", message: /counting/ });
  t.throws(() => flow.query(flow.create(rule())), { code: "FLOW_RULE", message: /does not count/ });
});

t.test("counting and isolation where a driver has them", async (t) => {
  const asked: boolean[] = [];
  const { flow } = rig({ query: () => ({ hits: 2, bytes: 120 }), isolate: (on) => void asked.push(on) });
  t.same(flow.query(flow.create(rule({ actions: [{ action: "count" }] }))), { hits: 2, bytes: 120 });
  flow.isolate(true);
  flow.isolate(false);
  t.same(asked, [true, false]);
});

t.test("queues do not go away under a rule", async (t) => {
  const { flow } = rig();
  flow.create(rule());
  t.throws(() => flow.requireQueues(1), { code: "FLOW_RULE", message: /rule 0 leads to receive queue 1/ });
  flow.requireQueues(2);
  flow.flush();
  flow.requireQueues(1);
});
