// Flow rules on the chips' models: what the registers have, what is refused, and that a reset loses nothing.
import t from "tap";
import { chipOf } from "../../../pmd/e1000/chips.ts";
import { Flows } from "../../../pmd/e1000/flows.ts";
import { Reg, Rfctl } from "../../../pmd/e1000/registers.ts";
import type { FlowAction, FlowItem, FlowRule } from "../../../src/ethdev/flow.ts";
import { ChipModel } from "./chip-model.ts";

const chip82576 = chipOf(0x10c9)!;
const chipI350 = chipOf(0x1521)!;
const toQueue = (index: number): FlowAction[] => [{ action: "queue", index }];
const ethertype = (type: number, queue = 1): FlowRule => ({
  ingress: true,
  pattern: [{ item: "eth", type: { spec: type } }],
  actions: toQueue(queue),
});
const tuple = (items: FlowItem[], queue = 1, priority = 0): FlowRule => ({
  ingress: true,
  priority,
  pattern: [{ item: "eth" }, ...items],
  actions: toQueue(queue),
});
const syn: FlowItem[] = [{ item: "ipv4" }, { item: "tcp", flags: { spec: 2, mask: 2 } }];
const five: FlowItem[] = [
  { item: "ipv4", src: { spec: Uint8Array.of(1, 2, 3, 4) }, dst: { spec: Uint8Array.of(5, 6, 7, 8) } },
  { item: "udp", src: { spec: 0x1234 }, dst: { spec: 53 } },
];

function rig(chip = chip82576) {
  const model = new ChipModel(chip);
  const flows = new Flows(model, chip, "0000:01:00.0");
  const at = (register: number, index = 0) => model.get(register + 4 * index);
  return { model, flows, at };
}

t.test("EtherTypes: ETQF", async (t) => {
  const { flows, at } = rig();
  const first = flows.create(ethertype(0x88f7, 3));
  flows.create(ethertype(0x8847, 0));
  // QUEUE_ENABLE, FILTER_ENABLE, the queue, the type
  t.equal(at(Reg.ETQF), (0x8000_0000 | (1 << 26) | (3 << 16) | 0x88f7) >>> 0);
  t.equal(at(Reg.ETQF, 1), (0x8000_0000 | (1 << 26) | 0x8847) >>> 0);
  flows.destroy(first);
  t.equal(at(Reg.ETQF), 0);
  t.not(at(Reg.ETQF, 1), 0);
  flows.create(ethertype(0x9999));
  t.equal(at(Reg.ETQF) & 0xffff, 0x9999, "a filter that is free is used again");
});

t.test("5-tuples of the 82576: FTQF, SAQF, DAQF, SPQF, IMIR", async (t) => {
  const { flows, at, model } = rig();
  const all = flows.create(tuple(five, 12));
  t.equal(at(Reg.SAQF), 0x04030201, "as on the wire, the first byte lowest");
  t.equal(at(Reg.DAQF), 0x08070605);
  t.equal(at(Reg.SPQF), 0x3412);
  t.equal(at(Reg.IMIR), ((7 << 29) | 0x3500) >>> 0);
  t.equal(at(Reg.IMIREXT), (1 << 12) | (1 << 19));
  t.equal(at(Reg.FTQF), (12 << 16) | (1 << 15) | (1 << 8) | 17, "all is compared");
  t.equal(model.writes.at(-1)?.offset, Reg.FTQF, "what enables it comes last");
  flows.create(tuple([{ item: "ipv4", src: { spec: Uint8Array.of(1, 2, 3, 4) } }], 2, 7));
  t.equal(at(Reg.FTQF, 1), (0xd000_8100 | (2 << 16)) >>> 0, "all but the source is left out");
  t.equal(at(Reg.IMIR, 1), 1 << 17, "no port; the last priority");
  flows.destroy(all);
  t.equal(at(Reg.FTQF), 0xf000_8000, "disabled, and compares nothing");
  t.same(
    [Reg.SAQF, Reg.DAQF, Reg.SPQF, Reg.IMIR, Reg.IMIREXT].map((one) => at(one)),
    [0, 0, 0, 0, 0],
  );
});

t.test("2-tuples of the I350: TTQF", async (t) => {
  const { flows, at, model } = rig(chipI350);
  flows.create(tuple([{ item: "ipv4" }, { item: "tcp", dst: { spec: 80 } }], 5));
  t.equal(at(Reg.FTQF), (0xe000_8100 | (5 << 16) | 6) >>> 0);
  t.equal(at(Reg.IMIR), ((7 << 29) | 0x5000) >>> 0);
  const touched = model.writes.map(({ offset }) => offset);
  t.notOk(
    touched.some((offset) => offset >= Reg.SAQF && offset < Reg.FTQF),
    "registers it has not",
  );
  t.throws(() => flows.validate(tuple(five)), { code: "FLOW_RULE", message: /destination port alone/ });
});

