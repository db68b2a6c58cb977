// What the device tells without being asked: links that come and go, queues in error, its own end.
import { EAGAIN, EINTR, POLLIN } from "../../libc/abi.ts";
import { setNonblocking } from "../../libc/libc.ts";
import { lastErrno } from "../../libc/native.ts";
import type { Poller } from "../../libc/poller.ts";
import * as abi from "./abi.ts";
import type { Core } from "./core.ts";
import type { RdmaEvent, RdmaEventType } from "./types.ts";

export type RdmaListener = (event: RdmaEvent) => void;

const TYPES: Record<number, RdmaEventType> = {
  [abi.IBV_EVENT_CQ_ERR]: "cq-error",
  [abi.IBV_EVENT_QP_FATAL]: "qp-fatal",
  [abi.IBV_EVENT_QP_REQ_ERR]: "qp-request-error",
  [abi.IBV_EVENT_QP_ACCESS_ERR]: "qp-access-error",
  [abi.IBV_EVENT_SQ_DRAINED]: "sq-drained",
  [abi.IBV_EVENT_DEVICE_FATAL]: "device-fatal",
  [abi.IBV_EVENT_PORT_ACTIVE]: "port-active",
  [abi.IBV_EVENT_PORT_ERR]: "port-error",
  [abi.IBV_EVENT_LID_CHANGE]: "lid-change",
  [abi.IBV_EVENT_PKEY_CHANGE]: "pkey-change",
  [abi.IBV_EVENT_SM_CHANGE]: "sm-change",
  [abi.IBV_EVENT_CLIENT_REREGISTER]: "client-reregister",
  [abi.IBV_EVENT_GID_CHANGE]: "gid-change",
  [abi.IBV_EVENT_WQ_FATAL]: "wq-fatal",
};

const OF_OBJECTS: readonly RdmaEventType[] = [
  "cq-error",
  "qp-fatal",
  "qp-request-error",
  "qp-access-error",
  "sq-drained",
  "wq-fatal",
];

/** So many are read at a time; the poller comes back for the rest. */
const BURST = 64;

/** Tells `listener` of each event until the returned function is called. */
export function watchEvents(core: Core, poller: Poller, listener: RdmaListener): () => void {
  const fd = core.asyncFd;
  const event = Buffer.alloc(abi.IBV_ASYNC_EVENT_BYTES);
  let watched = true;
  const stop = () => {
    if (!watched) return;
    watched = false;
    poller.remove(fd);
  };
  setNonblocking(fd);
  poller.add(fd, POLLIN, () => {
    for (let count = 0; watched && count < BURST; count++) {
      if (core.ib.ibv_get_async_event(core.address, event) !== 0) {
        const errno = lastErrno();
        if (errno === EAGAIN || errno === EINTR) return;
        // EIO: the kernel's driver has let go of the device (ib_uverbs_event_read, is_closed)
        stop();
        if (!core.lost) tell(core, { type: "device-fatal" }, listener);
        return;
      }
      const parsed = parse(event);
      // before anybody is told: destroying an object waits until its events are acknowledged
      core.ib.ibv_ack_async_event(event);
      tell(core, parsed, listener);
    }
  });
  return stop;
}

function tell(core: Core, event: RdmaEvent, listener: RdmaListener): void {
  if (event.type === "device-fatal") core.lost = true;
  listener(event);
}

function parse(event: Buffer): RdmaEvent {
  const type = TYPES[event.readUInt32LE(abi.IBV_ASYNC_EVENT_EVENT_TYPE)] ?? "other";
  const at = abi.IBV_ASYNC_EVENT_ELEMENT;
  if (OF_OBJECTS.includes(type)) return { type, object: event.readBigUInt64LE(at) };
  return type === "other" ? { type } : { type, port: event.readUInt32LE(at) };
}
