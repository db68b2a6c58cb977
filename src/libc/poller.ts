// Readiness of raw fds for the main thread. Node has no public way to watch an fd that it did not open, so one poll(2)
// at a time runs on a thread of libuv's pool, over all fds and an eventfd; a change wakes it through the eventfd.
//
// poll(2) holds its files open in the kernel: an fd that was removed and closed is really gone only when the poll has
// returned, which the wake brings about at once.
import { PollmodeError } from "../errors.ts";
import { POLLERR, POLLHUP, POLLIN, POLLNVAL } from "./abi.ts";
import { close, eventfd, eventfdDrain, eventfdWrite, pollAsync, pollfds, revents } from "./libc.ts";

/** A poll ends after this at the latest, so that a lost wake can delay the process's exit only so long. */
const pollTimeoutMs = 250;
/** After a failed poll (out of memory, too many fds): do not spin. */
const retryMs = 20;
/** One failed poll may be a signal; so many in a row are reported. */
const failuresReported = 3;

export type PollCallback = (revents: number) => void;

interface Watch {
  fd: number;
  events: number;
  callback: PollCallback;
}

/** Pollers whose poll(2) is under way: node waits for it when the process exits. */
const waiting = new Set<Poller>();
let exitWatched = false;

function watchExit(): void {
  if (exitWatched) return;
  exitWatched = true;
  process.on("exit", () => {
    for (const poller of waiting) poller.wake();
  });
}

export class Poller {
  private readonly watches = new Map<number, Watch>();
  private readonly onError: (error: Error) => void;
  private wakeFd: number | undefined;
  /** What the poll that is under way looks at. */
  private outstanding: Watch[] | undefined;
  private woken = false;
  private dispatching = false;
  private retry: NodeJS.Timeout | undefined;
  private failures = 0;
  private closed = false;

  /** `onError` is told what callbacks throw. */
  constructor(onError: (error: Error) => void) {
    this.onError = onError;
    watchExit();
  }

  /** Calls `callback` whenever one of `events` (or POLLHUP, POLLERR) holds for `fd`, until it is removed. */
  add(fd: number, events: number, callback: PollCallback): void {
    if (this.closed)
      throw new PollmodeError("POLLER_CLOSED", `poller: fd ${fd} added after close`, "make a new Poller");
    if (this.watches.has(fd)) {
      throw new PollmodeError("POLLER_BUSY", `poller: fd ${fd} is watched already`, "remove or modify it");
    }
    this.wakeFd ??= eventfd();
    this.watches.set(fd, { fd, events, callback });
    this.changed();
  }

  modify(fd: number, events: number): void {
    const watch = this.watches.get(fd);
    if (!watch) throw new PollmodeError("POLLER_UNKNOWN", `poller: fd ${fd} is not watched`, "add it first");
    if (watch.events === events) return;
    watch.events = events;
    this.changed();
  }

  /** Its callback is not called again, whatever a poll under way may find. Unknown fds are ignored. */
  remove(fd: number): void {
    if (this.watches.delete(fd)) this.changed();
  }

  /** Releases everything; no callback is called any more. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.watches.clear();
    clearTimeout(this.retry);
    if (this.outstanding) this.wake();
    else this.release();
  }

  /** Ends the poll that is under way. */
  wake(): void {
    if (!this.outstanding || this.woken || this.wakeFd === undefined) return;
    this.woken = true;
    eventfdWrite(this.wakeFd);
  }

  private release(): void {
    if (this.wakeFd !== undefined) close(this.wakeFd);
    this.wakeFd = undefined;
  }

  private changed(): void {
    if (this.outstanding) this.wake();
    else if (!this.dispatching && !this.retry) this.start();
  }

  private start(): void {
    if (this.watches.size === 0 || this.wakeFd === undefined) return;
    const watches = [...this.watches.values()];
    const fds = pollfds([...watches, { fd: this.wakeFd, events: POLLIN }]);
    this.outstanding = watches;
    this.woken = false;
    waiting.add(this);
    pollAsync(fds, watches.length + 1, pollTimeoutMs, (ready) => this.finish(watches, fds, ready));
  }

  private finish(watches: Watch[], fds: Buffer, ready: number): void {
    this.outstanding = undefined;
    waiting.delete(this);
    if (this.closed) {
      this.release();
      return;
    }
    if (revents(fds, watches.length) !== 0) eventfdDrain(this.wakeFd!);
    if (ready < 0) {
      this.failed();
      return;
    }
    this.failures = 0;
    this.dispatching = true;
    watches.forEach((watch, at) => {
      this.dispatch(watch, revents(fds, at));
    });
    this.dispatching = false;
    // A callback may have closed the poller.
    if (this.closed) this.release();
    else this.start();
  }

  private dispatch(watch: Watch, found: number): void {
    const happened = found & (watch.events | POLLERR | POLLHUP | POLLNVAL);
    if (happened === 0 || this.watches.get(watch.fd) !== watch) return;
    if (happened & POLLNVAL) this.watches.delete(watch.fd); // closed under us: it would be reported for ever
    try {
      watch.callback(happened);
    } catch (error) {
      this.report(error);
    }
  }

  private failed(): void {
    this.failures += 1;
    if (this.failures === failuresReported) {
      const message = `poll(2) over ${this.watches.size} fds fails again and again`;
      this.report(
        new PollmodeError(
          "POLLER_POLL",
          message,
          "raise the limit of open files (ulimit -n) and free memory",
        ),
      );
    }
    this.retry = setTimeout(() => {
      this.retry = undefined;
      this.start();
    }, retryMs);
  }

  private report(error: unknown): void {
    try {
      this.onError(error instanceof Error ? error : new Error(String(error)));
    } catch {
      // nobody is left to be told
    }
  }
}
