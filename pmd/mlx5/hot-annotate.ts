// What the NIC found out about a received packet, from its completion into its mbuf.
import { Mbuf, OlFlag } from "../../src/hot/layout.ts";
import { r32, swap16, w16, w32 } from "../../src/hot/mem.ts";
import { CqeInfo } from "./cqe.ts";
import { Mlx5Flag, Mlx5Queue } from "./layout.ts";

/** Writes a completion's word INFO, and its hash, down in the packet's mbuf. */
export function annotate(q: u32, mbuf: u32, info: u32, hash: u32, hashType: u32): void {
  const flags: u32 = r32(q + Mlx5Queue.FLAGS);
  let ol: u32 = 0;
  if ((flags & Mlx5Flag.RSS) != 0 && hashType != 0) {
    ol = OlFlag.RX_RSS_HASH;
    w32(mbuf + Mbuf.RSS_HASH, hash);
  }
  if ((flags & Mlx5Flag.CHECKSUM) != 0) ol = ol | checksums(info);
  if ((flags & Mlx5Flag.VLAN_STRIP) != 0 && (info & CqeInfo.CV) != 0) {
    ol = ol | OlFlag.RX_VLAN_STRIPPED;
    w16(mbuf + Mbuf.VLAN_TCI, swap16(info >>> CqeInfo.VLAN_BIT));
  }
  w32(mbuf + Mbuf.OL_FLAGS, ol);
}

/**
 * OlFlag's bits of checksums: what the NIC calls right is right. What it does not is unknown, as with DPDK
 * (rxq_cq_to_ol_flags): it also says nothing of headers that it did not read, and of UDP without a checksum.
 */
function checksums(info: u32): u32 {
  let ol: u32 = 0;
  if ((info & CqeInfo.L3_TYPE) == <u32>CqeInfo.IPV4 && (info & CqeInfo.L3_OK) != 0)
    ol = OlFlag.RX_IP_CKSUM_GOOD;
  if ((info & CqeInfo.L4_TYPE) == 0 || (info & CqeInfo.IP_FRAG) != 0 || (info & CqeInfo.L4_OK) == 0)
    return ol;
  return ol | OlFlag.RX_L4_CKSUM_GOOD;
}
