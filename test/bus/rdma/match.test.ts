// What direct verbs match by, byte by byte, as the PRM has it. What libibverbs takes: flows.bed.test.ts.
import t from "tap";
import { deviceMatch } from "../../../src/bus/rdma/match.ts";
import type { FlowSpec } from "../../../src/bus/rdma/types.ts";

const mac = Uint8Array.of(2, 0x15, 0xb3, 0, 0, 1);
const other = Uint8Array.of(2, 0x15, 0xb3, 0, 0, 2);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** Bytes at their places, the others zero. */
function at(...places: readonly [number, readonly number[]][]): string {
  const bytes = Buffer.alloc(64);
  for (const [offset, values] of places) bytes.set(values, offset);
  return hex(bytes);
}

t.test("direct verbs: struct fte_match_set_lyr_2_4", async (t) => {
  const match = (...specs: FlowSpec[]) => {
    const { value, mask } = deviceMatch("port", specs);
    return { value: hex(value), mask: hex(mask) };
  };
  const ones = (count: number) => Array<number>(count).fill(255);
  t.same(match(), { value: at(), mask: at() }, "all frames");
  t.same(match({ kind: "eth", value: { destination: mac, etherType: 0x0806 } }), {
    value: at([6, [8, 6]], [8, [...mac]]),
    mask: at([6, ones(2)], [8, ones(6)]),
  });
  t.same(match({ kind: "eth", value: { source: other, vlan: 0x1005 }, mask: { vlan: 0xfff } }), {
    value: at([14, [0, 5]], [18, [0x80]]),
    mask: at([14, [0x0f, 0xff]], [18, [0x80]]),
  });
  t.same(
    match(
      { kind: "ipv4", value: { source: 0x0a000001, destination: 0x0a000002, ttl: 9 } },
      { kind: "udp", value: { source: 53, destination: 0x1234 } },
    ),
    {
      value: at(
        [6, [8, 0]],
        [16, [17]],
        [27, [9]],
        [28, [0, 53, 0x12, 0x34]],
        [44, [10, 0, 0, 1]],
        [60, [10, 0, 0, 2]],
      ),
      mask: at([6, ones(2)], [16, ones(1)], [27, ones(1)], [28, ones(4)], [44, ones(4)], [60, ones(4)]),
    },
  );
  const address = Uint8Array.from({ length: 16 }, (_, at) => at + 1);
  t.same(
    match({ kind: "ipv6", value: { destination: address } }, { kind: "tcp", value: { destination: 80 } }),
    {
      value: at([6, [0x86, 0xdd]], [16, [6]], [22, [0, 80]], [48, [...address]]),
      mask: at([6, ones(2)], [16, ones(1)], [22, ones(2)], [48, ones(16)]),
    },
  );
  t.throws(() => match({ kind: "ipv6", value: { flowLabel: 1 } }), { code: "RDMA_FLOW", message: /^port: / });
});
