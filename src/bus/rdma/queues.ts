// Creates memory regions and queues. What a later step refuses takes the earlier ones back.
import { PollmodeError } from "../../errors.ts";
import { setNonblocking } from "../../libc/libc.ts";
import * as abi from "./abi.ts";
import type { Core } from "./core.ts";
import { Structs } from "./memory.ts";
import * as dv from "./mlx5dv-abi.ts";
import { CompChannel, Cq, IndirectionTable, Mr, Pd, Qp, Wq } from "./objects.ts";
import { type CqOptions, RSS_KEY_BYTES } from "./types.ts";

export interface SendQpOptions {
  readonly pd: Pd;
  readonly cq: Cq;
  /** Send requests; libmlx5 makes the ring larger for their segments. */
  readonly wqes: number;
  readonly sges: number;
  readonly inlineBytes?: number;
  /** Bytes of headers that a TSO request has; without it post_send takes none. */
  readonly tsoHeaderBytes?: number;
}

export interface WqOptions {
  readonly pd: Pd;
  readonly cq: Cq;
  readonly wrs: number;
  readonly sges: number;
  readonly striding?: {
    readonly logStrideBytes: number;
    readonly logStrides: number;
    readonly twoByteShift: boolean;
  };
  readonly stripVlan?: boolean;
}

export interface HashQpOptions {
  readonly pd: Pd;
  readonly table: IndirectionTable;
  /** RSS_KEY_BYTES. */
  readonly key: Uint8Array;
  /** RX_HASH bits; 0: no hash, and the table has one entry. */
  readonly fields: number;
}

const CQE_BYTES = 64;
const WQEBB_BYTES = 64;
const SGE_BYTES = 16;

export function allocPd(core: Core): Pd {
  const verb = { call: "ibv_alloc_pd", what: "a protection domain" };
  const handle = core.made(verb, () => core.ib.ibv_alloc_pd(core.address));
  return new Pd(core, handle, { call: "ibv_dealloc_pd", run: (pd) => core.ib.ibv_dealloc_pd(pd) });
}

export function createMr(core: Core, pd: Pd, address: bigint, bytes: number): Mr {
  const what = `${bytes} bytes of memory at 0x${address.toString(16)}`;
  const verb = { call: "ibv_reg_mr", what, pinnedBytes: bytes };
  const handle = core.made(verb, () =>
    core.ib.ibv_reg_mr(pd.handle, address, bytes, abi.IBV_ACCESS_LOCAL_WRITE),
  );
  return new Mr(core, handle, what, { call: "ibv_dereg_mr", run: (mr) => core.ib.ibv_dereg_mr(mr) });
}

export function createCompChannel(core: Core): CompChannel {
  const verb = { call: "ibv_create_comp_channel", what: "a completion channel" };
  const handle = core.made(verb, () => core.ib.ibv_create_comp_channel(core.address));
  const run = (channel: bigint) => core.ib.ibv_destroy_comp_channel(channel);
  const channel = new CompChannel(core, handle, { call: "ibv_destroy_comp_channel", run });
  try {
    setNonblocking(channel.fd);
  } catch (error) {
    destroyQuietly(channel);
    throw error;
  }
  return channel;
}

export function createCq(core: Core, options: CqOptions): Cq {
  const { entries, compression, cqeBytes, channel } = options;
  core.checkLimit(entries, core.limits.maxCqe, "CQ entries");
  const what = `a CQ of ${entries} entries`;
  const plain = compression === undefined && cqeBytes === undefined;
  const call = plain ? "ibv_create_cq" : "mlx5dv_create_cq";
  const verb = { call, what, pinnedBytes: entries * (cqeBytes ?? CQE_BYTES) };
  // libmlx5 rounds "more than so many" up to a power of two: 1023 gives 1024
  const least = core.dvLimits ? Math.max(1, entries - 1) : entries;
  core.checkOpen(verb);
  const vector = (options.vector ?? 0) % core.vectors;
  const create = plain
    ? () => core.ib.ibv_create_cq(core.address, least, null, channel?.handle ?? null, vector)
    : dvCqCreator(core, { ...options, entries: least, vector });
  const handle = core.made(verb, create);
  const destructor = { call: "ibv_destroy_cq", run: (cq: bigint) => core.ib.ibv_destroy_cq(cq) };
  return new Cq(core, handle, what, destructor, core.dvLimits !== undefined);
}

