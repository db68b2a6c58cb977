// vhost-user on the wire: QEMU, docs/interop/vhost-user.rst. Numbers are in the machine's byte
// order, little-endian here.

/** "Front-end message types". */
export const Request = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  NET_SET_MTU: 20,
  SET_BACKEND_REQ_FD: 21,
  RESET_DEVICE: 34,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
} as const;

const requestNames = new Map<number, string>(Object.entries(Request).map(([name, number]) => [number, name]));

export function requestName(request: number): string {
  return requestNames.get(request) ?? `request ${request}`;
}

/** "Protocol features": bits of GET_PROTOCOL_FEATURES' answer. */
export const ProtocolFeature = {
  MQ: 1n << 0n,
  RARP: 1n << 2n,
  REPLY_ACK: 1n << 3n,
  NET_MTU: 1n << 4n,
  RESET_DEVICE: 1n << 13n,
  CONFIGURE_MEM_SLOTS: 1n << 15n,
  STATUS: 1n << 16n,
} as const;

/** Virtio's feature bits (VIRTIO 1.2, 5.1.3 and 6), and vhost-user's own bit 30. */
export const Feature = {
  NET_MTU: 1n << 3n,
  NET_MAC: 1n << 5n,
  NET_MRG_RXBUF: 1n << 15n,
  NET_STATUS: 1n << 16n,
  NET_CTRL_VQ: 1n << 17n,
  NET_MQ: 1n << 22n,
  RING_INDIRECT_DESC: 1n << 28n,
  RING_EVENT_IDX: 1n << 29n,
  /** VHOST_USER_F_PROTOCOL_FEATURES. */
  PROTOCOL_FEATURES: 1n << 30n,
  VERSION_1: 1n << 32n,
  RING_PACKED: 1n << 34n,
  IN_ORDER: 1n << 35n,
} as const;

/** Bits of SET_STATUS (VIRTIO 1.2, 2.1). */
export const Status = { ACKNOWLEDGE: 0x01, DRIVER: 0x02, DRIVER_OK: 0x04, FEATURES_OK: 0x08 } as const;

/** The header: u32 request, u32 flags, u32 size of the payload. */
export const HEADER_BYTES = 12;
export const VERSION = 1;
export const VERSION_MASK = 0x3;
export const FLAG_REPLY = 0x4;
export const FLAG_NEED_REPLY = 0x8;

/** SET_VRING_KICK, _CALL and _ERR: bits 0-7 the ring's index, bit 8 "there is no fd". */
export const VRING_INDEX_MASK = 0xff;
export const VRING_NO_FD = 0x100;

/** Far above any message that is defined; what is larger is no vhost-user. */
export const PAYLOAD_BYTES_MAX = 4096;
/** VHOST_MEMORY_MAX_NREGIONS: a SET_MEM_TABLE's regions, and so a message's fds. */
export const MESSAGE_FDS_MAX = 8;
/** What GET_MAX_MEM_SLOTS answers. */
export const MEM_SLOTS_MAX = 32;
/** VIRTIO 1.2, 2.7 and 2.8.10: Queue Size. */
export const VRING_SIZE_MAX = 32768;
/** A packed ring's base: the position in bits 0-14, the wrap counter in bit 15; a fresh ring starts with it set. */
export const PACKED_WRAP = 0x8000;
/** A ring's index has 8 bits. */
export const QUEUE_PAIRS_MAX = 128;
/** ETH_MIN_MTU and ETH_MAX_MTU, linux/if_ether.h. */
export const MTU_MIN = 68;
export const MTU_MAX = 65535;

export const CALL_TIMEOUT_MS = 5000;

export interface Message {
  request: number;
  flags: number;
  payload: Buffer;
  /** Whoever takes one removes it; those that are left are closed when the message's handler has settled. */
  fds: number[];
}

export function encodeHeader(request: number, flags: number, size: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32LE(request, 0);
  bytes.writeUInt32LE(flags, 4);
  bytes.writeUInt32LE(size, 8);
  return bytes;
}

export function encodeU64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** "A vring state description". */
export interface VringStatePayload {
  index: number;
  num: number;
}
export const VRING_STATE_BYTES = 8;

