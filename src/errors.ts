/** What every failure of pollmode is: `code` for programs, `message` that names the thing, `fix` that mends it. */
export class PollmodeError extends Error {
  /** `PollmodeError`. */
  override name = "PollmodeError";
  /** Upper-case identifier, e.g. `ARENA_OVERLAP`, `EINVAL`. Stable; programs may compare it. */
  readonly code: string;
  /** The exact command, option or setting that mends it. */
  readonly fix: string;

  /** `options.cause`: the error that led to this one. */
  constructor(code: string, message: string, fix: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.fix = fix;
  }
}

/** An error's text for people: the message, and on a line of its own how to mend it. Of other errors the stack. */
export function describeError(error: unknown): string {
  if (error instanceof PollmodeError) return `${error.message}\n  fix: ${error.fix}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
