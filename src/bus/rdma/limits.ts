// What a device can do, as the library's queries say it.
import * as abi from "./abi.ts";
import * as dv from "./mlx5dv-abi.ts";
import type { CqeCompression, DvLimits, PortState, RdmaLimits } from "./types.ts";

const RAW_PACKET = 1 << abi.IBV_QPT_RAW_PACKET;

/** Of a struct ibv_device_attr_ex. */
export function parseLimits(attributes: Buffer): RdmaLimits {
  const u32 = (offset: number) => attributes.readUInt32LE(offset);
  const firmware = attributes.toString("latin1", abi.IBV_DEVICE_ATTR_FW_VER, abi.IBV_DEVICE_ATTR_NODE_GUID);
  const raw = u32(abi.IBV_DEVICE_ATTR_EX_RAW_PACKET_CAPS);
  const hashes =
    (u32(abi.IBV_DEVICE_ATTR_EX_RSS_CAPS_SUPPORTED_QPTS) & RAW_PACKET) !== 0 &&
    (attributes[abi.IBV_DEVICE_ATTR_EX_RSS_CAPS_RX_HASH_FUNCTION]! & abi.IBV_RX_HASH_FUNC_TOEPLITZ) !== 0;
  const segments = (u32(abi.IBV_DEVICE_ATTR_EX_TSO_CAPS_SUPPORTED_QPTS) & RAW_PACKET) !== 0;
  const checksum = (u32(abi.IBV_DEVICE_ATTR_DEVICE_CAP_FLAGS) & abi.IBV_DEVICE_RAW_IP_CSUM) !== 0;
  return {
    firmware: firmware.slice(0, firmware.indexOf("\0")),
    maxQp: u32(abi.IBV_DEVICE_ATTR_MAX_QP),
    maxQpWr: u32(abi.IBV_DEVICE_ATTR_MAX_QP_WR),
    maxSge: u32(abi.IBV_DEVICE_ATTR_MAX_SGE),
    maxCq: u32(abi.IBV_DEVICE_ATTR_MAX_CQ),
    maxCqe: u32(abi.IBV_DEVICE_ATTR_MAX_CQE),
    maxMrBytes: attributes.readBigUInt64LE(abi.IBV_DEVICE_ATTR_MAX_MR_SIZE),
    maxWq: u32(abi.IBV_DEVICE_ATTR_EX_MAX_WQ_TYPE_RQ),
    rss: {
      supported: hashes,
      fields: u32(abi.IBV_DEVICE_ATTR_EX_RSS_CAPS_RX_HASH_FIELDS_MASK),
      tableMax: u32(abi.IBV_DEVICE_ATTR_EX_RSS_CAPS_MAX_RWQ_INDIRECTION_TABLE_SIZE),
      tables: u32(abi.IBV_DEVICE_ATTR_EX_RSS_CAPS_MAX_RWQ_INDIRECTION_TABLES),
    },
    raw: {
      vlanStrip: (raw & abi.IBV_RAW_PACKET_CAP_CVLAN_STRIPPING) !== 0,
      checksum: checksum || (raw & abi.IBV_RAW_PACKET_CAP_IP_CSUM) !== 0,
      scatterFcs: (raw & abi.IBV_RAW_PACKET_CAP_SCATTER_FCS) !== 0,
    },
    tsoMax: segments ? u32(abi.IBV_DEVICE_ATTR_EX_TSO_CAPS_MAX_TSO) : 0,
    ports: attributes[abi.IBV_DEVICE_ATTR_PHYS_PORT_CNT]!,
  };
}

/** struct mlx5dv_context grows with versions of the library, which writes what comp_mask asks for and no more. */
export const DV_CONTEXT_ROOM = 512;

/** ConnectX-4, ConnectX-4 Lx and their VFs: dpdk.org, drivers/net/mlx5, mlx5_set_min_inline by PCI device ID. */
const INLINES_L2 = [0x1013, 0x1014, 0x1015, 0x1016];
/** Destination, source, EtherType and a VLAN tag (MLX5_INLINE_HSIZE_L2). */
const L2_INLINE_BYTES = 18;

