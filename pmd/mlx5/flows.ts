// Flow rules: patterns of Ethernet, VLAN, IPv4, IPv6, TCP and UDP headers lead to a queue, are spread over several, are
// dropped, or go back to the kernel. They come before the rules of steering.ts. A rule of priority P has three of the
// kernel's: what names TCP or UDP comes before what names IP alone, and that before the rest, as with DPDK's mlx5
// (mlx5_flow_adjust_priority). Rules are kept here and made again at each start.
import type { FlowSpec } from "../../src/bus/rdma/types.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { RssConfig } from "../../src/ethdev/driver.ts";
import type { FlowDevice, FlowRule } from "../../src/ethdev/flow.ts";
import { patternSpecs, UnfitError } from "./flow-items.ts";
import { branches, LEVELS, levelOf, powerTable } from "./rss.ts";
import { matchOf, type Rule, type Target } from "./rules.ts";
import { FLOW_PRIORITIES } from "./steering.ts";

const USER_PRIORITIES = FLOW_PRIORITIES / LEVELS;

export interface FlowHost {
  /** For messages. */
  readonly port: string;
  /** Rules can leave frames to the kernel (mlx5dv). */
  readonly hasDefaultMiss: boolean;
  /** As the port is configured; of one that is not, what it would be with one queue. */
  rss(): Required<RssConfig>;
  /** Brings all rules to the NIC, where the port is started. */
  apply(): void;
  isolate(on: boolean): void;
}

export class Flows implements FlowDevice {
  private readonly host: FlowHost;
  private readonly rules = new Set<FlowRule>();

  constructor(host: FlowHost) {
    this.host = host;
  }

  validate(rule: FlowRule): void {
    const matches = new Set(this.translate(rule).map(matchOf));
    for (const other of this.rules) {
      if (!this.translate(other).some((one) => matches.has(matchOf(one)))) continue;
      throw this.wrong("there is a rule for the same packets", "destroy that one first, or give a priority");
    }
  }

  create(rule: FlowRule): FlowRule {
    this.validate(rule);
    this.rules.add(rule);
    try {
      this.host.apply();
    } catch (error) {
      this.rules.delete(rule);
      throw error;
    }
    return rule;
  }

  destroy(handle: unknown): void {
    const rule = handle as FlowRule;
    if (!this.rules.delete(rule)) return;
    try {
      this.host.apply();
    } catch (error) {
      this.rules.add(rule);
      throw error;
    }
  }

  isolate(on: boolean): void {
    this.host.isolate(on);
  }

  /** All of them, as rules of the NIC. */
  get now(): Rule[] {
    return [...this.rules].flatMap((rule) => this.translate(rule));
  }

  private translate(rule: FlowRule): Rule[] {
    const { port } = this.host;
    try {
      this.checkDirection(rule);
      const priority = LEVELS * (rule.priority ?? 0);
      const fate = this.fateOf(rule);
      return patternSpecs(rule.pattern).flatMap((specs) => this.rulesOf(specs, priority, fate));
    } catch (error) {
      if (error instanceof UnfitError) throw this.wrong(error.what, error.fix, error);
      throw error instanceof PollmodeError ? error : new Error(`${port}: a flow rule`, { cause: error });
    }
  }

  private rulesOf(specs: readonly FlowSpec[], priority: number, fate: Fate): Rule[] {
    if (fate.action !== "rss") return [{ priority: priority + levelOf(specs), specs, to: targetOf(fate) }];
    const { table: ports, types } = this.host.rss();
    const table = powerTable(fate.queues, ports.length);
    return branches(specs, types).map(({ level, kind, specs }) => {
      return { priority: priority + level, specs, to: { kind, table } };
    });
  }

  private checkDirection(rule: FlowRule): void {
    if (rule.egress || rule.transfer || !rule.ingress) {
      throw this.wrong("rules are for what is received", "let the rule be ingress alone");
    }
    if ((rule.group ?? 0) !== 0) throw this.wrong(`group ${rule.group}`, "there is group 0 alone");
    if ((rule.priority ?? 0) < USER_PRIORITIES) return;
    throw this.wrong(`priority ${rule.priority}`, `choose 0 to ${USER_PRIORITIES - 1}`);
  }

  private fateOf({ actions }: FlowRule): Fate {
    const [action, ...more] = actions.filter((one) => one.action !== "void");
    const fates: readonly string[] = ["queue", "rss", "drop", "passthru"];
    const other = [action, ...more].find((one) => one && !fates.includes(one.action));
    if (other?.action === "mark" || other?.action === "flag") {
      throw this.wrong(`${other.action}: a packet has no place for it`, "tell the packets apart by queue");
    }
    if (other) throw this.wrong(`rules do not ${other.action}`, "leave it out; queues count their packets");
    if (more.length > 0)
      throw this.wrong(`${action!.action} and ${more[0]!.action}`, "a rule has one of them");
    if (action!.action === "passthru" && !this.host.hasDefaultMiss) {
      const fix = "give mode=dv on a NIC of mlx5's, or match so that those packets are not named";
      throw this.wrong("passthru leaves packets to the kernel, which plain verbs cannot", fix);
    }
    return action as Fate;
  }

  private wrong(what: string, fix: string, cause?: Error): PollmodeError {
    return new PollmodeError("FLOW_RULE", `${this.host.port}: ${what}`, fix, cause ? { cause } : undefined);
  }
}

type Single = { readonly action: "queue"; readonly index: number } | { readonly action: "drop" | "passthru" };
type Fate = Single | { readonly action: "rss"; readonly queues: readonly number[] };

function targetOf(fate: Single): Target {
  if (fate.action === "queue") return { kind: "none", table: [fate.index] };
  return fate.action === "drop" ? "drop" : "kernel";
}
