// 5tswap: exchanges source and destination of each layer that is there - MAC addresses, IPv4 or IPv6 addresses, TCP or
// UDP ports - and sends the packet on. No checksum changes by that.
import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, Stream } from "../hot/layout.ts";
import { r16, r32, r32u, w16, w32u } from "../hot/mem.ts";
import { swapMacs } from "../hot/simd.ts";
import { findHeaders, Headers, IpProtocol, l4Of, protocolOf } from "./headers.ts";
import { received } from "./receive.ts";
import { sendOrDrop } from "./send.ts";

export function fiveTupleSwap(s: u32, pkts: u32, n: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got == 0) return 0;
  received(s, pkts, got);
  for (let k: u32 = 0; k < got; k++) swapTuple(r32(pkts + (k << 2)));
  sendOrDrop(s, pkts, got);
  return got;
}

function swapTuple(mbuf: u32): void {
  const p: u32 = r32(mbuf + Mbuf.DATA);
  swapMacs(p);
  const headers: u32 = findHeaders(mbuf);
  if (headers == 0) return;
  const ip: u32 = p + (headers & Headers.L3_MASK);
  if ((headers & Headers.IS_IPV4) != 0) swapWord(ip + 12, ip + 16);
  else for (let k: u32 = 8; k < 24; k = k + 4) swapWord(ip + k, ip + k + 16);
  const protocol: u32 = protocolOf(headers);
  if (protocol != <u32>IpProtocol.TCP && protocol != <u32>IpProtocol.UDP) return;
  // what a later fragment has in this place is payload
  if ((headers & Headers.IS_LATER_FRAGMENT) != 0) return;
  const l4: u32 = l4Of(headers);
  if (l4 + 4 > r32(mbuf + Mbuf.DATA_LEN)) return;
  const port: u32 = r16(p + l4);
  w16(p + l4, r16(p + l4 + 2));
  w16(p + l4 + 2, port);
}

function swapWord(a: u32, b: u32): void {
  const kept: u32 = r32u(a);
  w32u(a, r32u(b));
  w32u(b, kept);
}
