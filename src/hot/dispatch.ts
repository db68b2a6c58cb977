// The driver contract's hot side: a burst in, a burst out, whatever driver the queue belongs to.
import { afPacketRxBurst, afPacketRxPending } from "../../pmd/af_packet/hot-receive.ts";
import { afPacketTxBurst, afPacketTxFlush } from "../../pmd/af_packet/hot-transmit.ts";
import { intelRxArm, intelRxBurst, intelRxPending } from "../../pmd/intel/hot-receive.ts";
import { intelTxBurst, intelTxClean } from "../../pmd/intel/hot-transmit.ts";
import { mlx5RxArm, mlx5RxPending, verbsRxArm, verbsRxPending } from "../../pmd/mlx5/hot-interrupt.ts";
import { mlx5RxBurst } from "../../pmd/mlx5/hot-receive.ts";
import { mlx5TxBurst, mlx5TxClean } from "../../pmd/mlx5/hot-transmit.ts";
import { verbsRxBurst, verbsTxBurst, verbsTxClean } from "../../pmd/mlx5/hot-verbs.ts";
import { nullRxBurst, nullTxBurst } from "../../pmd/null/hot.ts";
import { pcapRxBurst } from "../../pmd/pcap/hot-receive.ts";
import { pcapTxBurst, pcapTxIdle } from "../../pmd/pcap/hot-transmit.ts";
import { ringRxBurst, ringTxBurst } from "../../pmd/ring/hot.ts";
import { tapRxBurst, tapRxPending, tapTxBurst } from "../../pmd/tap/hot.ts";
import {
  packedCall,
  vhostPackedRxBurst,
  vhostPackedRxKicks,
  vhostPackedRxPending,
  vhostPackedTxBurst,
} from "../../pmd/vhost/hot-packed.ts";
import {
  splitCall,
  vhostSplitRxBurst,
  vhostSplitRxKicks,
  vhostSplitRxPending,
  vhostSplitTxBurst,
} from "../../pmd/vhost/hot-split.ts";
import {
  packedRxBurst,
  packedRxInterrupts,
  packedRxPending,
  packedTxBurst,
  packedTxClean,
} from "../../pmd/virtio/hot-packed.ts";
import {
  splitRxBurst,
  splitRxInterrupts,
  splitRxPending,
  splitTxBurst,
  splitTxClean,
} from "../../pmd/virtio/hot-split.ts";
import { tapCommit, tapReceived, tapStage } from "../capture/hot-tap.ts";
import { Queue, QueueKind } from "./layout.ts";
import { r32 } from "./mem.ts";

/**
 * Receives up to `n` packets from queue block `q` into the words at `pkts`. Returns how many; they are the caller's.
 * A queue that is stopped gives none.
 */
export function rxBurst(q: u32, pkts: u32, n: u32): u32 {
  if (r32(q + Queue.RUN) == 0) return 0;
  const got: u32 = receive(q, pkts, n);
  if (got != 0) {
    const taps: u32 = r32(q + Queue.CAPTURE);
    if (taps != 0) tapReceived(taps, pkts, got);
  }
  return got;
}

/** Called from one place, so that it costs no call. */
function receive(q: u32, pkts: u32, n: u32): u32 {
  switch (r32(q)) {
    case QueueKind.INTEL:
      return intelRxBurst(q, pkts, n);
    case QueueKind.VIRTIO_SPLIT:
      return splitRxBurst(q, pkts, n);
    case QueueKind.VIRTIO_PACKED:
      return packedRxBurst(q, pkts, n);
    case QueueKind.VHOST_SPLIT:
      return vhostSplitRxBurst(q, pkts, n);
    case QueueKind.VHOST_PACKED:
      return vhostPackedRxBurst(q, pkts, n);
    case QueueKind.RING:
      return ringRxBurst(q, pkts, n);
    case QueueKind.AF_PACKET:
      return afPacketRxBurst(q, pkts, n);
    case QueueKind.TAP:
      return tapRxBurst(q, pkts, n);
    case QueueKind.PCAP:
      return pcapRxBurst(q, pkts, n);
    case QueueKind.NULL:
      return nullRxBurst(q, pkts, n);
    case QueueKind.MLX5:
      return mlx5RxBurst(q, pkts, n);
    case QueueKind.VERBS:
      return verbsRxBurst(q, pkts, n);
    default:
      return 0;
  }
}

/** Sends the packets at `pkts`. Returns how many the queue took; the others are still the caller's. */
export function txBurst(q: u32, pkts: u32, n: u32): u32 {
  if (r32(q + Queue.RUN) == 0) return 0;
  const taps: u32 = r32(q + Queue.CAPTURE);
  const offered: u32 = taps == 0 ? n : tapStage(taps, pkts, n);
  const sent: u32 = transmit(q, pkts, offered);
  if (taps != 0) tapCommit(taps, sent);
  return sent;
}

