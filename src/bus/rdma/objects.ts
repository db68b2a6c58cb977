// The objects of a context. Each knows the verb that destroys it; a context keeps those that are alive and destroys the
// rest of them, last first, when it is closed. The kernel enforces the order: what is in use is EBUSY.
import { PollmodeError } from "../../errors.ts";
import * as abi from "./abi.ts";
import type { Verb } from "./errors.ts";
import { readPointer, readU32 } from "./memory.ts";

/** What an object's context does for it. */
export interface Owner {
  /** The context is closed, and with it all that it had. */
  readonly closed: boolean;
  adopt(object: RdmaObject): void;
  forget(object: RdmaObject): void;
  failure(verb: Verb, errno: number): PollmodeError;
  /** Registers memory of the process in a protection domain; see Pd.regMr. */
  registerMr(pd: Pd, address: bigint, bytes: number): Mr;
}

/** A verb that takes the handle and gives 0, or an errno. */
export interface Destructor {
  readonly call: string;
  run(handle: bigint): number;
}

export abstract class RdmaObject {
  /** For messages: `a CQ of 1024 entries`. */
  readonly what: string;
  private readonly owner: Owner;
  private readonly address: bigint;
  private readonly destructor: Destructor;
  private alive = true;

  constructor(owner: Owner, handle: bigint, what: string, destructor: Destructor) {
    this.owner = owner;
    this.address = handle;
    this.what = what;
    this.destructor = destructor;
    owner.adopt(this);
  }

  /** Address of the library's structure. Throws RDMA_CLOSED once it is destroyed. */
  get handle(): bigint {
    if (this.alive && !this.owner.closed) return this.address;
    const message = `${this.what} has been destroyed`;
    throw new PollmodeError("RDMA_CLOSED", message, "create it again: stop and start the port");
  }

  /** Twice does nothing. Throws RDMA_BUSY while another object uses it; then it is still there. */
  destroy(): void {
    if (!this.alive || this.owner.closed) return;
    const errno = this.destructor.run(this.address);
    if (errno !== 0) throw this.owner.failure({ call: this.destructor.call, what: this.what }, errno);
    this.alive = false;
    this.owner.forget(this);
  }
}

/** Protection domain: queues and memory work together within one. */
export class Pd extends RdmaObject {
  private readonly registrar: Owner;

  constructor(owner: Owner, handle: bigint, destructor: Destructor) {
    super(owner, handle, "a protection domain", destructor);
    this.registrar = owner;
  }

  /**
   * Lets the device read and write `bytes` of this process from `address` on, which the kernel pins. Throws
   * RDMA_MEMLOCK, RDMA_NO_MEMORY.
   */
  regMr(address: bigint, bytes: number): Mr {
    return this.registrar.registerMr(this, address, bytes);
  }
}

/** Memory region. */
export class Mr extends RdmaObject {
  /** What descriptors name it by. */
  readonly lkey: number;

  constructor(owner: Owner, handle: bigint, what: string, destructor: Destructor) {
    super(owner, handle, what, destructor);
    this.lkey = readU32(handle, abi.IBV_MR_LKEY);
  }
}

/** Completion channel: its fd is readable while events of its completion queues wait to be read. */
export class CompChannel extends RdmaObject {
  /** Non-blocking. Who reads it acknowledges what was read: the CQ's destruction waits for that. */
  readonly fd: number;

  constructor(owner: Owner, handle: bigint, destructor: Destructor) {
    super(owner, handle, "a completion channel", destructor);
    this.fd = readU32(handle, abi.IBV_COMP_CHANNEL_FD);
  }
}

/** Completion queue. */
export class Cq extends RdmaObject {
  /** As the device made it: at least as many as asked for. */
  readonly entries: number;

  constructor(owner: Owner, handle: bigint, what: string, destructor: Destructor, isMlx5: boolean) {
    super(owner, handle, what, destructor);
    // libmlx5 says one less: the highest index
    this.entries = readU32(handle, abi.IBV_CQ_CQE) + (isMlx5 ? 1 : 0);
  }
}

/** Queue pair: one that sends, or the receive side of a hash over an indirection table. */
export class Qp extends RdmaObject {
  readonly number: number;

  constructor(owner: Owner, handle: bigint, what: string, destructor: Destructor) {
    super(owner, handle, what, destructor);
    this.number = readU32(handle, abi.IBV_QP_QP_NUM);
  }
}

/** Work queue: one that receives. */
export class Wq extends RdmaObject {
  readonly number: number;
  /** int (struct ibv_wq *, struct ibv_recv_wr *, struct ibv_recv_wr **bad) */
  readonly postRecv: bigint;

  constructor(owner: Owner, handle: bigint, what: string, destructor: Destructor) {
    super(owner, handle, what, destructor);
    this.number = readU32(handle, abi.IBV_WQ_WQ_NUM);
    this.postRecv = readPointer(handle, abi.IBV_WQ_POST_RECV) ?? 0n;
  }
}

/** Which queue a hash leads to. */
export class IndirectionTable extends RdmaObject {}

/** What a rule of direct verbs matches by. */
export class Matcher extends RdmaObject {}

/** A rule of steering. */
export class Flow extends RdmaObject {
  private readonly matcher: Matcher | undefined;

  /** `matcher`: of this rule alone, it goes with it. */
  constructor(owner: Owner, handle: bigint, what: string, destructor: Destructor, matcher?: Matcher) {
    super(owner, handle, what, destructor);
    this.matcher = matcher;
  }

  override destroy(): void {
    super.destroy();
    this.matcher?.destroy();
  }
}
