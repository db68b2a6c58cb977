// A port's queues in either mode. Their blocks live from configure() on, because lcores keep them over stop and start;
// what the NIC has of them is made at each start and destroyed at each stop, so that it gives all mbufs back:
//
//   configure() → open(): CQs and send queues, then CQs and receive queues → run()
//   halt() → quiesce → shut(): the reverse → drain()
//
// Transmit comes first, as VPP's rdma driver has it (src/plugins/rdma/device.c): else the port's own broadcasts come
// back to it.
import type { InterruptLine } from "../../src/bus/pci-function.ts";
import type { RdmaContext } from "../../src/bus/rdma/context.ts";
import type { CompChannel, Cq, Pd, RdmaObject, Wq } from "../../src/bus/rdma/objects.ts";
import type { CqeCompression, DvLimits } from "../../src/bus/rdma/types.ts";
import type { DriverContext } from "../../src/ethdev/driver.ts";
import type { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { RxInterrupts } from "../../src/ethdev/rx-interrupts.ts";
import { Queue, QueueError } from "../../src/hot/layout.ts";
import type { EventAttachment } from "./events.ts";
import { Mlx5ReceiveQueue } from "./receive-queue.ts";
import { Mlx5TransmitQueue } from "./transmit-queue.ts";
import { VerbsReceiveQueue, VerbsTransmitQueue } from "./verbs-queue.ts";

export type Mode = "dv" | "ibv";

/** What queues are made on. */
export interface QueueHost {
  readonly context: DriverContext;
  readonly rdma: RdmaContext;
  readonly pd: Pd;
  /** Of the whole DMA zone. */
  readonly lkey: number;
  readonly mode: Mode;
  /** For messages. */
  readonly port: string;
  readonly striding: boolean;
  readonly compression: boolean;
  readonly multiPacketSend: boolean;
  readonly inlineMin: number | undefined;
}

export interface QueueCounts {
  readonly rxQueues: number;
  readonly txQueues: number;
  readonly rxSize: number;
  readonly txSize: number;
  /** Receive queues wake lcores that sleep. */
  readonly rxInterrupts: boolean;
}

/** What a start fixes. */
export interface QueueShape {
  /** Longest frame, bytes. */
  readonly frameBytes: number;
  /** mbufs that hold it. */
  readonly segments: number;
  readonly rxChecksum: boolean;
  readonly rss: boolean;
  readonly vlanStrip: boolean;
}

type Receive = Mlx5ReceiveQueue | VerbsReceiveQueue;
type Transmit = Mlx5TransmitQueue | VerbsTransmitQueue;

/** Entries of a send request's list in ibv mode: packets of more segments are dropped (hot-verbs.ts). */
const SEND_SEGMENTS = 8;
/** Of a 64-byte block's four segments a send request's head takes three (rdma-core, mlx5_calc_send_wqe). */
const SEND_BLOCK_SEGMENTS = 4;
const SEND_HEAD_SEGMENTS = 3;
/** DPDK's MLX5_MPRQ_DEFAULT_LOG_STRIDE_NUM and _SIZE: 64 strides of 2 KiB. */
const LOG_STRIDES = 6;
const LOG_STRIDE_BYTES = 11;
/** WQEs of a striding queue, so that one is being filled while another is read. */
const STRIDING_WQES_MIN = 4;

const NO_QUEUES = { rxQueues: 0, txQueues: 0, rxSize: 0, txSize: 0, rxInterrupts: false };

/** Objects of the NIC and what else a start makes; undone in reverse. */
type Undo = () => void;

export class PortQueues {
  private readonly host: QueueHost;
  private rx: Receive[] = [];
  private tx: Transmit[] = [];
  private sizes: QueueCounts = NO_QUEUES;
  private undo: Undo[] = [];
  private queuesOf = new Map<bigint, QueueBlock>();
  private receiving: Wq[] = [];
  private readonly interrupts: RxInterrupts;

  constructor(host: QueueHost) {
    this.host = host;
    this.interrupts = new RxInterrupts(host.port);
  }

  get pd(): Pd {
    return this.host.pd;
  }
  /** In the order of the queues; of a started port. */
  get wqs(): readonly Wq[] {
    return this.receiving;
  }
  get rxOffsets(): number[] {
    return this.rx.map(({ block }) => block.offset);
  }
  get txOffsets(): number[] {
    return this.tx.map(({ block }) => block.offset);
  }
  /** Error: NOT_SUPPORTED. */
  rxInterrupt(queue: number): InterruptLine {
    return this.interrupts.line(queue);
  }
  private get all(): readonly (Receive | Transmit)[] {
    return [...this.tx, ...this.rx];
  }

  /** Makes the blocks; the port is stopped. Errors: RING_SIZE, OUT_OF_MEMORY. */
  configure(sizes: QueueCounts): void {
    this.free();
    const { context, mode, port } = this.host;
    const make = <T>(
      way: string,
      count: number,
      size: number,
      one: new (options: { context: DriverContext; name: string; index: number; size: number }) => T,
      into: T[],
    ) => {
      for (let index = 0; index < count; index++) {
        into.push(new one({ context, name: `${way} queue ${index} of ${port}`, index, size }));
      }
    };
    try {
      const [Rx, Tx] = mode === "dv" ? DV : IBV;
      make<Receive>("rx", sizes.rxQueues, sizes.rxSize, Rx, this.rx);
      make<Transmit>("tx", sizes.txQueues, sizes.txSize, Tx, this.tx);
      if (sizes.rxInterrupts) this.interrupts.configure(sizes.rxQueues);
      this.sizes = sizes;
    } catch (error) {
      this.free();
      throw error;
    }
  }

  /** Makes the NIC's part of all queues; what fails is undone. */
  open(shape: QueueShape): void {
    try {
      for (const queue of this.tx) this.openTransmit(queue, shape);
      for (const queue of this.rx) this.openReceive(queue, shape);
    } catch (error) {
      try {
        this.shut();
      } finally {
        this.drain();
      }
      throw error;
    }
  }

  private openTransmit(queue: Transmit, { frameBytes }: QueueShape): void {
    const { rdma, pd, lkey, context } = this.host;
    const wqes = this.sizes.txSize;
    const cq = this.keep(rdma.createCq({ entries: wqes }), queue);
    const common = { lkey, bytesMax: frameBytes };
    if (queue instanceof VerbsTransmitQueue) {
      const sges = this.sendSegments(wqes);
      const qp = this.keep(rdma.createSendQp({ pd, cq, wqes, sges }), queue);
      const { checksum } = rdma.limits.raw;
      queue.attach({ ...common, cq, qp, calls: rdma.calls, segments: sges, checksum });
      return;
    }
    const qp = this.keep(rdma.createSendQp({ pd, cq, wqes, sges: 1 }), queue);
    const uar = rdma.mapUar(context.arena, qp);
    this.undo.push(() => uar.unmap());
    const { bf } = rdma.dvQp(qp);
    const minInline = this.minInline();
    queue.attach({
      ...common,
      cq: rdma.dvCq(cq),
      qp: rdma.dvQp(qp),
      bfOffset: uar.offset,
      bfBytes: bf.bytes,
      minInline,
      enhancedMpw: this.host.multiPacketSend && minInline === 0 && this.dv.enhancedMpw,
      // put into the frame's inlined header: whether a chip inserts tags itself is only known to DevX
      offloads: { checksum: rdma.limits.raw.checksum, vlanInsert: "inline" },
    });
  }

  private openReceive(queue: Receive, shape: QueueShape): void {
    const { rdma, pd, lkey } = this.host;
    const { frameBytes: room, segments, vlanStrip: stripVlan } = shape;
    const wrs = this.sizes.rxSize;
    const index = queue.block.get(Queue.INDEX);
    const channel = this.sizes.rxInterrupts ? this.openChannel(index) : undefined;
    const told = channel ? { channel, vector: index } : {};
    if (queue instanceof VerbsReceiveQueue) {
      const cq = this.keep(rdma.createCq({ entries: wrs, ...told }), queue);
      const wq = this.keepReceiving(rdma.createWq({ pd, cq, wrs, sges: segments }), queue);
      const { calls } = rdma;
      const events = channel ? { events: { channel, cq, calls } } : {};
      queue.attach({ lkey, segments, room, cq, wq, calls, ...events });
      return;
    }
    const striding = this.strides(wrs);
    const compression = this.compression();
    // a session of mini CQEs keeps its entries until the last is read: DPDK doubles them too
    const entries = (striding ? striding.wqes << striding.logStrides : wrs) * (compression ? 2 : 1);
    const cq = this.keep(
      rdma.createCq({ entries, cqeBytes: 64, ...(compression ? { compression } : {}), ...told }),
      queue,
    );
    const wq = this.keepReceiving(
      striding
        ? rdma.createWq({
            pd,
            cq,
            wrs: striding.wqes,
            sges: 1,
            stripVlan,
            striding: { ...striding, twoByteShift: false },
          })
        : rdma.createWq({ pd, cq, wrs, sges: segments, stripVlan }),
      queue,
    );
    queue.attach({
      lkey,
      segments,
      room,
      flags: { checksum: shape.rxChecksum, rss: shape.rss, vlanStrip: stripVlan },
      cq: rdma.dvCq(cq),
      rq: rdma.dvWq(wq),
      ...(striding ? { striding } : {}),
      ...(compression ? { compression } : {}),
      ...(channel ? { events: this.arming({ channel, cq, calls: rdma.calls }, cq) } : {}),
    });
  }

  /** One a queue: whoever waits for its interrupt is not woken by others, and events need not be told apart. */
  private openChannel(queue: number): CompChannel {
    const channel = this.host.rdma.createCompChannel();
    this.undo.push(() => channel.destroy());
    this.interrupts.watch(queue, channel.fd);
    this.undo.push(() => this.interrupts.unwatch(queue));
    return channel;
  }

  /** Besides the events: the register that arms the completion queue, in the arena. */
  private arming(events: EventAttachment, cq: Cq): EventAttachment & { register: number } {
    const page = this.host.rdma.mapArmPage(this.host.context.arena, cq);
    this.undo.push(() => page.unmap());
    return { ...events, register: page.offset };
  }

  /** A ring has maxQpWr blocks at most (rdma-core, mlx5_calc_sq_size): in a long one lists are short. */
  private sendSegments(wqes: number): number {
    const { maxQpWr, maxSge } = this.host.rdma.limits;
    const fit = Math.floor(maxQpWr / wqes) * SEND_BLOCK_SEGMENTS - SEND_HEAD_SEGMENTS;
    return clamp(fit, 1, Math.min(SEND_SEGMENTS, maxSge));
  }

  private get dv(): DvLimits {
    return this.host.rdma.dv!;
  }

  private minInline(): number {
    return Math.max(this.host.inlineMin ?? 0, this.dv.minInline);
  }

  private compression(): CqeCompression | undefined {
    return this.host.compression && this.dv.compression.includes("hash") ? "hash" : undefined;
  }

  /** As many strides as the ring has descriptors, in WQEs as near to DPDK's as the chip has them. */
  private strides(size: number): { logStrideBytes: number; logStrides: number; wqes: number } | undefined {
    const limits = this.host.striding ? this.dv.striding : undefined;
    if (!limits) return undefined;
    const logStrides = clamp(LOG_STRIDES, limits.logStridesMin, limits.logStridesMax);
    // chips whose WQEs have many strides get smaller ones, so that a WQE's buffer stays as large
    const wanted = LOG_STRIDE_BYTES - (logStrides - LOG_STRIDES);
    const logStrideBytes = clamp(wanted, limits.logStrideBytesMin, limits.logStrideBytesMax);
    return { logStrideBytes, logStrides, wqes: Math.max(STRIDING_WQES_MIN, size >>> logStrides) };
  }

  private keep<T extends RdmaObject>(object: T, queue: Receive | Transmit): T {
    this.undo.push(() => object.destroy());
    this.queuesOf.set(object.handle, queue.block);
    return object;
  }

  private keepReceiving(wq: Wq, queue: Receive): Wq {
    this.receiving.push(wq);
    return this.keep(wq, queue);
  }

  run(): void {
    for (const queue of this.all) queue.run();
    // an lcore that fell asleep before has not armed them
    for (const index of this.rx.keys()) this.interrupts.ring(index);
  }
  halt(): void {
    for (const queue of this.all) queue.halt();
  }

  /** Destroys the NIC's part, all that can be; throws the first fault then. No lcore is in a queue. */
  shut(): void {
    const faults: unknown[] = [];
    for (const step of this.undo.splice(0).reverse()) {
      try {
        step();
      } catch (error) {
        faults.push(error);
      }
    }
    this.queuesOf.clear();
    this.receiving = [];
    if (faults.length > 0) throw faults[0];
  }

  /** Gives all mbufs back. The NIC no longer has the queues. */
  drain(): void {
    for (const queue of this.all) queue.drain();
  }

  free(): void {
    for (const queue of this.all) queue.free();
    this.rx = [];
    this.tx = [];
    this.interrupts.close();
  }

  /** The longest frame, of a running port too; its receive queues must have been opened for such. */
  setFrameBytes(bytes: number): void {
    for (const queue of this.rx) queue.setRoom(bytes);
    for (const queue of this.tx) queue.setBytesMax(bytes);
  }

  setStripVlan(on: boolean): void {
    const { rdma } = this.host;
    for (const queue of this.rx) if (on && queue instanceof Mlx5ReceiveQueue) queue.setVlanStrip(true);
    for (const wq of this.receiving) rdma.setStripVlan(wq, on);
  }

  /** Stops one queue, whose object the NIC reports as broken. Which one, in words; undefined: none of these. */
  fail(object: bigint): string | undefined {
    const block = this.queuesOf.get(object);
    if (!block) return undefined;
    this.stopBlock(block, QueueError.CQE_ERROR);
    const way = this.rxOffsets.includes(block.offset) ? "rx" : "tx";
    return `${way} queue ${block.get(Queue.INDEX)}`;
  }

  /** The device is gone: no queue goes on. */
  failAll(): void {
    for (const { block } of this.all) this.stopBlock(block, QueueError.DEVICE_LOST);
  }

  private stopBlock(block: QueueBlock, error: QueueError): void {
    if (!block.running) return;
    block.halt();
    block.set(Queue.ERROR_ARG, 0);
    block.set(Queue.ERROR, error);
  }
}

const DV = [Mlx5ReceiveQueue, Mlx5TransmitQueue] as const;
const IBV = [VerbsReceiveQueue, VerbsTransmitQueue] as const;

function clamp(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max);
}
