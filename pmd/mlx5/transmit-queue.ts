// A transmit queue of direct verbs: nothing is laid out before a packet is sent; the lcore writes whole WQEs.
import type { DvCq, DvQp } from "../../src/bus/rdma/types.ts";
import { PollmodeError } from "../../src/errors.ts";
import { Lot, Mlx5Flag, Mlx5Limit, Mlx5Queue } from "./layout.ts";
import { Mlx5QueueBase, swapped } from "./queue-base.ts";
import { DoorbellRecord, WqeSize } from "./wqe.ts";

interface TransmitAttachment {
  /** 64-byte entries, 8 at least: one is taken for up to 64 packets. */
  readonly cq: DvCq;
  readonly qp: DvQp;
  /** Arena offset of the BlueFlame register, and bytes of a half of it; 0: there is one half alone. */
  readonly bfOffset: number;
  readonly bfBytes: number;
  /** The memory region's: it spans the dma zone. */
  readonly lkey: number;
  /** Bytes of each frame that the NIC must find within the WQE: 18 of ConnectX-4 and 4 Lx, else 0. */
  readonly minInline: number;
  /** Runs of packets go into one WQE; only with a minInline of 0. */
  readonly enhancedMpw: boolean;
  /** Longest frame, without CRC and an inserted tag. */
  readonly bytesMax: number;
  readonly offloads: {
    /** The NIC fills checksums in. Without it packets that ask for that are dropped: they would go out wrong. */
    readonly checksum?: boolean;
    /** How VLAN tags are put in. flag: by the NIC, only with a minInline of 0. inline: with the header, on any chip. */
    readonly vlanInsert?: "flag" | "inline" | false;
  };
}

export class Mlx5TransmitQueue extends Mlx5QueueBase {
  /** Takes over objects that were just created: their rings are empty. Errors: RING_SIZE, RING_PLACE, INLINE_BYTES. */
  attach(attachment: TransmitAttachment): void {
    const { cq, qp, bfOffset, bfBytes, lkey, minInline, enhancedMpw, offloads } = attachment;
    const { wqebbs, strideBytes } = qp.sq;
    this.demand(cq.cqeBytes === 64, `CQEs of ${cq.cqeBytes} bytes`, "create the CQ with cqeBytes 64");
    this.demand(strideBytes === WqeSize.BLOCK_BYTES, `blocks of ${strideBytes} bytes`, "use mode=ibv");
    this.demand(wqebbs >= 8 && wqebbs <= 1 << 15, `${wqebbs} send blocks`, "ask for 8 to 32768 descriptors");
    if (minInline > Mlx5Limit.INLINE_MAX) {
      const message = `${this.name}: ${minInline} bytes of each frame in its WQE`;
      throw new PollmodeError("INLINE_BYTES", message, `choose txq_inline_min up to ${Mlx5Limit.INLINE_MAX}`);
    }
    const packets = this.powerOfTwo("send queue", wqebbs);
    const lots = 4 * packets;
    this.lay(lots + cq.entries * Lot.BYTES);
    const record = qp.doorbell + BigInt(DoorbellRecord.SND);
    this.describe(cq, { buffer: qp.sq.buffer, entries: wqebbs, record }, lkey);
    const { block } = this;
    block.set(
      Mlx5Queue.FLAGS,
      (offloads.checksum ? Mlx5Flag.CHECKSUM : 0) |
        (enhancedMpw && minInline === 0 ? Mlx5Flag.MULTI_PACKET : 0) |
        (offloads.vlanInsert === "flag" && minInline === 0 ? Mlx5Flag.VLAN_INSERT : 0),
    );
    block.set(Mlx5Queue.MBUFS, this.arrays);
    block.set(Mlx5Queue.PACKET_MASK, packets - 1);
    block.set(Mlx5Queue.LOTS, this.arrays + lots);
    block.set(Mlx5Queue.BF, bfOffset);
    block.set(Mlx5Queue.BF_BYTES, bfBytes);
    block.set(Mlx5Queue.QPN, swapped(qp.qpn << 8));
    block.set(Mlx5Queue.INLINE, minInline);
    this.setBytesMax(attachment.bytesMax);
  }

  /** The longest frame that is sent from now on, also while packets go. */
  setBytesMax(bytes: number): void {
    this.block.set(Mlx5Queue.BYTES_MAX, Math.max(bytes, Mlx5Limit.SENT_MIN));
  }

  override held(): number[] {
    if (this.arrays === 0) return [];
    const { u32 } = this.context.arena;
    const mask = this.block.get(Mlx5Queue.PACKET_MASK);
    const mbufs: number[] = [];
    const tail = this.block.get(Mlx5Queue.PACKET_TAIL);
    for (let k = this.block.get(Mlx5Queue.PACKET_HEAD); k !== tail; k = (k + 1) >>> 0) {
      mbufs.push(u32[(this.arrays >>> 2) + (k & mask)]!);
    }
    return mbufs;
  }

  override drain(): void {
    super.drain();
    for (const word of [Mlx5Queue.PACKET_HEAD, Mlx5Queue.PACKET_TAIL]) this.block.set(word, 0);
  }
}
