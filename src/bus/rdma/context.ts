// An RDMA device, open: the kernel's driver keeps the NIC, and queues of our own stand beside the kernel's.
import { PollmodeError } from "../../errors.ts";
import { lastErrno } from "../../libc/native.ts";
import type { Poller } from "../../libc/poller.ts";
import type { Arena } from "../../memory/arena.ts";
import * as abi from "./abi.ts";
import { Core } from "./core.ts";
import { rdmaSysfs } from "./devices.ts";
import * as dv from "./dv.ts";
import { cannotOpen, nodeErrno, noProvider, notEthernet, verbFailed } from "./errors.ts";
import { type RdmaListener, watchEvents } from "./events.ts";
import { createDvFlow, createFlow } from "./flows.ts";
import { type IbVerbs, loadIbVerbs, loadMlx5dv, type Mlx5dv } from "./library.ts";
import { DV_CONTEXT_ROOM, parseDvLimits, parseLimits, parsePort } from "./limits.ts";
import { readPointer } from "./memory.ts";
import * as mlx5 from "./mlx5dv-abi.ts";
import type { CompChannel, Cq, Flow, IndirectionTable, Pd, Qp, Wq } from "./objects.ts";
import * as queues from "./queues.ts";
import type * as types from "./types.ts";
import { InlineVerbs } from "./verbs.ts";

const MELLANOX = 0x15b3;

export class RdmaContext {
  readonly info: types.RdmaDeviceInfo;
  readonly limits: types.RdmaLimits;
  /** undefined: the device is no mlx5, and has no direct verbs. */
  readonly dv: types.DvLimits | undefined;
  private readonly core: Core;
  private readonly uars = new Set<dv.UarMapping>();
  private rings: dv.RingAllocator | undefined;
  private stopEvents: (() => void) | undefined;

  /**
   * Opens a device; `what` is named in messages. Throws RDMA_NO_LIBRARY, RDMA_LIBRARY_OLD, RDMA_NO_NODE,
   * RDMA_PERMISSION, RDMA_NOT_ETHERNET, RDMA_DEVICE_LOST, RDMA_FAILED; then nothing stays open.
   */
  static open(info: types.RdmaDeviceInfo, what: string): RdmaContext {
    const ib = loadIbVerbs(what);
    const library = info.vendor === MELLANOX ? loadMlx5dv(what) : undefined;
    const who = `${what}, ${info.ibdev}`;
    const { address, isMlx5 } = openDevice(ib, library, info, who);
    try {
      const verbs = new InlineVerbs(address, who);
      const opened = { who, info, ib, mlx5: isMlx5 ? library : undefined, address, verbs };
      const limits = queryLimits(verbs, address, who, info);
      const dvLimits = isMlx5 ? queryDvLimits(library!, address, who, info) : undefined;
      const context = new RdmaContext(new Core({ ...opened, limits, dvLimits }));
      if (context.queryPort().linkLayer === "infiniband") throw notEthernet(who, info);
      return context;
    } catch (error) {
      ib.ibv_close_device(address);
      throw error;
    }
  }

  private constructor(core: Core) {
    this.core = core;
    this.info = core.info;
    this.limits = core.limits;
    this.dv = core.dvLimits;
  }

  /** Link, speed and MTU of port 1. */
  queryPort(): types.PortState {
    const { core } = this;
    const attributes = Buffer.alloc(abi.IBV_PORT_ATTR_BYTES);
    core.done({ call: "ibv_query_port", what: "the state of port 1" }, () =>
      core.verbs.call("query_port", core.address, 1, attributes, attributes.length),
    );
    return parsePort(attributes, netdevMtu(this.info));
  }

  /**
   * Has rings and doorbell records made in memory of `allocate`: whole pages at a page's boundary, zeroed; it gives an
   * offset, `base` is the address of offset 0; 0 or a throw: there is no room. Before the first queue. Throws
   * RDMA_NOT_MLX5, RDMA_ALLOCATOR.
   */
  useAllocator(allocate: (bytes: number) => number, free: (offset: number) => void, base: bigint): void {
    if (this.rings || this.core.hasObjects) {
      const message = `${this.core.who}: memory for rings is set once, and before the first object is created`;
      throw new PollmodeError("RDMA_ALLOCATOR", message, "call useAllocator right after open");
    }
    this.rings = new dv.RingAllocator(this.core, allocate, free, base);
  }

