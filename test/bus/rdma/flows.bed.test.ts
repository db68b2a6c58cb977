// Rules as the library is handed them, against what a C program makes of its headers: specs, whole rules, matchers.
import koffi from "koffi";
import t from "tap";
import type { Core } from "../../../src/bus/rdma/core.ts";
import { createDvFlow, createFlow } from "../../../src/bus/rdma/flows.ts";
import { dropSpec, tagSpec, verbsSpec } from "../../../src/bus/rdma/match.ts";
import type { Qp } from "../../../src/bus/rdma/objects.ts";
import type { DvFlow, FlowSpec, VerbsFlow } from "../../../src/bus/rdma/types.ts";
import { softMlx5Bed } from "../../beds/softmlx5.ts";
import { runC } from "./headers.ts";

const missing = softMlx5Bed.missing();
t.setTimeout(900_000); // packages may have to be installed first
if (!missing) await softMlx5Bed.setup();
const skip = missing ?? false;

const mac = Uint8Array.of(2, 0x15, 0xb3, 0, 0, 1);
const other = Uint8Array.of(2, 0x15, 0xb3, 0, 0, 2);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytesAt = (address: bigint, bytes: number): Uint8Array =>
  koffi.decode(address, koffi.array("uint8_t", bytes, "Typed"));

/** An open device that keeps what it is called with. Handles are made up. */
function recorder() {
  const calls: { name: string; bytes: string[] }[] = [];
  const record = (name: string, ...structs: Buffer[]) => {
    calls.push({ name, bytes: structs.map(hex) });
    return 1n;
  };
  const dv = {
    mlx5dv_create_flow_matcher: (_: bigint, attributes: Buffer) => {
      const mask = bytesAt(attributes.readBigUInt64LE(16), 8 + 64);
      const whole = Buffer.from(attributes.subarray(0, 40));
      whole.fill(0, 16, 24); // the mask's address
      return record("matcher", whole, Buffer.from(mask));
    },
    mlx5dv_create_flow: (_: bigint, value: Buffer, count: number, actions: Buffer) =>
      record(`flow of ${count} actions`, value, actions),
  };
  const verbs = { call: (verb: string, _: bigint, attribute: Buffer) => record(verb, attribute) };
  const core = { who: "port", closed: false, verbs, dv, address: 1n, adopt() {}, forget() {} };
  const made = (_: unknown, create: () => bigint) => create();
  return { core: { ...core, made } as unknown as Core, calls };
}

const qp = { handle: 1n } as unknown as Qp;
const SHOW = [
  "#define BYTES(p, n) do { const unsigned char *b = (void *)(p);",
  'for (size_t i = 0; i < (n); i++) printf("%02x", b[i]); } while (0)',
].join(" ");

const PRINT = [
  "#define SHOW(s) do { s.size = sizeof s; const unsigned char *p = (void *)&s;",
  '  for (size_t i = 0; i < sizeof s; i++) printf("%02x", p[i]); printf("\\n"); } while (0)',
].join(" ");

