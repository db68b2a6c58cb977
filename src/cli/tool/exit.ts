// The exit codes of the device tool's commands, by what a script does next.
import { PollmodeError } from "../../errors.ts";

export const Exit = {
  /** Done, or nothing was to do. */
  DONE: 0,
  /** Failed; what was begun is as it was before, or the message says how it is. */
  FAILED: 1,
  /** The command line is wrong. */
  USAGE: 2,
  /** Refused, since it would break something that is in use. Nothing was changed. */
  REFUSED: 3,
} as const;

/** What the user wrote is wrong, by the code's beginning. */
const usage =
  /^(OPTION|COMMAND_UNKNOWN|PCI_ADDRESS|SRIOV_COUNT|PCI_UNKNOWN|DEVICE_UNKNOWN|GROUP_UNKNOWN|WORD)/;
const refused: ReadonlySet<string> = new Set([
  "DEVICE_IN_USE",
  "DEVICE_BIFURCATED",
  "DEVICE_IS_BRIDGE",
  "PCI_IN_USE",
  "PCI_HAS_VFS",
  "MDEV_IN_USE",
  "HUGEPAGES_IN_USE",
  "PERMIT_TAKEN",
]);

export function exitCodeOf(error: unknown): number {
  if (!(error instanceof PollmodeError)) return Exit.FAILED;
  if (usage.test(error.code)) return Exit.USAGE;
  return refused.has(error.code) ? Exit.REFUSED : Exit.FAILED;
}
