// Wrong behaviours of the mlx5 driver's receive side in direct verbs: mutations.ts.
import type { Mutation } from "./mutant.ts";

const completion = "pmd/mlx5/hot-completion.ts";
const receive = "pmd/mlx5/hot-receive.ts";
const annotate = "pmd/mlx5/hot-annotate.ts";
const minis = "pmd/mlx5/hot-minis.ts";
const striding = "pmd/mlx5/hot-striding.ts";

const completions: Mutation[] = [
  {
    name: "the owner bit does not change with the turn of the ring",
    file: completion,
    find: "((index >>> r32(q + Mlx5Queue.CQ_SHIFT)) & 1) << Owner.OP_OWN_BIT",
    put: "((index >>> r32(q + Mlx5Queue.CQ_SHIFT)) & 0) << Owner.OP_OWN_BIT",
    first: ["cyclic"],
  },
  {
    name: "the owner bit is not looked at",
    file: completion,
    find: "return foreign != 0 ? 0xf0000000 : word;",
    put: "return foreign == 0xff ? 0xf0000000 : word;",
    first: ["cyclic", "runs"],
  },
  {
    name: "the consumer index is little-endian",
    file: completion,
    find: "swap32(index & 0xffffff)",
    put: "index & 0xffffff",
    first: ["cyclic"],
  },
  {
    name: "the consumer index is not written",
    file: completion,
    find: "publish32(r32(q + Mlx5Queue.CQ_RECORD), swap32(index & 0xffffff));",
    put: "",
    first: ["cyclic"],
  },
  {
    name: "the consumer index is one too far",
    file: completion,
    find: "swap32(index & 0xffffff)",
    put: "swap32((index + 1) & 0xffffff)",
    first: ["cyclic"],
  },
  {
    name: "a completion in error is not told from others",
    file: completion,
    find: "if (opcode == <u32>Owner.REQ_ERR || opcode == <u32>Owner.RESP_ERR) {",
    put: "if (opcode == 99) {",
    first: ["faults"],
  },
  {
    name: "mini CQEs are looked for one behind another, not where the NIC puts them",
    file: completion,
    find: "taken < <u32>Mini.IN_A_CQE ? 1 : taken & 0xfffffff8",
    put: "1 + (taken >>> 3)",
    first: ["runs", "striding"],
  },
  {
    name: "a compressed session takes up one entry",
    file: completion,
    find: "(index + minis) >>> 0",
    put: "(index + 1) >>> 0",
    first: ["runs", "striding"],
  },
  {
    name: "a compressed session ends one packet early",
    file: completion,
    find: "if (taken != minis) return;",
    put: "if (taken + 1 < minis) return;",
    first: ["runs", "striding"],
  },
  {
    name: "lengths of mini CQEs are little-endian",
    file: completion,
    find: "swap32(r32(mini + Mini.BYTE_CNT))",
    put: "r32(mini + Mini.BYTE_CNT)",
    first: ["runs"],
  },
  {
    name: "later mini CQEs are looked for one behind another",
    file: minis,
    find: "k < <u32>Mini.IN_A_CQE ? 1 : k & 0xfffffff8",
    put: "1 + (k >>> 3)",
    first: ["runs"],
  },
  {
    name: "later packets of a session are a byte too long",
    file: minis,
    find: "swap32(r32(mini + ((got - start) << Mini.SHIFT) + Mini.BYTE_CNT))",
    put: "swap32(r32(mini + ((got - start) << Mini.SHIFT) + Mini.BYTE_CNT)) + 1",
    first: ["runs"],
  },
  {
    name: "one packet too many of a session is passed over",
    file: minis,
    find: "w32(q + Mlx5Queue.MINI, taken + got - 1);",
    put: "w32(q + Mlx5Queue.MINI, taken + got);",
    first: ["runs"],
  },
  {
    name: "hashes of mini CQEs are little-endian",
    file: minis,
    find: "hashes != 0 ? swap32(r32(miniAt(q, k + j))) : 0",
    put: "hashes != 0 ? r32(miniAt(q, k + j)) : 0",
    first: ["spreadCompressed"],
  },
];

