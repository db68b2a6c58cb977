// `pollmode hugepages`: dpdk-hugepages.py's options over src/devices/hugepage-setup.ts.
import { runTool } from "../tool/command.ts";
import { command } from "./command.ts";

/** Returns the exit code. */
export function main(argv: readonly string[]): Promise<number> {
  return runTool(command, argv);
}
