// epoll(7): one fd that stands for others, which may come and go while a thread waits for it.
import { EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_EVENT_BYTES, EPOLLET, EPOLLIN } from "./abi.ts";
import { check, libc } from "./native.ts";

const c = {
  create: libc.func("int epoll_create1(int)"),
  ctl: libc.func("int epoll_ctl(int, int, int, void *)"),
  wait: libc.func("int epoll_wait(int, void *, int, int)"),
};

/** Events that one collection takes; those that are left are found by the next. */
const EVENTS_MAX = 8;

/** An instance without fds. It is closed by close(2). */
export function epollCreate(): number {
  return check(c.create(EPOLL_CLOEXEC), "epoll_create1", "EPOLL_CLOEXEC");
}

/** Watches `fd`, edge-triggered: each time that it becomes readable again is an event, which stays until collected. */
export function epollAdd(epoll: number, fd: number): void {
  const event = Buffer.alloc(EPOLL_EVENT_BYTES);
  event.writeUInt32LE((EPOLLIN | EPOLLET) >>> 0);
  check(c.ctl(epoll, EPOLL_CTL_ADD, fd, event), "epoll_ctl EPOLL_CTL_ADD", `epoll ${epoll}, fd ${fd}`);
}

/** To be called before `fd` is closed: what is open elsewhere, too, would go on being watched. */
export function epollRemove(epoll: number, fd: number): void {
  const event = Buffer.alloc(EPOLL_EVENT_BYTES);
  check(c.ctl(epoll, EPOLL_CTL_DEL, fd, event), "epoll_ctl EPOLL_CTL_DEL", `epoll ${epoll}, fd ${fd}`);
}

/** Takes the events back that have come, without waiting. Returns how many. */
export function epollCollect(epoll: number): number {
  const events = Buffer.alloc(EVENTS_MAX * EPOLL_EVENT_BYTES);
  return check(c.wait(epoll, events, EVENTS_MAX, 0), "epoll_wait", `epoll ${epoll}`);
}
