// struct fte_match_set_lyr_2_4 of the Programmer's Reference Manual (the kernel's linux/mlx5/mlx5_ifc.h, which no
// package installs): what a matcher's mask and value hold of the outer headers. Bytes from its beginning; big-endian.

/** Bit of match_criteria_enable: the outer headers are compared. */
export const MATCH_OUTER_HEADERS = 1 << 0;
export const FTE_MATCH_OUTER_BYTES = 64;
export const FTE_SMAC = 0;
export const FTE_ETHERTYPE = 6;
export const FTE_DMAC = 8;
/** first_prio, first_cfi, first_vid: the tag's 16 bits. */
export const FTE_FIRST_VLAN = 14;
export const FTE_IP_PROTOCOL = 16;
/** ip_dscp and ip_ecn: IPv4's TOS, IPv6's traffic class. */
export const FTE_IP_TOS = 17;
/** cvlan_tag is the highest bit of this byte. */
export const FTE_FLAGS = 18;
export const FTE_CVLAN_TAG = 0x80;
export const FTE_TCP_SPORT = 20;
export const FTE_TCP_DPORT = 22;
export const FTE_TTL_HOPLIMIT = 27;
export const FTE_UDP_SPORT = 28;
export const FTE_UDP_DPORT = 30;
export const FTE_SRC_IPV6 = 32;
/** An IPv4 address stands in the last four of the sixteen bytes. */
export const FTE_SRC_IPV4 = 44;
export const FTE_DST_IPV6 = 48;
export const FTE_DST_IPV4 = 60;
