// What applications import of this folder.
export { formatIpv4, formatIpv6, formatMac, macOf, parseIpv4, parseMac } from "./addresses.ts";
export { Arp, ArpOperation } from "./arp.ts";
export { foldChecksum, sumBytes, updateChecksum } from "./checksum.ts";
export { Ethernet, EtherType } from "./ethernet.ts";
export { Header } from "./header.ts";
export { Icmp, IcmpType } from "./icmp.ts";
export { IpProtocol, Ipv4 } from "./ipv4.ts";
export { Ipv6 } from "./ipv6.ts";
export { Tcp, TcpFlag } from "./tcp.ts";
export { TOEPLITZ_KEY, ToeplitzHash } from "./toeplitz.ts";
export { type PseudoHeader, Transport } from "./transport.ts";
export { Udp } from "./udp.ts";
export { Vlan } from "./vlan.ts";
