// `pollmode observe`: what runs now, once or again and again.
//
//   watch.ts -> src/devices/observe.ts, engines.ts -> render.ts -> stdout
import { runTool } from "../tool/command.ts";
import { command, withInterval } from "./command.ts";

/** Returns the exit code. */
export function main(argv: readonly string[]): Promise<number> {
  // whoever reads the output may leave early, as `| head` does: nothing is left to do then
  process.stdout.once("error", () => process.exit(0));
  return runTool(command, withInterval(argv));
}