t.test("specs are the structures of verbs.h", { skip }, async (t) => {
  const address = Uint8Array.from({ length: 16 }, (_, at) => at + 1);
  const specs: FlowSpec[] = [
    { kind: "eth", value: { destination: mac, source: other, etherType: 0x88b5, vlan: 0x6123 } },
    { kind: "eth", value: { vlan: 7 }, mask: { vlan: 0xfff } },
    { kind: "ipv4", value: { source: 0xc0a80001, destination: 0x0a000000, protocol: 17, tos: 4, ttl: 64 } },
    { kind: "ipv4", value: { destination: 0x0a0000ff }, mask: { destination: 0xff000000 } },
    { kind: "ipv6", value: { source: address, flowLabel: 0x12345, nextHeader: 6, hopLimit: 3 } },
    { kind: "tcp", value: { source: 80, destination: 1024 } },
    { kind: "udp", value: { destination: 4789 }, mask: { destination: 0xfff0 } },
    { kind: "udp", value: {} },
  ];
  const wanted = runC([
    PRINT,
    "struct ibv_flow_spec_eth eth = {.type = IBV_FLOW_SPEC_ETH};",
    'memcpy(eth.val.dst_mac, "\\x02\\x15\\xb3\\0\\0\\x01", 6); memset(eth.mask.dst_mac, 255, 6);',
    'memcpy(eth.val.src_mac, "\\x02\\x15\\xb3\\0\\0\\x02", 6); memset(eth.mask.src_mac, 255, 6);',
    "eth.val.ether_type = htons(0x88b5); eth.mask.ether_type = 0xffff;",
    "eth.val.vlan_tag = htons(0x6123); eth.mask.vlan_tag = 0xffff; SHOW(eth);",
    "struct ibv_flow_spec_eth vlan = {.type = IBV_FLOW_SPEC_ETH};",
    "vlan.val.vlan_tag = htons(7); vlan.mask.vlan_tag = htons(0xfff); SHOW(vlan);",
    "struct ibv_flow_spec_ipv4_ext ip = {.type = IBV_FLOW_SPEC_IPV4_EXT};",
    "ip.val.src_ip = htonl(0xc0a80001); ip.val.dst_ip = htonl(0x0a000000);",
    "ip.mask.src_ip = ip.mask.dst_ip = 0xffffffff;",
    "ip.val.proto = 17; ip.val.tos = 4; ip.val.ttl = 64;",
    "ip.mask.proto = ip.mask.tos = ip.mask.ttl = 255; SHOW(ip);",
    "struct ibv_flow_spec_ipv4_ext net = {.type = IBV_FLOW_SPEC_IPV4_EXT};",
    "net.val.dst_ip = htonl(0x0a000000); net.mask.dst_ip = htonl(0xff000000); SHOW(net);",
    "struct ibv_flow_spec_ipv6 six = {.type = IBV_FLOW_SPEC_IPV6};",
    "for (int i = 0; i < 16; i++) { six.val.src_ip[i] = i + 1; six.mask.src_ip[i] = 255; }",
    "six.val.flow_label = htonl(0x12345); six.mask.flow_label = htonl(0xfffff);",
    "six.val.next_hdr = 6; six.mask.next_hdr = 255; six.val.hop_limit = 3; six.mask.hop_limit = 255; SHOW(six);",
    "struct ibv_flow_spec_tcp_udp tcp = {.type = IBV_FLOW_SPEC_TCP};",
    "tcp.val.src_port = htons(80); tcp.val.dst_port = htons(1024);",
    "tcp.mask.src_port = tcp.mask.dst_port = 0xffff; SHOW(tcp);",
    "struct ibv_flow_spec_tcp_udp udp = {.type = IBV_FLOW_SPEC_UDP};",
    "udp.val.dst_port = htons(4789 & 0xfff0); udp.mask.dst_port = htons(0xfff0); SHOW(udp);",
    "struct ibv_flow_spec_tcp_udp any = {.type = IBV_FLOW_SPEC_UDP}; SHOW(any);",
    "struct ibv_flow_spec_action_tag tag = {.type = IBV_FLOW_SPEC_ACTION_TAG, .tag_id = 0xabcdef}; SHOW(tag);",
    "struct ibv_flow_spec_action_drop drop = {.type = IBV_FLOW_SPEC_ACTION_DROP}; SHOW(drop);",
  ]);
  const ours = [...specs.map(verbsSpec), tagSpec(0xabcdef), dropSpec()];
  t.same(ours.map(hex), wanted);
});

