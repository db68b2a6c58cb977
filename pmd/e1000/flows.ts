// Flow rules of the 82576 and I350 (82576 datasheet, 7.1.1 on receive queue assignment, and 8.10 and 8.11 on the
// registers): an EtherType, a TCP SYN, or the 5-tuple of an IPv4 packet leads to a receive queue, before RSS is asked.
// The chips drop nothing by a rule and count nothing. Rules are kept here and written again after each reset.
import { PollmodeError } from "../../src/errors.ts";
import {
  type FlowDevice,
  type FlowItem,
  type FlowItemName,
  type FlowMatch,
  type FlowRule,
  fieldsOf,
  isExact,
} from "../../src/ethdev/flow.ts";
import type { Chip } from "./chips.ts";
import {
  ETQF_QUEUE_ENABLE,
  Etqf,
  FTQF_MASK_SOURCE_PORT_BP,
  Ftqf,
  Imir,
  Imirext,
  Reg,
  Rfctl,
  Synqf,
} from "./registers.ts";
import { clearBits, type Registers, setBits } from "./registers-io.ts";

/** ETQF and FTQF. */
const FILTERS = 8;
/** IMIR.PRIORITY has 3 bits; 7 is looked at first. */
const PRIORITY_MAX = 7;
/** Queues that ETQF and SYNQF can name, and TTQF. */
const QUEUES_BY_3_BITS = 8;

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const PROTOCOLS: Readonly<Partial<Record<FlowItemName, number>>> = { tcp: 6, udp: 17, sctp: 132 };
const TCP_FLAGS_SYN = 0x02;

/** What a rule compares; undefined fields may have any value. */
interface Tuple {
  readonly kind: "tuple";
  readonly protocol?: number;
  readonly source?: Uint8Array;
  readonly destination?: Uint8Array;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly priority: number;
  readonly queue: number;
}
type Filter =
  | Tuple
  | { readonly kind: "ethertype"; readonly type: number; readonly queue: number }
  | { readonly kind: "syn"; readonly isFirst: boolean; readonly queue: number };

interface Slot {
  readonly filter: Filter;
  /** Which register of its kind. */
  readonly index: number;
}

export class Flows implements FlowDevice {
  private readonly registers: Registers;
  private readonly chip: Chip;
  private readonly address: string;
  private readonly slots = new Set<Slot>();

  constructor(registers: Registers, chip: Chip, address: string) {
    this.registers = registers;
    this.chip = chip;
    this.address = address;
  }

  validate(rule: FlowRule): void {
    this.place(rule);
  }

  create(rule: FlowRule): Slot {
    const slot = this.place(rule);
    this.slots.add(slot);
    this.write(slot);
    return slot;
  }

  destroy(handle: unknown): void {
    const slot = handle as Slot;
    if (this.slots.delete(slot)) this.erase(slot);
  }

  /** After a reset, which has cleared all of them. */
  restore(): void {
    for (const slot of this.slots) this.write(slot);
  }

  private place(rule: FlowRule): Slot {
    const filter = this.filterOf(rule);
    const same = [...this.slots].filter((slot) => slot.filter.kind === filter.kind);
    if (same.some((slot) => repeats(slot.filter, filter))) {
      throw this.wrong("there is a rule for the same packets", "destroy that one first");
    }
    const free = filter.kind === "syn" ? 1 : FILTERS;
    const index = Array.from({ length: free }, (_, k) => k).find(
      (k) => !same.some((slot) => slot.index === k),
    );
    if (index !== undefined) return { filter, index };
    const message = `${this.address}: the ${this.chip.name} has ${free} ${filter.kind} filters, and all are in use`;
    throw new PollmodeError("FLOW_COUNT", message, "destroy a rule first");
  }

  private filterOf(rule: FlowRule): Filter {
    if (rule.egress || rule.transfer || !rule.ingress) {
      throw this.wrong("rules are for what is received", "let the rule be ingress alone");
    }
    if ((rule.group ?? 0) !== 0) throw this.wrong(`group ${rule.group}`, "there is group 0 alone");
    const queue = this.queueOf(rule);
    const items = rule.pattern.filter(({ item }) => item !== "void");
    const [first, ...rest] = items;
    if (first?.item !== "eth") throw this.wrong("the pattern does not begin with eth", "write eth first");
    if (rest.length === 0) return this.ethertype(rule, first, queue);
    if (fieldsOf(first).length > 0) {
      throw this.wrong("eth is compared beside other headers", "leave eth without fields");
    }
    return this.tuple(rule, rest, queue);
  }

