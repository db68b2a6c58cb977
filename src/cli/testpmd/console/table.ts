// What a command is: its grammar, its help, an example, and what it does. commands.ts has them all.
import type { Session } from "../session.ts";
import { compile, type Step, type Types } from "./grammar.ts";
import { types as commonTypes } from "./types.ts";

/** testpmd's sections of help. */
export const sections = {
  control: "Start and stop forwarding.",
  display: "Displaying port, stats and config information.",
  config: "Configuration information.",
  ports: "Configuring ports.",
  filters: "Filters configuration help.",
} as const;
export type Section = keyof typeof sections;

/** What a command works with. */
export interface CommandContext {
  readonly session: Session;
  /** Prints lines. */
  readonly say: (text: string) => void;
  /** Ends the console. */
  readonly quit: () => void;
  /** Runs a file of commands. */
  readonly load: (path: string) => Promise<void>;
  /** Prints the ports' statistics so often, in seconds; 0: no more. */
  readonly repeatStats: (seconds: number) => void;
  readonly commands: readonly Command[];
}

export interface Command {
  /** As testpmd's help has it. */
  readonly grammar: string;
  readonly section: Section;
  /** One line. */
  readonly help: string;
  readonly example: string;
  readonly ways: readonly Step[][];
  /** A command of DPDK's that is not here: why, or what to do instead. */
  readonly missing?: string;
  run(context: CommandContext, values: readonly unknown[]): Promise<void> | void;
}

interface Definition<V extends readonly unknown[]> {
  readonly grammar: string;
  readonly section: Section;
  readonly help: string;
  readonly example: string;
  /** Types of this command alone. */
  readonly types?: Types;
  run(context: CommandContext, values: V): Promise<unknown> | unknown;
}

/** `V`: the values of the grammar's parentheses, in order; those in brackets may be undefined. */
export function command<V extends readonly unknown[] = []>(definition: Definition<V>): Command {
  const { grammar, types = {}, run, ...rest } = definition;
  return {
    ...rest,
    grammar,
    ways: compile(grammar, { ...commonTypes, ...types }),
    run: async (context, values) => {
      await run(context, values as unknown as V);
    },
  };
}
