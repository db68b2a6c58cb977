// Patterns of rte_flow as an mlx5 compares them: its verbs specs have the outer headers up to TCP and UDP, each field
// under a mask (struct ibv_flow_spec_* of infiniband/verbs.h; what mlx5_ib takes of them: parse_flow_attr in
// drivers/infiniband/hw/mlx5/fs.c, which knows no TTL, hop limit or TCP flags).
import type { FlowSpec } from "../../src/bus/rdma/types.ts";
import {
  addressBytes,
  type FieldKind,
  type FlowItem,
  type FlowMatch,
  fieldsOf,
} from "../../src/ethdev/flow.ts";

/** What a rule compares that the NIC cannot. */
interface Unfit {
  readonly what: string;
  readonly fix: string;
}

/** Fields by their names in rte_flow and in a spec. */
const FIELDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  eth: { dst: "destination", src: "source", type: "etherType" },
  ipv4: { tos: "tos", proto: "protocol", src: "source", dst: "destination" },
  ipv6: { tc: "trafficClass", flow: "flowLabel", proto: "nextHeader", src: "source", dst: "destination" },
  tcp: { src: "source", dst: "destination" },
  udp: { src: "source", dst: "destination" },
};

/** Which headers may follow which. */
const BEHIND: Readonly<Record<string, readonly string[]>> = {
  "": ["eth"],
  eth: ["vlan", "ipv4", "ipv6"],
  vlan: ["ipv4", "ipv6"],
  ipv4: ["tcp", "udp"],
  ipv6: ["tcp", "udp"],
  tcp: [],
  udp: [],
};

const ETHERTYPE_VLAN = 0x8100;
/** Parts of a tag, from its lowest bit. */
const TAG: Readonly<Record<string, { readonly shift: number; readonly bits: number }>> = {
  tci: { shift: 0, bits: 16 },
  vid: { shift: 0, bits: 12 },
  dei: { shift: 12, bits: 1 },
  pcp: { shift: 13, bits: 3 },
};
const DEI = 0x1000;

type Values = Record<string, number | Uint8Array>;
interface Header {
  readonly kind: FlowSpec["kind"];
  readonly value: Values;
  readonly mask: Values;
}

/** The specs of a pattern: several, of which each packet matches at most one, where one does not do. Throws Unfit. */
export function patternSpecs(pattern: readonly FlowItem[]): FlowSpec[][] {
  const headers: Header[] = [];
  let before = "";
  let anyTag = false;
  for (const item of pattern) {
    if (item.item === "void") continue;
    requireOrder(before, item.item);
    before = item.item;
    if (item.item === "vlan") anyTag = !addTag(headers[0]!, item);
    else headers.push(readItem(item));
  }
  if (before === "") throw unfit("the pattern is empty", "begin with eth");
  const [eth, ...rest] = headers as [Header, ...Header[]];
  if (!anyTag) return [[toSpec(eth), ...rest.map(toSpec)]];
  // a tag of whatever value: the NIC looks for one where a bit of it is compared
  return [0, DEI].map((vlan) => {
    const tagged = { ...eth, value: { ...eth.value, vlan }, mask: { ...eth.mask, vlan: DEI } };
    return [toSpec(tagged), ...rest.map(toSpec)];
  });
}

function requireOrder(before: string, item: string): void {
  const allowed = BEHIND[before] ?? [];
  if (allowed.includes(item)) return;
  const known = Object.keys(BEHIND).filter((name) => name !== "");
  if (!known.includes(item)) {
    const fix =
      item === "icmp" ? "compare ipv4 proto is 1, or ipv6 proto is 58" : `items: ${known.join(", ")}`;
    throw unfit(`the NIC does not compare ${item}`, fix);
  }
  if (before === "") throw unfit("the pattern does not begin with eth", "write eth first");
  const fix =
    allowed.length > 0 ? `behind ${before} stands ${allowed.join(" or ")}` : `end it with ${before}`;
  throw unfit(`${item} stands behind ${before}`, fix);
}

function readItem(item: FlowItem): Header {
  const names = FIELDS[item.item]!;
  const value: Values = {};
  const mask: Values = {};
  for (const [name, kind, match] of fieldsOf(item)) {
    const field = names[name];
    if (field === undefined) {
      throw unfit(`the NIC does not compare ${item.item} ${name}`, "leave it out");
    }
    const compared = compare(`${item.item} ${name}`, kind, match);
    if (!compared) continue;
    [value[field], mask[field]] = compared;
  }
  return { kind: item.item as FlowSpec["kind"], value, mask };
}

/** Value and mask; undefined: all bits may have any value. */
function compare(
  what: string,
  kind: FieldKind,
  { spec, mask, last }: FlowMatch,
): [number, number] | [Uint8Array, Uint8Array] | undefined {
  if (last !== undefined && String(last) !== String(spec)) {
    throw unfit(`the NIC compares no ranges (${what})`, "compare one value, or bits of it by a mask");
  }
  const bytes = addressBytes(kind);
  if (bytes === undefined) {
    const ones = 2 ** (kind as number) - 1;
    const bits = (mask as number | undefined) ?? ones;
    return bits === 0 ? undefined : [((spec as number) & bits) >>> 0, bits >>> 0];
  }
  const ones = (mask as Uint8Array | undefined) ?? new Uint8Array(bytes).fill(255);
  if (ones.every((byte) => byte === 0)) return undefined;
  const value = (spec as Uint8Array).map((byte, at) => byte & ones[at]!);
  return kind === "ipv4" ? [readWord(value), readWord(ones)] : [value, ones];
}

function readWord(address: Uint8Array): number {
  return Buffer.from(address).readUInt32BE();
}

/** Puts what a tag is to be into the Ethernet header's spec; false: it may be any. */
function addTag(eth: Header, item: FlowItem): boolean {
  const { etherType } = eth.value;
  if (etherType !== undefined && etherType !== ETHERTYPE_VLAN) {
    throw unfit("eth type is not that of a tag (0x8100)", "leave eth's type out");
  }
  delete eth.value.etherType; // the NIC's EtherType is the one behind the tag
  delete eth.mask.etherType;
  let value = 0;
  let mask = 0;
  for (const [name, kind, match] of fieldsOf(item)) {
    const compared = compare(`vlan ${name}`, kind, match) as [number, number] | undefined;
    if (!compared) continue;
    if (name === "inner_type") [eth.value.etherType, eth.mask.etherType] = compared;
    else {
      const { shift } = TAG[name]!;
      if (mask & (compared[1] << shift)) throw unfit(`vlan ${name} is compared twice`, "leave tci out");
      value |= compared[0] << shift;
      mask |= compared[1] << shift;
    }
  }
  if (mask === 0) return false;
  eth.value.vlan = value;
  eth.mask.vlan = mask;
  return true;
}

function toSpec({ kind, value, mask }: Header): FlowSpec {
  return { kind, value, mask } as FlowSpec;
}

/** Thrown, and named with its port by who catches it. */
export class UnfitError extends Error implements Unfit {
  readonly what: string;
  readonly fix: string;

  constructor({ what, fix }: Unfit) {
    super(what);
    this.what = what;
    this.fix = fix;
  }
}

function unfit(what: string, fix: string): UnfitError {
  return new UnfitError({ what, fix });
}
