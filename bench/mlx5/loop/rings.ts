// A queue pair of dv mode without a NIC: the driver's own queues over rings that the bench lays out, in an arena of its
// own, and the words by which device.c finds them.
import { Mlx5Queue } from "../../../pmd/mlx5/layout.ts";
import { Mlx5ReceiveQueue } from "../../../pmd/mlx5/receive-queue.ts";
import { Mlx5TransmitQueue } from "../../../pmd/mlx5/transmit-queue.ts";
import { Queue } from "../../../src/hot/layout.ts";
import { MIB } from "../../../src/limits.ts";
import { Arena } from "../../../src/memory/arena.ts";
import { IovaMap } from "../../../src/memory/iova.ts";
import { MbufPool } from "../../../src/memory/pool.ts";
import { dmaZone, privateZone } from "../../../src/memory/zone.ts";
import { Device } from "./flags.ts";

/** WQEs of receive, blocks of transmit, and CQEs. */
export const ringSize = 512;
const mbufs = 4096;
const lkey = 0x1234;
const frameBytes = 1518;

/**
 * How packets are sent: 18 bytes inlined as ConnectX-4 Lx needs it, nothing inlined, many packets in one WQE; and the
 * last with receive's CQEs compressed.
 */
export const kinds = {
  "inline 18": { minInline: 18, enhancedMpw: false, compressed: false },
  "no inline": { minInline: 0, enhancedMpw: false, compressed: false },
  eMPW: { minInline: 0, enhancedMpw: true, compressed: false },
  "eMPW, compressed": { minInline: 0, enhancedMpw: true, compressed: true },
} as const;
export type Kind = keyof typeof kinds;

export class Rings {
  readonly arena = new Arena(64 * MIB);
  readonly device: number;
  /** Words for a burst. */
  readonly pkts: number;
  private readonly pool: MbufPool;
  private readonly rx: Mlx5ReceiveQueue;
  private readonly tx: Mlx5TransmitQueue;
  private readonly at: { rxCq: number; txCq: number; rq: number; sq: number; records: number; bf: number };

  constructor() {
    const { arena } = this;
    const zone = privateZone(arena, 4 * MIB);
    const dma = dmaZone(arena, { bytes: 24 * MIB, noHuge: true, warn: () => {} });
    this.pool = new MbufPool(zone, dma, new IovaMap("va", dma), {
      name: "loop",
      count: mbufs,
      dataRoom: 2048,
    });
    this.device = zone.allocate("device", Device.BYTES);
    this.pkts = zone.allocate("packets", 4 * 64);
    this.at = {
      rxCq: dma.allocate("receive CQ", 128 * ringSize, 4096),
      txCq: dma.allocate("transmit CQ", 64 * ringSize, 4096),
      rq: dma.allocate("receive queue", 16 * ringSize, 4096),
      sq: dma.allocate("send queue", 64 * ringSize, 4096),
      records: dma.allocate("doorbell records", 4 * 64),
      bf: dma.allocate("BlueFlame register", 4096, 4096),
    };
    const context = { arena, private: zone, dma, pool: this.pool };
    this.rx = new Mlx5ReceiveQueue({ context, name: "rx queue of the loop", index: 0, size: ringSize });
    this.tx = new Mlx5TransmitQueue({ context, name: "tx queue of the loop", index: 0, size: ringSize });
    for (const { block } of [this.rx, this.tx]) block.set(Queue.CACHE, this.pool.cacheOf(0));
  }

  get rxq(): number {
    return this.rx.block.offset;
  }
  get txq(): number {
    return this.tx.block.offset;
  }

  /** Begins anew: nothing received, nothing sent, all mbufs in the pool. */
  reset(kind: Kind): void {
    const { arena } = this;
    const at = this.at;
    this.rx.drain();
    this.tx.drain();
    const address = (offset: number) => arena.address + BigInt(offset);
    const { compressed, ...sending } = kinds[kind];
    const cq = (buffer: number, record: number, entries: number) => {
      arena.clear(buffer, 64 * entries);
      for (let k = 0; k < entries; k++) arena.u8[buffer + 64 * k + 63] = 0xf0; // as libmlx5 leaves them
      return { buffer: address(buffer), entries, cqeBytes: 64, doorbell: address(record), cqn: 1 };
    };
    const entries = compressed ? 2 * ringSize : ringSize;
    arena.clear(at.records, 4 * 64);
    const wq = {
      buffer: address(at.rq),
      wqes: ringSize,
      strideBytes: 16,
      doorbell: address(at.records + 128),
    };
    this.rx.attach({
      cq: cq(at.rxCq, at.records, entries),
      rq: wq,
      lkey,
      segments: 1,
      room: frameBytes,
      flags: {},
      ...(compressed ? { compression: "hash" } : {}),
    });
    const qp = {
      qpn: 5,
      sq: { buffer: address(at.sq), wqebbs: ringSize, strideBytes: 64 },
      doorbell: address(at.records + 192),
      bf: { address: address(at.bf), bytes: 256 },
      uarOffset: 0n,
    };
    this.tx.attach({
      ...sending,
      cq: cq(at.txCq, at.records + 64, ringSize),
      qp,
      bfOffset: at.bf,
      bfBytes: qp.bf.bytes,
      lkey,
      bytesMax: frameBytes,
      offloads: {},
    });
    this.layDevice(entries, compressed);
    this.rx.run();
    this.tx.run();
  }

  /** The device finds its rings. */
  private layDevice(entries: number, compressed: boolean): void {
    const { rx, tx, arena, device } = this;
    arena.clear(device, Device.BYTES);
    const word = (at: Device, value: number) => {
      arena.u32[(device + at) >>> 2] = value;
    };
    word(Device.RX_CQ, rx.block.get(Mlx5Queue.CQ));
    word(Device.RX_CQ_SIZE, entries);
    word(Device.RX_RING, rx.block.get(Mlx5Queue.RING));
    word(Device.RX_MASK, ringSize - 1);
    word(Device.RX_RECORD, rx.block.get(Mlx5Queue.RECORD));
    word(Device.TX_CQ, tx.block.get(Mlx5Queue.CQ));
    word(Device.TX_CQ_SIZE, ringSize);
    word(Device.TX_RING, tx.block.get(Mlx5Queue.RING));
    word(Device.TX_MASK, ringSize - 1);
    word(Device.TX_RECORD, tx.block.get(Mlx5Queue.RECORD));
    word(Device.COMPRESSED, compressed ? 1 : 0);
    word(Device.LKEY, tx.block.get(Mlx5Queue.LKEY));
  }

  /** A word of the device's. */
  of(word: Device): number {
    return this.arena.u32[(this.device + word) >>> 2]!;
  }

  /** What is wrong with the queues and the pool: nothing. */
  faults(): string[] {
    const stopped = [this.rx, this.tx].flatMap(({ block }) =>
      block.running ? [] : [`${block.fault?.name}`],
    );
    return [...stopped, ...this.pool.audit([...this.rx.held(), ...this.tx.held()])];
  }
}
