// Flow rules: testpmd's commands on Port.flow.
import { PollmodeError } from "../../../errors.ts";
import type { FlowRule } from "../../../ethdev/flow.ts";
import type { PortFlow } from "../../../ethdev/port-flow.ts";
import type { Session } from "../session.ts";
import { flowGroups, flowRule, flowRuleIds, ruleText } from "./flow-grammar.ts";
import { type Command, command } from "./table.ts";
import { integer } from "./types.ts";

const section = "filters";

const RULE_ID_MAX = 2 ** 32 - 1;
const ON = ["1", "on", "true", "yes", "Y"];
const BOOLEANS = "0|off|false|no|N|1|on|true|yes|Y";

function listText(flow: PortFlow, groups: readonly number[]): string {
  const rows = flow.list(groups.length > 0 ? groups : undefined).map(({ id, rule }) => {
    const ways = `${rule.ingress ? "i" : "-"}${rule.egress ? "e" : "-"}${rule.transfer ? "t" : "-"}`;
    return [id, rule.group ?? 0, rule.priority ?? 0, ways, ruleText(rule)].join("\t");
  });
  return ["ID\tGroup\tPrio\tAttr\tRule", ...rows].join("\n");
}

function flowOf(session: Session, id: number): PortFlow {
  return session.ports.get(id).flow;
}

/** All of these rules, or none. */
function destroyAll(flow: PortFlow, ids: readonly number[]): void {
  const there = flow.list().map(({ id }) => id);
  const missing = ids.find((id) => !there.includes(id));
  if (missing !== undefined) {
    const fix = there.length > 0 ? `there are ${there.join(", ")}` : "there is none: create one first";
    throw new PollmodeError("FLOW_ID", `Flow rule #${missing} not found`, fix);
  }
  for (const id of new Set(ids)) flow.destroy(id);
}

export const flowCommands: readonly Command[] = [
  command<[number, FlowRule]>({
    grammar: "flow validate (port_id) (rule)",
    section,
    help: "Check whether a flow rule can be created.",
    example: "flow validate 0 ingress pattern eth type is 0x88f7 / end actions queue index 0 / end",
    types: { rule: flowRule },
    run: ({ session, say }, [id, rule]) => {
      flowOf(session, id).validate(rule);
      say("Flow rule validated");
    },
  }),
  command<[number, FlowRule]>({
    grammar: "flow create (port_id) (rule)",
    section,
    help: "Create a flow rule.",
    example:
      "flow create 0 ingress pattern eth / ipv4 src is 1.2.3.4 / udp dst is 53 / end actions queue index 1 / end",
    types: { rule: flowRule },
    run: ({ session, say }, [id, rule]) => say(`Flow rule #${flowOf(session, id).create(rule)} created`),
  }),
  command<[number, number[]]>({
    grammar: "flow destroy (port_id) (rules)",
    section,
    help: "Destroy specific flow rules: rule {rule_id} [...].",
    example: "flow destroy 0 rule 0 rule 1",
    types: { rules: flowRuleIds },
    run: ({ session, say }, [id, rules]) => {
      destroyAll(flowOf(session, id), rules);
      for (const rule of new Set(rules)) say(`Flow rule #${rule} destroyed`);
    },
  }),
  command<[number]>({
    grammar: "flow flush (port_id)",
    section,
    help: "Destroy all flow rules.",
    example: "flow flush 0",
    run: ({ session }, [id]) => flowOf(session, id).flush(),
  }),
  command<[number, number]>({
    grammar: "flow query (port_id) (rule_id) count",
    section,
    help: "Query an existing flow rule.",
    example: "flow query 0 0 count",
    types: { rule_id: integer(0, RULE_ID_MAX) },
    run: ({ session, say }, [id, rule]) => {
      const { hits, bytes } = flowOf(session, id).query(rule);
      say(`COUNT:\n hits_set: 1\n bytes_set: 1\n hits: ${hits}\n bytes: ${bytes}`);
    },
  }),
  command<[number, number[]]>({
    grammar: "flow list (port_id) (groups)",
    section,
    help: "List existing flow rules sorted by priority, filtered by [group {group_id}] [...].",
    example: "flow list 0",
    types: { groups: flowGroups },
    run: ({ session, say }, [id, groups]) => {
      const flow = flowOf(session, id);
      if (flow.list().length > 0) say(listText(flow, groups));
    },
  }),
  command<[number, string]>({
    grammar: `flow isolate (port_id) (${BOOLEANS})`,
    section,
    help: "Restrict ingress traffic to the defined flow rules.",
    example: "flow isolate 0 1",
    run: ({ session, say }, [id, word]) => {
      const on = ON.includes(word);
      flowOf(session, id).isolate(on);
      const now = on ? "now restricted" : "not restricted anymore";
      say(`Ingress traffic on port ${id} is ${now} to the defined flow rules`);
    },
  }),
];