  allocPd(): Pd {
    return queues.allocPd(this.core);
  }

  /** Where the events of completion queues come, of those that are created with it. */
  createCompChannel(): CompChannel {
    return queues.createCompChannel(this.core);
  }

  /** Throws RDMA_LIMIT, RDMA_UNSUPPORTED, RDMA_MEMLOCK, RDMA_NO_MEMORY, as all that create queues do. */
  createCq(options: types.CqOptions): Cq {
    return queues.createCq(this.core, options);
  }

  /** A raw packet queue pair that sends, in the state RTS. Throws RDMA_RAW_PERMISSION without CAP_NET_RAW. */
  createSendQp(options: queues.SendQpOptions): Qp {
    return queues.createSendQp(this.core, options);
  }

  /** A receive queue in the state RDY. */
  createWq(options: queues.WqOptions): Wq {
    return queues.createWq(this.core, options);
  }

  /** A power of two of entries; a queue may stand in several. */
  createIndirection(wqs: readonly Wq[]): IndirectionTable {
    return queues.createIndirection(this.core, wqs);
  }

  createHashQp(options: queues.HashQpOptions): Qp {
    return queues.createHashQp(this.core, options);
  }

  createFlow(qp: Qp, rule: types.VerbsFlow): Flow {
    return createFlow(this.core, qp, rule);
  }

  createDvFlow(rule: types.DvFlow): Flow {
    return createDvFlow(this.core, rule);
  }

  setStripVlan(wq: Wq, on: boolean): void {
    queues.setStripVlan(this.core, wq, on);
  }

  /** Where the ring is. With an allocator it is in its memory, else RDMA_ALLOCATOR. */
  dvCq(cq: Cq): types.DvCq {
    const found = dv.dvCq(this.core, cq);
    this.checkPlace(cq.what, found.buffer, found.doorbell);
    return found;
  }

  dvQp(qp: Qp): types.DvQp {
    const found = dv.dvQp(this.core, qp);
    this.checkPlace(qp.what, found.sq.buffer, found.doorbell);
    return found;
  }

  dvWq(wq: Wq): types.DvWq {
    const found = dv.dvWq(this.core, wq);
    this.checkPlace(wq.what, found.buffer, found.doorbell);
    return found;
  }

  /** Lays the page of a queue pair's doorbell register over the arena; off again at the latest by close(). */
  mapUar(arena: Arena, qp: Qp): dv.UarMapping {
    return this.own(dv.mapUar(this.core, arena, qp));
  }

  /** The same with the page by which this and all completion queues are armed. Throws RDMA_UAR. */
  mapArmPage(arena: Arena, cq: Cq): dv.UarMapping {
    return this.own(dv.mapArmPage(this.core, arena, cq));
  }

  private own(mapping: dv.UarMapping): dv.UarMapping {
    const own: dv.UarMapping = {
      offset: mapping.offset,
      unmap: () => {
        mapping.unmap();
        this.uars.delete(own);
      },
    };
    this.uars.add(own);
    return own;
  }

  /** Addresses of what hot code calls itself; postRecv is each Wq's. */
  get calls(): types.HotCalls {
    const { verbs, ib } = this.core;
    this.core.checkOpen({ what: "the verbs that move packets" });
    return {
      pollCq: verbs.operation("poll_cq", abi.IBV_CONTEXT_OPS_POLL_CQ),
      postSend: verbs.operation("post_send", abi.IBV_CONTEXT_OPS_POST_SEND),
      notifyCq: verbs.operation("req_notify_cq", abi.IBV_CONTEXT_OPS_REQ_NOTIFY_CQ),
      getCqEvent: ib.addresses.ibv_get_cq_event,
      ackCqEvents: ib.addresses.ibv_ack_cq_events,
    };
  }

  /** Tells of links, broken queues and the device's end, until close(). A second listener takes the first's place. */
  onAsyncEvent(poller: Poller, listener: RdmaListener): void {
    this.core.checkOpen({ what: "its events" });
    this.stopEvents?.();
    this.stopEvents = watchEvents(this.core, poller, listener);
  }

