// Nothing that a NIC writes is trusted: direct verbs' queues under fuzz, with every kind of receive queue. A failure
// prints its seed; FUZZ_SEED repeats it, FUZZ_MUTATIONS makes it run longer.
import { Mlx5Queue } from "../../../pmd/mlx5/layout.ts";
import { QueueError } from "../../../src/hot/layout.ts";
import { makeFrame, type Rig } from "../../support/engines.ts";
import { variants } from "../../support/invariants.ts";
import { fuzzCases, PairFuzz, RING, ROOM } from "../../support/queue-fuzz.ts";
import type { Random } from "../../support/random.ts";
import { DriverFault, view } from "./device-model.ts";
import { Mlx5Pair, type PairOptions } from "./rings.ts";

const kinds: Record<string, PairOptions> = {
  "one buffer": { size: RING },
  "several buffers": { size: RING, segments: 3, minInline: 18 },
  striding: { size: RING, segments: 2, striding: { logStrideBytes: 6, logStrides: 4 }, enhancedMpw: true },
  "compressed, hash": { size: RING, compression: "hash", enhancedMpw: true },
  "striding, compressed": { size: RING, striding: { logStrideBytes: 6, logStrides: 4 }, compression: "csum" },
};
const flags = { checksum: true, rss: true, vlanStrip: true };
const CHANGING = [
  Mlx5Queue.HEAD,
  Mlx5Queue.TAIL,
  Mlx5Queue.CQ_INDEX,
  Mlx5Queue.CONSUMED,
  Mlx5Queue.MINIS,
  Mlx5Queue.MINI,
  Mlx5Queue.MINI_COUNTER,
  Mlx5Queue.TITLE_WQE,
  Mlx5Queue.TITLE_HASH_TYPE,
  Mlx5Queue.TITLE_INFO,
];
const SENDING = [
  Mlx5Queue.HEAD,
  Mlx5Queue.TAIL,
  Mlx5Queue.CQ_INDEX,
  Mlx5Queue.BF_HALF,
  Mlx5Queue.PACKET_HEAD,
  Mlx5Queue.PACKET_TAIL,
  Mlx5Queue.LOT_TAIL,
  Mlx5Queue.LAST_WQE,
  Mlx5Queue.LOT_BYTES,
  Mlx5Queue.LOT_DROPPED,
  Mlx5Queue.LOT_ODD,
];

class NicFuzz extends PairFuzz<Mlx5Pair> {
  protected override readonly shifts = [0, 0, -1, -128];
  private readonly options: PairOptions;

  constructor(rig: Rig, pair: Mlx5Pair, random: Random, options: PairOptions) {
    super(rig, pair, random);
    this.options = options;
  }

  protected override deliver(): void {
    const { random, pair } = this;
    const options = this.options;
    const longest = Math.min(1500, ROOM * (options.segments ?? 1));
    for (let k = random.below(5); k > 0; k--) {
      const frame = () => makeFrame(this.tag++, random.pick([10, 14, 60, 64, 300, longest]));
      if (options.compression && random.chance(60)) {
        const frames = Array.from({ length: random.between(1, 20) }, frame);
        pair.nic.rx.deliverCompressed(frames, options.compression === "hash");
      } else {
        pair.nic.rx.deliver(frame(), {
          hds: random.below(8),
          types: random.below(256),
          vlan: random.below(65536),
        });
      }
    }
  }

  protected override report(): void {
    const { tx } = this.pair.nic;
    tx.take(this.random.below(8));
    tx.complete(this.random.below(tx.uncompleted + 1));
  }

  protected override isFault(error: unknown): boolean {
    return error instanceof DriverFault;
  }

  override mutate(): string {
    return this.random.chance(75) ? this.mutateReceive() : this.mutateTransmit();
  }

