// A descriptor ring's control side: lays it out where the NIC reaches it, keeps the driver's own words apart from it,
// resets and empties it. What the chip must be told of it (RDBAL, RDLEN, …) is the chip's driver's work:
//
//   reset() → base and length into the chip's registers, head and tail 0, queue enabled → run()
//   halt() → quiesce → queue disabled in the chip → drain()
//
// A receive ring is filled by the lcore's first burst, which also writes the tail register.
import { PollmodeError } from "../../src/errors.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import { RING_SIZE_MAX } from "../../src/limits.ts";
import type { IovaMap } from "../../src/memory/iova.ts";
import type { MbufPool } from "../../src/memory/pool.ts";
import type { Zone } from "../../src/memory/zone.ts";
import { Desc, RX_BAD_FRAME, RxStatus, TxCommand, TxStatus } from "./descriptors.ts";
import { IntelLimit, IntelQueue, IntelQueueFlag } from "./layout.ts";

/** What a ring needs of a DriverContext, and the addresses of the function that works on it. */
interface IntelRingMemory {
  readonly private: Zone;
  readonly dma: Zone;
  readonly pool: MbufPool;
  readonly iova: Pick<IovaMap, "of">;
}

interface RingOptions {
  /** The port's number, and the queue's within the port and direction. */
  port: number;
  index: number;
  /** Descriptors: a power of two from 8 on. One of them always stays unused. */
  size: number;
  /** Arena offset of RDT or TDT. */
  tailRegister: number;
}

interface ReceiveRingOptions extends RingOptions {
  /**
   * Bytes that the NIC writes into one buffer at most (RCTL.BSIZE, SRRCTL.BSIZEPACKET). Default: the pool's dataRoom.
   */
  room?: number;
  /** RXCSUM checks checksums: OL_FLAGS tell what it found. */
  checksum?: boolean;
  /** VLAN tags are stripped. */
  vlanStrip?: boolean;
  /** RXCSUM.PCSD is set and hashes are taken. */
  rss?: boolean;
  /** I350 and I210: the tag of a frame from another function of the NIC has its bytes swapped. */
  loopbackVlanSwapped?: boolean;
}

interface TransmitRingOptions extends RingOptions {
  /** extended: the 82574's data and context descriptors. advanced: 82576, I350, 82599. */
  format: "extended" | "advanced";
  /** Longest frame, without CRC. */
  bytesMax: number;
  /**
   * Whether a context holds for this queue until it gives another. Default: with advanced descriptors. The 82574 has
   * one context for both its queues (82574 datasheet, 7.2.6, second note), so true only where one queue is in use.
   */
  keepsContext?: boolean;
}

export class IntelRing {
  readonly block: QueueBlock;
  readonly size: number;
  readonly receives: boolean;
  /** What the NIC is told: RDBAL and RDBAH, or TDBAL and TDBAH; RDLEN or TDLEN. */
  readonly base: { readonly low: number; readonly high: number };
  readonly bytes: number;
  private readonly memory: IntelRingMemory;
  /** Arena offsets: the descriptors, and the private arrays: mbufs, then reports. */
  private readonly ring: number;
  private readonly arrays: number;

  private constructor(memory: IntelRingMemory, options: RingOptions, receives: boolean) {
    const { port, index, size, tailRegister } = options;
    const name = `${receives ? "receive" : "transmit"} ring ${index} of port ${port}`;
    if (!Number.isInteger(Math.log2(size)) || size < 8 || size > RING_SIZE_MAX) {
      const message = `${name}: ${size} descriptors are not a power of two from 8 to ${RING_SIZE_MAX}`;
      throw new PollmodeError("RING_SIZE", message, "choose 1024");
    }
    this.memory = memory;
    this.size = size;
    this.receives = receives;
    this.bytes = size << Desc.SHIFT;
    this.block = new QueueBlock(memory.private, `block of ${name}`, port, index);
    this.arrays = memory.private.allocate(`shadow of ${name}`, 8 * size);
    this.ring = memory.dma.allocate(name, this.bytes, this.bytes); // within one hugepage, so one address does
    const address = memory.iova.of(this.ring);
    this.base = { low: Number(address & 0xffff_ffffn), high: Number(address >> 32n) };
    this.block.set(IntelQueue.RING, this.ring);
    this.block.set(IntelQueue.MASK, size - 1);
    this.block.set(IntelQueue.MBUFS, this.arrays);
    this.block.set(IntelQueue.REPORTS, this.arrays + 4 * size);
    this.block.set(IntelQueue.TAIL_REG, tailRegister);
  }

