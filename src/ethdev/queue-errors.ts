// What each QueueError means, for people.
import { QueueError } from "../hot/layout.ts";

const TEXTS: Record<number, [name: string, text: string]> = {
  [QueueError.USED_INDEX_JUMPED]: [
    "USED_INDEX_JUMPED",
    "the device's used index moved past what it was given",
  ],
  [QueueError.BAD_USED_ID]: ["BAD_USED_ID", "the device returned a descriptor that it does not have"],
  [QueueError.BAD_USED_LENGTH]: [
    "BAD_USED_LENGTH",
    "the device claims to have written more than the buffer holds",
  ],
  [QueueError.BAD_BUFFER_COUNT]: ["BAD_BUFFER_COUNT", "a received header's num_buffers cannot be"],
  [QueueError.AVAIL_INDEX_JUMPED]: [
    "AVAIL_INDEX_JUMPED",
    "the driver's avail index moved by more than the ring holds",
  ],
  [QueueError.BAD_HEAD]: ["BAD_HEAD", "the driver offered a descriptor beyond the ring"],
  [QueueError.BAD_NEXT]: ["BAD_NEXT", "a descriptor chain leads beyond its table"],
  [QueueError.CHAIN_TOO_LONG]: ["CHAIN_TOO_LONG", "a descriptor chain is longer than its table: a loop"],
  [QueueError.BAD_ADDRESS]: ["BAD_ADDRESS", "a descriptor's address lies outside the shared memory"],
  [QueueError.ZERO_LENGTH]: ["ZERO_LENGTH", "a descriptor has no bytes"],
  [QueueError.BAD_DIRECTION]: ["BAD_DIRECTION", "a descriptor has the wrong direction (VIRTQ_DESC_F_WRITE)"],
  [QueueError.BAD_INDIRECT]: ["BAD_INDIRECT", "an indirect descriptor's table cannot be"],
  [QueueError.NO_HEADER]: ["NO_HEADER", "a chain is too short for its virtio_net_hdr"],
  [QueueError.BAD_LENGTH]: ["BAD_LENGTH", "the NIC claims to have written more than the buffer holds"],
  [QueueError.DEVICE_LOST]: [
    "DEVICE_LOST",
    "the NIC's registers read all ones: it is gone, or its power is off",
  ],
  [QueueError.DMA_ERROR]: ["DMA_ERROR", "the NIC could not read or write memory: the IOMMU stopped it"],
  [QueueError.BAD_RING_FRAME]: ["BAD_RING_FRAME", "a frame in the kernel's ring reaches beyond its slot"],
  [QueueError.CQE_ERROR]: [
    "CQE_ERROR",
    "a work request failed: syndrome (mode dv) or ibv_wc_status (ibv), + 256 x 13 (send) or 14 (receive)",
  ],
  [QueueError.VERBS_FAILED]: [
    "VERBS_FAILED",
    "libibverbs failed to post work requests (the errno), or to poll (what poll_cq returned)",
  ],
  [QueueError.BAD_CQE]: [
    "BAD_CQE",
    "a completion cannot be: of a work request that is not the next one, or of an unknown kind",
  ],
};

/**
 * What CQE_ERROR's number says in its low byte: syndromes (mlx5dv.h, MLX5_CQE_SYNDROME_…), and from 7 to 10
 * enum ibv_wc_status (verbs.h), which has the same numbers before.
 */
const SYNDROMES: Record<number, string> = {
  1: "local length error: a frame or a message is longer than its buffers",
  2: "local QP operation error: a work request is malformed",
  4: "local protection error: a buffer lies outside the memory region, or the lkey is wrong",
  5: "flushed: the queue was in the error state already",
  6: "memory window bind error",
  7: "bad response",
  8: "local access error",
  9: "remote invalid request",
  10: "remote access error",
  16: "bad response",
  17: "local access error",
  18: "remote invalid request",
  19: "remote access error",
  20: "remote operation error",
  21: "transport retry counter exceeded",
  22: "receiver-not-ready retry counter exceeded",
  34: "remote aborted",
};

/** Why a queue stopped itself. The error code of the port's event is `QUEUE_` and the name (docs/errors.md). */
export interface QueueFault {
  /** `BAD_USED_ID`. */
  readonly name: string;
  /** The same in words. */
  readonly text: string;
  /** The value that was wrong. */
  readonly argument: number;
  /** What mends it. */
  readonly fix: string;
}

const VIRTIO_FIX =
  "the peer breaks the virtio rules: mend or restart it; the queue runs again when it reconnects";
/** Of faults that are a NIC's and not a virtio peer's. */
const FIXES: Record<number, string> = {
  [QueueError.BAD_LENGTH]:
    "stop and start the port: that resets the NIC; if it comes again, the NIC is broken",
  [QueueError.BAD_RING_FRAME]: "stop and start the port: that makes a new ring; if it comes again, report it",
  [QueueError.CQE_ERROR]: "stop and start the port: that makes new queues; look at dmesg for mlx5_core",
  [QueueError.BAD_CQE]:
    "stop and start the port: that makes new queues; if it comes again, try mode=ibv and report it",
  [QueueError.VERBS_FAILED]: "stop and start the port: that makes new queues; look at dmesg for mlx5_core",
  [QueueError.DEVICE_LOST]: "look at dmesg and at the slot's power; attach the device again",
  [QueueError.DMA_ERROR]:
    "look for DMAR or AMD-Vi faults in dmesg; stop and start the port: that resets the NIC",
};

export function queueFault(code: number, argument: number): QueueFault | undefined {
  if (code === QueueError.NONE) return undefined;
  const [name, text] = TEXTS[code] ?? [`ERROR_${code}`, "unknown error"];
  const syndrome = code === QueueError.CQE_ERROR ? SYNDROMES[argument & 0xff] : undefined;
  return { name, text: syndrome ? `${text}: ${syndrome}` : text, argument, fix: FIXES[code] ?? VIRTIO_FIX };
}