  private mutateReceive(): string {
    const { random, pair } = this;
    const { cq } = pair.nic.rx;
    const index = (pair.rx.block.get(Mlx5Queue.CQ_INDEX) + random.below(6)) >>> 0;
    const cqe = cq.entry(index);
    const own = (opcode: number) => (opcode << 4) | cq.owner(index);
    switch (random.below(8)) {
      case 0:
        return this.byte(
          cqe,
          63,
          random.pick([own(2), own(2), own(13), own(14), own(15), own(0), random.below(256)]),
        );
      case 1:
        return this.long(cqe, 44, random.pick(variants(64, 32, ROOM)));
      case 2:
        return this.long(cqe, 44, random.below(20) * 0x10000 + random.below(ROOM + 2));
      case 3:
        return this.long(cqe, 44, random.word()) + this.byte(cqe, 63, own(2) | random.pick([0, 0, 4, 8, 12]));
      case 4:
        return this.long(cqe, 60, random.word() & 0xffff_0000) + this.byte(cqe, 63, own(2));
      case 5:
        return this.long(cqe, 0, random.word());
      case 6:
        return this.session(index);
      default:
        return this.anywhere(pair.at.rcq, 64 * cq.entries);
    }
  }

  /** Something that looks like a session, over whatever stands there. */
  private session(index: number): string {
    const { random, pair } = this;
    const { cq } = pair.nic.rx;
    const count = random.pick([0, 1, 2, 7, 8, 9, 20, 63, 64, 65, random.word()]);
    const cqe = cq.entry(index);
    cqe.writeUInt32BE(count, 44);
    cqe.writeUInt16BE(pair.rx.block.get(Mlx5Queue.HEAD) & 0xffff, random.pick([60, 2]));
    cqe[63] = 0x2c | cq.owner(index);
    this.spoilt = true;
    return `a session of ${count} at ${index}`;
  }

  private mutateTransmit(): string {
    const { random, pair } = this;
    const { cq } = pair.nic.tx;
    const index = (pair.tx.block.get(Mlx5Queue.CQ_INDEX) + random.below(4)) >>> 0;
    const cqe = cq.entry(index);
    switch (random.below(4)) {
      case 0:
        return this.byte(cqe, 63, (random.pick([0, 0, 2, 13, 14, 15]) << 4) | cq.owner(index));
      case 1:
        return this.long(cqe, 60, ((random.below(RING) << 16) | cq.owner(index)) >>> 0);
      case 2:
        return this.anywhere(pair.at.sq, 64 * RING);
      default:
        return this.anywhere(pair.at.scq, 64 * cq.entries);
    }
  }

  private byte(cqe: Buffer, at: number, value: number): string {
    cqe[at] = value;
    return ` byte ${at} = ${value}`;
  }

  private long(cqe: Buffer, at: number, value: number): string {
    cqe.writeUInt32BE(value >>> 0, at);
    return ` long ${at} = ${value >>> 0}`;
  }

  private anywhere(start: number, bytes: number): string {
    const offset = this.random.below(bytes);
    const value = this.random.below(256);
    this.rig.arena.u8[start + offset] = value;
    this.spoilt = true;
    return `byte ${offset} = ${value}`;
  }

  override run(look: (packets: readonly number[]) => void): void {
    super.run(look);
    const { rig, pair } = this;
    for (const record of [0, 128, 196]) {
      const index = view(rig.arena, pair.at.records + record, 4).readUInt32BE();
      if (index > (record === 0 ? 0xffffff : 0xffff)) throw new Error(`a doorbell record says ${index}`);
    }
  }

  protected override heldBy(block: Mlx5Pair["rx"]["block"]): number {
    return block.get(Mlx5Queue.TAIL) - block.get(Mlx5Queue.HEAD);
  }
}

const possible = [QueueError.BAD_LENGTH, QueueError.CQE_ERROR, QueueError.BAD_CQE];
fuzzCases(
  Object.entries(kinds).map(([name, options], index) => ({
    name,
    mbufs: 400,
    index,
    possible,
    make(rig, random, invariants) {
      const pair = new Mlx5Pair(rig, { ...options, flags });
      invariants.watch(pair.rx.block, [...CHANGING, Mlx5Queue.MBUFS]);
      invariants.watch(pair.tx.block, [...SENDING, Mlx5Queue.MBUFS, Mlx5Queue.LOTS]);
      return new NicFuzz(rig, pair, random, options);
    },
  })),
  0.5,
);
