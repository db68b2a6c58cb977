// Numbers of netlink and rtnetlink: linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h. Alignment is 4 bytes, and
// numbers are the machine's, little-endian, where a comment does not say otherwise.

/** struct nlmsghdr { u32 len; u16 type, flags; u32 seq, pid; }. */
export const NLMSGHDR_BYTES = 16;
export const NLMSG_TYPE = 4;
export const NLMSG_FLAGS = 6;
export const NLMSG_SEQ = 8;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
/** Set on an answer: what was listed changed meanwhile. */
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
/** Of an acknowledgement: it does not repeat the request. */
export const NLM_F_CAPPED = 0x100;
/** Of an acknowledgement: attributes follow. */
export const NLM_F_ACK_TLVS = 0x200;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

/** Attributes of an acknowledgement: the kernel's words, and where in the request the fault lies. */
export const NLMSGERR_ATTR_MSG = 1;

export const SOL_NETLINK = 270;
export const NETLINK_CAP_ACK = 10;
export const NETLINK_EXT_ACK = 11;

/** struct nlattr { u16 len, type; }: `len` counts this header. The upper two bits of `type` are flags. */
export const NLATTR_BYTES = 4;
export const NLA_F_NESTED = 0x8000;
export const NLA_TYPE_MASK = 0x3fff;

export const AF_UNSPEC = 0;
export const AF_INET6 = 10;

export const RTM = {
  NEWLINK: 16,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  GETADDR: 22,
  NEWROUTE: 24,
  GETROUTE: 26,
  GETNSID: 90,
  NEWNEXTHOP: 104,
  GETNEXTHOP: 106,
} as const;

/** struct ifinfomsg { u8 family, pad; u16 type; i32 index; u32 flags, change; }. */
export const IFINFOMSG_BYTES = 16;
export const IFI_INDEX = 4;
export const IFI_FLAGS = 8;

export const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  LINK: 5,
  MASTER: 10,
  OPERSTATE: 16,
  LINKINFO: 18,
  NUM_VF: 21,
  VFINFO_LIST: 22,
  EXT_MASK: 29,
  CARRIER: 33,
  LINK_NETNSID: 37,
  XDP: 43,
  PARENT_DEV_NAME: 56,
  PARENT_DEV_BUS_NAME: 57,
} as const;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_SLAVE_KIND = 4;
export const IFLA_XDP_ATTACHED = 2;

/** For IFLA.EXT_MASK: virtual functions are wanted; counters are not. */
export const RTEXT_FILTER_VF = 0x1;
export const RTEXT_FILTER_SKIP_STATS = 0x8;

/** IF_OPER_ numbers of IFLA.OPERSTATE, RFC 2863. */
export const OPERATIONAL_STATES = [
  "unknown",
  "notpresent",
  "down",
  "lowerlayerdown",
  "testing",
  "dormant",
  "up",
] as const;

/** In IFLA.VFINFO_LIST, one for each virtual function; its attributes are structures that begin with u32 vf. */
export const IFLA_VF_INFO = 1;
export const IFLA_VF = {
  /** u8 mac[32], of which 6 are Ethernet's. */
  MAC: 1,
  /** u32 vlan, qos. */
  VLAN: 2,
  SPOOFCHK: 4,
  LINK_STATE: 5,
  /** u32 min, max, in Mbit/s. */
  RATE: 6,
  TRUST: 9,
  VLAN_LIST: 12,
} as const;
/** In IFLA_VF.VLAN_LIST: u32 vf, vlan, qos; be16 protocol, and 2 bytes that pad. */
export const IFLA_VF_VLAN_INFO = 1;
export const VF_MAC_BYTES = 36;
/** What a driver does not tell: -1. */
export const VF_SETTING_UNKNOWN = 0xffff_ffff;
/** IFLA_VF_LINK_STATE_ numbers. */
export const VF_LINK_STATES = ["auto", "enable", "disable"] as const;
export const ETH_P_8021Q = 0x8100;
export const ETH_P_8021AD = 0x88a8;

/** struct rtgenmsg { u8 family; }, and what pads it. linux/net_namespace.h. */
export const RTGENMSG_BYTES = 4;
export const NETNSA = { NSID: 1, FD: 3 } as const;

/** struct ifaddrmsg { u8 family, prefixlen, flags, scope; u32 index; }. */
export const IFADDRMSG_BYTES = 8;
export const IFA_INDEX = 4;
export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;

/** struct rtmsg { u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags; }. */
export const RTMSG_BYTES = 12;
export const RTM_DST_LEN = 1;
export const RTM_TABLE = 4;
export const RTM_PROTOCOL = 5;
export const RTM_TYPE = 7;
export const RTM_FLAGS = 8;
/** One that the kernel remembers of a route for a single address. */
export const RTM_F_CLONED = 0x200;
export const RTN_UNICAST = 1;
/** Of the kernel itself, for the addresses that interfaces have. */
export const RTPROT_KERNEL = 2;
export const RTA = { DST: 1, OIF: 4, GATEWAY: 5, MULTIPATH: 9, TABLE: 15, VIA: 18, NH_ID: 30 } as const;

/** struct rtnexthop { u16 len; u8 flags, hops; i32 ifindex; }, then attributes; `len` counts all of it. */
export const RTNEXTHOP_BYTES = 8;
export const RTNH_IFINDEX = 4;

/** linux/nexthop.h: struct nhmsg { u8 family, scope, protocol, pad; u32 flags; }. */
export const NHMSG_BYTES = 8;
export const NHA = { ID: 1, GROUP: 2, OIF: 5 } as const;
/** struct nexthop_grp { u32 id; u8 weight; 3 bytes more; }. */
export const NEXTHOP_GRP_BYTES = 8;