t.test("rules of ibv_create_flow", { skip }, async (t) => {
  const rules: VerbsFlow[] = [
    { priority: 3, specs: [{ kind: "eth", value: { destination: mac } }], dontTrap: true, tag: 9 },
    { priority: 0, specs: [{ kind: "udp", value: { source: 53 } }], drop: true },
    { priority: 1, type: "all-default" },
    { priority: 1, type: "mc-default" },
    { priority: 7 },
  ];
  const wanted = runC([
    SHOW,
    "struct { struct ibv_flow_attr a; struct ibv_flow_spec_eth e; struct ibv_flow_spec_action_tag t; }",
    "__attribute__((packed)) one = {{.size = sizeof one, .priority = 3, .num_of_specs = 2, .port = 1,",
    ".flags = IBV_FLOW_ATTR_FLAGS_DONT_TRAP}, {.type = IBV_FLOW_SPEC_ETH, .size = sizeof one.e},",
    "{.type = IBV_FLOW_SPEC_ACTION_TAG, .size = sizeof one.t, .tag_id = 9}};",
    'memcpy(one.e.val.dst_mac, "\\x02\\x15\\xb3\\0\\0\\x01", 6); memset(one.e.mask.dst_mac, 255, 6);',
    'BYTES(&one, sizeof one); printf("\\n");',
    "struct { struct ibv_flow_attr a; struct ibv_flow_spec_tcp_udp u; struct ibv_flow_spec_action_drop d; }",
    "__attribute__((packed)) two = {{.size = sizeof two, .num_of_specs = 2, .port = 1},",
    "{.type = IBV_FLOW_SPEC_UDP, .size = sizeof two.u, .val.src_port = htons(53), .mask.src_port = 0xffff},",
    "{.type = IBV_FLOW_SPEC_ACTION_DROP, .size = sizeof two.d}};",
    'BYTES(&two, sizeof two); printf("\\n");',
    ...["ALL_DEFAULT", "MC_DEFAULT"].map((type) => {
      const attribute = `{.type = IBV_FLOW_ATTR_${type}, .size = 20, .priority = 1, .port = 1}`;
      return `{ struct ibv_flow_attr a = ${attribute}; BYTES(&a, sizeof a); printf("\\n"); }`;
    }),
    "struct ibv_flow_attr all = {.size = sizeof all, .priority = 7, .port = 1}; BYTES(&all, sizeof all);",
  ]);
  const { core, calls } = recorder();
  for (const rule of rules) createFlow(core, qp, rule);
  t.same(
    calls.map(({ bytes }) => bytes[0]),
    wanted,
  );
  t.ok(calls.every(({ name }) => name === "create_flow"));
});

t.test("rules of direct verbs: a matcher, a value, an action", { skip }, async (t) => {
  const rules: DvFlow[] = [
    { priority: 2, specs: [{ kind: "tcp", value: { destination: 22 } }], action: "default-miss" },
    { priority: 0, specs: [], action: "drop" },
  ];
  const wanted = runC([
    SHOW,
    "unsigned char match[64] = {0}; size_t size = sizeof match;",
    "struct mlx5dv_flow_matcher_attr m = {.type = IBV_FLOW_ATTR_NORMAL, .priority = 2, .match_criteria_enable = 1};",
    'BYTES(&m, sizeof m); printf("\\n"); match[16] = 255; match[22] = match[23] = 255;',
    'BYTES(&size, 8); BYTES(match, 64); printf("\\n"); match[16] = 6; match[22] = 0; match[23] = 22;',
    'BYTES(&size, 8); BYTES(match, 64); printf("\\n");',
    "struct mlx5dv_flow_action_attr a = {.type = MLX5DV_FLOW_ACTION_DEFAULT_MISS};",
    'BYTES(&a, sizeof a); printf("\\n");',
    "struct mlx5dv_flow_matcher_attr n = {0}; unsigned char none[64] = {0};",
    'BYTES(&n, sizeof n); printf("\\n"); BYTES(&size, 8); BYTES(none, 64); printf("\\n");',
    'BYTES(&size, 8); BYTES(none, 64); printf("\\n");',
    "struct mlx5dv_flow_action_attr d = {.type = MLX5DV_FLOW_ACTION_DROP}; BYTES(&d, sizeof d);",
  ]);
  const { core, calls } = recorder();
  for (const rule of rules) createDvFlow(core, rule);
  t.same(
    calls.flatMap(({ bytes }) => bytes),
    wanted,
  );
  t.same(
    calls.map(({ name }) => name),
    ["matcher", "flow of 1 actions", "matcher", "flow of 1 actions"],
  );
});