  /**
   * Closes the device. What is still alive is destroyed, last first, and named in the answer. Twice does nothing.
   * Throws the first failure after all is done: the kernel takes the rest when the device's fd is closed.
   */
  close(): readonly string[] {
    const { core } = this;
    if (core.closed) return [];
    this.stopEvents?.();
    const { names, faults } = core.destroyAll();
    for (const uar of [...this.uars]) uar.unmap();
    core.closed = true;
    core.ib.ibv_close_device(core.address);
    this.rings?.close();
    if (faults.length > 0) throw faults[0];
    return names;
  }

  private checkPlace(what: string, ...addresses: bigint[]): void {
    if (!this.rings || addresses.every((address) => this.rings!.has(address))) return;
    const message = `${this.core.who}: ${what}: libmlx5 has not put its ring where it was told to`;
    const fix =
      "see whether another library sets allocators (RDMAV_…, MLX5_… variables); mode=ibv does without";
    throw new PollmodeError("RDMA_ALLOCATOR", message, fix);
  }
}

/**
 * Destroying an object of a device that has gone is no failure then: libibverbs asks for EIO to be taken so (init.c),
 * or libmlx5 would keep the object's memory for ever. Asked for when the library starts, so set around that.
 */
const DISASSOCIATE = "RDMAV_ALLOW_DISASSOC_DESTROY";

function openDevice(
  ib: IbVerbs,
  library: Mlx5dv | undefined,
  info: types.RdmaDeviceInfo,
  who: string,
): { address: bigint; isMlx5: boolean } {
  const before = process.env[DISASSOCIATE];
  process.env[DISASSOCIATE] ??= "1";
  try {
    const list = ib.ibv_get_device_list(null);
    if (list === null) throw cannotOpen(who, info, lastErrno());
    try {
      const device = findDevice(ib, list, info.ibdev);
      if (device === undefined) {
        const errno = nodeErrno(info);
        throw errno === undefined ? noProvider(who, info) : cannotOpen(who, info, errno);
      }
      const isMlx5 = library?.mlx5dv_is_supported(device) ?? false;
      const address = ib.ibv_open_device(device);
      const errno = lastErrno();
      if (address === null) throw cannotOpen(who, info, nodeErrno(info) ?? errno);
      return { address, isMlx5 };
    } finally {
      ib.ibv_free_device_list(list);
    }
  } finally {
    if (before === undefined) delete process.env[DISASSOCIATE];
  }
}

function findDevice(ib: IbVerbs, list: bigint, ibdev: string): bigint | undefined {
  for (let at = 0; ; at += 8) {
    const device = readPointer(list, at);
    if (device === undefined || ib.ibv_get_device_name(device) === ibdev) return device;
  }
}

function queryLimits(
  verbs: InlineVerbs,
  address: bigint,
  who: string,
  info: types.RdmaDeviceInfo,
): types.RdmaLimits {
  const attributes = Buffer.alloc(abi.IBV_DEVICE_ATTR_EX_BYTES);
  const errno = verbs.call<number>("query_device_ex", address, null, attributes, attributes.length);
  if (errno === 0) return parseLimits(attributes);
  throw verbFailed(who, info, { call: "ibv_query_device_ex", what: "the device's limits" }, errno);
}

function queryDvLimits(
  library: Mlx5dv,
  address: bigint,
  who: string,
  info: types.RdmaDeviceInfo,
): types.DvLimits {
  const context = Buffer.alloc(DV_CONTEXT_ROOM);
  const mask = mlx5.MLX5DV_CONTEXT_MASK_CQE_COMPRESION | mlx5.MLX5DV_CONTEXT_MASK_STRIDING_RQ;
  context.writeBigUInt64LE(BigInt(mask), mlx5.MLX5DV_CONTEXT_COMP_MASK);
  const errno = library.mlx5dv_query_device(address, context);
  if (errno === 0) return parseDvLimits(context, info.device);
  throw verbFailed(who, info, { call: "mlx5dv_query_device", what: "the device's direct verbs" }, errno);
}

/** undefined: no interface can be seen, as in a network namespace of its own. */
function netdevMtu({ netdevs: [netdev] }: types.RdmaDeviceInfo): number | undefined {
  const text = netdev === undefined ? undefined : rdmaSysfs().readOptional(`class/net/${netdev}/mtu`);
  return text === undefined ? undefined : Number(text);
}
