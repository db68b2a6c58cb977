// What a test file's TAP says, counted one way for all files.
//
// A test is a block (`t.test`, or the file itself) that holds assertions of its own: one test, however many
// assertions. A block that only holds other blocks is a heading and not counted. Each skip (`t.skip(reason)`, or
// `t.test(name, {skip: reason})`) is one skipped test, and a block that skips anything itself never counts as passed.
import { inspect } from "node:util";
import { Parser, type Result } from "tap-parser";

export interface Failure {
  /** The headings and the test, outermost first. */
  readonly name: string;
  readonly detail: string;
}

export interface Skip {
  readonly name: string;
  readonly reason: string;
}

export interface Tally {
  passed: number;
  failures: Failure[];
  skips: Skip[];
}

/** What a block held by itself, without the blocks in it. */
interface BlockCount {
  points: number;
  assertions: number;
  skips: number;
}

/** Counts one file's TAP as it comes; end() closes it. */
export class TapTally {
  readonly #parser = new Parser();
  readonly #tally: Tally = { passed: 0, failures: [], skips: [] };
  readonly #file: string;
  #bailout: string | undefined;

  constructor(file: string) {
    this.#file = file;
    this.#watch(this.#parser, []);
    this.#parser.on("bailout", (reason: string) => {
      this.#bailout = reason || "no reason given";
    });
  }

  write(text: string): void {
    this.#parser.write(text);
  }

  /**
   * The final count. A stream cut short (no plan, a bail-out) is a failure, as is one without any test; unless the
   * file was `killed`, which is failure enough.
   */
  end(killed = false): Tally {
    this.#parser.end();
    if (killed) return this.#tally;
    const { passed, failures, skips } = this.#tally;
    const results = this.#parser.results;
    if (this.#bailout !== undefined)
      failures.push({ name: this.#file, detail: `bailed out: ${this.#bailout}` });
    else if (!results?.ok && failures.length === 0) {
      const errors = results?.failures.map((failure) => failure.tapError).filter(Boolean) ?? [];
      failures.push({ name: this.#file, detail: `broken TAP: ${errors.join(", ") || "cut short"}` });
    }
    // t.plan(0, reason): the file skips itself. "no tests found" is what the parser makes of an empty stream.
    const plan = results?.plan;
    if (plan?.skipAll && !/^$|^no tests found$/.test(plan.skipReason))
      this.#skip(this.#file, plan.skipReason.replace(/^SKIP\s*/i, ""));
    if (passed + failures.length + skips.length === 0) {
      failures.push({ name: this.#file, detail: "the file holds no test" });
    }
    return this.#tally;
  }

  /** Follows one block. `names` leads to it; empty for the file itself. */
  #watch(parser: Parser, names: readonly string[]): BlockCount {
    const name = names.join(" > ") || this.#file;
    const count: BlockCount = { points: 0, assertions: 0, skips: 0 };
    const details: string[] = [];
    let child: BlockCount | undefined;
    let failuresBefore = 0;
    parser.on("child", (block: Parser) => {
      failuresBefore = this.#tally.failures.length;
      child = this.#watch(block, [...names, block.name]);
    });
    parser.on("assert", (result: Result) => {
      const closed = child;
      const path = [...names, result.name].join(" > ");
      child = undefined;
      count.points++;
      if (result.skip || result.todo || (result.ok && closed?.points === 0)) {
        count.skips++;
        // t.skip("why") puts the reason where a test has its name.
        if (result.skip === true) this.#skip(name, result.name);
        else this.#skip(path, result.todo ? `todo ${result.todo}` : result.skip || "holds no assertion");
      } else if (!closed) {
        count.assertions++;
        if (!result.ok) details.push(failureText(result));
      } else if (!result.ok && this.#tally.failures.length === failuresBefore) {
        // The block failed although all in it passed: a timeout, or a wrong plan.
        this.#tally.failures.push({ name: path, detail: failureText(result) });
      }
    });
    parser.on("complete", () => {
      if (details.length > 0) this.#tally.failures.push({ name, detail: details.join("\n") });
      else if (count.assertions > 0 && count.skips === 0) this.#tally.passed++;
    });
    return count;
  }

  #skip(name: string, reason: string): void {
    this.#tally.skips.push({ name, reason });
  }
}

/** The assertion and its diagnostics, without the source excerpt: file and line are enough. */
function failureText(result: Result): string {
  const { source: _source, stack, at, ...rest } = (result.diag ?? {}) as Record<string, unknown>;
  const lines = [result.name || "(an assertion without a name)"];
  const where = at as { fileName?: string; lineNumber?: number } | undefined;
  if (where?.fileName) lines.push(`  at ${where.fileName}:${where.lineNumber}`);
  for (const [key, value] of Object.entries(rest)) {
    const text = typeof value === "string" ? value.trimEnd() : valueText(value);
    lines.push(...(text.includes("\n") ? [`  ${key}:`, ...indent(text, 4)] : [`  ${key}: ${text}`]));
  }
  if (typeof stack === "string") lines.push("  stack:", ...indent(stack.trimEnd(), 4));
  return lines.join("\n");
}

/** An error in an error, such as a suppressed one, with its message and code: JSON has neither. */
function valueText(value: unknown): string {
  return value instanceof Error ? inspect(value) : JSON.stringify(value);
}

function indent(text: string, columns: number): string[] {
  return text.split("\n").map((line) => " ".repeat(columns) + line);
}
