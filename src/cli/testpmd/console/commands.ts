// All commands of the console: the one table from which lines are read and completed, help and docs are printed.
import { configCommands } from "./commands-config.ts";
import { displayCommands } from "./commands-display.ts";
import { flowCommands } from "./commands-flow.ts";
import { missingCommands } from "./commands-missing.ts";
import { portCommands } from "./commands-ports.ts";
import { rdmaCommands } from "./commands-rdma.ts";
import type { TailType, ValueType } from "./grammar.ts";
import { helpFor } from "./help.ts";
import { completeLine } from "./match.ts";
import { type Command, command, sections } from "./table.ts";
import { integer } from "./types.ts";

const section = "control";

/** Bursts that are sent first: what testpmd takes. */
const FIRST_BURSTS_MAX = 2 ** 32 - 1;

const topic: ValueType = {
  describe: () => "a section or a command",
  parse: (word) => [word],
  tail: {
    parse: (words) => words.map(({ text }) => text),
    complete(words, start, session) {
      const line = [...words.map(({ text }) => text), start].join(" ");
      const names = words.length === 0 ? ["all", ...Object.keys(sections)] : [];
      return [...names, ...completeLine(commands, line, session)].map((word) => ({ word }));
    },
  } satisfies TailType,
};

const controlCommands: readonly Command[] = [
  command<["tx_first" | undefined, number | undefined]>({
    grammar: "start [(tx_first) [(bursts)]]",
    section,
    help: "Start packet forwarding with current configuration, after sending one burst of packets, or several.",
    example: "start tx_first 2",
    types: { bursts: integer(1, FIRST_BURSTS_MAX) },
    run: ({ session }, [first, bursts = 1]) => session.start(first === undefined ? 0 : bursts),
  }),
  command({
    grammar: "stop",
    section,
    help: "Stop packet forwarding, and display accumulated statistics.",
    example: "stop",
    run: ({ session }) => session.stop(),
  }),
  command({
    grammar: "quit",
    section,
    help: "Stop forwarding, close the ports and leave.",
    example: "quit",
    run: ({ quit }) => quit(),
  }),
  command<[string]>({
    grammar: "load (file)",
    section,
    help: "Run the commands in a file.",
    example: "load commands.txt",
    run: ({ load }, [path]) => load(path),
  }),
  command<[string[]]>({
    grammar: "help (topic)",
    section,
    help: "Show the sections, or help on a section or command.",
    example: "help set promisc",
    types: { topic },
    run: (context, [words]) => context.say(helpFor(context.commands, words)),
  }),
  command<[string[]]>({
    grammar: "? (topic)",
    section,
    help: "The same. At the end of an unfinished line: what may come next.",
    example: "? ports",
    types: { topic },
    run: (context, [words]) => context.say(helpFor(context.commands, words)),
  }),
];

export const commands: readonly Command[] = [
  ...controlCommands,
  ...displayCommands,
  ...configCommands,
  ...portCommands,
  ...rdmaCommands,
  ...flowCommands,
  ...missingCommands,
];
