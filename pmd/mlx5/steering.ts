// Which received frames are this port's, as rules of the NIC: the kernel's interface keeps all others.
//
//   own addresses         this port's alone
//   broadcast, groups     this port's, and a copy for the kernel
//   promiscuous           all frames; the kernel has none
//   VLAN filter           tagged frames of VLANs that were not let in stay the kernel's
//   isolated              none of these: flow rules say all (flows.ts)
//
// A rule that copies is not spread over several rules, for the NIC goes on with the rules behind it and the port would
// have the frame twice.
import type { EthFields, FlowSpec } from "../../src/bus/rdma/types.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { RssConfig } from "../../src/ethdev/driver.ts";
import { requireStation } from "../../src/ethdev/station.ts";
import { branches, type HashKind, LEVELS } from "./rss.ts";
import { PRIORITIES, type Rule } from "./rules.ts";

/** Addresses beside the own one: DPDK's MLX5_MAX_UC_MAC_ADDRESSES, 128. */
const MACS_MAX = 128;
/** Blocks of VLANs, each of which doubles the rules; of VLANs DPDK has as many (MLX5_MAX_VLAN_IDS). */
const BLOCKS_MAX = 128;
const VLANS = 4096;

const BROADCAST = Uint8Array.of(255, 255, 255, 255, 255, 255);
/** The bit of all group addresses. */
const GROUPS = Uint8Array.of(1, 0, 0, 0, 0, 0);
const ANY = Uint8Array.of(0, 0, 0, 0, 0, 0);
/** DEI of a tag: a rule that compares a bit of the tag wants one (cvlan_tag of the PRM); two of them take all. */
const DEI = 0x1000;

/** Rules for all frames stand behind the flow rules of users. */
const UNTAGGED_PRIORITY = PRIORITIES - LEVELS;
const OTHER_VLANS_PRIORITY = UNTAGGED_PRIORITY - 1;
const TAGGED_PRIORITY = OTHER_VLANS_PRIORITY - LEVELS;
/** So many kernel priorities are left for flow rules. */
export const FLOW_PRIORITIES = TAGGED_PRIORITY;

export interface SteeringState {
  /** The own address, then further ones. */
  readonly macs: readonly Uint8Array[];
  readonly groups: readonly Uint8Array[];
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
  readonly filtersVlans: boolean;
  readonly vlans: readonly number[];
  readonly isolated: boolean;
}

/** The rules that a state comes to. */
export function steeringRules(state: SteeringState, rss: Required<RssConfig>): Rule[] {
  if (state.isolated) return [];
  if (state.promiscuous) return all({ destination: ANY }, { destination: ANY }, UNTAGGED_PRIORITY, rss);
  const rules = frames(state, undefined, rss);
  if (!state.filtersVlans || state.vlans.length === VLANS) return rules;
  const tagged = vlanBlocks(state.vlans).flatMap((block) => frames(state, block, rss));
  return [...tagged, ...otherVlans(), ...rules];
}

/** VLANs that a rule compares at once: those whose bits under `mask` are `vlan`'s. */
interface VlanBlock {
  readonly vlan: number;
  readonly mask: number;
}

/** The fewest blocks that hold just these VLANs: as with routes, each is as large as its place and the set allow. */
export function vlanBlocks(vlans: readonly number[]): VlanBlock[] {
  const wanted = new Set(vlans);
  const blocks: VlanBlock[] = [];
  for (let vlan = 0; vlan < VLANS; ) {
    if (!wanted.has(vlan)) {
      vlan++;
      continue;
    }
    let size = 1;
    const doubles = () =>
      Array.from({ length: size }, (_, k) => vlan + size + k).every((one) => wanted.has(one));
    while (vlan % (2 * size) === 0 && doubles()) size *= 2;
    blocks.push({ vlan, mask: (VLANS - 1) & ~(size - 1) });
    vlan += size;
  }
  return blocks;
}

/** The frames of a block of VLANs, or of all and untagged ones. */
function frames(state: SteeringState, block: VlanBlock | undefined, rss: Required<RssConfig>): Rule[] {
  const priority = block ? TAGGED_PRIORITY : UNTAGGED_PRIORITY;
  const tag = block ? { vlan: block.vlan } : {};
  const tagMask = block ? { vlan: block.mask } : {};
  const own = state.macs.flatMap((mac) =>
    all({ destination: mac, ...tag }, { destination: BROADCAST, ...tagMask }, priority, rss),
  );
  const copied = (destination: Uint8Array, mask: Uint8Array): Rule => ({
    priority,
    specs: [eth({ destination, ...tag }, { destination: mask, ...tagMask })],
    to: { kind: groupKind(destination, rss), table: rss.table },
    copy: true,
  });
  if (state.allMulticast) return [...own, copied(GROUPS, GROUPS)];
  return [...own, ...[BROADCAST, ...state.groups].map((group) => copied(group, BROADCAST))];
}

