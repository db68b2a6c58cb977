// What a physical function's kernel driver enforces on its virtual functions: read and set through the physical
// function's interface. do_setvfinfo and rtnl_fill_vfinfo, net/core/rtnetlink.c.
import * as abi from "./abi.ts";
import { Attributes, aligned, attribute, eachAttribute, malformed, nest, words } from "./attributes.ts";
import type { Rtnetlink } from "./client.ts";
import { linkRequest } from "./link.ts";
import { fixedAndRest } from "./message.ts";

export type VfLinkState = (typeof abi.VF_LINK_STATES)[number];
export type VlanProtocol = "802.1Q" | "802.1ad";

export interface VfVlan {
  /** 0: none. */
  readonly id: number;
  /** Priority, 0 to 7. */
  readonly qos: number;
  readonly protocol: VlanProtocol;
}

export interface VfRate {
  /** Mbit/s; 0: none. */
  readonly min: number;
  /** Mbit/s; 0: no limit. */
  readonly max: number;
}

/** Undefined: the driver does not tell. */
export interface VfSettings {
  readonly mac?: string;
  readonly vlan?: VfVlan;
  readonly rate?: VfRate;
  readonly trust?: boolean;
  readonly spoofCheck?: boolean;
  readonly linkState?: VfLinkState;
}

const GETLINK = "RTM_GETLINK, virtual functions";

/** Of the interface with this index, by the virtual functions' numbers. Errors: of Rtnetlink.request. */
export function readVfs(client: Rtnetlink, index: number): Map<number, VfSettings> {
  const mask = words(abi.RTEXT_FILTER_VF | abi.RTEXT_FILTER_SKIP_STATS);
  const request = Buffer.concat([linkRequest(index), attribute(abi.IFLA.EXT_MASK, mask)]);
  const [answer] = client.request(abi.RTM.GETLINK, request, GETLINK);
  return answer ? parseVfs(answer.body) : new Map();
}

/** Of an RTM_NEWLINK. Throws NETLINK_MALFORMED. */
export function parseVfs(body: Buffer): Map<number, VfSettings> {
  const vfs = new Map<number, VfSettings>();
  for (const value of listedVfs(body)) {
    const info = new Attributes(value, GETLINK);
    const vf = info.u32(abi.IFLA_VF.MAC);
    if (vf !== undefined) vfs.set(vf, settingsOf(info));
  }
  return vfs;
}

/**
 * The IFLA_VF_INFO of each. From some 330 on they are more than the 16 bits of their list's length can tell:
 * nla_nest_end (include/net/netlink.h) stores the length modulo 2^16, by which ip(8) shows a few of them and takes the
 * others for attributes of the interface. All of them are there nevertheless: up to the first attribute that is no
 * IFLA_VF_INFO, or as many as IFLA_NUM_VF says, which comes before.
 */
function listedVfs(body: Buffer): Buffer[] {
  const rest = fixedAndRest(body, abi.IFINFOMSG_BYTES, GETLINK)[1];
  let most = Infinity;
  for (const { type, value, at } of eachAttribute(rest, GETLINK)) {
    if (type === abi.IFLA.NUM_VF && value.length >= 4) most = value.readUInt32LE();
    if (type === abi.IFLA.VFINFO_LIST) return entriesOf(rest.subarray(at), most);
  }
  return [];
}

/** Of a list, which begins with its header. */
function entriesOf(list: Buffer, most: number): Buffer[] {
  const found: Buffer[] = [];
  let end: number = abi.NLATTR_BYTES;
  for (const { type, value } of eachAttribute(list.subarray(end), GETLINK)) {
    if (type !== abi.IFLA_VF_INFO || found.length === most) break;
    found.push(value);
    end += aligned(abi.NLATTR_BYTES + value.length);
  }
  const length = list.readUInt16LE();
  if (end % 2 ** 16 === length) return found;
  throw malformed(
    GETLINK,
    `a list of ${found.length} virtual functions, ${end} bytes, says it has ${length}`,
  );
}