const receives: Mutation[] = [
  {
    name: "the length is little-endian",
    file: completion,
    find: "const bytes: u32 = swap32(r32(cqe + Cqe.BYTE_CNT));",
    put: "const bytes: u32 = r32(cqe + Cqe.BYTE_CNT);",
    first: ["jumbo", "striding"],
  },
  {
    name: "the length is that of the completion before",
    file: receive,
    find: "const length: u32 = swap32(r32(cqe + Cqe.BYTE_CNT));",
    put: "const length: u32 = swap32(r32(cq + (((index + got - 1) & cqMask) << Cqe.SHIFT) + Cqe.BYTE_CNT));",
    first: ["cyclic"],
  },
  {
    name: "the receive doorbell record is little-endian",
    file: receive,
    find: "publish32(r32(q + Mlx5Queue.RECORD), swap32((tail + count) & 0xffff));",
    put: "publish32(r32(q + Mlx5Queue.RECORD), (tail + count) & 0xffff);",
    first: ["cyclic"],
  },
  {
    name: "the receive doorbell promises one WQE too many",
    file: receive,
    find: "swap32((tail + count) & 0xffff)",
    put: "swap32((tail + count + 1) & 0xffff)",
    first: ["cyclic"],
  },
  {
    name: "a WQE keeps the buffer that was handed up",
    file: receive,
    find: "w32(mbufs + (k << 2), mbuf);",
    put: "",
    first: ["cyclic"],
  },
  {
    name: "a WQE's new buffer begins at the headroom",
    file: receive,
    find: "writeAddress(addresses + (k << shift), r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, low, high);",
    put: "writeAddress(addresses + (k << shift), r32(mbuf + Mbuf.BUF), low, high);",
    first: ["cyclic"],
  },
  {
    name: "a frame of several buffers keeps them at its WQE",
    file: receive,
    find: "if (single == 0) w32(from + (count << 2), 0);",
    put: "",
    first: ["jumbo"],
  },
  {
    name: "segments of a frame are not linked",
    file: receive,
    find: "if (last != 0) w32(last + Mbuf.NEXT, mbuf);",
    put: "",
    first: ["jumbo"],
  },
  {
    name: "the tag that was stripped is little-endian",
    file: annotate,
    find: "swap16(info >>> CqeInfo.VLAN_BIT)",
    put: "(info >>> CqeInfo.VLAN_BIT) & 0xffff",
    first: ["offloads"],
  },
  {
    name: "every packet has a tag that was stripped",
    file: annotate,
    find: "(info & CqeInfo.CV) != 0",
    put: "(info | CqeInfo.CV) != 0",
    first: ["offloads"],
  },
  {
    name: "a wrong TCP or UDP checksum is called right",
    file: annotate,
    find: " || (info & CqeInfo.L4_OK) == 0",
    put: "",
    first: ["offloads"],
  },
  {
    name: "a wrong IPv4 checksum is called right",
    file: annotate,
    find: " && (info & CqeInfo.L3_OK) != 0)",
    put: ")",
    first: ["offloads"],
  },
  {
    name: "the hash is little-endian",
    file: receive,
    find: "const hash: u32 = swap32(r32(cqe + Cqe.RX_HASH_RESULT));",
    put: "const hash: u32 = r32(cqe + Cqe.RX_HASH_RESULT);",
    first: ["spread"],
  },
  {
    name: "the stride is always the next, whatever the completion says",
    file: striding,
    find: "(wqe << r32(q + Mlx5Queue.STRIDES_SHIFT)) + completionCounter;",
    put: "(wqe << r32(q + Mlx5Queue.STRIDES_SHIFT)) + r32(q + Mlx5Queue.CONSUMED) + 1;",
    first: ["striding"],
  },
  {
    name: "strides that were skipped are taken for a packet",
    file: striding,
    find: "const filler: u32 = completionBytes & Mpwrq.FILLER;",
    put: "const filler: u32 = 0;",
    first: ["striding"],
  },
  {
    name: "each frame uses up one stride",
    file: striding,
    find: "return (byteCount >>> Mpwrq.STRIDES_BIT) & Mpwrq.STRIDES;",
    put: "return byteCount == 0 ? 0 : 1;",
    first: ["striding"],
  },
  {
    name: "striding WQEs are not given to the NIC again",
    file: striding,
    find: "publish32(r32(q + Mlx5Queue.RECORD), swap32(tail & 0xffff));",
    put: "if (tail <= r32(q + Mlx5Queue.MASK) + 1) publish32(r32(q + Mlx5Queue.RECORD), swap32(tail & 0xffff));",
    first: ["striding"],
  },
];

export const receiveMutations: readonly Mutation[] = [...completions, ...receives];
