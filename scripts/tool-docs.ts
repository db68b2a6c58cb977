// Writes docs/device-tool.md from the commands' descriptions.
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import type { ToolCommand } from "../src/cli/tool/command.ts";
import { toolReference } from "../src/cli/tool/reference.ts";

const folder = new URL("../src/cli/", import.meta.url);

/** All that are described in a file `command.js`, by name. */
export async function toolCommands(): Promise<ToolCommand[]> {
  const names = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .filter((name) => name !== "tool" && existsSync(new URL(`${name}/command.js`, folder)));
  return Promise.all(
    names.sort().map(async (name) => {
      const { command } = (await import(new URL(`${name}/command.js`, folder).href)) as {
        command: ToolCommand;
      };
      return command;
    }),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  writeFileSync("docs/device-tool.md", toolReference(await toolCommands()));
}
