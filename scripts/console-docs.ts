// Writes docs/testpmd-console.md from the console's table of commands.
import { writeFileSync } from "node:fs";
import { commands } from "../src/cli/testpmd/console/commands.ts";
import { referencePage } from "../src/cli/testpmd/console/help.ts";

writeFileSync("docs/testpmd-console.md", referencePage(commands));
