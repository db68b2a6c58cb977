// What wakes lcores that sleep on a port's receive queues, where the kernel or a peer tells of frames by an fd that
// comes and goes: a socket that lives from start to stop, the eventfd of a peer that may connect again. An lcore waits
// for the same epoll instance all the while, also while it sleeps as the fd changes.
import type { InterruptLine } from "../bus/pci-function.ts";
import { PollmodeError } from "../errors.ts";
import { epollAdd, epollCreate, epollRemove } from "../libc/epoll.ts";
import { close, eventfd, eventfdWrite } from "../libc/libc.ts";

/** Before configure(), and where no interrupts were asked for, all but line() do nothing. */
export class RxInterrupts {
  private readonly port: string;
  private sources: Source[] = [];

  /** `port` is named in messages. */
  constructor(port: string) {
    this.port = port;
  }

  /** Of so many queues, in the place of those before. */
  configure(queues: number): void {
    this.close();
    while (this.sources.length < queues) this.sources.push(new Source());
  }

  line(queue: number): InterruptLine {
    const source = this.sources[queue];
    if (source) return source.line;
    const message = `${this.port}: receive queue ${queue} was configured without an interrupt`;
    throw new PollmodeError("NOT_SUPPORTED", message, "configure the port with rxInterrupts");
  }

  /** The interrupt fires whenever `fd` becomes readable, and now if it is, until unwatch(). One fd a queue. */
  watch(queue: number, fd: number): void {
    this.sources[queue]?.watch(fd);
  }

  /** All queues' fds, or one's. Before the fd is closed. */
  unwatch(queue?: number): void {
    const sources = queue === undefined ? this.sources : this.sources.slice(queue, queue + 1);
    for (const source of sources) source.unwatch();
  }

  /** Fires by itself: the queue runs again, and an lcore that fell asleep before has not armed it. */
  ring(queue: number): void {
    this.sources[queue]?.ring();
  }

  /** No lcore runs the queues any more. */
  close(): void {
    for (const source of this.sources.splice(0)) source.close();
  }
}

/**
 * Fds are watched edge-triggered (epoll(7)). So nothing is read from them: a peer that empties its eventfd, or makes
 * reading it block, holds nobody up, and a socket whose error nobody fetches wakes the lcore once instead of for ever.
 */
class Source {
  readonly line: InterruptLine;
  /** Control's own eventfd. */
  private readonly bell = eventfd();
  private watched: number | undefined;

  constructor() {
    try {
      this.line = { fd: epollCreate(), readBytes: 0, rearm: undefined };
    } catch (error) {
      close(this.bell);
      throw error;
    }
    epollAdd(this.line.fd, this.bell);
  }

  watch(fd: number): void {
    epollAdd(this.line.fd, fd);
    this.watched = fd;
  }

  unwatch(): void {
    if (this.watched === undefined) return;
    const fd = this.watched;
    this.watched = undefined;
    epollRemove(this.line.fd, fd);
  }

  ring(): void {
    eventfdWrite(this.bell);
  }

  close(): void {
    close(this.line.fd);
    close(this.bell);
  }
}
