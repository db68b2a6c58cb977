// A flow rule as this driver works with it, and the set of those that are in the NIC. The set is brought to what is
// wanted by the smallest change: a rule that stays is not touched, so that its packets are never without it. One whose
// packets go elsewhere is taken away first and then made anew, for the kernel merges two rules that match the same
// (mlx5_add_flow_rules), and both would have the packets.
import type { RdmaContext } from "../../src/bus/rdma/context.ts";
import type { Flow } from "../../src/bus/rdma/objects.ts";
import type { FlowSpec } from "../../src/bus/rdma/types.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { Spread, Spreaders } from "./rss.ts";

/** What becomes of packets: they are received, dropped, or left to the kernel as if no rule matched. */
export type Target = Spread | "drop" | "kernel";

export interface Rule {
  /** 0 is looked at first. */
  readonly priority: number;
  readonly specs: readonly FlowSpec[];
  readonly to: Target;
  /** The kernel gets a copy: IBV_FLOW_ATTR_FLAGS_DONT_TRAP, which goes on with the rules behind. */
  readonly copy?: boolean;
}

/** mlx5_ib has 16 (MLX5_BY_PASS_NUM_REGULAR_PRIOS). */
export const PRIORITIES = 16;

interface Placed {
  readonly rule: Rule;
  readonly flow: Flow;
  /** The RSS key that its queue pair was made with. */
  readonly key: Uint8Array;
}

/** Of rules that are not received but need a queue pair to stand on: the first queue's. */
const ANCHOR: Spread = { kind: "none", table: [0] };

export class RuleSet {
  private readonly context: RdmaContext;
  private readonly spreaders: Spreaders;
  private readonly placed = new Map<string, Placed>();

  constructor(context: RdmaContext, spreaders: Spreaders) {
    this.context = context;
    this.spreaders = spreaders;
  }

  /** Makes these rules, and no others, those of the NIC. What fails leaves those before. */
  sync(rules: readonly Rule[], key: Uint8Array): void {
    const wanted = new Map(rules.map((rule) => [nameOf(rule, key), rule]));
    const gone = [...this.placed].filter(([name]) => !wanted.has(name));
    const missing = [...wanted].filter(([name]) => !this.placed.has(name));
    const goneByMatch = new Map(gone.map(([name, { rule }]) => [matchOf(rule), name]));
    const undo: (() => void)[] = [];
    try {
      for (const [name, rule] of missing) {
        // where another has its packets it goes when the new one's queue pair is there: few of them go astray
        const replaced = goneByMatch.get(matchOf(rule));
        this.place(name, rule, key, () => {
          if (replaced !== undefined) this.leave(replaced, undo);
        });
        undo.push(() => this.remove(name));
      }
      for (const [name] of gone) this.leave(name, undo);
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  /** Destroys all, also where some cannot be. */
  clear(): void {
    const faults: unknown[] = [];
    for (const name of [...this.placed.keys()].reverse()) {
      try {
        this.remove(name);
      } catch (error) {
        faults.push(error);
      }
    }
    if (faults.length > 0) throw faults[0];
  }

  private leave(name: string, undo: (() => void)[]): void {
    const one = this.placed.get(name);
    if (!one) return;
    this.remove(name);
    undo.push(() => this.place(name, one.rule, one.key));
  }

  private place(name: string, rule: Rule, key: Uint8Array, beforehand = () => {}): void {
    const spread = spreadOf(rule);
    const qp = this.spreaders.take(spread, key);
    try {
      beforehand();
      this.placed.set(name, { rule, key, flow: this.create(rule, qp) });
    } catch (error) {
      this.spreaders.release(spread, key);
      throw error;
    }
  }

  private create({ priority, specs, to, copy }: Rule, qp: ReturnType<Spreaders["take"]>): Flow {
    if (to === "kernel") return this.context.createDvFlow({ priority, specs, action: "default-miss" });
    const drop = to === "drop";
    if (!copy) return this.context.createFlow(qp, { priority, specs, drop });
    try {
      return this.context.createFlow(qp, { priority, specs, dontTrap: true });
    } catch (error) {
      throw noCopies(error);
    }
  }

  private remove(name: string): void {
    const one = this.placed.get(name);
    if (!one) return;
    this.placed.delete(name);
    try {
      one.flow.destroy();
    } finally {
      this.spreaders.release(spreadOf(one.rule), one.key);
    }
  }
}

function spreadOf({ to }: Rule): Spread {
  return typeof to === "string" ? ANCHOR : to;
}

/** Rules with the same match are one in the NIC. */
export function matchOf({ priority, specs, copy }: Rule): string {
  return JSON.stringify([priority, copy ?? false, specs], (_, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value,
  );
}

function nameOf(rule: Rule, key: Uint8Array): string {
  const { to } = rule;
  const where = typeof to === "string" ? to : `${to.kind} ${to.table.join()}`;
  const hashed = typeof to !== "string" && to.kind !== "none";
  return `${matchOf(rule)} ${where} ${hashed ? Buffer.from(key).toString("hex") : ""}`;
}

/** The kernel's mlx5_add_flow_rules wants nic_rx_multi_path_tirs for a copy, which functions may lack. */
function noCopies(error: unknown): unknown {
  if (!(error instanceof PollmodeError) || error.code !== "RDMA_UNSUPPORTED") return error;
  const message = `${error.message}: the NIC does not copy groups and broadcast to the kernel`;
  const fix = "take frames by flow rules alone: --flow-isolate-all, port.flow.isolate(true)";
  return new PollmodeError("RDMA_UNSUPPORTED", message, fix, { cause: error });
}
