// Flow rules in testpmd's words: `ingress pattern eth / ipv4 src is 1.2.3.4 / end actions queue index 1 / end`. One
// descent through the words serves both reading and Tab: where the words end, it knows what could come next.
import { isIP, isIPv4, isIPv6 } from "node:net";
import {
  addressBytes,
  type FieldKind,
  FLOW_ITEMS,
  type FlowAction,
  type FlowItem,
  type FlowMatch,
  type FlowRule,
} from "../../../ethdev/flow.ts";
import { readMac } from "../option-values.ts";
import { type Hint, type TailType, type ValueType, type Word, WordError } from "./grammar.ts";

/** The words end before the rule does. */
class NeedMore extends Error {
  readonly hints: readonly Hint[];

  constructor(hints: readonly Hint[]) {
    super("more words are needed");
    this.hints = hints;
  }
}

class Cursor {
  private readonly words: readonly Word[];
  private next = 0;

  constructor(words: readonly Word[]) {
    this.words = words;
  }

  get atEnd(): boolean {
    return this.next === this.words.length;
  }

  word(hints: readonly Hint[]): Word {
    const word = this.words[this.next];
    if (!word) throw new NeedMore(hints);
    this.next++;
    return word;
  }

  /** One of a few words; the beginning of one alone will do. */
  keyword(hints: readonly Hint[]): string {
    const { text, at } = this.word(hints);
    const options = hints.map(({ word }) => word);
    if (options.includes(text)) return text;
    const begun = options.filter((option) => option.startsWith(text));
    if (begun.length === 1) return begun[0]!;
    if (begun.length > 1)
      throw new WordError(`"${text}" may be ${begun.join(" or ")}`, "write more of it", at);
    throw new WordError(`"${text}" cannot stand here`, `one of: ${options.join(", ")}`, at);
  }

  read<T>(hint: Hint, parse: (text: string) => T): T {
    const { text, at } = this.word([hint]);
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof WordError) throw error.placed(at);
      throw new WordError(`"${text}" is not ${hint.help}`, "see `help filters`", at);
    }
  }

  number(name: string, bits: number): number {
    const help = `a number of ${bits} bit${bits === 1 ? "" : "s"}`;
    return this.read({ word: `<${name}>`, help }, (text) => readNumber(text, bits));
  }

  requireEnd(): void {
    const word = this.words[this.next];
    if (word) throw new WordError(`"${word.text}" is too much`, "the command ends before it", word.at);
  }
}

const attributeHints: readonly Hint[] = [
  { word: "group", help: "specify a group" },
  { word: "priority", help: "specify a priority level; 0 comes first" },
  { word: "ingress", help: "affect rule to ingress" },
  { word: "egress", help: "affect rule to egress" },
  { word: "transfer", help: "apply rule directly to endpoints found in pattern" },
  { word: "pattern", help: "submit a list of pattern items" },
];

const itemHints: readonly Hint[] = [
  ...Object.keys(FLOW_ITEMS).map((word) => ({ word, help: `match ${word}` })),
  { word: "end", help: "end list of pattern items" },
];

const matchHints: readonly Hint[] = [
  { word: "is", help: "match value perfectly (with full bit-mask)" },
  { word: "spec", help: "match value according to configured bit-mask" },
  { word: "last", help: "specify upper bound to establish a range" },
  { word: "mask", help: "specify bit-mask with relevant bits set to one" },
  { word: "prefix", help: "generate bit-mask from a prefix length" },
];

const actionHelp: Readonly<Record<FlowAction["action"] | "end", string>> = {
  queue: "assign packets to a given queue index",
  drop: "drop packets",
  count: "enable counters for this rule",
  mark: "attach 32 bit value to packets",
  flag: "flag packets",
  rss: "spread packets among several queues",
  passthru: "let subsequent rule process matched packets",
  void: "no-op action",
  end: "end list of actions",
};
const actionHints: readonly Hint[] = Object.entries(actionHelp).map(([word, help]) => ({ word, help }));
const slash: Hint = { word: "/", help: "the next one" };

