// Flow rules: which received packets a device treats otherwise, and how. The model is DPDK's rte_flow: a pattern of
// items, one a header from the outermost in, and a list of actions. A device does in hardware what it can and refuses
// the rest by name: nothing of a rule is ever left out silently.

/** How a field is written and stored: addresses as bytes, all else as a number of so many bits. */
export type FieldKind = "mac" | "ipv4" | "ipv6" | 1 | 3 | 4 | 8 | 12 | 16 | 20 | 32;

/** Items and their fields, as DPDK's testpmd spells them. A field that a rule leaves out may have any value. */
export const FLOW_ITEMS = {
  eth: { dst: "mac", src: "mac", type: 16 },
  vlan: { tci: 16, pcp: 3, dei: 1, vid: 12, inner_type: 16 },
  ipv4: { tos: 8, ttl: 8, proto: 8, src: "ipv4", dst: "ipv4" },
  ipv6: { tc: 8, flow: 20, proto: 8, hop: 8, src: "ipv6", dst: "ipv6" },
  udp: { src: 16, dst: 16 },
  tcp: { src: 16, dst: 16, flags: 8 },
  sctp: { src: 16, dst: 16, tag: 32, cksum: 32 },
  icmp: { type: 8, code: 8, ident: 16, seq: 16 },
  arp_eth_ipv4: { sha: "mac", spa: "ipv4", tha: "mac", tpa: "ipv4" },
  any: { num: 32 },
  void: {},
} as const satisfies Record<string, Record<string, FieldKind>>;

type Items = typeof FLOW_ITEMS;
export type FlowItemName = keyof Items;

type FieldValue<K> = K extends number ? number : Uint8Array;

/** What a field is compared with: `spec` where `mask` has ones (default: all), or from `spec` to `last`. */
export interface FlowMatch<T extends number | Uint8Array = number | Uint8Array> {
  /** The value; of addresses its bytes, in network order. */
  readonly spec: T;
  /** The highest value of a range that begins with `spec`. */
  readonly last?: T;
  /** Ones where bits are compared. */
  readonly mask?: T;
}

/**
 * One header of a pattern and what its fields are to be: `{ item: "udp", dst: { spec: 53 } }`. Items and fields, as
 * DPDK's testpmd spells them: `eth` (dst, src, type), `vlan` (tci, pcp, dei, vid, inner_type), `ipv4` (tos, ttl, proto,
 * src, dst), `ipv6` (tc, flow, proto, hop, src, dst), `udp` (src, dst), `tcp` (src, dst, flags), `sctp` (src, dst, tag,
 * cksum), `icmp` (type, code, ident, seq), `arp_eth_ipv4` (sha, spa, tha, tpa), `any` (num), `void`.
 */
export type FlowItem = {
  [N in FlowItemName]: { readonly item: N } & {
    readonly [F in keyof Items[N]]?: FlowMatch<FieldValue<Items[N][F]>>;
  };
}[FlowItemName];

/** What becomes of the packets that a pattern matches: `{ action: "queue", index: 1 }`. */
export type FlowAction =
  | { readonly action: "queue"; readonly index: number }
  | { readonly action: "drop" | "passthru" | "count" | "flag" | "void" }
  | { readonly action: "mark"; readonly id: number }
  | { readonly action: "rss"; readonly queues: readonly number[] };

/** A rule for PortFlow.create(): one direction at least, a pattern, and at least one action. */
export interface FlowRule {
  /** Default 0. */
  readonly group?: number;
  /** 0, the default, comes first. */
  readonly priority?: number;
  /** For packets that are received. */
  readonly ingress?: boolean;
  /** For packets that are sent. */
  readonly egress?: boolean;
  /** For packets between the functions of a device. */
  readonly transfer?: boolean;
  /** Headers from the outermost in. */
  readonly pattern: readonly FlowItem[];
  /** What is done, in this order. */
  readonly actions: readonly FlowAction[];
}

/** What a rule with the action `count` has counted. */
export interface FlowCount {
  /** Packets. */
  readonly hits: number;
  /** Bytes of those packets. */
  readonly bytes: number;
}

/** What a device tells of itself as to flow rules. Handles are its own. */
export interface FlowDevice {
  /** Throws FLOW_RULE, which names the part of the rule that the device has not; FLOW_COUNT: no filter is free. */
  validate(rule: FlowRule): void;
  /** The same, and puts the rule in place. It outlives stop and start. */
  create(rule: FlowRule): unknown;
  destroy(handle: unknown): void;
  query?(handle: unknown): FlowCount;
  /** Received is only what a rule asks for. */
  isolate?(on: boolean): void;
}

/** The fields that an item compares, in the table's order. */
export function fieldsOf(item: FlowItem): [name: string, kind: FieldKind, match: FlowMatch][] {
  const found: [string, FieldKind, FlowMatch][] = [];
  for (const [name, kind] of Object.entries(FLOW_ITEMS[item.item]) as [string, FieldKind][]) {
    const match = (item as Readonly<Record<string, unknown>>)[name] as FlowMatch | undefined;
    if (match) found.push([name, kind, match]);
  }
  return found;
}

const ADDRESS_BYTES = { mac: 6, ipv4: 4, ipv6: 16 } as const;

/** Bytes of an address field; undefined: it is a number. */
export function addressBytes(kind: FieldKind): number | undefined {
  return typeof kind === "string" ? ADDRESS_BYTES[kind] : undefined;
}

/** Whether the field is compared in all its bits with one value. */
export function isExact(kind: FieldKind, { last, mask }: FlowMatch): boolean {
  if (last !== undefined) return false;
  if (mask === undefined) return true;
  if (typeof mask === "number") return mask === 2 ** (kind as number) - 1;
  return mask.every((byte) => byte === 0xff);
}
