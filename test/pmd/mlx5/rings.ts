// Queues of pmd/mlx5's direct verbs under test, with the modelled device at their other end.
import type { EventAttachment } from "../../../pmd/mlx5/events.ts";
import { Mlx5Queue } from "../../../pmd/mlx5/layout.ts";
import { Mlx5ReceiveQueue } from "../../../pmd/mlx5/receive-queue.ts";
import { Mlx5TransmitQueue } from "../../../pmd/mlx5/transmit-queue.ts";
import { Queue } from "../../../src/hot/layout.ts";
import { onEngines, type Rig, type RigOptions, type Tap } from "../../support/engines.ts";
import { CompletionModel, LKEY, QPN, ReceiveModel } from "./device-model.ts";
import { TransmitModel } from "./transmit-model.ts";

export const PORT = 3;
export const CQN = 0x7a_b5c3;

export interface PairOptions {
  size?: number;
  /** Receive: mbufs a WQE. */
  segments?: number;
  room?: number;
  striding?: { logStrideBytes: number; logStrides: number };
  compression?: "hash" | "csum";
  flags?: { checksum?: boolean; rss?: boolean; vlanStrip?: boolean };
  minInline?: number;
  enhancedMpw?: boolean;
  vlanInsert?: "flag" | "inline";
  /** Transmit: the device fills checksums in. */
  sendChecksum?: boolean;
  /** Entries of the send CQ. */
  sendCqes?: number;
  bfBytes?: number;
  bytesMax?: number;
  /** The receive queue has an interrupt. */
  events?: EventAttachment;
}

/** A receive and a transmit queue, their rings where libmlx5 would have them. */
export class Mlx5Pair {
  readonly rig: Rig;
  readonly rx: Mlx5ReceiveQueue;
  readonly tx: Mlx5TransmitQueue;
  nic!: { rx: ReceiveModel; tx: TransmitModel };
  /** Arena offsets of what libmlx5 has. */
  readonly at: { rcq: number; rq: number; scq: number; sq: number; records: number; bf: number };
  private readonly options: PairOptions;
  private readonly size: number;

  constructor(rig: Rig, options: PairOptions = {}) {
    const { size = 64 } = options;
    this.rig = rig;
    this.options = options;
    this.size = size;
    const place = (what: string, bytes: number) => rig.dma.allocate(what, bytes, 64);
    this.at = {
      rcq: place("receive CQ", 64 * this.receiveCqes),
      rq: place("RQ", this.wqeBytes * size),
      scq: place("send CQ", 64 * this.sendCqes),
      sq: place("SQ", 64 * size),
      records: place("doorbell records", 256),
      bf: rig.private.allocate("BlueFlame register", 1024),
    };
    this.rx = new Mlx5ReceiveQueue({ context: rig, name: "rx queue 0 of model", index: 0, size });
    this.tx = new Mlx5TransmitQueue({ context: rig, name: "tx queue 0 of model", index: 0, size });
    for (const { block } of [this.rx, this.tx]) {
      block.set(Queue.CACHE, rig.cache);
      block.set(Queue.ORIGIN, 0x10000 | PORT);
    }
    this.start();
  }

  get rxq(): number {
    return this.rx.block.offset;
  }
  get txq(): number {
    return this.tx.block.offset;
  }
  /** Where completion queues are armed; behind the BlueFlame registers. */
  get armRegister(): number {
    return this.at.bf + 768;
  }
  private get wqeBytes(): number {
    const { striding, segments = 1 } = this.options;
    return striding ? 32 : 16 * 2 ** Math.ceil(Math.log2(segments));
  }
  private get receiveCqes(): number {
    const { striding, compression } = this.options;
    return (this.size << (striding?.logStrides ?? 0)) * (compression ? 2 : 1);
  }
  get sendCqes(): number {
    return this.options.sendCqes ?? this.size;
  }