function rule(cursor: Cursor): FlowRule {
  const numbers: { group?: number; priority?: number } = {};
  const ways: { ingress?: true; egress?: true; transfer?: true } = {};
  for (;;) {
    const word = cursor.keyword(attributeHints) as "group" | "priority" | "ingress" | "pattern";
    if (word === "pattern") break;
    if (word === "group" || word === "priority") numbers[word] = cursor.number(word, 32);
    else ways[word] = true;
  }
  const pattern: FlowItem[] = [];
  for (let name = cursor.keyword(itemHints); name !== "end"; name = cursor.keyword(itemHints)) {
    pattern.push(item(cursor, name));
  }
  cursor.keyword([{ word: "actions", help: "submit a list of associated actions" }]);
  const actions: FlowAction[] = [];
  for (let name = cursor.keyword(actionHints); name !== "end"; name = cursor.keyword(actionHints)) {
    actions.push(action(cursor, name as FlowAction["action"]));
  }
  return { ...numbers, ...ways, pattern, actions };
}

type Draft = { spec?: number | Uint8Array; last?: number | Uint8Array; mask?: number | Uint8Array };

function item(cursor: Cursor, name: string): FlowItem {
  const fields: Readonly<Record<string, FieldKind>> = FLOW_ITEMS[name as FlowItem["item"]];
  const hints = [...Object.keys(fields).map((word) => ({ word, help: `${name}'s ${word}` })), slash];
  const drafts = new Map<string, Draft>();
  for (let field = cursor.keyword(hints); field !== "/"; field = cursor.keyword(hints)) {
    const draft = drafts.get(field) ?? {};
    drafts.set(field, draft);
    const kind = fields[field]!;
    const how = cursor.keyword(matchHints);
    const hint: Hint = { word: `<${field}>`, help: describeKind(kind) };
    if (how === "prefix") {
      const bits = typeof kind === "number" ? kind : addressBytes(kind)! * 8;
      const prefixHelp = `a prefix length from 0 to ${bits}`;
      draft.mask = cursor.read({ word: "<prefix>", help: prefixHelp }, (text) =>
        readPrefix(text, kind, bits),
      );
    } else {
      const value = cursor.read(hint, (text) => readValue(text, kind));
      if (how === "is") Object.assign(draft, { spec: value, mask: ones(kind) });
      else draft[how as "spec" | "last" | "mask"] = value;
    }
  }
  return { item: name, ...Object.fromEntries(finished(name, drafts)) } as FlowItem;
}

/** A mask or an upper bound alone compares nothing. */
function finished(name: string, drafts: ReadonlyMap<string, Draft>): [string, FlowMatch][] {
  return [...drafts].map(([field, draft]) => {
    if (draft.spec !== undefined) return [field, draft as FlowMatch];
    throw new WordError(`${name} ${field} has no value`, `write ${field} is VALUE, or ${field} spec VALUE`);
  });
}

function action(cursor: Cursor, name: FlowAction["action"]): FlowAction {
  const value = (word: string, bits: number) => {
    cursor.keyword([{ word, help: actionHelp[name] }]);
    return cursor.number(word, bits);
  };
  let made: FlowAction;
  if (name === "queue") made = { action: name, index: value("index", 16) };
  else if (name === "mark") made = { action: name, id: value("id", 32) };
  else if (name === "rss") made = { action: name, queues: rssQueues(cursor) };
  else made = { action: name };
  cursor.keyword([slash]);
  return made;
}

function rssQueues(cursor: Cursor): number[] {
  const hints: Hint[] = [
    { word: "<queue>", help: "queue index" },
    { word: "end", help: "end of the queues" },
  ];
  cursor.keyword([{ word: "queues", help: "the queues, then end" }]);
  const queues: number[] = [];
  for (;;) {
    const { text, at } = cursor.word(hints);
    if (text === "end") return queues;
    try {
      queues.push(readNumber(text, 16));
    } catch {
      throw new WordError(`"${text}" is no queue`, "write queue numbers, then end", at);
    }
  }
}

function describeKind(kind: FieldKind): string {
  if (kind === "mac") return "an address: 02:00:00:00:00:01";
  if (kind === "ipv4") return "an IPv4 address";
  return kind === "ipv6" ? "an IPv6 address" : `a number of ${kind} bit${kind === 1 ? "" : "s"}`;
}

function readNumber(text: string, bits: number): number {
  const number = /^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text) ? Number(text) : Number.NaN;
  if (number < 2 ** bits) return number;
  throw new WordError(`"${text}" is no number of ${bits} bits`, `write one from 0 to ${2 ** bits - 1}`);
}

