// Direct verbs: where libmlx5 has the rings, doorbell records and doorbell registers, and how they come into the arena.
import koffi from "koffi";
import { PollmodeError } from "../../errors.ts";
import { MAP_SHARED } from "../../libc/abi.ts";
import { PAGE_BYTES } from "../../limits.ts";
import type { Arena } from "../../memory/arena.ts";
import type { Core } from "./core.ts";
import type { Mlx5dv } from "./library.ts";
import { readPointer, readU64, Structs } from "./memory.ts";
import * as dv from "./mlx5dv-abi.ts";
import type { Cq, Qp, Wq } from "./objects.ts";
import type { DvCq, DvQp, DvWq } from "./types.ts";

const allocateType = koffi.pointer(koffi.proto("void *", ["size_t", "void *"]));
const freeType = koffi.pointer(koffi.proto("void", ["void *", "void *"]));

/**
 * Gives libmlx5 memory of the arena for rings and doorbell records (MLX5DV_CTX_ATTR_BUF_ALLOCATORS). It calls back on
 * the thread that makes the verbs call, up to the destruction of the last object and while the context is closed.
 */
export class RingAllocator {
  private readonly core: Core;
  private readonly allocate: (bytes: number) => number;
  private readonly give: (offset: number) => void;
  private readonly base: bigint;
  /** Offsets of blocks that libmlx5 has, and their bytes. */
  private readonly blocks = new Map<number, number>();
  private readonly callbacks: bigint[] = [];