function dvCqCreator(core: Core, options: CqOptions & { readonly vector: number }): () => bigint | null {
  const { entries, compression, cqeBytes, channel, vector } = options;
  const library = core.dv;
  const structs = new Structs(abi.IBV_CQ_INIT_ATTR_EX_BYTES, dv.MLX5DV_CQ_INIT_ATTR_BYTES);
  structs.bytes.writeUInt32LE(entries, abi.IBV_CQ_INIT_ATTR_EX_CQE);
  structs.bytes.writeBigUInt64LE(channel?.handle ?? 0n, abi.IBV_CQ_INIT_ATTR_EX_CHANNEL);
  structs.bytes.writeUInt32LE(vector, abi.IBV_CQ_INIT_ATTR_EX_COMP_VECTOR);
  const own = structs.at(1);
  let mask = 0;
  if (compression !== undefined) {
    const has = core.dvLimits!.compression.includes(compression);
    core.need(has, `CQE compression of the format ${compression}`);
    const format = compression === "hash" ? dv.MLX5DV_CQE_RES_FORMAT_HASH : dv.MLX5DV_CQE_RES_FORMAT_CSUM;
    own[dv.MLX5DV_CQ_INIT_ATTR_CQE_COMP_RES_FORMAT] = format;
    mask |= dv.MLX5DV_CQ_INIT_ATTR_MASK_COMPRESSED_CQE;
  }
  if (cqeBytes !== undefined) {
    own.writeUInt16LE(cqeBytes, dv.MLX5DV_CQ_INIT_ATTR_CQE_SIZE);
    mask |= dv.MLX5DV_CQ_INIT_ATTR_MASK_CQE_SIZE;
  }
  own.writeBigUInt64LE(BigInt(mask), dv.MLX5DV_CQ_INIT_ATTR_COMP_MASK);
  return () => library.mlx5dv_create_cq(core.address, structs.bytes, own);
}

/** A raw packet queue pair that sends; it is ready to. */
export function createSendQp(core: Core, options: SendQpOptions): Qp {
  const { pd, cq, wqes, sges, inlineBytes = 0, tsoHeaderBytes = 0 } = options;
  core.checkLimit(wqes, core.limits.maxQpWr, "send WQEs");
  core.checkLimit(sges, core.limits.maxSge, "segments of a send WQE");
  const attributes = Buffer.alloc(abi.IBV_QP_INIT_ATTR_EX_BYTES);
  attributes.writeBigUInt64LE(cq.handle, abi.IBV_QP_INIT_ATTR_SEND_CQ);
  attributes.writeBigUInt64LE(cq.handle, abi.IBV_QP_INIT_ATTR_RECV_CQ);
  attributes.writeUInt32LE(wqes, abi.IBV_QP_INIT_ATTR_CAP_MAX_SEND_WR);
  attributes.writeUInt32LE(sges, abi.IBV_QP_INIT_ATTR_CAP_MAX_SEND_SGE);
  attributes.writeUInt32LE(inlineBytes, abi.IBV_QP_INIT_ATTR_CAP_MAX_INLINE_DATA);
  attributes.writeUInt32LE(abi.IBV_QPT_RAW_PACKET, abi.IBV_QP_INIT_ATTR_QP_TYPE);
  const what = `a send queue of ${wqes} WQEs`;
  const verb = { call: "ibv_create_qp", what, pinnedBytes: wqes * WQEBB_BYTES };
  const handle = core.made(verb, () => {
    if (tsoHeaderBytes === 0) return core.ib.ibv_create_qp(pd.handle, attributes);
    core.need(core.limits.tsoMax > 0, "TSO on raw packet queues");
    const mask = abi.IBV_QP_INIT_ATTR_PD | abi.IBV_QP_INIT_ATTR_MAX_TSO_HEADER;
    attributes.writeUInt32LE(mask, abi.IBV_QP_INIT_ATTR_EX_COMP_MASK);
    attributes.writeBigUInt64LE(pd.handle, abi.IBV_QP_INIT_ATTR_EX_PD);
    attributes.writeUInt16LE(tsoHeaderBytes, abi.IBV_QP_INIT_ATTR_EX_MAX_TSO_HEADER);
    return core.verbs.call("create_qp_ex", core.address, attributes);
  });
  const qp = new Qp(core, handle, what, { call: "ibv_destroy_qp", run: (qp) => core.ib.ibv_destroy_qp(qp) });
  try {
    raise(core, qp);
  } catch (error) {
    destroyQuietly(qp);
    throw error;
  }
  return qp;
}