  private queueOf({ actions }: FlowRule): number {
    const [action, ...more] = actions.filter((one) => one.action !== "void");
    if (action?.action === "queue" && more.length === 0) return action.index;
    const other = action?.action === "queue" ? more[0]!.action : action?.action;
    throw this.wrong(`the ${this.chip.name} has not the action ${other}`, "lead to a queue, and that alone");
  }

  private ethertype(rule: FlowRule, item: FlowItem, queue: number): Filter {
    const { type, ...others } = this.exact(item);
    const [other] = Object.keys(others);
    if (other !== undefined) throw this.wrong(`eth ${other} is not compared by rules`, "see mac_addr add");
    if (typeof type !== "number") throw this.wrong("eth has no type", "write eth type is 0x88f7");
    if (type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6) {
      throw this.wrong("IPv4 and IPv6 have no EtherType filter", "match by eth / ipv4, or use RSS");
    }
    if ((rule.priority ?? 0) !== 0) throw this.wrong("EtherType rules have no priority", "leave it out");
    this.requireQueue(queue);
    return { kind: "ethertype", type, queue };
  }

  private tuple(rule: FlowRule, items: readonly FlowItem[], queue: number): Filter {
    const [ip, l4, more] = items;
    if (ip?.item !== "ipv4" || more !== undefined) {
      throw this.wrong("the pattern is not eth / ipv4, then tcp, udp or sctp", "see docs/testpmd-console.md");
    }
    const { src, dst, proto, ...otherIp } = this.exact(ip);
    const [wrongIp] = Object.keys(otherIp);
    if (wrongIp !== undefined) throw this.wrong(`ipv4 ${wrongIp} is not compared by rules`, "leave it out");
    const protocol = l4 && PROTOCOLS[l4.item];
    if (l4 && protocol === undefined) throw this.wrong(`${l4.item} is not compared by rules`, "leave it out");
    if (l4 && proto !== undefined && proto !== protocol) {
      throw this.wrong(`ipv4 proto ${proto} is not ${l4.item}`, "leave proto out");
    }
    const priority = rule.priority ?? 0;
    if (priority > PRIORITY_MAX) throw this.wrong(`priority ${priority}`, `choose 0 to ${PRIORITY_MAX}`);
    if (l4?.item === "tcp" && l4.flags) return this.syn(ip, l4, priority, queue);
    const ports = l4 ? this.exact(l4) : {};
    const [wrongL4] = Object.keys(ports).filter((name) => name !== "src" && name !== "dst");
    if (wrongL4 !== undefined)
      throw this.wrong(`${l4!.item} ${wrongL4} is not compared by rules`, "leave it out");
    const all = { protocol: protocol ?? proto, source: src, destination: dst };
    return this.checked({
      ...all,
      sourcePort: ports.src,
      destinationPort: ports.dst,
      priority,
      queue,
    } as Tuple);
  }

  /** The I350 compares protocol and destination port alone (2-tuple), and has 3 bits for the queue. */
  private checked(tuple: Omit<Tuple, "kind">): Tuple {
    const { protocol, source, destination, sourcePort, destinationPort } = tuple;
    const compared = [protocol, source, destination, sourcePort, destinationPort];
    if (compared.every((one) => one === undefined)) {
      throw this.wrong("the rule compares nothing", "name an address, a protocol or a port");
    }
    if (!this.hasFiveTuples && (source ?? destination ?? sourcePort) !== undefined) {
      throw this.wrong(
        `the ${this.chip.name} compares the protocol and the destination port alone`,
        "leave addresses and the source port out",
      );
    }
    if (!this.hasFiveTuples) this.requireQueue(tuple.queue);
    return { kind: "tuple", ...tuple };
  }

  private syn(
    ip: FlowItem,
    tcp: Extract<FlowItem, { item: "tcp" }>,
    priority: number,
    queue: number,
  ): Filter {
    const { spec, mask, last } = tcp.flags!;
    const isAlone = fieldsOf(ip).length === 0 && fieldsOf(tcp).length === 1;
    if (spec !== TCP_FLAGS_SYN || mask !== TCP_FLAGS_SYN || last !== undefined || !isAlone) {
      const fix = "write eth / ipv4 / tcp flags spec 0x02 flags mask 0x02 / end";
      throw this.wrong("of TCP's flags SYN alone is compared, beside nothing else", fix);
    }
    this.requireQueue(queue);
    return { kind: "syn", isFirst: priority === 0, queue };
  }

  private get hasFiveTuples(): boolean {
    return this.chip.ivar === "82576";
  }

