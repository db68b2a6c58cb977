// Addresses of interfaces and routes, of IPv4 and IPv6, as rtnetlink tells of them.
import { formatIpv4, formatIpv6 } from "../../packet/addresses.ts";
import { AF_INET } from "../netdev/abi.ts";
import * as abi from "./abi.ts";
import { Attributes, aligned, malformed } from "./attributes.ts";
import type { Rtnetlink } from "./client.ts";
import { splitBody } from "./message.ts";

/** Plain data: it may be kept in a file. */
export interface InterfaceAddress {
  readonly index: number;
  readonly family: 4 | 6;
  /** `10.0.0.1`; of IPv6 as RFC 5952 writes it. */
  readonly address: string;
  readonly prefixLength: number;
}

/** Plain data, too. */
export interface Route {
  readonly family: 4 | 6;
  /** `10.0.0.0`, `::`. */
  readonly destination: string;
  /** 0: the default route. */
  readonly prefixLength: number;
  readonly table: number;
  /** The kernel's own, which follows from an address. */
  readonly isOfKernel: boolean;
  /** Where it goes; several of a multipath route. */
  readonly hops: readonly Hop[];
}

interface Hop {
  readonly index: number;
  readonly gateway?: string;
}

const families: Readonly<Record<number, 4 | 6>> = { [AF_INET]: 4, [abi.AF_INET6]: 6 };

/** Errors: of Rtnetlink.dump. */
export function listAddresses(client: Rtnetlink): InterfaceAddress[] {
  const messages = client.dump(abi.RTM.GETADDR, Buffer.alloc(abi.IFADDRMSG_BYTES), "RTM_GETADDR");
  return messages.flatMap(({ type, body }) => (type === abi.RTM.NEWADDR ? (parseAddress(body) ?? []) : []));
}

/** Those to hosts and networks elsewhere, of all tables. Errors: of Rtnetlink.dump. */
export function listRoutes(client: Rtnetlink): Route[] {
  let nexthops: Map<number, readonly Hop[]> | undefined;
  const hopsOf = (id: number) => {
    nexthops ??= listNexthops(client);
    return nexthops.get(id) ?? [];
  };
  return [AF_INET, abi.AF_INET6].flatMap((family) => {
    const request = Buffer.alloc(abi.RTMSG_BYTES);
    request.writeUInt8(family);
    const messages = client.dump(abi.RTM.GETROUTE, request, "RTM_GETROUTE");
    // a kernel without IPv6 answers with all it has
    const own = messages.filter(({ type, body }) => type === abi.RTM.NEWROUTE && body[0] === family);
    return own.flatMap(({ body }) => parseRoute(body, hopsOf) ?? []);
  });
}

/** Nexthop objects and groups of them, which routing daemons make (ip-nexthop(8)). */
function listNexthops(client: Rtnetlink): Map<number, readonly Hop[]> {
  const messages = client.dump(abi.RTM.GETNEXTHOP, Buffer.alloc(abi.NHMSG_BYTES), "RTM_GETNEXTHOP");
  const found = messages
    .filter(({ type }) => type === abi.RTM.NEWNEXTHOP)
    .map(({ body }) => parseNexthop(body));
  const single = new Map(found.map(({ id, index }) => [id, index === undefined ? [] : [{ index }]]));
  return new Map(
    found.map(({ id, members }) => [id, [id, ...members].flatMap((member) => single.get(member) ?? [])]),
  );
}

function parseNexthop(body: Buffer): { id: number; index: number | undefined; members: number[] } {
  const what = "RTM_NEWNEXTHOP";
  const [, attributes] = splitBody(body, abi.NHMSG_BYTES, what);
  const id = attributes.u32(abi.NHA.ID);
  if (id === undefined) throw malformed(what, "no id");
  const group = attributes.bytes(abi.NHA.GROUP) ?? Buffer.alloc(0);
  const count = Math.floor(group.length / abi.NEXTHOP_GRP_BYTES);
  const members = Array.from({ length: count }, (_, k) => group.readUInt32LE(k * abi.NEXTHOP_GRP_BYTES));
  return { id, index: attributes.u32(abi.NHA.OIF), members };
}

