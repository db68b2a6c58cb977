// --log-level: which messages are shown. As in DPDK the last pattern that matches a logger decides.
import type { LogLevel } from "./options.ts";

/** DPDK's RTE_LOG_WARNING: what an engine's warnings are. */
export const WARNING = 5;
/** What is shown where nothing is said: notices and all that is graver. */
const DEFAULT_LEVEL = 6;

/** Whether `logger` shows a message of `level` (1 is the gravest). */
export function shows(levels: readonly LogLevel[], logger: string, level: number): boolean {
  const matching = levels.filter(({ pattern }) => globToRegExp(pattern).test(logger));
  return level <= (matching.at(-1)?.level ?? DEFAULT_LEVEL);
}

function globToRegExp(glob: string): RegExp {
  const text = glob
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${text}$`);
}