t.test("SYN: SYNQF, and its place among the filters", async (t) => {
  const { flows, at, model } = rig();
  const first = flows.create(tuple(syn, 6));
  t.equal(at(Reg.SYNQF), (6 << 1) | 1);
  t.equal(model.get(Reg.RFCTL) & Rfctl.SYNQFP, Rfctl.SYNQFP);
  t.throws(() => flows.create(tuple(syn, 2)), { code: "FLOW_RULE", message: /same packets/ });
  flows.destroy(first);
  t.equal(at(Reg.SYNQF), 0);
  flows.create(tuple(syn, 2, 1));
  t.equal(model.get(Reg.RFCTL) & Rfctl.SYNQFP, 0);
});

t.test("after a reset all of them are written again", async (t) => {
  const { flows, model } = rig();
  flows.create(ethertype(0x88f7));
  flows.create(tuple(five));
  flows.create(tuple(syn));
  const registers = [Reg.ETQF, Reg.SAQF, Reg.DAQF, Reg.SPQF, Reg.FTQF, Reg.IMIR, Reg.IMIREXT, Reg.SYNQF];
  const before = registers.map((one) => model.get(one));
  t.notOk(before.includes(0));
  for (const one of registers) model.set(one, 0);
  flows.restore();
  t.same(
    registers.map((one) => model.get(one)),
    before,
  );
});

t.test("as many as there are", async (t) => {
  const { flows } = rig();
  for (let k = 0; k < 8; k++) flows.create(ethertype(0x9000 + k));
  t.throws(() => flows.create(ethertype(0xa000)), { code: "FLOW_COUNT", message: /8 ethertype filters/ });
  for (let k = 0; k < 8; k++) flows.create(tuple([{ item: "ipv4" }, { item: "udp", dst: { spec: k + 1 } }]));
  t.throws(() => flows.validate(tuple(five)), { code: "FLOW_COUNT", message: /8 tuple filters/ });
  t.throws(() => flows.create(ethertype(0x9003)), { code: "FLOW_RULE", message: /same packets/ });
});

t.test("what the chips have not", async (t) => {
  const { flows, model } = rig();
  const udp: FlowItem = { item: "udp", dst: { spec: 53 } };
  const src = Uint8Array.of(1, 2, 3, 4);
  const refused: readonly [string, FlowRule, RegExp][] = [
    ["drop", { ...ethertype(0x88f7), actions: [{ action: "drop" }] }, /has not the action drop/],
    ["two actions", { ...ethertype(0x88f7), actions: [...toQueue(1), { action: "count" }] }, /action count/],
    ["egress", { ...ethertype(0x88f7), egress: true }, /what is received/],
    ["group", { ...ethertype(0x88f7), group: 1 }, /group 1/],
    ["priority of an EtherType", { ...ethertype(0x88f7), priority: 1 }, /no priority/],
    ["priority", tuple(five, 1, 8), /priority 8/],
    ["IPv4 by EtherType", ethertype(0x0800), /no EtherType filter/],
    ["no type", { ...ethertype(1), pattern: [{ item: "eth" }] }, /eth has no type/],
    ["masked type", { ...ethertype(1), pattern: [{ item: "eth", type: { spec: 8, mask: 8 } }] }, /in part/],
    ["no eth", { ...ethertype(1), pattern: [udp] }, /does not begin with eth/],
    ["VLAN", tuple([{ item: "vlan", vid: { spec: 5 } }]), /is not eth \/ ipv4/],
    ["IPv6", tuple([{ item: "ipv6" }, udp]), /is not eth \/ ipv4/],
    [
      "masked address",
      tuple([{ item: "ipv4", src: { spec: src, mask: Uint8Array.of(255, 0, 0, 0) } }]),
      /in part/,
    ],
    ["range", tuple([{ item: "ipv4" }, { item: "udp", dst: { spec: 5, last: 9 } }]), /in part/],
    ["TTL", tuple([{ item: "ipv4", ttl: { spec: 5 } }]), /ipv4 ttl/],
    ["other protocol", tuple([{ item: "ipv4", proto: { spec: 6 } }, udp]), /proto 6 is not udp/],
    ["ICMP", tuple([{ item: "ipv4" }, { item: "icmp", type: { spec: 8 } }]), /icmp is not compared/],
    ["SCTP's tag", tuple([{ item: "ipv4" }, { item: "sctp", tag: { spec: 8 } }]), /sctp tag/],
    ["nothing", tuple([{ item: "ipv4" }]), /compares nothing/],
    ["other flags", tuple([{ item: "ipv4" }, { item: "tcp", flags: { spec: 2 } }]), /SYN alone/],
    ["EtherType to queue 8", ethertype(0x88f7, 8), /cannot lead to queue 8/],
  ];
  for (const [what, rule, message] of refused) {
    t.throws(() => flows.create(rule), { code: "FLOW_RULE", message }, what);
  }
  t.same(model.writes, [], "and nothing was written");
});
