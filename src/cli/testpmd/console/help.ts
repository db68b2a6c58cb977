// What `help` prints, from the table of commands.
import { nearest } from "../../../eal/nearest.ts";
import { FLOW_ITEMS } from "../../../ethdev/flow.ts";
import { splitLine, WordError } from "./grammar.ts";
import { type Command, type Section, sections } from "./table.ts";

const TITLES: Readonly<Record<Section, string>> = {
  control: "Control forwarding",
  display: "Display",
  config: "Configuration",
  ports: "Port Operations",
  filters: "filters",
};

/** `help`: the sections, as testpmd lists them. */
export function briefHelp(): string {
  const row = (name: string, what: string) => `    ${`help ${name}`.padEnd(31)} : ${what}`;
  return [
    "",
    "Help is available for the following sections:",
    "",
    ...Object.entries(sections).map(([name, what]) => row(name, what)),
    row("all", "All of the above sections."),
    row("COMMAND", "One command: help set promisc."),
    "",
  ].join("\n");
}

function commandHelp({ grammar, help }: Command): string {
  return `${grammar}\n    ${help}\n`;
}

function sectionHelp(commands: readonly Command[], section: Section): string {
  const own = commands.filter((one) => one.section === section && one.missing === undefined);
  const title = `${TITLES[section]}:`;
  return ["", title, "-".repeat(title.length), "", ...own.map(commandHelp)].join("\n");
}

/** `help all`, `help ports`, `help set promisc`: of what the words begin. Throws a WordError. */
export function helpFor(commands: readonly Command[], words: readonly string[]): string {
  const [first] = words;
  if (first === undefined) return briefHelp();
  const names = Object.keys(sections) as Section[];
  if (words.length === 1 && first === "all") return names.map((one) => sectionHelp(commands, one)).join("\n");
  const section = names.find((name) => name === first);
  if (words.length === 1 && section) return sectionHelp(commands, section);
  const found = commands.filter((one) => one.missing === undefined && begins(one.grammar, words));
  if (found.length > 0) return `\n${found.map(detailedHelp).join("\n")}`;
  const missing = commands.find((one) => one.missing !== undefined && begins(one.grammar, words));
  if (missing)
    throw new WordError(`DPDK's command \`${missing.grammar}\` is not supported`, missing.missing!);
  const near = nearest(first, [...names, "all", ...commands.map(({ grammar }) => grammar.split(" ")[0]!)]);
  const hint = near ? `did you mean help ${near}? ` : "";
  throw new WordError(`there is no help on "${words.join(" ")}"`, `${hint}\`help\` lists the sections`);
}

function detailedHelp(command: Command): string {
  return `${commandHelp(command)}    for example: ${command.example}\n`;
}

/** Whether each word is the beginning of the grammar's, or one of its values. */
function begins(grammar: string, words: readonly string[]): boolean {
  const parts = splitLine(grammar.replaceAll(/[[\]]/g, "")).map(({ text }) => text);
  return words.every((word, k) => {
    const part = parts[k];
    if (part === undefined) return false;
    const options = part.startsWith("(") ? part.slice(1, -1).split("|") : [part];
    return options.some((option) => option.startsWith(word));
  });
}

/** How a rule is written. */
function flowPage(): string[] {
  const items = Object.entries(FLOW_ITEMS).map(([name, fields]) => {
    return `| \`${name}\` | ${Object.keys(fields).join(", ") || "-"} |`;
  });
  return [
    "### Rules",
    "    [group N] [priority N] [ingress] [egress] [transfer]",
    "    pattern ITEM [FIELD is VALUE]... / ITEM ... / end",
    "    actions ACTION / ... / end",
    "",
    "Beside `is` there are `spec`, `last`, `mask` and `prefix`; a `spec` without a mask is compared in all its bits.",
    "Actions: `queue index N`, `rss queues N N end`, `mark id N`, `drop`, `count`, `flag`, `passthru`, `void`.",
    "",
    "The 82576 and I350 (`net_e1000`) lead packets to a queue: by EtherType (`eth type is T`), by TCP's SYN",
    "(`eth / ipv4 / tcp flags spec 0x02 flags mask 0x02`), and by addresses, protocol and ports",
    "(`eth / ipv4 src is A dst is A / udp src is N dst is N`; the I350: protocol and destination port alone). They",
    "have no other action. Other drivers have no rules. What a device has not is refused by name.",
    "",
    "| item | fields |",
    "|---|---|",
    ...items,
    "",
  ];
}

/** docs/testpmd-console.md. */
export function referencePage(commands: readonly Command[]): string {
  const lines = [
    "# The console of `pollmode testpmd`",
    "What can be typed at `testpmd> ` (`-i`), or written in a file for `--cmdline-file` and `load`. The spelling is",
    "that of DPDK 22.11's testpmd. `(a|b)` is one of these, a name in parentheses a value, what is in brackets may be",
    "left out. A word may be shortened to what no other word there begins with; `#` begins a comment. Tab completes,",
    "`?` shows what may come next, the arrow keys recall lines, those of earlier sessions too (they are kept in",
    "`$XDG_STATE_HOME/pollmode/testpmd_history`, by default below `~/.local/state`). Ctrl-C stops forwarding and",
    "leaves, Ctrl-D on an empty line leaves.",
    "",
    "Bad input changes nothing. The message points at the word:",
    "",
    "```",
    "testpmd> set promisc 7 on",
    "                     ^",
    "there is no port 7; there are 0, 1",
    "  fix: write 0, for instance",
    "```",
    "",
    "This page is generated from the table of commands in `src/cli/testpmd/console/`; a test holds it equal.",
    "",
  ];
  const cell = (text: string) => text.replaceAll("|", "\\|");
  for (const [name, what] of Object.entries(sections)) {
    lines.push(
      `## ${TITLES[name as Section]}`,
      what,
      "",
      "| command | what it does | for example |",
      "|---|---|---|",
    );
    for (const one of commands) {
      if (one.section !== name || one.missing !== undefined) continue;
      lines.push(`| \`${cell(one.grammar)}\` | ${cell(one.help)} | \`${cell(one.example)}\` |`);
    }
    lines.push("");
  }
  lines.push(...flowPage());
  lines.push(
    "## Not here",
    "DPDK's other commands are named as such:",
    "",
    "| command | instead |",
    "|---|---|",
  );
  for (const { grammar, missing } of commands) {
    if (missing !== undefined) lines.push(`| \`${cell(grammar)} …\` | ${cell(missing)} |`);
  }
  return `${lines.join("\n")}\n`;
}
