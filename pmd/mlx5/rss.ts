// Receive-side scaling. An mlx5 has no register that says what is hashed: a queue pair over an indirection table hashes
// one kind of packet (a TIR, in the PRM's words), and flow rules lead packets to the one for their kind. So a rule that
// spreads becomes several, the longest match first, as in DPDK's hash_rxq_init (drivers/net/mlx5/mlx5_rxq.c).
import type { RdmaContext } from "../../src/bus/rdma/context.ts";
import type { IndirectionTable, Pd, Qp, Wq } from "../../src/bus/rdma/objects.ts";
import { type FlowSpec, RSS_KEY_BYTES, RX_HASH } from "../../src/bus/rdma/types.ts";
import type { RssConfig, RssLimits, RssType } from "../../src/ethdev/driver.ts";
import { TOEPLITZ_KEY } from "../../src/packet/toeplitz.ts";

/** As many as e1000's: enough that sixteen queues share evenly. */
const TABLE_ENTRIES = 128;

/** What a queue pair hashes; "none": all its packets go to the table's first queue. */
export type HashKind = RssType | "none";

const IPV4 = RX_HASH.SRC_IPV4 | RX_HASH.DST_IPV4;
const IPV6 = RX_HASH.SRC_IPV6 | RX_HASH.DST_IPV6;
const TCP = RX_HASH.SRC_PORT_TCP | RX_HASH.DST_PORT_TCP;
const UDP = RX_HASH.SRC_PORT_UDP | RX_HASH.DST_PORT_UDP;

/** `layers`: the headers that a packet of this kind has behind Ethernet's. */
const KINDS: Readonly<Record<RssType, { readonly fields: number; readonly layers: readonly Layer[] }>> = {
  "ipv4-tcp": { fields: IPV4 | TCP, layers: ["ipv4", "tcp"] },
  "ipv4-udp": { fields: IPV4 | UDP, layers: ["ipv4", "udp"] },
  "ipv6-tcp": { fields: IPV6 | TCP, layers: ["ipv6", "tcp"] },
  "ipv6-udp": { fields: IPV6 | UDP, layers: ["ipv6", "udp"] },
  ipv4: { fields: IPV4, layers: ["ipv4"] },
  ipv6: { fields: IPV6, layers: ["ipv6"] },
};
const TYPES = Object.keys(KINDS) as RssType[];

type Layer = "ipv4" | "ipv6" | "tcp" | "udp";

/** Rules of one level do not overlap; a lower level is looked at first: 0 TCP and UDP, 1 IP, 2 Ethernet. */
export const LEVELS = 3;

/** A part of what a rule matches: it has these headers too, and its packets are hashed so. */
export interface Branch {
  readonly level: number;
  readonly kind: HashKind;
  readonly specs: readonly FlowSpec[];
}

/** What a device with these RX_HASH bits and this table limit offers; undefined: it spreads nothing. */
export function rssLimits(fields: number, tableMax: number): RssLimits | undefined {
  const types = TYPES.filter((type) => (KINDS[type].fields & ~fields) === 0);
  if (types.length === 0 || tableMax < 2) return undefined;
  const tableEntries = Math.min(TABLE_ENTRIES, 2 ** Math.floor(Math.log2(tableMax)));
  return { keyBytes: RSS_KEY_BYTES, tableEntries, types: sortTypes(types) };
}

/** In the order that other drivers list them. */
function sortTypes(types: readonly RssType[]): RssType[] {
  return [...types].sort((a, b) => (a < b ? -1 : 1));
}

/** What was left out, filled in: the table repeats, or deals the queues out. */
export function completeRss(rss: RssConfig, limits: RssLimits, queues: number): Required<RssConfig> {
  const table = rss.table ?? Array.from({ length: queues }, (_, queue) => queue);
  return {
    key: (rss.key ?? TOEPLITZ_KEY).slice(),
    types: [...(rss.types ?? limits.types)],
    table: Array.from({ length: limits.tableEntries }, (_, at) => table[at % table.length]!),
  };
}

/** All packets to one queue. */
export const UNSPREAD: Required<RssConfig> = { key: TOEPLITZ_KEY, types: [], table: [0] };

/**
 * The rules that a rule with these headers is made of, so that each packet is hashed as `types` say. Headers that the
 * rule names already are not added again, and what cannot match is left out.
 */