  private requireQueue(queue: number): void {
    if (queue < QUEUES_BY_3_BITS) return;
    throw this.wrong(`such a rule cannot lead to queue ${queue}`, `choose 0 to ${QUEUES_BY_3_BITS - 1}`);
  }

  /** The values of an item's fields, all of which must be compared in all bits. */
  private exact(item: FlowItem): Record<string, FlowMatch["spec"]> {
    return Object.fromEntries(
      fieldsOf(item).map(([name, kind, match]) => {
        if (isExact(kind, match)) return [name, match.spec];
        throw this.wrong(`${item.item} ${name} is compared in part`, `write ${name} is VALUE`);
      }),
    );
  }

  private wrong(what: string, fix: string): PollmodeError {
    return new PollmodeError("FLOW_RULE", `${this.address}: ${what}`, fix);
  }

  private write({ filter, index }: Slot): void {
    const { registers } = this;
    if (filter.kind === "tuple") this.writeTuple(filter, index);
    else if (filter.kind === "ethertype") {
      const queue = ETQF_QUEUE_ENABLE | (filter.queue << Etqf.QUEUE_SHIFT);
      registers.write(Reg.ETQF + 4 * index, (filter.type | Etqf.FILTER_ENABLE | queue) >>> 0);
    } else {
      if (filter.isFirst) setBits(registers, Reg.RFCTL, Rfctl.SYNQFP);
      else clearBits(registers, Reg.RFCTL, Rfctl.SYNQFP);
      this.registers.write(Reg.SYNQF, (filter.queue << Synqf.QUEUE_SHIFT) | Synqf.ENABLE);
    }
  }

  /** 82576, 8.11: addresses and ports lie in the registers as on the wire, first byte lowest. */
  private writeTuple(tuple: Tuple, index: number): void {
    const { registers } = this;
    const at = (register: Reg) => register + 4 * index;
    const { source, destination, sourcePort, destinationPort, protocol } = tuple;
    let compared = tuple.queue << Ftqf.QUEUE_SHIFT;
    compared |= Ftqf.QUEUE_ENABLE | Ftqf.VF_BP | (protocol ?? Ftqf.MASK_PROTO_BP);
    if (source === undefined) compared |= Ftqf.MASK_SOURCE_ADDR_BP;
    if (destination === undefined) compared |= Ftqf.MASK_DEST_ADDR_BP;
    if (sourcePort === undefined) compared |= FTQF_MASK_SOURCE_PORT_BP;
    if (this.hasFiveTuples) {
      registers.write(at(Reg.SAQF), wireAddress(source));
      registers.write(at(Reg.DAQF), wireAddress(destination));
      registers.write(at(Reg.SPQF), wirePort(sourcePort));
    }
    const priority = (PRIORITY_MAX - tuple.priority) << Imir.PRIORITY_SHIFT;
    const port = destinationPort === undefined ? Imir.PORT_BP : wirePort(destinationPort);
    registers.write(at(Reg.IMIR), (port | priority) >>> 0);
    registers.write(at(Reg.IMIREXT), Imirext.SIZE_BP | Imirext.CTRL_BP);
    registers.write(at(Reg.FTQF), compared >>> 0); // last: it enables the filter
  }

  private erase({ filter, index }: Slot): void {
    const { registers } = this;
    if (filter.kind === "ethertype") registers.write(Reg.ETQF + 4 * index, 0);
    else if (filter.kind === "syn") registers.write(Reg.SYNQF, 0);
    else {
      const nothing = Ftqf.VF_BP | Ftqf.MASK_PROTO_BP | Ftqf.MASK_SOURCE_ADDR_BP | Ftqf.MASK_DEST_ADDR_BP;
      registers.write(Reg.FTQF + 4 * index, (nothing | FTQF_MASK_SOURCE_PORT_BP) >>> 0);
      const others = this.hasFiveTuples ? [Reg.SAQF, Reg.DAQF, Reg.SPQF] : [];
      for (const register of [...others, Reg.IMIR, Reg.IMIREXT]) registers.write(register + 4 * index, 0);
    }
  }
}

function wireAddress(address: Uint8Array | undefined): number {
  return address ? Buffer.from(address).readUInt32LE(0) : 0;
}

function wirePort(port = 0): number {
  return ((port & 0xff) << 8) | (port >>> 8);
}

/** Whether both would take the same packets, wherever they lead them. */
function repeats(a: Filter, b: Filter): boolean {
  const key = (filter: Filter) =>
    JSON.stringify({ ...filter, queue: 0 }, (_, value) => {
      return value instanceof Uint8Array ? [...value] : value;
    });
  return a.kind === "syn" ? b.kind === "syn" : key(a) === key(b);
}