/** Of a struct mlx5dv_context; `device` is the PCI device ID. */
export function parseDvLimits(context: Buffer, device: number): DvLimits {
  const u32 = (offset: number) => context.readUInt32LE(offset);
  const has = (mask: number) => (u32(dv.MLX5DV_CONTEXT_COMP_MASK) & mask) !== 0;
  const flag = (mask: number) => (u32(dv.MLX5DV_CONTEXT_FLAGS) & mask) !== 0;
  const formats =
    has(dv.MLX5DV_CONTEXT_MASK_CQE_COMPRESION) && u32(dv.MLX5DV_CONTEXT_CQE_COMP_CAPS_MAX_NUM) > 0
      ? u32(dv.MLX5DV_CONTEXT_CQE_COMP_CAPS_SUPPORTED_FORMAT)
      : 0;
  const compression: CqeCompression[] = [];
  if (formats & dv.MLX5DV_CQE_RES_FORMAT_HASH) compression.push("hash");
  if (formats & dv.MLX5DV_CQE_RES_FORMAT_CSUM) compression.push("csum");
  const strides =
    has(dv.MLX5DV_CONTEXT_MASK_STRIDING_RQ) &&
    (u32(dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_SUPPORTED_QPTS) & RAW_PACKET) !== 0;
  return {
    cqeVersion1: flag(dv.MLX5DV_CONTEXT_FLAGS_CQE_V1),
    striding: strides
      ? {
          logStrideBytesMin: u32(dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MIN_SINGLE_STRIDE_LOG_NUM_OF_BYTES),
          logStrideBytesMax: u32(dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MAX_SINGLE_STRIDE_LOG_NUM_OF_BYTES),
          logStridesMin: u32(dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MIN_SINGLE_WQE_LOG_NUM_OF_STRIDES),
          logStridesMax: u32(dv.MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MAX_SINGLE_WQE_LOG_NUM_OF_STRIDES),
        }
      : undefined,
    compression,
    compression128: flag(dv.MLX5DV_CONTEXT_FLAGS_CQE_128B_COMP),
    cqePadding128: flag(dv.MLX5DV_CONTEXT_FLAGS_CQE_128B_PAD),
    mpw: flag(dv.MLX5DV_CONTEXT_FLAGS_MPW_ALLOWED),
    enhancedMpw: flag(dv.MLX5DV_CONTEXT_FLAGS_ENHANCED_MPW),
    minInline: INLINES_L2.includes(device) ? L2_INLINE_BYTES : 0,
  };
}

/** Lanes by active_width, Mbit/s a lane by active_speed (enum ib_port_width and ib_port_speed, rdma/ib_verbs.h). */
const LANES: Record<number, number> = { 1: 1, 2: 4, 4: 8, 8: 12, 16: 2 };
const LANE_SPEED: Record<number, number> = {
  1: 2500,
  2: 5000,
  4: 10000,
  8: 10000,
  16: 14000,
  32: 25000,
  64: 50000,
  128: 100000,
};

/** Of a struct ibv_port_attr. `netdevMtu`: the interface's, where it can be seen. */
export function parsePort(attributes: Buffer, netdevMtu: number | undefined): PortState {
  const up = attributes.readUInt32LE(abi.IBV_PORT_ATTR_STATE) === abi.IBV_PORT_ACTIVE;
  const lanes = LANES[attributes[abi.IBV_PORT_ATTR_ACTIVE_WIDTH]!] ?? 0;
  const speed = LANE_SPEED[attributes[abi.IBV_PORT_ATTR_ACTIVE_SPEED]!] ?? 0;
  const layer = attributes[abi.IBV_PORT_ATTR_LINK_LAYER];
  const linkLayer = layer === abi.IBV_LINK_LAYER_ETHERNET ? "ethernet" : "infiniband";
  return {
    up,
    speed: up ? lanes * speed : 0,
    mtu: netdevMtu ?? 128 << attributes.readUInt32LE(abi.IBV_PORT_ATTR_ACTIVE_MTU), // IBV_MTU_256 is 1
    linkLayer: layer === 0 ? "unknown" : linkLayer,
  };
}
