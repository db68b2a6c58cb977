import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { toolCommands } from "../../../scripts/tool-docs.ts";
import { sectionsOf, toolHelp } from "../../../src/cli/tool/command.ts";
import { toolReference } from "../../../src/cli/tool/reference.ts";
import { repositoryRoot } from "../../beds/paths.ts";

const commands = await toolCommands();

t.test("the page of reference is as the tables are", async (t) => {
  const names = [
    "devbind",
    "doctor",
    "groups",
    "hugepages",
    "mdev",
    "observe",
    "passthrough",
    "permit",
    "sriov",
  ];
  t.same(
    commands.map(({ name }) => name),
    names,
  );
  const page = readFileSync(join(repositoryRoot, "docs/device-tool.md"), "utf8");
  t.equal(page, toolReference(commands), "write it anew: node dist/scripts/tool-docs.js");
});

t.test("every command has what users expect of it", async (t) => {
  for (const command of commands) {
    const options = sectionsOf(command).flatMap(({ table }) => Object.keys(table));
    t.ok(options.includes("json"), command.name);
    t.equal(options.includes("dry-run"), command.changes, `${command.name} --dry-run`);
    t.equal(new Set(options).size, options.length, `${command.name}: no option twice`);
    t.ok(command.examples.length >= 2, `${command.name}: examples`);
    for (const [line] of command.examples) t.match(line, `pollmode ${command.name}`);
    for (const line of command.usage) t.match(line, new RegExp(`^${command.name}\\b`));
    const long = toolHelp(command)
      .split("\n")
      .filter((line) => line.length > 120);
    t.same(long, [], `${command.name}: --help fits 120 columns`);
  }
});