function settingsOf(info: Attributes): VfSettings {
  const setting = (type: number) => {
    const value = info.bytes(type, 8)?.readUInt32LE(4);
    return value === abi.VF_SETTING_UNKNOWN ? undefined : value;
  };
  const [trust, spoofCheck, state] = [
    setting(abi.IFLA_VF.TRUST),
    setting(abi.IFLA_VF.SPOOFCHK),
    setting(abi.IFLA_VF.LINK_STATE),
  ];
  const mac = info.bytes(abi.IFLA_VF.MAC, abi.VF_MAC_BYTES)?.toString("hex", 4, 10);
  const rate = info.bytes(abi.IFLA_VF.RATE, 12);
  const vlan = vlanOf(info);
  const linkState = state === undefined ? undefined : abi.VF_LINK_STATES[state];
  return {
    ...(mac && { mac: mac.replace(/..(?!$)/g, "$&:") }),
    ...(vlan && { vlan }),
    ...(rate && { rate: { min: rate.readUInt32LE(4), max: rate.readUInt32LE(8) } }),
    ...(trust !== undefined && { trust: trust !== 0 }),
    ...(spoofCheck !== undefined && { spoofCheck: spoofCheck !== 0 }),
    ...(linkState && { linkState }),
  };
}

/** The list says the protocol, too; kernels before 4.9 have none. */
function vlanOf(info: Attributes): VfVlan | undefined {
  const listed = info.nested(abi.IFLA_VF.VLAN_LIST)?.bytes(abi.IFLA_VF_VLAN_INFO, 14);
  const plain = listed ?? info.bytes(abi.IFLA_VF.VLAN, 12);
  if (!plain) return undefined;
  const isAd = listed?.readUInt16BE(12) === abi.ETH_P_8021AD;
  return { id: plain.readUInt32LE(4), qos: plain.readUInt32LE(8), protocol: isAd ? "802.1ad" : "802.1Q" };
}

/**
 * Sets one thing of a virtual function; the kernel takes several by one request, but stops halfway at what it refuses.
 * Errors: of Rtnetlink.request, such as EOPNOTSUPP.
 */
export function writeVf(client: Rtnetlink, index: number, vf: number, one: VfSettings): void {
  const info = nest(abi.IFLA_VF_INFO, ...encodeVf(vf, one));
  const request = Buffer.concat([linkRequest(index), nest(abi.IFLA.VFINFO_LIST, info)]);
  client.request(
    abi.RTM.SETLINK,
    request,
    `RTM_SETLINK, virtual function ${vf}, ${Object.keys(one).join(", ")}`,
  );
}

/** The attributes of IFLA_VF_INFO. */
export function encodeVf(vf: number, settings: VfSettings): Buffer[] {
  const { mac, vlan, rate, trust, spoofCheck, linkState } = settings;
  const parts: Buffer[] = [];
  if (mac !== undefined) {
    const value = Buffer.alloc(abi.VF_MAC_BYTES);
    value.writeUInt32LE(vf);
    value.write(mac.replaceAll(":", ""), 4, "hex");
    parts.push(attribute(abi.IFLA_VF.MAC, value));
  }
  if (vlan) {
    const protocol = Buffer.alloc(4);
    protocol.writeUInt16BE(vlan.protocol === "802.1ad" ? abi.ETH_P_8021AD : abi.ETH_P_8021Q);
    const value = Buffer.concat([words(vf, vlan.id, vlan.qos), protocol]);
    parts.push(nest(abi.IFLA_VF.VLAN_LIST, attribute(abi.IFLA_VF_VLAN_INFO, value)));
  }
  if (rate) parts.push(attribute(abi.IFLA_VF.RATE, words(vf, rate.min, rate.max)));
  if (spoofCheck !== undefined) parts.push(attribute(abi.IFLA_VF.SPOOFCHK, words(vf, Number(spoofCheck))));
  if (trust !== undefined) parts.push(attribute(abi.IFLA_VF.TRUST, words(vf, Number(trust))));
  if (linkState) {
    parts.push(attribute(abi.IFLA_VF.LINK_STATE, words(vf, abi.VF_LINK_STATES.indexOf(linkState))));
  }
  return parts;
}
