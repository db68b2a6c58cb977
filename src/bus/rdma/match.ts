// What rules match, in the two forms that the library takes: specs behind a struct ibv_flow_attr, and the device's own
// match parameters for direct verbs. Fields stand as on the wire, big-endian.
import { PollmodeError } from "../../errors.ts";
import * as abi from "./abi.ts";
import * as prm from "./prm.ts";
import type { EthFields, FlowSpec, Ipv4Fields, Ipv6Fields, PortFields } from "./types.ts";

/** Writes one side, value or mask. */
type Fields = Record<string, number | Uint8Array | undefined>;

/** All bits of the fields that `value` has. */
function wholeMask<T extends object>(value: T): T {
  const ones = Object.entries(value).map(([name, field]) => {
    return [
      name,
      typeof field === "number" ? 0xffff_ffff : new Uint8Array((field as Uint8Array).length).fill(255),
    ];
  });
  return Object.fromEntries(ones) as T;
}

function sides(spec: FlowSpec): { value: Fields; mask: Fields } {
  const { value, mask = wholeMask(value) } = spec;
  return { value: value as Fields, mask: mask as Fields };
}

const put8 = (to: Buffer, field: unknown, offset: number) => {
  if (field !== undefined) to[offset] = (field as number) & 0xff;
};
const put16 = (to: Buffer, field: unknown, offset: number) => {
  if (field !== undefined) to.writeUInt16BE((field as number) & 0xffff, offset);
};
const put32 = (to: Buffer, field: unknown, offset: number) => {
  if (field !== undefined) to.writeUInt32BE((field as number) >>> 0, offset);
};
const putBytes = (to: Buffer, field: unknown, offset: number) => {
  if (field !== undefined) to.set(field as Uint8Array, offset);
};

/** How libibverbs has each kind of header: type, bytes, where value and mask begin, one behind the other. */
const FORMS = {
  eth: {
    type: abi.IBV_FLOW_SPEC_ETH,
    bytes: abi.IBV_FLOW_SPEC_ETH_BYTES,
    value: abi.IBV_FLOW_SPEC_ETH_VAL,
    mask: abi.IBV_FLOW_SPEC_ETH_MASK,
    put: putEth,
  },
  ipv4: {
    type: abi.IBV_FLOW_SPEC_IPV4_EXT,
    bytes: abi.IBV_FLOW_SPEC_IPV4_EXT_BYTES,
    value: abi.IBV_FLOW_SPEC_IPV4_EXT_VAL,
    mask: abi.IBV_FLOW_SPEC_IPV4_EXT_MASK,
    put: putIpv4,
  },
  ipv6: {
    type: abi.IBV_FLOW_SPEC_IPV6,
    bytes: abi.IBV_FLOW_SPEC_IPV6_BYTES,
    value: abi.IBV_FLOW_SPEC_IPV6_VAL,
    mask: abi.IBV_FLOW_SPEC_IPV6_MASK,
    put: putIpv6,
  },
  tcp: {
    type: abi.IBV_FLOW_SPEC_TCP,
    bytes: abi.IBV_FLOW_SPEC_TCP_UDP_BYTES,
    value: abi.IBV_FLOW_SPEC_TCP_UDP_VAL,
    mask: abi.IBV_FLOW_SPEC_TCP_UDP_MASK,
    put: putPorts,
  },
  udp: {
    type: abi.IBV_FLOW_SPEC_UDP,
    bytes: abi.IBV_FLOW_SPEC_TCP_UDP_BYTES,
    value: abi.IBV_FLOW_SPEC_TCP_UDP_VAL,
    mask: abi.IBV_FLOW_SPEC_TCP_UDP_MASK,
    put: putPorts,
  },
} as const;

/** A spec as libibverbs takes it; the kernel's half of it is ib_uverbs_create_flow (uverbs_cmd.c). */
export function verbsSpec(spec: FlowSpec): Buffer {
  const form = FORMS[spec.kind];
  const fields = sides(spec);
  const to = header(form.type, form.bytes);
  const value = to.subarray(form.value, form.mask);
  const mask = to.subarray(form.mask);
  form.put(value, fields.value);
  form.put(mask, fields.mask);
  keepMasked(value, mask);
  return to;
}

/** The firmware refuses a value that has other bits than its mask. */
function keepMasked(value: Buffer, mask: Buffer): void {
  for (let at = 0; at < value.length; at++) value[at]! &= mask[at]!;
}

/** The 24 bits stand in the CQE of what matched. */
export function tagSpec(tag: number): Buffer {
  const to = header(abi.IBV_FLOW_SPEC_ACTION_TAG, abi.IBV_FLOW_SPEC_ACTION_TAG_BYTES);
  to.writeUInt32LE(tag, abi.IBV_FLOW_SPEC_ACTION_TAG_TAG_ID);
  return to;
}

export function dropSpec(): Buffer {
  return header(abi.IBV_FLOW_SPEC_ACTION_DROP, abi.IBV_FLOW_SPEC_ACTION_DROP_BYTES);
}

/** enum ibv_flow_spec_type, then the spec's size. */
function header(type: number, bytes: number): Buffer {
  const spec = Buffer.alloc(bytes);
  spec.writeUInt32LE(type, 0);
  spec.writeUInt16LE(bytes, abi.IBV_FLOW_SPEC_ETH_SIZE);
  return spec;
}

function putEth(to: Buffer, { destination, source, etherType, vlan }: EthFields): void {
  putBytes(to, destination, abi.IBV_FLOW_ETH_FILTER_DST_MAC);
  putBytes(to, source, abi.IBV_FLOW_ETH_FILTER_SRC_MAC);
  put16(to, etherType, abi.IBV_FLOW_ETH_FILTER_ETHER_TYPE);
  put16(to, vlan, abi.IBV_FLOW_ETH_FILTER_VLAN_TAG);
}

