// Tables of results as Markdown, for a terminal and for docs/benchmarks.md, where each bench has a place of its own.
import { PollmodeError } from "../src/errors.ts";

/** A Markdown table whose columns are aligned in its text, too. */
export function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const widths = head.map((title, at) => Math.max(title.length, ...body.map((cells) => cells[at]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join(" | ")} |`;
  const rule = widths.map((width, at) => (at === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [line(head), line(rule), ...body.map(line)].join("\n");
}

export function number(value: number | null): string {
  return value === null ? "-" : value.toFixed(2);
}

/** The document with the results of `bench` ("bench:peers") replaced by these. */
export function replaceResults(document: string, bench: string, results: string, path: string): string {
  const begin = `<!-- results: written by npm run ${bench} -- --write -->`;
  const end = `<!-- end of ${bench} -->`;
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from) {
    const message = `${path} has no place for results`;
    throw new PollmodeError("NO_RESULTS_PLACE", message, `put the lines "${begin}" and "${end}" into it`);
  }
  return `${document.slice(0, from + begin.length)}\n\n${results}\n\n${document.slice(to)}`;
}
