// Numbers of the kernel's network interfaces, x86-64: bits/ioctls.h, net/if.h, linux/if_tun.h, linux/rtnetlink.h.

export const AF_INET = 2;
export const AF_NETLINK = 16;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;

/** struct ifreq: the name with its NUL, then a union. */
export const IFREQ_BYTES = 40;
export const IFNAMSIZ = 16;

export const SIOC = {
  GIFNAME: { name: "SIOCGIFNAME", number: 0x8910 },
  GIFFLAGS: { name: "SIOCGIFFLAGS", number: 0x8913 },
  SIFFLAGS: { name: "SIOCSIFFLAGS", number: 0x8914 },
  GIFMTU: { name: "SIOCGIFMTU", number: 0x8921 },
  SIFMTU: { name: "SIOCSIFMTU", number: 0x8922 },
  SIFHWADDR: { name: "SIOCSIFHWADDR", number: 0x8924 },
  GIFHWADDR: { name: "SIOCGIFHWADDR", number: 0x8927 },
  GIFINDEX: { name: "SIOCGIFINDEX", number: 0x8933 },
  ETHTOOL: { name: "SIOCETHTOOL ETHTOOL_GSET", number: 0x8946 },
} as const;

export const IFF_UP = 0x1;
/** The interface is up and its carrier is there. */
export const IFF_RUNNING = 0x40;
export const IFF_PROMISC = 0x100;
export const IFF_ALLMULTI = 0x200;

/** linux/if_arp.h: lo has Ethernet frames too. */
export const ARPHRD_ETHER = 1;
export const ARPHRD_LOOPBACK = 772;

/** struct ethtool_cmd (linux/ethtool.h), which every kernel still answers. */
export const ETHTOOL_GSET = 1;
export const ETHTOOL_CMD_BYTES = 44;
export const ETHTOOL_SPEED = 12;
export const ETHTOOL_DUPLEX = 14;
export const ETHTOOL_AUTONEG = 18;
export const ETHTOOL_SPEED_HIGH = 28;
export const SPEED_UNKNOWN = 0xffff_ffff;

/** struct sockaddr_nl { u16 family, pad; u32 pid, groups; }. */
export const SOCKADDR_NL_BYTES = 12;
export const NL_GROUPS = 8;
export const RTMGRP_LINK = 1;
export const NETLINK_ROUTE = 0;
