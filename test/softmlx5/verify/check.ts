// What the fidelity gate is made of. A check runs a program that is not ours on the software ConnectX and compares
// what the program says with what it says of the silicon, or with arithmetic. It returns the program's words.
import { PollmodeError } from "../../../src/errors.ts";

/** How much work a check does: little in CI, more in `npm run softmlx5:verify`. */
export interface Load {
  /** At least so many frames through each of testpmd's loops. */
  readonly frames: number;
  readonly pings: number;
}

export interface Check {
  /** The program under whose eyes the device stands, with its package's name where that differs. */
  readonly program: string;
  readonly name: string;
  run(load: Load): Promise<string>;
}

export interface Verdict {
  readonly check: Check;
  readonly ok: boolean;
  /** The program's words, or why the check failed. */
  readonly words: string;
  readonly seconds: number;
}

export async function verdict(check: Check, load: Load): Promise<Verdict> {
  const started = performance.now();
  const done = (ok: boolean, words: string): Verdict => {
    return { check, ok, words, seconds: (performance.now() - started) / 1000 };
  };
  try {
    return done(true, await check.run(load));
  } catch (cause) {
    return done(false, cause instanceof Error ? cause.message : String(cause));
  }
}

/** Fails the check, with the words that show it. */
export function expect(condition: boolean, wanted: string, words: string): void {
  if (condition) return;
  const message = `${wanted}; it said:\n${words.trim()}`;
  throw new PollmodeError("FIDELITY", message, "compare the emulator with the silicon's manual and drivers");
}

/** Every pattern must match; what they matched, on one line. */
export function expectAll(words: string, patterns: readonly RegExp[]): string {
  return patterns
    .map((pattern) => {
      const match = pattern.exec(words);
      expect(match !== null, `no ${pattern} in the output`, words);
      return match![0].trim().replace(/\s+/g, " ");
    })
    .join(", ");
}

/** The number behind a name, as in `RX-packets: 12`. */
export function numberBehind(words: string, name: string): number {
  const match = new RegExp(`${name}:? *(\\d+)`).exec(words);
  expect(match !== null, `no number behind ${name}`, words);
  return Number(match![1]);
}