export function encodeVringState({ index, num }: VringStatePayload): Buffer {
  const bytes = Buffer.alloc(VRING_STATE_BYTES);
  bytes.writeUInt32LE(index, 0);
  bytes.writeUInt32LE(num, 4);
  return bytes;
}

export function decodeVringState(bytes: Buffer): VringStatePayload {
  return { index: bytes.readUInt32LE(0), num: bytes.readUInt32LE(4) };
}

/** A ring's parts, as addresses of the front-end. Packed rings: `avail` is the driver area, `used` the device area. */
export interface VringAddresses {
  desc: bigint;
  avail: bigint;
  used: bigint;
}

/** "A vring address description": used stands before avail. */
export interface VringAddressPayload extends VringAddresses {
  index: number;
  flags: number;
  log: bigint;
}
export const VRING_ADDRESS_BYTES = 40;

export function encodeVringAddress(payload: VringAddressPayload): Buffer {
  const bytes = Buffer.alloc(VRING_ADDRESS_BYTES);
  bytes.writeUInt32LE(payload.index, 0);
  bytes.writeUInt32LE(payload.flags, 4);
  bytes.writeBigUInt64LE(payload.desc, 8);
  bytes.writeBigUInt64LE(payload.used, 16);
  bytes.writeBigUInt64LE(payload.avail, 24);
  bytes.writeBigUInt64LE(payload.log, 32);
  return bytes;
}

export function decodeVringAddress(bytes: Buffer): VringAddressPayload {
  return {
    index: bytes.readUInt32LE(0),
    flags: bytes.readUInt32LE(4),
    desc: bytes.readBigUInt64LE(8),
    used: bytes.readBigUInt64LE(16),
    avail: bytes.readBigUInt64LE(24),
    log: bytes.readBigUInt64LE(32),
  };
}

/** A region of the front-end's memory. */
export interface RegionPayload {
  guestAddress: bigint;
  size: bigint;
  userAddress: bigint;
  mmapOffset: bigint;
}
export const REGION_BYTES = 32;

function writeRegion(bytes: Buffer, at: number, region: RegionPayload): void {
  bytes.writeBigUInt64LE(region.guestAddress, at);
  bytes.writeBigUInt64LE(region.size, at + 8);
  bytes.writeBigUInt64LE(region.userAddress, at + 16);
  bytes.writeBigUInt64LE(region.mmapOffset, at + 24);
}

function readRegion(bytes: Buffer, at: number): RegionPayload {
  return {
    guestAddress: bytes.readBigUInt64LE(at),
    size: bytes.readBigUInt64LE(at + 8),
    userAddress: bytes.readBigUInt64LE(at + 16),
    mmapOffset: bytes.readBigUInt64LE(at + 24),
  };
}

/** "Memory regions description": u32 count, u32 padding, the regions. */
export const REGIONS_HEADER_BYTES = 8;
export const REGIONS_BYTES_MAX = REGIONS_HEADER_BYTES + MESSAGE_FDS_MAX * REGION_BYTES;

export function encodeRegions(regions: readonly RegionPayload[]): Buffer {
  const bytes = Buffer.alloc(REGIONS_HEADER_BYTES + regions.length * REGION_BYTES);
  bytes.writeUInt32LE(regions.length, 0);
  regions.forEach((region, at) => {
    writeRegion(bytes, REGIONS_HEADER_BYTES + at * REGION_BYTES, region);
  });
  return bytes;
}

/** Undefined if the message does not hold as many regions as it says, or says too many. */
export function decodeRegions(bytes: Buffer): RegionPayload[] | undefined {
  const count = bytes.readUInt32LE(0);
  if (count > MESSAGE_FDS_MAX || bytes.length < REGIONS_HEADER_BYTES + count * REGION_BYTES) return undefined;
  return Array.from({ length: count }, (_, at) =>
    readRegion(bytes, REGIONS_HEADER_BYTES + at * REGION_BYTES),
  );
}

/** "Single memory region description": u64 padding, the region. */
export const SINGLE_REGION_BYTES = 8 + REGION_BYTES;

export function encodeSingleRegion(region: RegionPayload): Buffer {
  const bytes = Buffer.alloc(SINGLE_REGION_BYTES);
  writeRegion(bytes, 8, region);
  return bytes;
}

export function decodeSingleRegion(bytes: Buffer): RegionPayload {
  return readRegion(bytes, 8);
}
