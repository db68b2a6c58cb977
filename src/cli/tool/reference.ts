// The device tool's page of reference, from the descriptions that --help shows.
import { type OptionSpec, wrap } from "../../eal/option-table.ts";
import { exitMeanings, sectionsOf, type ToolCommand } from "./command.ts";

const head = `# The device tool: reference
Commands for what is around a device before and after a packet flows. [devices.md](devices.md) shows them at work. This
page is generated from the tables that make their \`--help\`; a test holds it equal.

Every command has \`--json\` (only JSON on stdout; an error is \`{"error": {"code", "message", "fix"}, "exitCode"}\`)
and \`--root DIR\` (look at a copy of another machine's files). Those that change something have \`--dry-run\`, which
prints the exact writes as lines of shell.
`;

const PAGE_COLUMNS = 118;

export function toolReference(commands: readonly ToolCommand[]): string {
  const codes = exitMeanings({ changes: true }).map(([code, meaning]) => `| ${code} | ${meaning} |`);
  const parts = [head, ["| exit code | |", "|---|---|", ...codes, ""].join("\n"), ...commands.map(page)];
  return parts.join("\n");
}

function page(command: ToolCommand): string {
  const { name, usage, meaning, words = [], examples } = command;
  const lines = [
    `## pollmode ${name}`,
    "```",
    ...usage.map((text) => `pollmode ${text}`),
    "```",
    ...wrap(meaning, PAGE_COLUMNS),
    "",
  ];
  if (words.length > 0) {
    lines.push("| word | meaning |", "|---|---|");
    lines.push(...words.map(([word, text]) => `| \`${cell(word)}\` | ${cell(text)} |`), "");
  }
  const options = sectionsOf(command).flatMap(({ table }) => Object.entries<OptionSpec>(table));
  lines.push("| option | meaning |", "|---|---|", ...options.map(optionRow), "");
  lines.push("```sh", ...examples.flatMap(([line, text]) => [`# ${text}`, line]), "```", "");
  return lines.join("\n");
}

function optionRow([name, { short, value, meaning, multiple, byDefault }]: [string, OptionSpec]): string {
  const operand = value === undefined ? "" : ` ${value}`;
  const spelling = `${short ? `-${short}, ` : ""}--${name}${operand}`;
  const repeat = multiple ? " May be repeated." : "";
  const rest = byDefault === undefined ? "" : ` (default: ${byDefault})`;
  return `| \`${cell(spelling)}\` | ${cell(`${meaning}${repeat}${rest}`)} |`;
}

const cell = (text: string) => text.replaceAll("|", "\\|");
