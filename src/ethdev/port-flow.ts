// A port's flow rules: checks what any device would refuse, numbers the rules, and remembers them.
import { PollmodeError } from "../errors.ts";
import {
  addressBytes,
  FLOW_ITEMS,
  type FlowAction,
  type FlowCount,
  type FlowDevice,
  type FlowItem,
  type FlowMatch,
  type FlowRule,
  fieldsOf,
} from "./flow.ts";

/** Items of a pattern, actions of a rule: none is longer by reason. */
const PARTS_MAX = 32;

/** A rule that is in place. */
export interface FlowEntry {
  /** Its number, from 0 on. */
  readonly id: number;
  /** As it was given to create(). */
  readonly rule: FlowRule;
}

/** What the rules need to know of their port. */
export interface FlowPort {
  /** `port 0 (net_null0)`, for messages. */
  readonly title: string;
  readonly driver: string;
  /** Undefined: the driver has no flow rules. */
  readonly device: FlowDevice | undefined;
  readonly rxQueues: number;
}

/** A port's flow rules (Port.flow). Ports whose driver has none throw NOT_SUPPORTED. */
export class PortFlow {
  private readonly port: () => FlowPort;
  private readonly entries = new Map<number, { rule: FlowRule; handle: unknown }>();

  /** @internal */
  constructor(port: () => FlowPort) {
    this.port = port;
  }

  /** Throws what `create` would throw, and changes nothing. Errors: NOT_SUPPORTED, FLOW_RULE, FLOW_COUNT. */
  validate(rule: FlowRule): void {
    const device = this.device();
    this.check(rule);
    device.validate(rule);
  }

  /** Puts a rule in place; returns its number: one more than the highest in use. */
  create(rule: FlowRule): number {
    this.validate(rule);
    const copy = structuredClone(rule);
    const handle = this.device().create(copy);
    const id = Math.max(-1, ...this.entries.keys()) + 1;
    this.entries.set(id, { rule: copy, handle });
    return id;
  }

  /** Takes a rule away. Error: FLOW_ID. */
  destroy(id: number): void {
    const { handle } = this.entry(id);
    this.device().destroy(handle);
    this.entries.delete(id);
  }

  /** Destroys all rules. */
  flush(): void {
    for (const id of [...this.entries.keys()]) this.destroy(id);
  }

  /** What a rule has counted. Errors: FLOW_ID; FLOW_RULE where it has no action `count`. */
  query(id: number): FlowCount {
    const { rule, handle } = this.entry(id);
    const device = this.device();
    if (!rule.actions.some(({ action }) => action === "count")) {
      throw this.wrong(`rule ${id} does not count`, "create it with the action count");
    }
    if (!device.query) throw this.missing("counting flow rules", "create the rule without the action count");
    return device.query(handle);
  }

  /** The rules of these groups, or all, by group, then priority, then number. */
  list(groups?: readonly number[]): FlowEntry[] {
    const all = [...this.entries].map(([id, { rule }]) => ({ id, rule }));
    const wanted = all.filter(({ rule }) => groups === undefined || groups.includes(rule.group ?? 0));
    const key = ({ rule }: FlowEntry) => [rule.group ?? 0, rule.priority ?? 0] as const;
    return wanted.sort((a, b) => key(a)[0] - key(b)[0] || key(a)[1] - key(b)[1] || a.id - b.id);
  }

  /** On: nothing is received but what rules ask for. Error: NOT_SUPPORTED. */
  isolate(on: boolean): void {
    const { device } = this.port();
    if (!device?.isolate) {
      throw this.missing(
        "flow isolation",
        "leave --flow-isolate-all out: rules lead packets without it, too",
      );
    }
    device.isolate(on);
  }

  /**
   * Throws FLOW_RULE when a rule leads to a receive queue that would not be there.
   * @internal
   */
  requireQueues(rxQueues: number): void {
    for (const [id, { rule }] of this.entries) {
      const queue = queuesOf(rule).find((index) => index >= rxQueues);
      if (queue === undefined) continue;
      throw this.wrong(
        `rule ${id} leads to receive queue ${queue}`,
        `destroy it, or keep ${queue + 1} queues`,
      );
    }
  }

  private device(): FlowDevice {
    const { device } = this.port();
    if (!device) {
      throw this.missing(
        "flow rules",
        "use a port whose driver has them: net_mlx5, or net_e1000 on an 82576 or I350",
      );
    }
    return device;
  }