function putIpv4(to: Buffer, { source, destination, protocol, tos, ttl }: Ipv4Fields): void {
  put32(to, source, abi.IBV_FLOW_IPV4_EXT_FILTER_SRC_IP);
  put32(to, destination, abi.IBV_FLOW_IPV4_EXT_FILTER_DST_IP);
  put8(to, protocol, abi.IBV_FLOW_IPV4_EXT_FILTER_PROTO);
  put8(to, tos, abi.IBV_FLOW_IPV4_EXT_FILTER_TOS);
  put8(to, ttl, abi.IBV_FLOW_IPV4_EXT_FILTER_TTL);
}

function putIpv6(to: Buffer, fields: Ipv6Fields): void {
  putBytes(to, fields.source, abi.IBV_FLOW_IPV6_FILTER_SRC_IP);
  putBytes(to, fields.destination, abi.IBV_FLOW_IPV6_FILTER_DST_IP);
  const label = fields.flowLabel;
  put32(to, label === undefined ? undefined : label & 0xfffff, abi.IBV_FLOW_IPV6_FILTER_FLOW_LABEL);
  put8(to, fields.nextHeader, abi.IBV_FLOW_IPV6_FILTER_NEXT_HDR);
  put8(to, fields.trafficClass, abi.IBV_FLOW_IPV6_FILTER_TRAFFIC_CLASS);
  put8(to, fields.hopLimit, abi.IBV_FLOW_IPV6_FILTER_HOP_LIMIT);
}

function putPorts(to: Buffer, { source, destination }: PortFields): void {
  put16(to, destination, abi.IBV_FLOW_TCP_UDP_FILTER_DST_PORT);
  put16(to, source, abi.IBV_FLOW_TCP_UDP_FILTER_SRC_PORT);
}

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;

/** The outer headers as the device matches them, in FTE_MATCH_OUTER_BYTES. Throws RDMA_FLOW. */
export function deviceMatch(who: string, specs: readonly FlowSpec[]): { value: Buffer; mask: Buffer } {
  const value = Buffer.alloc(prm.FTE_MATCH_OUTER_BYTES);
  const mask = Buffer.alloc(prm.FTE_MATCH_OUTER_BYTES);
  for (const spec of specs) {
    const fields = sides(spec);
    if (spec.kind === "eth") {
      putDeviceEth(value, fields.value);
      putDeviceEth(mask, fields.mask);
      if (fields.mask.vlan) value[prm.FTE_FLAGS] = mask[prm.FTE_FLAGS] = prm.FTE_CVLAN_TAG;
    } else if (spec.kind === "ipv4") {
      exactly16(value, mask, ETHERTYPE_IPV4, prm.FTE_ETHERTYPE);
      putDeviceIpv4(value, fields.value);
      putDeviceIpv4(mask, fields.mask);
    } else if (spec.kind === "ipv6") {
      if (fields.mask.flowLabel) throw noFlowLabel(who);
      exactly16(value, mask, ETHERTYPE_IPV6, prm.FTE_ETHERTYPE);
      putDeviceIpv6(value, fields.value);
      putDeviceIpv6(mask, fields.mask);
    } else {
      value[prm.FTE_IP_PROTOCOL] = spec.kind === "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
      mask[prm.FTE_IP_PROTOCOL] = 0xff;
      putDevicePorts(value, spec.kind, fields.value);
      putDevicePorts(mask, spec.kind, fields.mask);
    }
  }
  keepMasked(value, mask);
  return { value, mask };
}

function exactly16(value: Buffer, mask: Buffer, number: number, offset: number): void {
  value.writeUInt16BE(number, offset);
  mask.writeUInt16BE(0xffff, offset);
}

function putDeviceEth(to: Buffer, { destination, source, etherType, vlan }: EthFields): void {
  putBytes(to, source, prm.FTE_SMAC);
  putBytes(to, destination, prm.FTE_DMAC);
  put16(to, etherType, prm.FTE_ETHERTYPE);
  put16(to, vlan, prm.FTE_FIRST_VLAN);
}

function putDeviceIpv4(to: Buffer, { source, destination, protocol, tos, ttl }: Ipv4Fields): void {
  put32(to, source, prm.FTE_SRC_IPV4);
  put32(to, destination, prm.FTE_DST_IPV4);
  put8(to, protocol, prm.FTE_IP_PROTOCOL);
  put8(to, tos, prm.FTE_IP_TOS);
  put8(to, ttl, prm.FTE_TTL_HOPLIMIT);
}

function putDeviceIpv6(to: Buffer, fields: Ipv6Fields): void {
  putBytes(to, fields.source, prm.FTE_SRC_IPV6);
  putBytes(to, fields.destination, prm.FTE_DST_IPV6);
  put8(to, fields.nextHeader, prm.FTE_IP_PROTOCOL);
  put8(to, fields.trafficClass, prm.FTE_IP_TOS);
  put8(to, fields.hopLimit, prm.FTE_TTL_HOPLIMIT);
}

function putDevicePorts(to: Buffer, kind: "tcp" | "udp", { source, destination }: PortFields): void {
  put16(to, source, kind === "tcp" ? prm.FTE_TCP_SPORT : prm.FTE_UDP_SPORT);
  put16(to, destination, kind === "tcp" ? prm.FTE_TCP_DPORT : prm.FTE_UDP_DPORT);
}

/** It stands in fte_match_set_misc, which not every device compares. */
function noFlowLabel(who: string): PollmodeError {
  const message = `${who}: a rule of direct verbs that matches an IPv6 flow label`;
  return new PollmodeError("RDMA_FLOW", message, "match addresses, next header or ports instead");
}