/** From RESET to ready to send. A raw packet queue pair takes the port at INIT and nothing else. */
function raise(core: Core, qp: Qp): void {
  const attributes = Buffer.alloc(abi.IBV_QP_ATTR_BYTES);
  attributes[abi.IBV_QP_ATTR_PORT_NUM] = 1;
  const steps = [
    { state: abi.IBV_QPS_INIT, name: "INIT", mask: abi.IBV_QP_STATE | abi.IBV_QP_PORT },
    { state: abi.IBV_QPS_RTR, name: "RTR", mask: abi.IBV_QP_STATE },
    { state: abi.IBV_QPS_RTS, name: "RTS", mask: abi.IBV_QP_STATE },
  ];
  for (const { state, name, mask } of steps) {
    attributes.writeUInt32LE(state, abi.IBV_QP_ATTR_QP_STATE);
    const verb = { call: "ibv_modify_qp", what: `${qp.what}, to ${name}` };
    core.done(verb, () => core.ib.ibv_modify_qp(qp.handle, attributes, mask));
  }
}

/** A queue that receives; it is ready to. Its doorbell record is zeroed by this, so ring it afterwards. */
export function createWq(core: Core, { pd, cq, wrs, sges, striding, stripVlan }: WqOptions): Wq {
  core.checkLimit(wrs, core.limits.maxQpWr, "receive WQEs");
  core.checkLimit(sges, core.limits.maxSge, "segments of a receive WQE");
  core.need(core.limits.maxWq > 0, "work queues (RSS)");
  if (stripVlan) core.need(core.limits.raw.vlanStrip, "VLAN stripping");
  const structs = new Structs(abi.IBV_WQ_INIT_ATTR_BYTES, dv.MLX5DV_WQ_INIT_ATTR_BYTES);
  const { bytes } = structs;
  bytes.writeUInt32LE(wrs, abi.IBV_WQ_INIT_ATTR_MAX_WR);
  bytes.writeUInt32LE(sges, abi.IBV_WQ_INIT_ATTR_MAX_SGE);
  bytes.writeBigUInt64LE(pd.handle, abi.IBV_WQ_INIT_ATTR_PD);
  bytes.writeBigUInt64LE(cq.handle, abi.IBV_WQ_INIT_ATTR_CQ);
  if (stripVlan) {
    bytes.writeUInt32LE(abi.IBV_WQ_INIT_ATTR_FLAGS, abi.IBV_WQ_INIT_ATTR_COMP_MASK);
    bytes.writeUInt32LE(abi.IBV_WQ_FLAGS_CVLAN_STRIPPING, abi.IBV_WQ_INIT_ATTR_CREATE_FLAGS);
  }
  const what = `a receive queue of ${wrs} WQEs`;
  const call = striding ? "mlx5dv_create_wq" : "ibv_create_wq";
  const create = striding
    ? stridingCreator(core, structs, striding)
    : () => core.verbs.call<bigint | null>("create_wq", core.address, bytes);
  const handle = core.made({ call, what, pinnedBytes: wrs * sges * SGE_BYTES }, create);
  const destroy = (wq: bigint) => core.verbs.call<number>("destroy_wq", wq);
  const wq = new Wq(core, handle, what, { call: "ibv_destroy_wq", run: destroy });
  try {
    const attributes = Buffer.alloc(abi.IBV_WQ_ATTR_BYTES);
    attributes.writeUInt32LE(abi.IBV_WQ_ATTR_STATE, abi.IBV_WQ_ATTR_ATTR_MASK);
    attributes.writeUInt32LE(abi.IBV_WQS_RDY, abi.IBV_WQ_ATTR_WQ_STATE);
    modifyWq(core, wq, attributes, "to RDY");
  } catch (error) {
    destroyQuietly(wq);
    throw error;
  }
  return wq;
}