  private entry(id: number): { rule: FlowRule; handle: unknown } {
    const entry = this.entries.get(id);
    if (entry) return entry;
    const ids = [...this.entries.keys()].join(", ");
    const message = `${this.port().title}: there is no flow rule ${id}`;
    throw new PollmodeError("FLOW_ID", message, ids ? `there are ${ids}` : "there is none: create one first");
  }

  private check(rule: FlowRule): void {
    const { rxQueues } = this.port();
    const { group = 0, priority = 0, pattern, actions } = rule;
    if (!isUint(group, 32) || !isUint(priority, 32)) {
      throw this.wrong(`group ${group}, priority ${priority}`, "both are whole numbers from 0 on");
    }
    if (!rule.ingress && !rule.egress && !rule.transfer) {
      throw this.wrong("the rule has no direction", "let it be ingress, for packets that are received");
    }
    if (pattern.length > PARTS_MAX || actions.length > PARTS_MAX) {
      throw this.wrong("the rule is too long", `take ${PARTS_MAX} items and actions at most`);
    }
    if (!actions.some(({ action }) => action !== "void")) {
      throw this.wrong(
        "the rule has no action",
        'say what becomes of the packets: { action: "queue", index: 0 }',
      );
    }
    for (const item of pattern) this.checkItem(item);
    for (const action of actions) this.checkAction(action);
    const queue = queuesOf(rule).find((index) => !isUint(index, 16) || index >= rxQueues);
    if (queue !== undefined) {
      const has = rxQueues === 0 ? "configure the port first" : `there are queues 0 to ${rxQueues - 1}`;
      throw this.wrong(`the action leads to receive queue ${queue}`, has);
    }
  }

  private checkItem(item: FlowItem): void {
    if (!Object.hasOwn(FLOW_ITEMS, item.item)) {
      const names = Object.keys(FLOW_ITEMS).join(", ");
      throw this.wrong(`there is no item ${String(item.item)}`, `items are ${names}`);
    }
    const fields: Readonly<Record<string, unknown>> = FLOW_ITEMS[item.item];
    const unknown = Object.keys(item).find((name) => name !== "item" && !Object.hasOwn(fields, name));
    if (unknown !== undefined) {
      const names = Object.keys(fields).join(", ") || "none";
      throw this.wrong(`the item ${item.item} has no field ${unknown}`, `its fields are ${names}`);
    }
    for (const [name, kind, match] of fieldsOf(item)) {
      const bytes = addressBytes(kind);
      const fits = (value: FlowMatch["spec"] | undefined) =>
        value === undefined ||
        (bytes === undefined
          ? typeof value === "number" && isUint(value, kind as number)
          : value instanceof Uint8Array && value.length === bytes);
      if (match.spec !== undefined && fits(match.spec) && fits(match.last) && fits(match.mask)) continue;
      const what = bytes === undefined ? `a number of ${kind} bits` : `${bytes} bytes`;
      throw this.wrong(`${item.item} ${name} does not fit`, `spec, last and mask of it are ${what} each`);
    }
  }

  private checkAction(action: FlowAction): void {
    const names: readonly FlowAction["action"][] = [
      ...(["queue", "drop", "passthru", "count", "flag", "void", "mark", "rss"] as const),
    ];
    if (!names.includes(action.action)) {
      throw this.wrong(`there is no action ${action.action}`, `actions are ${names.join(", ")}`);
    }
    if (action.action === "mark" && !isUint(action.id, 32)) {
      throw this.wrong(`mark ${action.id}`, "a mark is a number of 32 bits");
    }
    if (action.action === "rss" && action.queues.length === 0) {
      throw this.wrong("the action rss has no queues", "name some");
    }
  }

  private wrong(what: string, fix: string): PollmodeError {
    return new PollmodeError("FLOW_RULE", `${this.port().title}: ${what}`, fix);
  }

  private missing(what: string, fix: string): PollmodeError {
    const { title, driver } = this.port();
    return new PollmodeError("NOT_SUPPORTED", `${title}: ${driver} has not ${what}`, fix);
  }
}

function queuesOf({ actions }: FlowRule): number[] {
  return actions.flatMap((action) => {
    if (action.action === "queue") return [action.index];
    return action.action === "rss" ? [...action.queues] : [];
  });
}

function isUint(value: number, bits: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < 2 ** bits;
}
