// `pollmode permit`: lets a user drive devices without being root.
import { runTool } from "../tool/command.ts";
import { command } from "./command.ts";

/** Returns the exit code. */
export function main(argv: readonly string[]): Promise<number> {
  return runTool(command, argv);
}