function stridingCreator(
  core: Core,
  structs: Structs,
  { logStrideBytes, logStrides, twoByteShift }: NonNullable<WqOptions["striding"]>,
): () => bigint | null {
  const library = core.dv;
  const has = core.dvLimits!.striding;
  core.need(has !== undefined, "striding (multi-packet) receive queues");
  const { logStrideBytesMin, logStrideBytesMax, logStridesMin, logStridesMax } = has!;
  checkLog(core, logStrideBytes, logStrideBytesMin, logStrideBytesMax, "log2 of a stride's bytes");
  checkLog(core, logStrides, logStridesMin, logStridesMax, "log2 of a WQE's strides");
  const own = structs.at(1);
  const mask = BigInt(dv.MLX5DV_WQ_INIT_ATTR_MASK_STRIDING_RQ);
  own.writeBigUInt64LE(mask, dv.MLX5DV_WQ_INIT_ATTR_COMP_MASK);
  own.writeUInt32LE(logStrideBytes, dv.MLX5DV_WQ_INIT_ATTR_STRIDING_RQ_ATTRS_SINGLE_STRIDE_LOG_NUM_OF_BYTES);
  own.writeUInt32LE(logStrides, dv.MLX5DV_WQ_INIT_ATTR_STRIDING_RQ_ATTRS_SINGLE_WQE_LOG_NUM_OF_STRIDES);
  own[dv.MLX5DV_WQ_INIT_ATTR_STRIDING_RQ_ATTRS_TWO_BYTE_SHIFT_EN] = twoByteShift ? 1 : 0;
  return () => library.mlx5dv_create_wq(core.address, structs.bytes, own);
}

function checkLog(core: Core, value: number, least: number, most: number, what: string): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  const message = `${core.who}: ${value} as ${what}: ${core.info.ibdev} has ${least} to ${most}`;
  throw new PollmodeError("RDMA_LIMIT", message, `use ${least} to ${most}`);
}

/** Takes VLAN tags off received frames, or leaves them on. Also while frames come in. */
export function setStripVlan(core: Core, wq: Wq, on: boolean): void {
  core.need(core.limits.raw.vlanStrip, "VLAN stripping");
  const attributes = Buffer.alloc(abi.IBV_WQ_ATTR_BYTES);
  attributes.writeUInt32LE(abi.IBV_WQ_ATTR_FLAGS, abi.IBV_WQ_ATTR_ATTR_MASK);
  attributes.writeUInt32LE(on ? abi.IBV_WQ_FLAGS_CVLAN_STRIPPING : 0, abi.IBV_WQ_ATTR_FLAGS_OFFSET);
  attributes.writeUInt32LE(abi.IBV_WQ_FLAGS_CVLAN_STRIPPING, abi.IBV_WQ_ATTR_FLAGS_MASK);
  modifyWq(core, wq, attributes, `VLAN stripping ${on ? "on" : "off"}`);
}

function modifyWq(core: Core, wq: Wq, attributes: Buffer, change: string): void {
  const verb = { call: "ibv_modify_wq", what: `${wq.what}, ${change}` };
  core.done(verb, () => core.verbs.call("modify_wq", wq.handle, attributes));
}