function readValue(text: string, kind: FieldKind): number | Uint8Array {
  if (typeof kind === "number") return readNumber(text, kind);
  if (kind === "mac") return readMac("the address", text);
  if (kind === "ipv4" && isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  if (kind === "ipv6" && isIPv6(text)) return ipv6Bytes(text);
  const given = isIP(text) ? `an IPv${isIP(text)} address` : "no address";
  throw new WordError(`"${text}" is ${given}`, `write ${describeKind(kind)}`);
}

/** An address that node:net has approved. */
function ipv6Bytes(text: string): Uint8Array {
  const groups = (part: string) =>
    part.split(":").flatMap((group) => {
      if (group.includes(".")) return group.split(".").map(Number);
      const number = Number.parseInt(group, 16);
      return group === "" ? [] : [number >>> 8, number & 0xff];
    });
  const [head = "", rest] = text.replace(/%.*/, "").split("::");
  const [front, back] = [groups(head), groups(rest ?? "")];
  return Uint8Array.from([...front, ...new Array(16 - front.length - back.length).fill(0), ...back]);
}

function ones(kind: FieldKind): number | Uint8Array {
  const bytes = addressBytes(kind);
  return bytes === undefined ? 2 ** (kind as number) - 1 : new Uint8Array(bytes).fill(0xff);
}

function readPrefix(text: string, kind: FieldKind, bits: number): number | Uint8Array {
  const length = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (!(length <= bits)) throw new WordError(`"${text}" is no prefix length`, `write one from 0 to ${bits}`);
  if (typeof kind === "number") return 2 ** bits - 2 ** (bits - length);
  const onesIn = (byte: number) => Math.min(8, Math.max(0, length - 8 * byte));
  return Uint8Array.from({ length: bits / 8 }, (_, byte) => (0xff00 >>> onesIn(byte)) & 0xff);
}

/** A tail of the line by one of the descents above. `more`: what may follow where it could end. */
function tail<T>(name: string, descend: (cursor: Cursor) => T, more: readonly Hint[] = []): TailType {
  return {
    parse(words, end) {
      const cursor = new Cursor(words);
      try {
        const value = descend(cursor);
        cursor.requireEnd();
        return value;
      } catch (error) {
        if (error instanceof NeedMore) {
          const next = error.hints.map(({ word }) => word).join(", ");
          throw new WordError(`${name} goes on after this`, `one of: ${next}`, end);
        }
        throw error;
      }
    },
    complete(words) {
      try {
        descend(new Cursor(words));
        return more;
      } catch (error) {
        return error instanceof NeedMore ? error.hints : [];
      }
    },
  };
}

function tailType(what: string, tailed: TailType): ValueType {
  return { describe: () => what, parse: (word) => word, tail: tailed };
}

/** What follows `flow create PORT`. */
export const flowRule = tailType("a rule", tail("the rule", rule));

const ruleHints: readonly Hint[] = [{ word: "rule", help: "specify a rule identifier" }];
const groupHints: readonly Hint[] = [{ word: "group", help: "specify a group" }];

/** `rule 0 rule 1` */
export const flowRuleIds = tailType("rules", tail("the command", ruleIds, ruleHints));

function ruleIds(cursor: Cursor): number[] {
  const ids: number[] = [];
  do {
    cursor.keyword(ruleHints);
    ids.push(cursor.number("rule_id", 32));
  } while (!cursor.atEnd);
  return ids;
}

/** `group 0 group 1`, or nothing */
export const flowGroups = tailType("groups", tail("the command", groupIds, groupHints));

function groupIds(cursor: Cursor): number[] {
  const groups: number[] = [];
  while (!cursor.atEnd) {
    cursor.keyword(groupHints);
    groups.push(cursor.number("group_id", 32));
  }
  return groups;
}

/** testpmd's line of a rule: `ETH IPV4 UDP => QUEUE`. */
export function ruleText({ pattern, actions }: FlowRule): string {
  const items = pattern.filter(({ item }) => item !== "void").map(({ item }) => `${item.toUpperCase()} `);
  const does = actions
    .filter(({ action }) => action !== "void")
    .map(({ action }) => ` ${action.toUpperCase()}`);
  return `${items.join("")}=>${does.join("")}`;
}