export function branches(specs: readonly FlowSpec[], types: readonly RssType[]): Branch[] {
  const named = specs.map(({ kind }) => kind).filter((kind): kind is Layer => kind !== "eth");
  const possible = layersOf(specs);
  const hashed = TYPES.filter((type) => types.includes(type)).flatMap((type): Branch[] => {
    const { layers } = KINDS[type];
    const fits = named.every((layer, at) => layers[at] === layer);
    if (!fits || !possible.includes(layers[0]!)) return [];
    const added = layers.slice(named.length).map((kind): FlowSpec => ({ kind, value: {} }));
    return [{ level: levelOf([...specs, ...added]), kind: type, specs: [...specs, ...added] }];
  });
  // behind a rule of TCP over IPv4 the IPv4 hash does as well as none does: its types are asked for in turn
  if (hashed.some((branch) => branch.specs.length === specs.length)) return hashed;
  return [...hashed, { level: levelOf(specs), kind: restKind(named, types), specs }];
}

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;

/** What may stand behind the Ethernet header: mlx5_ib refuses a rule whose EtherType and header disagree. */
function layersOf(specs: readonly FlowSpec[]): Layer[] {
  const eth = specs.find((spec) => spec.kind === "eth");
  const type = eth?.value.etherType;
  if (type === undefined) return ["ipv4", "ipv6"];
  if (type === ETHERTYPE_IPV4) return ["ipv4"];
  return type === ETHERTYPE_IPV6 ? ["ipv6"] : [];
}

/** What neither type takes: of a rule with TCP or UDP its addresses, where these are hashed. */
function restKind(named: readonly Layer[], types: readonly RssType[]): HashKind {
  const ip = named[0];
  return ip === "ipv4" || ip === "ipv6" ? (types.includes(ip) ? ip : "none") : "none";
}

/** The deeper the headers go, the earlier a rule is looked at. */
export function levelOf(specs: readonly FlowSpec[]): number {
  const kinds = specs.map(({ kind }) => kind);
  if (kinds.includes("tcp") || kinds.includes("udp")) return 0;
  return kinds.includes("ipv4") || kinds.includes("ipv6") ? 1 : LEVELS - 1;
}

/** Where received packets go: by which hash, to which queues. The table has a power of two of entries. */
export interface Spread {
  readonly kind: HashKind;
  readonly table: readonly number[];
}

/** Queues in turn until the table has a power of two of entries, which an indirection table must have. */
export function powerTable(queues: readonly number[], entriesMax: number): number[] {
  const fits = 2 ** Math.ceil(Math.log2(queues.length));
  const even = Number.isInteger(Math.log2(queues.length));
  const entries = even ? fits : Math.max(fits, entriesMax);
  return Array.from({ length: entries }, (_, at) => queues[at % queues.length]!);
}

interface Spreader {
  readonly qp: Qp;
  readonly table: IndirectionTable;
  users: number;
}

/** The queue pairs that hash, made when a rule asks for one, and destroyed with the last rule that leads to it. */
export class Spreaders {
  private readonly context: RdmaContext;
  private readonly pd: Pd;
  private readonly wqs: readonly Wq[];
  private readonly made = new Map<string, Spreader>();

  constructor(context: RdmaContext, pd: Pd, wqs: readonly Wq[]) {
    this.context = context;
    this.pd = pd;
    this.wqs = wqs;
  }

  /** Counts: each take() is given back by release(). */
  take(spread: Spread, key: Uint8Array): Qp {
    const name = nameOf(spread, key);
    let found = this.made.get(name);
    if (!found) {
      found = this.make(spread, key);
      this.made.set(name, found);
    }
    found.users++;
    return found.qp;
  }

  release(spread: Spread, key: Uint8Array): void {
    const name = nameOf(spread, key);
    const found = this.made.get(name);
    if (!found || --found.users > 0) return;
    this.made.delete(name);
    found.qp.destroy();
    found.table.destroy();
  }

  private make({ kind, table }: Spread, key: Uint8Array): Spreader {
    // without a hash the table's first queue has all packets
    const entries = kind === "none" ? table.slice(0, 1) : table;
    const indirection = this.context.createIndirection(entries.map((queue) => this.wqs[queue]!));
    try {
      const fields = kind === "none" ? 0 : KINDS[kind].fields;
      const qp = this.context.createHashQp({ pd: this.pd, table: indirection, key, fields });
      return { qp, table: indirection, users: 0 };
    } catch (error) {
      indirection.destroy();
      throw error;
    }
  }
}

function nameOf({ kind, table }: Spread, key: Uint8Array): string {
  return kind === "none" ? `none ${table[0]}` : `${kind} ${table.join()} ${Buffer.from(key).toString("hex")}`;
}