/** A power of two of entries; a queue may stand in several. */
export function createIndirection(core: Core, wqs: readonly Wq[]): IndirectionTable {
  const entries = wqs.length;
  core.checkLimit(entries, Math.max(1, core.limits.rss.tableMax), "entries of an indirection table");
  if ((entries & (entries - 1)) !== 0) {
    const message = `${core.who}: an indirection table of ${entries} entries`;
    throw new PollmodeError("RDMA_LIMIT", message, "repeat queues until their number is a power of two");
  }
  const structs = new Structs(abi.IBV_RWQ_IND_TABLE_INIT_ATTR_BYTES, entries * 8);
  structs.bytes.writeUInt32LE(Math.log2(entries), abi.IBV_RWQ_IND_TABLE_INIT_ATTR_LOG_IND_TBL_SIZE);
  structs.point(abi.IBV_RWQ_IND_TABLE_INIT_ATTR_IND_TBL, 1);
  const table = structs.at(1);
  for (const [at, { handle }] of wqs.entries()) table.writeBigUInt64LE(handle, at * 8);
  const what = `an indirection table of ${entries} entries`;
  const verb = { call: "ibv_create_rwq_ind_table", what };
  const handle = core.made(verb, () => core.verbs.call("create_rwq_ind_table", core.address, structs.bytes));
  const run = (table: bigint) => core.verbs.call<number>("destroy_rwq_ind_table", table);
  return new IndirectionTable(core, handle, what, { call: "ibv_destroy_rwq_ind_table", run });
}

/** The receive side that flows lead to: Toeplitz's hash of some fields chooses the queue. */
export function createHashQp(core: Core, { pd, table, key, fields }: HashQpOptions): Qp {
  if (key.length !== RSS_KEY_BYTES) {
    const message = `${core.who}: an RSS key of ${key.length} bytes`;
    throw new PollmodeError("RDMA_LIMIT", message, `give a key of exactly ${RSS_KEY_BYTES} bytes`);
  }
  core.need(core.limits.rss.supported, "RSS on raw packet queues");
  core.need((fields & ~core.limits.rss.fields) === 0, `RSS over the fields 0x${fields.toString(16)}`);
  const structs = new Structs(abi.IBV_QP_INIT_ATTR_EX_BYTES, RSS_KEY_BYTES);
  const { bytes } = structs;
  structs.at(1).set(key);
  const mask = abi.IBV_QP_INIT_ATTR_PD | abi.IBV_QP_INIT_ATTR_IND_TABLE | abi.IBV_QP_INIT_ATTR_RX_HASH;
  bytes.writeUInt32LE(abi.IBV_QPT_RAW_PACKET, abi.IBV_QP_INIT_ATTR_QP_TYPE);
  bytes.writeUInt32LE(mask, abi.IBV_QP_INIT_ATTR_EX_COMP_MASK);
  bytes.writeBigUInt64LE(pd.handle, abi.IBV_QP_INIT_ATTR_EX_PD);
  bytes.writeBigUInt64LE(table.handle, abi.IBV_QP_INIT_ATTR_EX_RWQ_IND_TBL);
  bytes[abi.IBV_QP_INIT_ATTR_EX_RX_HASH_CONF_RX_HASH_FUNCTION] = abi.IBV_RX_HASH_FUNC_TOEPLITZ;
  bytes[abi.IBV_QP_INIT_ATTR_EX_RX_HASH_CONF_RX_HASH_KEY_LEN] = RSS_KEY_BYTES;
  structs.point(abi.IBV_QP_INIT_ATTR_EX_RX_HASH_CONF_RX_HASH_KEY, 1);
  bytes.writeBigUInt64LE(BigInt(fields), abi.IBV_QP_INIT_ATTR_EX_RX_HASH_CONF_RX_HASH_FIELDS_MASK);
  const what = `a queue pair that hashes 0x${fields.toString(16)}`;
  const handle = core.made({ call: "ibv_create_qp_ex", what }, () =>
    core.verbs.call("create_qp_ex", core.address, bytes),
  );
  return new Qp(core, handle, what, { call: "ibv_destroy_qp", run: (qp) => core.ib.ibv_destroy_qp(qp) });
}

/** After a failure that is reported instead; what remains goes when the context is closed. */
function destroyQuietly(object: Qp | Wq | CompChannel): void {
  try {
    object.destroy();
  } catch {
    // the context destroys it when it is closed
  }
}