function all(value: EthFields, mask: EthFields, priority: number, rss: Required<RssConfig>): Rule[] {
  return branches([eth(value, mask)], rss.types).map(({ level, kind, specs }) => ({
    priority: priority + level,
    specs,
    to: { kind, table: rss.table },
  }));
}

function eth(value: EthFields, mask: EthFields): FlowSpec {
  return { kind: "eth", value, mask };
}

/** A copy is hashed one way; packets of other protocols go to the table's first queue. 33:33: IPv6 (RFC 2464). */
function groupKind([first, second]: Uint8Array, { types }: Required<RssConfig>): HashKind {
  const wanted = first === 0x33 && second === 0x33 ? "ipv6" : "ipv4";
  return types.includes(wanted) ? wanted : "none";
}

function otherVlans(): Rule[] {
  return [0, DEI].map((vlan) => ({
    priority: OTHER_VLANS_PRIORITY,
    specs: [eth({ destination: ANY, vlan }, { destination: ANY, vlan: DEI })],
    to: "kernel",
  }));
}

/** What was asked for, kept over stop and start. A change is checked before it is made. */
export class Steering {
  private state: SteeringState;
  private readonly port: string;
  private readonly hasDefaultMiss: boolean;

  /** `hasDefaultMiss`: rules can leave frames to the kernel. */
  constructor(port: string, mac: Uint8Array, hasDefaultMiss: boolean) {
    this.port = port;
    this.hasDefaultMiss = hasDefaultMiss;
    const off = { promiscuous: false, allMulticast: false, filtersVlans: false, isolated: false };
    this.state = { macs: [mac.slice()], groups: [], vlans: [], ...off };
  }

  get now(): SteeringState {
    return this.state;
  }
  get mac(): Uint8Array {
    return this.state.macs[0]!;
  }

  /** Has `apply` bring the changed state to the NIC; where that fails, all stays as it was. */
  change(edit: Partial<SteeringState>, apply: () => void): void {
    const before = this.state;
    this.state = { ...before, ...edit };
    try {
      apply();
    } catch (error) {
      this.state = before;
      try {
        apply(); // what of it was done before it failed
      } catch {
        // the first error is the one to tell
      }
      throw error;
    }
  }

  withMac(mac: Uint8Array): Partial<SteeringState> {
    requireStation(this.port, mac);
    const others = this.state.macs.slice(1).filter((one) => !same(one, mac));
    return { macs: [mac.slice(), ...others] };
  }

  withAddedMac(mac: Uint8Array): Partial<SteeringState> {
    requireStation(this.port, mac);
    const { macs } = this.state;
    if (macs.some((one) => same(one, mac))) return {};
    if (macs.length <= MACS_MAX) return { macs: [...macs, mac.slice()] };
    const message = `${this.port}: ${MACS_MAX} further addresses are received already`;
    throw new PollmodeError("MAC_COUNT", message, "remove one, or turn promiscuous mode on");
  }

  withoutMac(mac: Uint8Array): Partial<SteeringState> {
    const { macs } = this.state;
    if (same(macs[0]!, mac)) {
      const message = `${this.port}: ${Buffer.from(mac).toString("hex")} is the port's own address`;
      throw new PollmodeError("MAC_OWN", message, "change it by setMac()");
    }
    return { macs: macs.filter((one) => !same(one, mac)) };
  }

  withGroups(groups: readonly Uint8Array[]): Partial<SteeringState> {
    const wrong = groups.find((mac) => mac.length !== 6 || (mac[0]! & 1) === 0);
    if (!wrong) return { groups: groups.map((mac) => mac.slice()) };
    const message = `${this.port}: ${Buffer.from(wrong).toString("hex")} is no group's address`;
    throw new PollmodeError("MAC_ADDRESS", message, "use 6 bytes whose first is odd: 01:00:5e:00:00:01");
  }

  withVlanFilter(on: boolean): Partial<SteeringState> {
    if (on && !this.hasDefaultMiss) {
      const message = `${this.port}: a VLAN filter leaves other VLANs to the kernel, which plain verbs cannot`;
      throw new PollmodeError("NOT_SUPPORTED", message, "give mode=dv on a NIC of mlx5's, or no VLAN filter");
    }
    return { filtersVlans: on };
  }

  withVlan(vlan: number, on: boolean): Partial<SteeringState> {
    const others = this.state.vlans.filter((one) => one !== vlan);
    const vlans = on ? [...others, vlan] : others;
    if (vlanBlocks(vlans).length <= BLOCKS_MAX) return { vlans };
    const message = `${this.port}: the VLANs let in would be more than ${BLOCKS_MAX} separate ones`;
    throw new PollmodeError("VLAN_COUNT", message, "let in neighbours, or turn the VLAN filter off");
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
