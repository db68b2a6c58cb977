// What the doctor says: a line of the checklist, and what mends it.

/** `fail`: no packet flows until it is mended. `warn`: they flow, at a price. `skipped`: not looked at, and why. */
export type State = "ok" | "warn" | "fail" | "skipped";

/** One way to mend it: a command or a setting. */
export interface Fix {
  /** A line for root's shell. */
  readonly command?: string;
  /** What no command here does: a setting of the firmware, an option of `docker run`. */
  readonly setting?: string;
  /** What has to follow, or what it costs. */
  readonly after?: string;
}

export interface Finding {
  readonly state: State;
  readonly text: string;
  /** Alternatives, the best first. */
  readonly fixes: readonly Fix[];
}

export const ok = (text: string): Finding => ({ state: "ok", text, fixes: [] });
export const skipped = (text: string): Finding => ({ state: "skipped", text, fixes: [] });
export const warn = (text: string, ...fixes: Fix[]): Finding => ({ state: "warn", text, fixes });
export const fail = (text: string, ...fixes: Fix[]): Finding => ({ state: "fail", text, fixes });

const ROOT = "as root: ";

/** The fix of a PollmodeError, whose text begins so where it is a command. */
export function parseFix(text: string): Fix {
  return text.startsWith(ROOT) ? { command: text.slice(ROOT.length) } : { setting: text };
}

/** In one line. */
export function formatFix({ command, setting, after }: Fix): string {
  const first = command === undefined ? (setting ?? "") : `${ROOT}${command}`;
  return after === undefined ? first : `${first}; then ${after}`;
}