  /** Runs both queues with a fresh device. `index`: where the running indices begin, a multiple of all sizes. */
  start(index = 0): void {
    const { rig, at, size, options } = this;
    const { arena, dma } = rig;
    const { striding, compression, segments = 1, flags = {}, minInline = 0, bfBytes = 256 } = options;
    const address = (offset: number) => arena.address + BigInt(offset);
    const cq = (buffer: number, entries: number, record: number) => ({
      dv: { buffer: address(buffer), entries, cqeBytes: 64, doorbell: address(record), cqn: CQN },
      model: () => new CompletionModel(arena, buffer, entries, record, index),
    });
    const [rcq, scq] = [cq(at.rcq, this.receiveCqes, at.records), cq(at.scq, this.sendCqes, at.records + 64)];
    const [rqRecord, sqRecord] = [at.records + 128, at.records + 192];
    const doorbell = address(rqRecord);
    const rq = { buffer: address(at.rq), wqes: size, strideBytes: this.wqeBytes, doorbell };
    this.rx.attach({
      cq: rcq.dv,
      rq,
      lkey: LKEY,
      segments,
      room: options.room ?? segments * rig.pool.dataRoom,
      flags,
      ...(striding ? { striding } : {}),
      ...(compression ? { compression } : {}),
      ...(options.events ? { events: { ...options.events, register: this.armRegister } } : {}),
    });
    const sq = { buffer: address(at.sq), wqebbs: size, strideBytes: 64 };
    const bf = { address: address(at.bf), bytes: bfBytes };
    this.tx.attach({
      cq: scq.dv,
      qp: { qpn: QPN, sq, doorbell: address(sqRecord), bf, uarOffset: 0n },
      bfOffset: at.bf,
      bfBytes,
      lkey: LKEY,
      minInline,
      enhancedMpw: options.enhancedMpw ?? false,
      bytesMax: options.bytesMax ?? 9018,
      offloads: { checksum: options.sendChecksum ?? true, vlanInsert: options.vlanInsert ?? false },
    });
    this.begin(index);
    const received = striding
      ? { striding: { strideBytes: 2 ** striding.logStrideBytes, strides: 2 ** striding.logStrides } }
      : {};
    const place = { arena, dma: dma.range, start: index };
    this.nic = {
      rx: new ReceiveModel({
        ...place,
        ...received,
        cq: rcq.model(),
        ring: at.rq,
        wqes: size,
        strideBytes: this.wqeBytes,
        record: rqRecord,
      }),
      tx: new TransmitModel({
        ...place,
        cq: scq.model(),
        ring: at.sq,
        blocks: size,
        record: sqRecord + 4,
        bf: at.bf,
        bfBytes,
        minInline,
      }),
    };
    this.rx.run();
    this.tx.run();
  }

  /** Where the driver's running indices begin. */
  private begin(index: number): void {
    const common = [Mlx5Queue.HEAD, Mlx5Queue.TAIL, Mlx5Queue.CQ_INDEX];
    for (const word of common) this.rx.block.set(word, index);
    for (const word of [...common, Mlx5Queue.PACKET_HEAD, Mlx5Queue.PACKET_TAIL, Mlx5Queue.LOT_TAIL]) {
      this.tx.block.set(word, index);
    }
  }

  /** Lets the driver give the device all buffers that it will. */
  fill(): void {
    for (let held = -1; held !== this.nic.rx.held; ) {
      held = this.nic.rx.held;
      this.rig.receive(this.rxq, 1);
    }
  }

  held(): number[] {
    return [...this.rx.held(), ...this.tx.held()];
  }

  stop(): void {
    for (const queue of [this.rx, this.tx]) {
      queue.halt();
      queue.drain();
    }
  }

  free(): void {
    this.rx.free();
    this.tx.free();
    const { bf, ...rest } = this.at;
    for (const offset of Object.values(rest)) this.rig.dma.free(offset);
    this.rig.private.free(bf);
  }

  /** No fault, no mbuf lost; then everything is given back. */
  end(t: Tap): void {
    t.equal(this.rx.block.fault, undefined);
    t.equal(this.tx.block.fault, undefined);
    t.same(this.rig.audit(this.held()), []);
    this.stop();
    t.same(this.rig.audit(), []);
    this.free();
  }
}

/** A subtest for each named set of options, on each engine. */
export function onPairs(
  name: string,
  rigOptions: RigOptions,
  cases: Record<string, PairOptions>,
  body: (t: Tap, pair: Mlx5Pair, options: PairOptions) => void,
): void {
  onEngines(name, rigOptions, async (t, rig) => {
    for (const [label, options] of Object.entries(cases)) {
      await t.test(label, async (t) => {
        const pair = new Mlx5Pair(rig, options);
        body(t as unknown as Tap, pair, options);
        pair.end(t as unknown as Tap);
      });
    }
  });
}