/** Of an RTM_NEWADDR; undefined of another family. Throws NETLINK_MALFORMED. */
export function parseAddress(body: Buffer): InterfaceAddress | undefined {
  const what = "RTM_NEWADDR";
  const [header, attributes] = splitBody(body, abi.IFADDRMSG_BYTES, what);
  const family = families[header.readUInt8(0)];
  if (family === undefined) return undefined;
  // of a point-to-point interface, IFA_ADDRESS is the other end's
  const bytes = attributes.bytes(abi.IFA_LOCAL) ?? attributes.bytes(abi.IFA_ADDRESS);
  if (!bytes) throw malformed(what, "no address");
  const index = header.readUInt32LE(abi.IFA_INDEX);
  return { index, family, address: addressText(bytes, family, what), prefixLength: header.readUInt8(1) };
}

/**
 * Of an RTM_NEWROUTE; undefined of one that is not meant: see listRoutes. `hopsOf`: of a nexthop object. Throws
 * NETLINK_MALFORMED.
 */
export function parseRoute(body: Buffer, hopsOf: (nexthop: number) => readonly Hop[]): Route | undefined {
  const what = "RTM_NEWROUTE";
  const [header, attributes] = splitBody(body, abi.RTMSG_BYTES, what);
  const family = families[header.readUInt8(0)];
  const isClone = (header.readUInt32LE(abi.RTM_FLAGS) & abi.RTM_F_CLONED) !== 0;
  if (family === undefined || isClone || header.readUInt8(abi.RTM_TYPE) !== abi.RTN_UNICAST) return undefined;
  const destination = attributes.bytes(abi.RTA.DST) ?? Buffer.alloc(family === 4 ? 4 : 16);
  const own = hopOf(attributes.u32(abi.RTA.OIF), attributes, family, what);
  const hops = [...own, ...multipath(attributes, family, what)];
  // with sysctl net.ipv4.nexthop_compat_mode=0 the object's id is all that a route has
  const nexthop = attributes.u32(abi.RTA.NH_ID);
  return {
    family,
    destination: addressText(destination, family, what),
    prefixLength: header.readUInt8(abi.RTM_DST_LEN),
    table: attributes.u32(abi.RTA.TABLE) ?? header.readUInt8(abi.RTM_TABLE),
    isOfKernel: header.readUInt8(abi.RTM_PROTOCOL) === abi.RTPROT_KERNEL,
    hops: hops.length > 0 || nexthop === undefined ? hops : hopsOf(nexthop),
  };
}

function hopOf(index: number | undefined, attributes: Attributes, family: 4 | 6, what: string): Hop[] {
  if (index === undefined) return [];
  const gateway = attributes.bytes(abi.RTA.GATEWAY);
  if (gateway) return [{ index, gateway: addressText(gateway, family, what) }];
  // struct rtvia { u16 family; u8 address[]; }: IPv4 by way of an IPv6 neighbour
  const via = attributes.bytes(abi.RTA.VIA, 2);
  const viaFamily = via && families[via.readUInt16LE(0)];
  return [viaFamily ? { index, gateway: addressText(via.subarray(2), viaFamily, what) } : { index }];
}

function multipath(attributes: Attributes, family: 4 | 6, what: string): Hop[] {
  const bytes = attributes.bytes(abi.RTA.MULTIPATH);
  const hops: Hop[] = [];
  for (let at = 0; bytes && at + abi.RTNEXTHOP_BYTES <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < abi.RTNEXTHOP_BYTES || at + length > bytes.length) {
      throw malformed(what, `a next hop of ${length} bytes at byte ${at} of ${bytes.length}`);
    }
    const own = new Attributes(bytes.subarray(at + abi.RTNEXTHOP_BYTES, at + length), what);
    hops.push(...hopOf(bytes.readInt32LE(at + abi.RTNH_IFINDEX), own, family, what));
    at += aligned(length);
  }
  return hops;
}

function addressText(bytes: Buffer, family: 4 | 6, what: string): string {
  const wanted = family === 4 ? 4 : 16;
  if (bytes.length !== wanted) throw malformed(what, `an IPv${family} address of ${bytes.length} bytes`);
  return family === 4 ? formatIpv4(bytes.readUInt32BE()) : formatIpv6(bytes);
}
