// Flow rules in testpmd's words become rule objects, or a message at the word that is wrong.
import t from "tap";
import { flowRule, ruleText } from "../../../../src/cli/testpmd/console/flow-grammar.ts";
import { splitLine, WordError } from "../../../../src/cli/testpmd/console/grammar.ts";
import type { FlowRule } from "../../../../src/ethdev/flow.ts";
import { fakeSession } from "./fake-session.ts";

const { session } = fakeSession();

function parse(line: string): FlowRule {
  return flowRule.tail!.parse(splitLine(line), line.length, session) as FlowRule;
}

const full = { spec: 53, mask: 0xffff };

t.test("rules", async (t) => {
  t.same(parse("ingress pattern eth type is 0x88f7 / end actions queue index 1 / end"), {
    ingress: true,
    pattern: [{ item: "eth", type: { spec: 0x88f7, mask: 0xffff } }],
    actions: [{ action: "queue", index: 1 }],
  });
  t.same(
    parse(
      "group 1 priority 2 ingress pattern eth / ipv4 src is 1.2.3.4 dst is 5.6.7.8 / " +
        "udp dst is 53 / end actions drop / end",
    ),
    {
      group: 1,
      priority: 2,
      ingress: true,
      pattern: [
        { item: "eth" },
        {
          item: "ipv4",
          src: { spec: Uint8Array.of(1, 2, 3, 4), mask: new Uint8Array(4).fill(255) },
          dst: { spec: Uint8Array.of(5, 6, 7, 8), mask: new Uint8Array(4).fill(255) },
        },
        { item: "udp", dst: full },
      ],
      actions: [{ action: "drop" }],
    },
  );
  t.same(parse("egress transfer pattern end actions mark id 7 / count / rss queues 0 1 end / void / end"), {
    egress: true,
    transfer: true,
    pattern: [],
    actions: [
      { action: "mark", id: 7 },
      { action: "count" },
      { action: "rss", queues: [0, 1] },
      { action: "void" },
    ],
  });
});

t.test("spec, last, mask and prefix", async (t) => {
  const field = (words: string) => {
    const { pattern } = parse(`ingress pattern ${words} / end actions drop / end`);
    const { item: _, ...fields } = pattern[0]!;
    return Object.values(fields)[0];
  };
  t.same(field("tcp flags spec 0x02 flags mask 0x02"), { spec: 2, mask: 2 });
  t.same(field("udp dst spec 10 dst last 20"), { spec: 10, last: 20 });
  t.same(field("udp dst spec 0x1200 dst prefix 8"), { spec: 0x1200, mask: 0xff00 });
  t.same(field("ipv4 src spec 10.0.0.0 src prefix 12"), {
    spec: Uint8Array.of(10, 0, 0, 0),
    mask: Uint8Array.of(255, 240, 0, 0),
  });
  t.same(field("vlan vid is 5"), { spec: 5, mask: 0xfff });
  t.same(field("eth dst is 02:00:00:00:00:01"), {
    spec: Uint8Array.of(2, 0, 0, 0, 0, 1),
    mask: new Uint8Array(6).fill(255),
  });
});

t.test("IPv6 addresses", async (t) => {
  const bytes = (text: string) => {
    const { pattern } = parse(`ingress pattern ipv6 dst is ${text} / end actions drop / end`);
    return Buffer.from((pattern[0] as { dst: { spec: Uint8Array } }).dst.spec).toString("hex");
  };
  t.equal(bytes("::"), "00".repeat(16));
  t.equal(bytes("::1"), `${"00".repeat(15)}01`);
  t.equal(bytes("fe80::1:2"), `fe80${"00".repeat(10)}00010002`);
  t.equal(bytes("1:2:3:4:5:6:7:8"), "00010002000300040005000600070008");
  t.equal(bytes("2001:db8::"), `20010db8${"00".repeat(12)}`);
  t.equal(bytes("::ffff:1.2.3.4"), `${"00".repeat(10)}ffff01020304`);
});

t.test("faults, at their column", async (t) => {
  const faults: readonly [line: string, word: string, message: RegExp][] = [
    ["sideways pattern end actions drop / end", "sideways", /cannot stand here/],
    ["ingress pattern ether / end actions drop / end", "ether", /cannot stand here/],
    ["ingress pattern eth colour is 1 / end actions drop / end", "colour", /cannot stand here/],
    ["ingress pattern eth type like 1 / end actions drop / end", "like", /cannot stand here/],
    ["ingress pattern eth type is 0x12345 / end actions drop / end", "0x12345", /no number of 16 bits/],
    ["ingress pattern ipv4 src is 1.2.3 / end actions drop / end", "1.2.3", /no address/],
    ["ingress pattern ipv4 src is ::1 / end actions drop / end", "::1", /an IPv6 address/],
    ["ingress pattern ipv4 src prefix 33 / end actions drop / end", "33", /no prefix length/],
    ["ingress pattern eth dst is 02:00 / end actions drop / end", "02:00", /is not an address/],
    ["ingress pattern end actions steal / end", "steal", /cannot stand here/],
    ["ingress pattern end actions queue index x / end", "x", /no number/],
    ["ingress pattern end actions rss queues a end / end", "a", /no queue/],
    ["ingress pattern end actions drop / end more", "more", /too much/],
    ["ingress pattern i / end actions drop / end", "i", /may be ipv4 or ipv6 or icmp/],
  ];
  for (const [line, word, message] of faults) {
    try {
      parse(line);
      t.fail(line);
    } catch (error) {
      t.ok(error instanceof WordError, line);
      t.match((error as WordError).message, message, line);
      t.equal((error as WordError).at, line.lastIndexOf(` ${word}`) + 1, line);
    }
  }
  t.throws(() => parse("ingress pattern udp dst mask 0xff / end actions drop / end"), {
    message: /has no value/,
  });
});

t.test("wherever a rule ends too early, what comes next is offered and asked for", async (t) => {
  const rule =
    "group 0 ingress pattern eth / ipv4 src is 1.2.3.4 / tcp flags spec 2 flags mask 2 / end " +
    "actions rss queues 0 1 end / queue index 1 / end";
  const words = splitLine(rule);
  parse(rule);
  for (let count = 0; count < words.length; count++) {
    const before = words.slice(0, count);
    const hints = flowRule.tail!.complete(before, "", session).map(({ word }) => word);
    const next = words[count]!.text;
    t.ok(hints.includes(next) || hints.some((hint) => hint.startsWith("<")), `${next} after ${count} words`);
    t.throws(() => flowRule.tail!.parse(before, 0, session), { message: /goes on/ });
  }
});

t.test("as testpmd lists it", async (t) => {
  const rule = parse(
    "ingress pattern eth / void / ipv4 / udp dst is 53 / end actions count / queue index 1 / end",
  );
  t.equal(ruleText(rule), "ETH IPV4 UDP => COUNT QUEUE");
});
