// VPP's words for ports on the kernel's RDMA devices (src/plugins/rdma/cli.c): `create interface rdma host-if IF name
// NAME …`, in any order. The port is net_rdma's, and stopped, as after `port attach`.
import type { Devargs } from "../../../eal/devargs.ts";
import { nearest } from "../../../eal/nearest.ts";
import { PollmodeError } from "../../../errors.ts";
import { RING_SIZE_MAX, RING_SIZE_MIN } from "../../../limits.ts";
import type { Session } from "../session.ts";
import { type Hint, type ValueType, type Word, WordError } from "./grammar.ts";
import { type Command, command } from "./table.ts";
import { text } from "./types.ts";

const section = "ports";
const DRIVER = "net_rdma";

/** VPP's words, and what follows each. */
const WORDS: Readonly<Record<string, string>> = {
  "host-if": "the kernel's interface: enp3s0f0",
  name: "the port's name; by default net_rdma with a number",
  "rx-queue-size": `descriptors of a receive queue, ${RING_SIZE_MIN} to ${RING_SIZE_MAX}`,
  "tx-queue-size": `descriptors of a transmit queue, ${RING_SIZE_MIN} to ${RING_SIZE_MAX}`,
  "num-rx-queues": "receive queues at most",
  mode: "auto, dv or ibv",
};
const MODES = ["auto", "dv", "ibv"];

/** Words and values in turn. `end`: the column after the line. */
function readWords(words: readonly Word[], end: number): Map<string, string> {
  const values = new Map<string, string>();
  for (let k = 0; k < words.length; k += 2) {
    const { text: word, at } = words[k]!;
    const value = words[k + 1];
    if (!Object.hasOwn(WORDS, word)) {
      const near = nearest(word, Object.keys(WORDS));
      const fix = `${near ? `did you mean ${near}? ` : ""}one of: ${Object.keys(WORDS).join(", ")}`;
      throw new WordError(`"${word}" cannot stand here`, fix, at);
    }
    if (values.has(word)) throw new WordError(`${word} stands there twice`, "write it once", at);
    if (!value) throw new WordError(`${word} has no value`, WORDS[word]!, end);
    if (word === "name" && !/^[A-Za-z][\w.-]*$/.test(value.text)) {
      throw new WordError(`"${value.text}" is no port's name`, "begin with a letter: rdma-0", value.at);
    }
    values.set(word, value.text);
  }
  if (values.has("host-if")) return values;
  throw new WordError("no interface is named", "write host-if enp3s0f0, for instance", end);
}

/** The words that are left, or what a value may be. */
function hints(words: readonly Word[]): Hint[] {
  const last = words.length % 2 === 1 ? words.at(-1)!.text : undefined;
  if (last === "mode") return MODES.map((word) => ({ word }));
  if (last !== undefined) return [{ word: `<${last}>`, help: WORDS[last] ?? "" }];
  const given = words.filter((_, k) => k % 2 === 0).map((word) => word.text);
  return Object.entries(WORDS)
    .filter(([word]) => !given.includes(word))
    .map(([word, help]) => ({ word, help }));
}

const rdmaInterface: ValueType = {
  describe: () => Object.keys(WORDS).join(", "),
  parse: (word) => [word],
  tail: { parse: readWords, complete: hints },
};

/** The lowest number that no port's name has. */
function freeName(session: Session): string {
  const names = session.engine.ports.map(({ name }) => name);
  let number = 0;
  while (names.includes(`${DRIVER}${number}`)) number++;
  return `${DRIVER}${number}`;
}

function devargsOf(values: ReadonlyMap<string, string>, session: Session): Devargs {
  const args = new Map(values);
  args.delete("name");
  return { bus: "vdev", driver: DRIVER, name: values.get("name") ?? freeName(session), args, repeated: [] };
}

/** A port that `create interface rdma` has made, or --vdev=net_rdma…. */
function portNamed(session: Session, name: string): number {
  const ports = session.engine.ports.filter(({ info }) => info.driver === DRIVER);
  const found = ports.find((port) => port.name === name);
  if (found) return found.id;
  const names = ports.map((port) => port.name).join(", ");
  const fix = names ? `there are ${names}` : "there is none: create interface rdma host-if enp3s0f0";
  throw new PollmodeError("PORT_UNKNOWN", `there is no rdma interface ${name}`, fix);
}

export const rdmaCommands: readonly Command[] = [
  command<[Map<string, string>]>({
    grammar: "create interface rdma (words)",
    section,
    help:
      "As VPP: a port that shares an mlx5 NIC with the kernel: host-if IF [name NAME] [rx-queue-size N] " +
      "[tx-queue-size N] [num-rx-queues N] [mode auto|dv|ibv].",
    example: "create interface rdma host-if enp3s0f0 name rdma-0 num-rx-queues 2 mode dv",
    types: { words: rdmaInterface },
    run: ({ session }, [values]) => session.portAttach(devargsOf(values, session)),
  }),
  command<[string]>({
    grammar: "delete interface rdma (name)",
    section,
    help: "As VPP: takes such a port away. It must be stopped.",
    example: "delete interface rdma rdma-0",
    types: { name: text("the port's name") },
    run: ({ session }, [name]) => session.portDetach(portNamed(session, name)),
  }),
];