  /** Error: RING_SIZE. */
  static receive(memory: IntelRingMemory, options: ReceiveRingOptions): IntelRing {
    const ring = new IntelRing(memory, options, true);
    const { block, size } = ring;
    const { checksum, vlanStrip, rss, loopbackVlanSwapped } = options;
    block.set(
      IntelQueue.FLAGS,
      (checksum ? IntelQueueFlag.CHECKSUM : 0) |
        (vlanStrip ? IntelQueueFlag.VLAN_STRIP : 0) |
        (rss ? IntelQueueFlag.RSS : 0) |
        (loopbackVlanSwapped ? IntelQueueFlag.LOOPBACK_VLAN_SWAPPED : 0),
    );
    block.set(IntelQueue.ROOM, Math.min(options.room ?? memory.pool.dataRoom, memory.pool.dataRoom));
    block.set(IntelQueue.LOT, Math.min(IntelLimit.LOT, size >>> 3));
    block.set(IntelQueue.BAD_FRAME, RX_BAD_FRAME);
    block.set(IntelQueue.NO_CHECKSUM, RxStatus.IXSM);
    block.set(IntelQueue.IP_ERROR_BIT, RxStatus.IPE_BIT);
    block.set(IntelQueue.L4_ERROR_BIT, RxStatus.L4E_BIT);
    return ring;
  }

  /** Error: RING_SIZE. */
  static transmit(memory: IntelRingMemory, options: TransmitRingOptions): IntelRing {
    const ring = new IntelRing(memory, options, false);
    const { block } = ring;
    const extended = options.format === "extended";
    const keeps = options.keepsContext ?? !extended;
    const flags = (extended ? IntelQueueFlag.EXTENDED : 0) | (keeps ? IntelQueueFlag.KEEPS_CONTEXT : 0);
    const type = extended ? TxCommand.DATA_EXTENDED : TxCommand.DATA_ADVANCED;
    block.set(IntelQueue.FLAGS, flags);
    block.set(IntelQueue.COMMAND, type | TxCommand.DEXT | TxCommand.IFCS);
    block.set(IntelQueue.PAYLEN_UNIT, extended ? 0 : 1 << TxStatus.PAYLEN_BIT);
    block.set(IntelQueue.BYTES_MAX, options.bytesMax);
    return ring;
  }

  /**
   * The register write (arena offset, value) that lets the receive queue's interrupt fire once; `clear` is read before.
   */
  armBy(register: number, value: number, clear = 0): void {
    this.block.set(IntelQueue.ARM_CLEAR, clear);
    this.block.set(IntelQueue.ARM_REG, register);
    this.block.set(IntelQueue.ARM_VALUE, value);
  }

  /** Receive: each packet's tag is looked for from now on, also while packets come. */
  expectTags(): void {
    this.block.set(IntelQueue.FLAGS, this.block.get(IntelQueue.FLAGS) | IntelQueueFlag.VLAN_STRIP);
  }

  /** Empties the ring and what is remembered of it. The queue is halted and holds no mbufs. */
  reset(): void {
    const { arena } = this.memory.private;
    arena.clear(this.ring, this.bytes);
    arena.clear(this.arrays, 8 * this.size);
    for (const word of [IntelQueue.HEAD, IntelQueue.TAIL, IntelQueue.PARTIAL, IntelQueue.PARTIAL_LAST]) {
      this.block.set(word, 0);
    }
    this.block.set(IntelQueue.CONTEXT_FLAGS, 0xffff_ffff); // what no packet wants
  }

  /** Lets the owning lcore work on it. */
  run(): void {
    this.block.run(QueueKind.INTEL);
  }

  halt(): void {
    this.block.halt();
  }

  /** The packets that the ring holds, by their first mbuf. The queue is halted and no lcore is in it. */
  held(): number[] {
    const { u32 } = this.memory.private.arena;
    const mbufs: number[] = [];
    const partial = this.block.get(IntelQueue.PARTIAL);
    if (partial !== 0) mbufs.push(partial);
    const tail = this.block.get(IntelQueue.TAIL);
    for (let k = this.block.get(IntelQueue.HEAD); k !== tail; k = (k + 1) >>> 0) {
      const mbuf = u32[(this.arrays >>> 2) + (k & (this.size - 1))]!;
      if (mbuf !== 0) mbufs.push(mbuf);
    }
    return mbufs;
  }

  /** Gives the mbufs back to the pool. The NIC no longer works on the ring. */
  drain(): void {
    this.memory.pool.give(this.held());
    this.reset();
  }

  free(): void {
    this.block.free();
    this.memory.private.free(this.arrays);
    this.memory.dma.free(this.ring);
  }
}
