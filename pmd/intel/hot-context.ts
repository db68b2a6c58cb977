// Offloads of a packet to send. Where its headers lie stands in the NIC's context, which a context descriptor changes
// and which then holds for the packets after it; what is to be done to it stands in its data descriptors.
//
// Checksums of TCP and UDP: the application writes the pseudo header's sum (addresses, protocol, length; not inverted)
// into the checksum field, and the NIC adds up from there. The IPv4 header's checksum field must be 0.
import { Mbuf, OlFlag, TxOffload } from "../../src/hot/layout.ts";
import { r16, r32, w32 } from "../../src/hot/mem.ts";
import { ContextAdvanced, ContextExtended, Header, TxCommand, TxStatus } from "./descriptors.ts";
import { Asked, IntelQueue, IntelQueueFlag } from "./layout.ts";
import { describe } from "./simd.ts";

/** The bits that OL_FLAGS add to word STATUS of the packet's data descriptors. */
export function commandOf(ol: u32): u32 {
  return (ol & OlFlag.TX_VLAN) != 0 ? TxCommand.VLE : 0;
}

/** The bits that they add to word LENGTH. */
export function optionsOf(q: u32, mbuf: u32, ol: u32): u32 {
  let options: u32 = (ol & OlFlag.TX_IP_CKSUM) != 0 ? TxStatus.IXSM : 0;
  if ((ol & Asked.L4) != 0) options = options | TxStatus.TXSM;
  const tagged: u32 = (r32(q + IntelQueue.FLAGS) & IntelQueueFlag.EXTENDED) != 0 ? ol & OlFlag.TX_VLAN : 0;
  if (tagged != 0) options = (options | (r16(mbuf + Mbuf.VLAN_TCI) << TxStatus.VLAN_BIT)) >>> 0;
  return options;
}

/** Whether the packet's header lengths can be: 1, or 0 if the NIC would write beyond it. */
export function lengthsFit(q: u32, mbuf: u32, ol: u32): u32 {
  if ((ol & Asked.CHECKSUMS) == 0) return 1;
  const l2: u32 = r32(mbuf + Mbuf.TX_OFFLOAD) & TxOffload.L2_MASK;
  const l3: u32 = (r32(mbuf + Mbuf.TX_OFFLOAD) >>> TxOffload.L3_SHIFT) & TxOffload.L3_MASK;
  if (l2 < <u32>Header.ETHERNET || l3 < <u32>Header.IPV4 || (ol & Asked.L4) == <u32>Asked.L4) return 0;
  let end: u32 = l2 + l3;
  if ((ol & Asked.L4) != 0) end = end + checksumAt(ol) + 2;
  if (end > r32(mbuf + Mbuf.PKT_LEN)) return 0;
  const extended: u32 = r32(q + IntelQueue.FLAGS) & IntelQueueFlag.EXTENDED;
  return extended != 0 && end > <u32>ContextExtended.OFFSET_MAX ? 0 : 1;
}

/** Where in its header TCP's or UDP's checksum stands. */
function checksumAt(ol: u32): u32 {
  return (ol & OlFlag.TX_TCP_CKSUM) != 0 ? Header.TCP_CHECKSUM : Header.UDP_CHECKSUM;
}

/** What the context must hold for the packet, in two words (`which`: 0, 1); flags of 0: it does not matter. */
function wanted(q: u32, mbuf: u32, ol: u32, which: u32): u32 {
  const extended: u32 = r32(q + IntelQueue.FLAGS) & IntelQueueFlag.EXTENDED;
  const tagged: u32 = extended != 0 ? 0 : ol & OlFlag.TX_VLAN;
  const flags: u32 = (ol & Asked.CHECKSUMS) == 0 ? 0 : ol & (Asked.CHECKSUMS | OlFlag.TX_IPV4);
  if (which == 0) return flags | tagged;
  const lengths: u32 = r32(mbuf + Mbuf.TX_OFFLOAD) & 0xffff;
  const tag: u32 = tagged != 0 ? r16(mbuf + Mbuf.VLAN_TCI) : 0;
  return ((flags != 0 ? lengths : 0) | (tag << 16)) >>> 0;
}

/** 1 if a context descriptor must go before the packet. */
export function needsContext(q: u32, mbuf: u32, ol: u32): u32 {
  const flags: u32 = wanted(q, mbuf, ol, 0);
  if (flags == 0) return 0;
  const other: u32 =
    (flags ^ r32(q + IntelQueue.CONTEXT_FLAGS)) |
    (wanted(q, mbuf, ol, 1) ^ r32(q + IntelQueue.CONTEXT_FIELDS));
  return other != 0 || (r32(q + IntelQueue.FLAGS) & IntelQueueFlag.KEEPS_CONTEXT) == 0 ? 1 : 0;
}

/** Writes the packet's context descriptor. */
export function writeContext(q: u32, desc: u32, mbuf: u32, ol: u32): void {
  const flags: u32 = wanted(q, mbuf, ol, 0);
  const fields: u32 = wanted(q, mbuf, ol, 1);
  const l2: u32 = fields & TxOffload.L2_MASK;
  const l3: u32 = (fields >>> TxOffload.L3_SHIFT) & TxOffload.L3_MASK;
  w32(q + IntelQueue.CONTEXT_FLAGS, flags);
  w32(q + IntelQueue.CONTEXT_FIELDS, fields);
  if ((r32(q + IntelQueue.FLAGS) & IntelQueueFlag.EXTENDED) != 0) {
    const l4: u32 = l2 + l3;
    const ip: u32 =
      l2 | ((l2 + Header.IPV4_CHECKSUM) << ContextExtended.CSO_BIT) | ((l4 - 1) << ContextExtended.CSE_BIT);
    let tcp: u32 = (l4 | ((l4 + checksumAt(flags)) << ContextExtended.CSO_BIT)) >>> 0;
    let command: u32 = TxCommand.DEXT;
    if ((flags & Asked.L4) == 0) tcp = 0;
    if ((flags & OlFlag.TX_TCP_CKSUM) != 0) command = command | ContextExtended.TCP;
    if ((flags & (OlFlag.TX_IPV4 | OlFlag.TX_IP_CKSUM)) != 0) command = command | ContextExtended.IP;
    describe(desc, ip, tcp, command, 0);
    return;
  }
  const maclen: u32 = l2 == 0 ? Header.ETHERNET : l2;
  const where: u32 = (l3 | (maclen << ContextAdvanced.MACLEN_BIT) | (fields & 0xffff0000)) >>> 0;
  let command: u32 = TxCommand.DEXT | ContextAdvanced.DTYP;
  if ((flags & OlFlag.TX_TCP_CKSUM) != 0) command = command | ContextAdvanced.TCP;
  if ((flags & (OlFlag.TX_IPV4 | OlFlag.TX_IP_CKSUM)) != 0) command = command | ContextAdvanced.IPV4;
  describe(desc, where, 0, command, 0);
}