/** Called from one place, so that it costs no call. */
function transmit(q: u32, pkts: u32, n: u32): u32 {
  switch (r32(q)) {
    case QueueKind.INTEL:
      return intelTxBurst(q, pkts, n);
    case QueueKind.VIRTIO_SPLIT:
      return splitTxBurst(q, pkts, n);
    case QueueKind.VIRTIO_PACKED:
      return packedTxBurst(q, pkts, n);
    case QueueKind.VHOST_SPLIT:
      return vhostSplitTxBurst(q, pkts, n);
    case QueueKind.VHOST_PACKED:
      return vhostPackedTxBurst(q, pkts, n);
    case QueueKind.RING:
      return ringTxBurst(q, pkts, n);
    case QueueKind.AF_PACKET:
      return afPacketTxBurst(q, pkts, n);
    case QueueKind.TAP:
      return tapTxBurst(q, pkts, n);
    case QueueKind.PCAP:
      return pcapTxBurst(q, pkts, n);
    case QueueKind.NULL:
      return nullTxBurst(q, pkts, n);
    case QueueKind.MLX5:
      return mlx5TxBurst(q, pkts, n);
    case QueueKind.VERBS:
      return verbsTxBurst(q, pkts, n);
    default:
      return 0;
  }
}

/** To be called now and then for a transmit queue that has nothing to send: takes sent packets back, wakes the peer. */
export function txIdle(q: u32): void {
  if (r32(q + Queue.RUN) == 0) return;
  switch (r32(q)) {
    case QueueKind.INTEL:
      intelTxClean(q);
      break;
    case QueueKind.VIRTIO_SPLIT:
      splitTxClean(q);
      break;
    case QueueKind.VIRTIO_PACKED:
      packedTxClean(q);
      break;
    case QueueKind.VHOST_SPLIT:
      splitCall(q);
      break;
    case QueueKind.VHOST_PACKED:
      packedCall(q);
      break;
    case QueueKind.AF_PACKET:
      afPacketTxFlush(q);
      break;
    case QueueKind.PCAP:
      pcapTxIdle(q);
      break;
    case QueueKind.MLX5:
      mlx5TxClean(q);
      break;
    case QueueKind.VERBS:
      verbsTxClean(q);
      break;
    default:
      break;
  }
}

/** Lets the interrupt of a receive queue fire, for an lcore that is about to sleep. Ask rxPending afterwards. */
export function rxArm(q: u32): void {
  if (r32(q + Queue.RUN) != 0) interrupts(q, 1);
}

/** No more of them: the lcore polls. Where one fires only once after each rxArm, there is nothing to take back. */
export function rxDisarm(q: u32): void {
  if (r32(q + Queue.RUN) != 0) interrupts(q, 0);
}

/** The kernel's files (af_packet, tap) become readable whether somebody waits for that or not. */
function interrupts(q: u32, on: u32): void {
  switch (r32(q)) {
    case QueueKind.INTEL:
      if (on != 0) intelRxArm(q);
      break;
    case QueueKind.VIRTIO_SPLIT:
      splitRxInterrupts(q, on);
      break;
    case QueueKind.VIRTIO_PACKED:
      packedRxInterrupts(q, on);
      break;
    case QueueKind.VHOST_SPLIT:
      vhostSplitRxKicks(q, on);
      break;
    case QueueKind.VHOST_PACKED:
      vhostPackedRxKicks(q, on);
      break;
    case QueueKind.MLX5:
      if (on != 0) mlx5RxArm(q);
      break;
    case QueueKind.VERBS:
      if (on != 0) verbsRxArm(q);
      break;
    default:
      break;
  }
}

/** Whether a receive burst now may have something to do: 1 also where no interrupt would tell of it. */
export function rxPending(q: u32): u32 {
  if (r32(q + Queue.RUN) == 0) return 0;
  switch (r32(q)) {
    case QueueKind.INTEL:
      return intelRxPending(q);
    case QueueKind.VIRTIO_SPLIT:
      return splitRxPending(q);
    case QueueKind.VIRTIO_PACKED:
      return packedRxPending(q);
    case QueueKind.VHOST_SPLIT:
      return vhostSplitRxPending(q);
    case QueueKind.VHOST_PACKED:
      return vhostPackedRxPending(q);
    case QueueKind.AF_PACKET:
      return afPacketRxPending(q);
    case QueueKind.TAP:
      return tapRxPending(q);
    case QueueKind.MLX5:
      return mlx5RxPending(q);
    case QueueKind.VERBS:
      return verbsRxPending(q);
    default:
      return 1;
  }
}
