// `pollmode doctor`: see command.ts.
import { runTool } from "../tool/command.ts";
import { command } from "./command.ts";

export const main = (argv: readonly string[]): Promise<number> => runTool(command, argv);
