// Unix socket files: connecting to one, and listening on one, where a file that a dead process left is taken over.
import { closeSync, lstatSync, openSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { PollmodeError } from "../errors.ts";
import { LOCK_EX, LOCK_NB, POLLIN } from "../libc/abi.ts";
import { atExit } from "../libc/at-exit.ts";
import { accept, bindUnix, close, connectUnixSocket, flock, listen, unixSocket } from "../libc/libc.ts";
import type { Poller } from "../libc/poller.ts";

const backlog = 16;
/** Another process holds the folder's lock for as long as a bind takes. */
const lockTries = 50;
const lockWaitMs = 4;
/** After a failed accept (out of fds) the connection still waits: do not spin. */
const acceptRetryMs = 100;

export interface UnixListener {
  readonly path: string;
  /** Stops listening and removes the file, if it is still this listener's. */
  close(): void;
}

/** A non-blocking connection to the socket at `path`. */
export function connectUnix(path: string): number {
  const fd = unixSocket();
  try {
    connectUnixSocket(fd, path);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Listens at `path`. Each connection's fd belongs to `onConnection`; `onError` hears of failed accepts. */
export function listenUnix(
  path: string,
  poller: Poller,
  onConnection: (fd: number) => void,
  onError: (error: PollmodeError) => void = () => {},
): UnixListener {
  const fd = openListener(path);
  const inode = inodeOf(path);
  let retry: NodeJS.Timeout | undefined;
  let closed = false;
  const watch = () => poller.add(fd, POLLIN, acceptAll);

  function acceptNext(): number | undefined {
    try {
      return closed ? undefined : accept(fd, path);
    } catch (error) {
      poller.remove(fd);
      retry = setTimeout(watch, acceptRetryMs);
      onError(error as PollmodeError);
      return undefined;
    }
  }

  /** What `onConnection` throws goes to the poller; the connections behind it are accepted next time. */
  function acceptAll(): void {
    for (let peer = acceptNext(); peer !== undefined; peer = acceptNext()) onConnection(peer);
  }

  /** Also when the process exits with the listener open. One that is killed leaves its file; the next takes it over. */
  const removeFile = () => {
    if (inode !== undefined && inodeOf(path) === inode) unlinkSync(path);
  };
  const keepFile = atExit(removeFile);
  watch();
  return {
    path,
    close() {
      if (closed) return;
      closed = true;
      clearTimeout(retry);
      poller.remove(fd);
      keepFile();
      removeFile();
      close(fd);
    },
  };
}

function inodeOf(path: string): string | undefined {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stat && `${stat.dev}:${stat.ino}`;
}

function openListener(path: string): number {
  const fd = unixSocket();
  try {
    // A socket refuses connections between bind and listen, too. The lock keeps others from taking it for a dead one.
    withFolderLock(path, () => {
      bindOver(fd, path);
      listen(fd, backlog, path);
    });
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

function bindOver(fd: number, path: string): void {
  try {
    bindUnix(fd, path);
  } catch (error) {
    if (!(error instanceof PollmodeError) || error.code !== "EADDRINUSE") throw error;
    removeStale(path, error);
    bindUnix(fd, path);
  }
}

/** Unlinks the socket at `path` if nobody listens there. */
function removeStale(path: string, cause: PollmodeError): void {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) {
    const message = `listen on ${path}: there is a file that is no socket`;
    throw new PollmodeError("EADDRINUSE", message, `choose another path, or remove it: rm ${path}`, {
      cause,
    });
  }
  try {
    close(connectUnix(path));
  } catch (error) {
    const code = error instanceof PollmodeError ? error.code : undefined;
    if (code === "ECONNREFUSED") {
      unlinkSync(path);
      return;
    }
    if (code !== "EAGAIN") throw error; // EAGAIN: it listens, its backlog is full
  }
  const message = `listen on ${path}: another process listens there`;
  const fix = `stop it (ss -xlp src ${path} names it), or choose another path`;
  throw new PollmodeError("EADDRINUSE", message, fix, { cause });
}

function withFolderLock(path: string, action: () => void): void {
  const folder = dirname(path);
  let lock: number;
  try {
    lock = openSync(folder, "r");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "EIO";
    const message = `listen on ${path}: folder ${folder}: ${code}`;
    throw new PollmodeError(code, message, `make the folder, readable and writable: mkdir -p ${folder}`, {
      cause,
    });
  }
  try {
    for (let tries = 0; !flock(lock, LOCK_EX | LOCK_NB); tries++) {
      if (tries === lockTries) {
        const message = `listen on ${path}: another process holds the lock (flock) of ${folder}`;
        throw new PollmodeError("EAGAIN", message, "choose a folder of your own for the socket");
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockWaitMs);
    }
    action();
  } finally {
    closeSync(lock);
  }
}
