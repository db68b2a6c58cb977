// The results as tables, for the terminal and for docs/benchmarks.md, which has everything else around them.
import { formatMachine, type Machine } from "../machine.ts";
import { number, table } from "../markdown.ts";
import { verbsInC } from "./contenders.ts";
import type { LoopResult } from "./loop/measure.ts";
import type { WorkResult } from "./measure.ts";

export interface Mlx5Result {
  readonly machine: Machine;
  readonly works: readonly WorkResult[];
  readonly loop: LoopResult | undefined;
  readonly missing: readonly string[];
}

/** Markdown: it reads as well on a terminal. */
export function formatResult({ machine, works, loop, missing }: Mlx5Result): string {
  const parts = [["```", formatMachine(machine), "```"].join("\n")];
  for (const work of works) parts.push(workTable(work));
  if (loop) parts.push(loopTable(loop));
  if (missing.length > 0) parts.push(missing.map((text) => `- Not measured: ${text}`).join("\n"));
  return parts.join("\n\n");
}

/** Everybody's rate, and what it is of the best that DPDK did and of what plain verbs do in C. */
function workTable({ title, rates }: WorkResult): string {
  const most = (whose: (contender: string) => boolean) =>
    Math.max(...rates.map(({ contender, mpps }) => (whose(contender) ? (mpps ?? 0) : 0)));
  const best = most((contender) => contender.startsWith("DPDK"));
  const inC = most((contender) => contender === verbsInC);
  const rows = rates.map(({ contender, mpps, windows, dropped }) => {
    const ratioTo = (other: number) => `**${number(mpps === null || other === 0 ? null : mpps / other)}**`;
    return [contender, number(mpps), ratioTo(best), ratioTo(inC), `${windows}`, `${dropped}`];
  });
  return table([title, "Mpps", "to DPDK's best", `to ${verbsInC}`, "seconds", "left out"], rows);
}

function loopTable({ rows, batch }: LoopResult): string {
  const kinds = [...new Set(rows.map((row) => row.kind))];
  const engines = [...new Set(rows.map((row) => row.engine))];
  const cell = (engine: string, kind: string) => {
    const row = rows.find((candidate) => candidate.engine === engine && candidate.kind === kind);
    return row ? `${number(row.nsPerPacket)} (${number(row.ratioToC)})` : "-";
  };
  return table(
    [`CQE and WQE loop, batch ${batch}, ns/packet (to C)`, ...kinds],
    engines.map((engine) => [engine, ...kinds.map((kind) => cell(engine, kind))]),
  );
}