  /** `base`: address of offset 0. */
  constructor(core: Core, allocate: (bytes: number) => number, free: (offset: number) => void, base: bigint) {
    this.core = core;
    this.allocate = allocate;
    this.give = free;
    this.base = base;
    const verb = { call: "mlx5dv_set_context_attr", what: "memory of the arena for its rings" };
    const library = core.dv;
    const allocators = Buffer.alloc(dv.MLX5DV_CTX_ALLOCATORS_BYTES);
    const take = koffi.register((bytes: number | bigint) => this.onAllocate(Number(bytes)), allocateType);
    const back = koffi.register((address: bigint | null) => this.onFree(address), freeType);
    this.callbacks.push(take, back);
    allocators.writeBigUInt64LE(take, dv.MLX5DV_CTX_ALLOCATORS_ALLOC);
    allocators.writeBigUInt64LE(back, dv.MLX5DV_CTX_ALLOCATORS_FREE);
    try {
      core.done(verb, () =>
        library.mlx5dv_set_context_attr(core.address, dv.MLX5DV_CTX_ATTR_BUF_ALLOCATORS, allocators),
      );
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether libmlx5 has put something there. */
  has(address: bigint): boolean {
    const offset = Number(address - this.base);
    for (const [start, bytes] of this.blocks) if (offset >= start && offset < start + bytes) return true;
    return false;
  }

  /** After ibv_close_device: what libmlx5 has not given back is freed, for nobody can any more. */
  close(): void {
    for (const callback of this.callbacks.splice(0)) koffi.unregister(callback);
    for (const offset of this.blocks.keys()) this.give(offset);
    this.blocks.clear();
  }

  /** An exception must not cross libmlx5: it would go on with a wild pointer. */
  private onAllocate(bytes: number): bigint | null {
    try {
      const offset = this.allocate(bytes);
      if (offset === 0) return null;
      this.blocks.set(offset, bytes);
      return this.base + BigInt(offset);
    } catch (error) {
      this.core.allocatorFault = error;
      return null;
    }
  }

  private onFree(address: bigint | null): void {
    try {
      const offset = Number(BigInt(address ?? 0) - this.base);
      if (this.blocks.delete(offset)) this.give(offset);
    } catch (error) {
      this.core.allocatorFault = error;
    }
  }
}

/** One object's structure, filled in by mlx5dv_init_obj. */
function describe(
  core: Core,
  handle: bigint,
  kind: { type: number; in: number; bytes: number; prepare?: (out: Buffer) => void },
): Buffer {
  const structs = new Structs(dv.MLX5DV_OBJ_BYTES, kind.bytes);
  structs.bytes.writeBigUInt64LE(handle, kind.in);
  structs.point(kind.in + 8, 1); // its `out` is the next member
  kind.prepare?.(structs.at(1));
  const library = core.dv;
  const verb = { call: "mlx5dv_init_obj", what: "the place of a ring" };
  core.done(verb, () => library.mlx5dv_init_obj(structs.bytes, kind.type));
  return structs.at(1);
}

function describeCq(core: Core, cq: Cq): Buffer {
  const kind = { type: dv.MLX5DV_OBJ_CQ, in: dv.MLX5DV_OBJ_CQ_IN, bytes: dv.MLX5DV_CQ_BYTES };
  return describe(core, cq.handle, kind);
}

/** Afterwards the queue belongs to whoever reads its ring: libmlx5 neither polls nor sweeps it. */
export function dvCq(core: Core, cq: Cq): DvCq {
  const out = describeCq(core, cq);
  return {
    buffer: out.readBigUInt64LE(dv.MLX5DV_CQ_BUF),
    entries: out.readUInt32LE(dv.MLX5DV_CQ_CQE_CNT),
    cqeBytes: out.readUInt32LE(dv.MLX5DV_CQ_CQE_SIZE),
    doorbell: out.readBigUInt64LE(dv.MLX5DV_CQ_DBREC),
    cqn: out.readUInt32LE(dv.MLX5DV_CQ_CQN),
  };
}

export function dvQp(core: Core, qp: Qp): DvQp {
  const mask = dv.MLX5DV_QP_MASK_UAR_MMAP_OFFSET;
  const prepare = (out: Buffer) => out.writeBigUInt64LE(BigInt(mask), dv.MLX5DV_QP_COMP_MASK);
  const kind = { type: dv.MLX5DV_OBJ_QP, in: dv.MLX5DV_OBJ_QP_IN, bytes: dv.MLX5DV_QP_BYTES, prepare };
  const out = describe(core, qp.handle, kind);
  const given = (out.readUInt32LE(dv.MLX5DV_QP_COMP_MASK) & mask) !== 0;
  core.need(given, "offset by which its doorbell registers can be mapped");
  return {
    qpn: qp.number,
    sq: {
      buffer: out.readBigUInt64LE(dv.MLX5DV_QP_SQ_BUF),
      wqebbs: out.readUInt32LE(dv.MLX5DV_QP_SQ_WQE_CNT),
      strideBytes: out.readUInt32LE(dv.MLX5DV_QP_SQ_STRIDE),
    },
    doorbell: out.readBigUInt64LE(dv.MLX5DV_QP_DBREC),
    bf: {
      address: out.readBigUInt64LE(dv.MLX5DV_QP_BF_REG),
      bytes: out.readUInt32LE(dv.MLX5DV_QP_BF_SIZE),
    },
    uarOffset: out.readBigUInt64LE(dv.MLX5DV_QP_UAR_MMAP_OFFSET),
  };
}

export function dvWq(core: Core, wq: Wq): DvWq {
  const kind = { type: dv.MLX5DV_OBJ_RWQ, in: dv.MLX5DV_OBJ_RWQ_IN, bytes: dv.MLX5DV_RWQ_BYTES };
  const out = describe(core, wq.handle, kind);
  return {
    buffer: out.readBigUInt64LE(dv.MLX5DV_RWQ_BUF),
    wqes: out.readUInt32LE(dv.MLX5DV_RWQ_WQE_CNT),
    strideBytes: out.readUInt32LE(dv.MLX5DV_RWQ_STRIDE),
    doorbell: out.readBigUInt64LE(dv.MLX5DV_RWQ_DBREC),
  };
}

/** A page of doorbell registers in the arena. */
export interface UarMapping {
  /** Where the arena has the register: the queue pair's BlueFlame register, or that which arms completion queues. */
  readonly offset: number;
  /** Twice does nothing. */
  unmap(): void;
}

/** The page in which the queue pair's doorbell register lies. */
export function mapUar(core: Core, arena: Arena, qp: Qp): UarMapping {
  const { bf, uarOffset } = dvQp(core, qp);
  const within = Number(bf.address & BigInt(PAGE_BYTES - 1));
  const fix = "use mode=ibv, which leaves doorbells to libmlx5; dmesg says why the kernel refused";
  return mapPage(core, arena, uarOffset, within, `the doorbell registers of ${core.info.ibdev}`, fix);
}

/** From the page's beginning (rdma-core, MLX5_CQ_DOORBELL). */
const CQ_DOORBELL = 0x20;

/**
 * The page through which completion queues are armed. libmlx5 tells its address alone; what maps it once more is known
 * of the page that it shares with DevX, which is the same from rdma-core 33 on, where the kernel gives out pages one by
 * one (since 5.7).
 */
export function mapArmPage(core: Core, arena: Arena, cq: Cq): UarMapping {
  const uar = describeCq(core, cq).readBigUInt64LE(dv.MLX5DV_CQ_CQ_UAR);
  const what = `the register that arms completion queues of ${core.info.ibdev}`;
  const fix =
    "use mode=ibv, which leaves that to libmlx5, or Linux 5.7 and rdma-core 33 or later; or leave rxInterrupts out";
  const offset = sharedPage(core.dv, core.address, uar);
  if (offset !== undefined) return mapPage(core, arena, offset, CQ_DOORBELL, what, fix);
  throw new PollmodeError("RDMA_UAR", `${core.who}: libmlx5 does not tell how to map ${what}`, fix);
}

/** What maps libmlx5's page at `address`, if that is the one which it shares; it stays the library's. */
function sharedPage(library: Mlx5dv, context: bigint, address: bigint): bigint | undefined {
  const uar = library.mlx5dv_devx_alloc_uar(context, dv.MLX5DV_UAR_ALLOC_TYPE_NC);
  if (uar === null) return undefined;
  const isIt = readPointer(uar, dv.MLX5DV_DEVX_UAR_BASE_ADDR) === address;
  const offset = readU64(uar, dv.MLX5DV_DEVX_UAR_MMAP_OFF);
  library.mlx5dv_devx_free_uar(uar);
  return isIt ? offset : undefined;
}

/**
 * A second mapping of a page of libmlx5's, which keeps its own. (mremap would move that one, and libmlx5 would later
 * unmap what came to lie there since.)
 */
function mapPage(
  core: Core,
  arena: Arena,
  mmapOffset: bigint,
  within: number,
  what: string,
  fix: string,
): UarMapping {
  const range = arena.reserve(`UAR of ${core.info.ibdev}`, PAGE_BYTES, PAGE_BYTES);
  try {
    arena.overlay(range, core.commandFd, Number(mmapOffset), MAP_SHARED);
  } catch (cause) {
    arena.release(range);
    const message = `${core.who}: ${what} cannot be mapped into the arena`;
    const why = cause instanceof Error ? `${message}: ${cause.message}` : message;
    throw new PollmodeError("RDMA_UAR", why, fix, { cause });
  }
  let mapped = true;
  return {
    offset: range.start + within,
    unmap() {
      if (!mapped) return;
      mapped = false;
      arena.release(range);
    },
  };
}
