// Network interfaces as rtnetlink tells of them: what each is, what it stands on, and what it belongs to.
import {
  AF_UNSPEC,
  IFI_FLAGS,
  IFI_INDEX,
  IFINFOMSG_BYTES,
  IFLA,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_KIND,
  IFLA_XDP_ATTACHED,
  OPERATIONAL_STATES,
  RTEXT_FILTER_SKIP_STATS,
  RTM,
} from "./abi.ts";
import { attribute, malformed, words } from "./attributes.ts";
import type { Rtnetlink } from "./client.ts";
import { splitBody } from "./message.ts";

/** Plain data: it may be kept in a file. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** IFF_ bits, linux/if.h. */
  readonly flags: number;
  /** RFC 2863: `up`, `down`, `lowerlayerdown`, `unknown` (its driver does not tell), … */
  readonly operState: string;
  /** A cable is in, and something at its other end. */
  readonly carrier: boolean;
  readonly mac?: string;
  /** Index of the bond, bridge or such that it is a member of. */
  readonly master?: number;
  /** Index of what it stands on, or of its peer; see `lowerIsElsewhere`. */
  readonly lower?: number;
  /** `lower` is an index of another network namespace. */
  readonly lowerIsElsewhere?: boolean;
  /** By which number this one knows that one. */
  readonly lowerNamespace?: number;
  /** `bond`, `bridge`, `vlan`, … Of none: a driver's interface. */
  readonly kind?: string;
  /** What it is a member of: `bond`, `bridge`, … */
  readonly memberKind?: string;
  /** The bus and the name of the device that it belongs to, on kernels from 5.14 on: `pci`, `0000:01:00.0`. */
  readonly parentBus?: string;
  readonly parent?: string;
  /** An XDP program is attached to it. */
  readonly hasXdp: boolean;
}

/** Errors: of Rtnetlink.dump. */
export function listLinks(client: Rtnetlink): Link[] {
  const request = Buffer.concat([linkRequest(0), attribute(IFLA.EXT_MASK, words(RTEXT_FILTER_SKIP_STATS))]);
  const messages = client.dump(RTM.GETLINK, request, "RTM_GETLINK");
  return messages.filter(({ type }) => type === RTM.NEWLINK).map(({ body }) => parseLink(body));
}

/** struct ifinfomsg of an interface; 0: of none. */
export function linkRequest(index: number): Buffer {
  const request = Buffer.alloc(IFINFOMSG_BYTES);
  request.writeUInt8(AF_UNSPEC);
  request.writeInt32LE(index, IFI_INDEX);
  return request;
}

/** Of an RTM_NEWLINK. Throws NETLINK_MALFORMED. */
export function parseLink(body: Buffer): Link {
  const what = "RTM_NEWLINK";
  const [header, attributes] = splitBody(body, IFINFOMSG_BYTES, what);
  const name = attributes.text(IFLA.IFNAME);
  if (!name) throw malformed(what, "an interface without a name");
  const info = attributes.nested(IFLA.LINKINFO);
  const mac = attributes.bytes(IFLA.ADDRESS);
  const lower = attributes.u32(IFLA.LINK);
  return defined<Link>({
    index: header.readInt32LE(IFI_INDEX),
    name,
    flags: header.readUInt32LE(IFI_FLAGS),
    operState: OPERATIONAL_STATES[attributes.u8(IFLA.OPERSTATE) ?? 0] ?? "unknown",
    carrier: attributes.u8(IFLA.CARRIER) === 1,
    mac: mac && mac.length > 0 ? mac.toString("hex").replace(/..(?!$)/g, "$&:") : undefined,
    master: attributes.u32(IFLA.MASTER),
    lower: lower === 0 ? undefined : lower, // of a tunnel over whatever interface the route takes
    lowerIsElsewhere: attributes.bytes(IFLA.LINK_NETNSID) ? true : undefined,
    lowerNamespace: attributes.i32(IFLA.LINK_NETNSID),
    kind: info?.text(IFLA_INFO_KIND),
    memberKind: info?.text(IFLA_INFO_SLAVE_KIND),
    parentBus: attributes.text(IFLA.PARENT_DEV_BUS_NAME),
    parent: attributes.text(IFLA.PARENT_DEV_NAME),
    hasXdp: (attributes.nested(IFLA.XDP)?.u8(IFLA_XDP_ATTACHED) ?? 0) !== 0,
  });
}

/** Without what is undefined. */
function defined<T>(value: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as T;
}
