// An open device beneath its objects: the libraries, the context, who is alive, what a failure says.
import koffi from "koffi";
import { PollmodeError } from "../../errors.ts";
import { lastErrno } from "../../libc/native.ts";
import * as abi from "./abi.ts";
import { deviceLost, notMlx5, unsupported, type Verb, verbFailed } from "./errors.ts";
import type { IbVerbs, Mlx5dv } from "./library.ts";
import type { Mr, Owner, Pd, RdmaObject } from "./objects.ts";
import { createMr } from "./queues.ts";
import type { DvLimits, RdmaDeviceInfo, RdmaLimits } from "./types.ts";
import type { InlineVerbs } from "./verbs.ts";

/** What libmlx5 makes of an allocator that has nothing, though it does not always say so. */
const ENOMEM = 12;

/** What opening a device gives. */
export interface Opened {
  /** For messages: the port and its device. */
  readonly who: string;
  readonly info: RdmaDeviceInfo;
  readonly ib: IbVerbs;
  /** undefined: the device is no mlx5. */
  readonly mlx5: Mlx5dv | undefined;
  /** struct ibv_context. */
  readonly address: bigint;
  readonly verbs: InlineVerbs;
  readonly limits: RdmaLimits;
  readonly dvLimits: DvLimits | undefined;
}

export class Core implements Owner {
  readonly who: string;
  readonly info: RdmaDeviceInfo;
  readonly ib: IbVerbs;
  readonly address: bigint;
  readonly verbs: InlineVerbs;
  readonly limits: RdmaLimits;
  readonly dvLimits: DvLimits | undefined;
  /** An event has told that the device is gone. */
  lost = false;
  closed = false;
  /** Why the allocator of rings gave nothing, when it threw. */
  allocatorFault: unknown;
  private readonly mlx5: Mlx5dv | undefined;
  /** In the order in which they were created. */
  private readonly alive = new Set<RdmaObject>();

  constructor({ who, info, ib, mlx5, address, verbs, limits, dvLimits }: Opened) {
    this.who = who;
    this.info = info;
    this.ib = ib;
    this.mlx5 = mlx5;
    this.address = address;
    this.verbs = verbs;
    this.limits = limits;
    this.dvLimits = dvLimits;
  }

  /** libmlx5; throws RDMA_NOT_MLX5. */
  get dv(): Mlx5dv {
    if (this.mlx5 && this.dvLimits) return this.mlx5;
    throw notMlx5(this.who, this.info);
  }

  get hasObjects(): boolean {
    return this.alive.size > 0;
  }

  adopt(object: RdmaObject): void {
    this.alive.add(object);
  }

  forget(object: RdmaObject): void {
    this.alive.delete(object);
  }

  registerMr(pd: Pd, address: bigint, bytes: number): Mr {
    return createMr(this, pd, address, bytes);
  }

  /** The address that a creating verb returned; throws why it returned none. */
  made(verb: Verb, create: () => bigint | null): bigint {
    this.checkOpen(verb);
    this.allocatorFault = undefined;
    koffi.errno(0); // not every failure sets it
    const address = create();
    if (address !== null && address !== 0n) return address;
    const errno = lastErrno();
    throw this.failure(verb, errno === 0 && this.allocatorFault !== undefined ? ENOMEM : errno);
  }

  /** Throws if a verb that returns 0 or an errno has failed. */
  done(verb: Verb, run: () => number): void {
    this.checkOpen(verb);
    const result = run();
    if (result === 0) return;
    throw this.failure(verb, result === -1 ? lastErrno() : Math.abs(result)); // providers differ in this
  }

  failure(verb: Verb, errno: number): PollmodeError {
    if (this.lost) return deviceLost(`${this.who}: ${verb.what}: the device is gone`, this.info);
    const error = verbFailed(this.who, this.info, verb, errno);
    if (this.allocatorFault === undefined) return error;
    const { code, message, fix } = error;
    const cause = this.allocatorFault;
    const why = cause instanceof Error ? cause.message : String(cause);
    return new PollmodeError(code, `${message}: no room for its rings: ${why}`, fix, { cause });
  }

  /** Throws RDMA_UNSUPPORTED unless the device can. */
  need(can: boolean, what: string): void {
    if (!can) throw unsupported(`${this.who}: ${this.info.ibdev} has no ${what}`, this.info);
  }

  /** Throws RDMA_LIMIT unless `value` is from 1 to what the device has. */
  checkLimit(value: number, most: number, what: string): void {
    if (Number.isSafeInteger(value) && value >= 1 && value <= most) return;
    const message = `${this.who}: ${value} ${what}: ${this.info.ibdev} has 1 to ${most}`;
    throw new PollmodeError("RDMA_LIMIT", message, `ask for 1 to ${most} ${what}`);
  }

  /** Destroys what is alive, last first; returns their names, and what would not be destroyed. */
  destroyAll(): { names: string[]; faults: unknown[] } {
    const names: string[] = [];
    const faults: unknown[] = [];
    for (const object of [...this.alive].reverse()) {
      names.push(object.what);
      try {
        object.destroy();
      } catch (fault) {
        faults.push(fault);
      }
    }
    return { names, faults };
  }

  /** Interrupts that completion queues may raise, 1 at least. */
  get vectors(): number {
    return Math.max(1, koffi.decode(this.address, abi.IBV_CONTEXT_NUM_COMP_VECTORS, "int"));
  }

  get asyncFd(): number {
    return koffi.decode(this.address, abi.IBV_CONTEXT_ASYNC_FD, "int");
  }

  /** /dev/infiniband/uverbsN, as libibverbs has opened it. */
  get commandFd(): number {
    return koffi.decode(this.address, abi.IBV_CONTEXT_CMD_FD, "int");
  }

  /** Throws RDMA_CLOSED after close(). */
  checkOpen({ what }: Pick<Verb, "what">): void {
    if (!this.closed) return;
    const message = `${this.who}: ${what}: the device has been closed`;
    throw new PollmodeError("RDMA_CLOSED", message, "open it again: attach the port anew");
  }
}
