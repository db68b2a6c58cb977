// `pollmode mdev`: mediated devices, over src/devices/mdev.ts; one is opened by src/bus/vfio/sysfsdev.ts.
import { runTool } from "../tool/command.ts";
import { command } from "./command.ts";

/** Returns the exit code. */
export function main(argv: readonly string[]): Promise<number> {
  return runTool(command, argv);
}
