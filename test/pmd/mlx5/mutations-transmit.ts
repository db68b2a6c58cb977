// Wrong behaviours of the mlx5 driver's transmit side in direct verbs: mutations.ts.
import type { Mutation } from "./mutant.ts";

const send = "pmd/mlx5/hot-send.ts";
const runs = "pmd/mlx5/hot-mpw.ts";
const transmit = "pmd/mlx5/hot-transmit.ts";
const simd = "pmd/mlx5/simd.ts";

const record = "  publish32(r32(q + Mlx5Queue.RECORD), swap32(r32(q + Mlx5Queue.TAIL) & 0xffff));\n";
const register = "  w64(r32(q + Mlx5Queue.BF) + half, r32(wqe), r32(wqe + Wqe.QPN_DS));\n";
const fenced = "  fence(q + Mlx5Queue.FENCE);\n";

export const transmitMutations: readonly Mutation[] = [
  {
    name: "the register is rung before the doorbell record is written",
    file: transmit,
    find: record + fenced + register,
    put: register + fenced + record,
    first: ["cyclic"],
  },
  {
    name: "the send doorbell record is not written",
    file: transmit,
    find: record,
    put: "",
    first: ["cyclic"],
  },
  {
    name: "the send doorbell record is little-endian",
    file: transmit,
    find: "swap32(r32(q + Mlx5Queue.TAIL) & 0xffff)",
    put: "r32(q + Mlx5Queue.TAIL) & 0xffff",
    first: ["cyclic"],
  },
  {
    name: "the register gets the WQE's first word twice",
    file: transmit,
    find: "r32(wqe), r32(wqe + Wqe.QPN_DS)",
    put: "r32(wqe), r32(wqe)",
    first: ["cyclic"],
  },
  {
    name: "the register is written on and on behind its halves",
    file: transmit,
    find: "half ^ r32(q + Mlx5Queue.BF_BYTES)",
    put: "half + r32(q + Mlx5Queue.BF_BYTES)",
    first: ["cyclic"],
  },
  {
    name: "the register is not rung",
    file: transmit,
    find: register,
    put: "",
    first: ["cyclic"],
  },
  {
    name: "no completion is ever asked for",
    file: transmit,
    find: "w32(wqe + Wqe.FM_CE_SE, WqeField.CQ_UPDATE);",
    put: "",
    first: ["cyclic"],
  },
  {
    name: "the completion is asked for of the wrong WQE",
    file: transmit,
    find: "((last & r32(q + Mlx5Queue.MASK)) << WqeSize.BLOCK_SHIFT);\n  w32(wqe + Wqe.FM_CE_SE",
    put: "(((last - 1) & r32(q + Mlx5Queue.MASK)) << WqeSize.BLOCK_SHIFT);\n  w32(wqe + Wqe.FM_CE_SE",
    first: ["cyclic"],
  },
  {
    name: "packets are given back before they are sent",
    file: transmit,
    find: "  if (r32(q + Mlx5Queue.TAIL) != start) askCompletion(q, asked);\n",
    put:
      "  if (r32(q + Mlx5Queue.TAIL) != start) askCompletion(q, asked);\n" +
      "  giveBack(q, r32(q + Mlx5Queue.PACKET_TAIL), 1);\n",
    first: ["cyclic"],
  },
  {
    name: "the ring is never full",
    file: send,
    find: "return r32(q + Mlx5Queue.MASK) + 1 - ((r32(q + Mlx5Queue.TAIL) - r32(q + Mlx5Queue.HEAD)) >>> 0);",
    put: "return r32(q + Mlx5Queue.MASK) + 1;",
    first: ["jumbo", "cyclic"],
  },
  {
    name: "a WQE's index is not its own",
    file: send,
    find: "const operation: u32 = Opcode.SEND | (swap16(tail + k) << 8);",
    put: "const operation: u32 = Opcode.SEND | (swap16(tail) << 8);",
    first: ["cyclic"],
  },
  {
    name: "the number of segments is one short",
    file: send,
    find: "const segments: u32 = inlined != 0 ? 4 : 3;",
    put: "const segments: u32 = inlined != 0 ? 3 : 2;",
    first: ["cyclic"],
  },
  {
    name: "nothing is inlined, whatever the NIC needs",
    file: send,
    find: "    if (inlined == 0) {",
    put: "    if (inlined != 77) {",
    first: ["cyclic"],
  },
  {
    name: "the inlined header has 14 bytes",
    file: simd,
    find: "(0x1200 | (start << 16)) >>> 0",
    put: "(0x0e00 | (start << 16)) >>> 0",
    first: ["cyclic"],
  },
  {
    name: "what is inlined is sent twice",
    file: send,
    find: "writeSegment(wqe + Wqe.DATA_INLINE_18, data + HEADER, length - HEADER, lkey, low, high);",
    put: "writeSegment(wqe + Wqe.DATA_INLINE_18, data, length, lkey, low, high);",
    first: ["cyclic"],
  },
  {
    name: "the lkey is another",
    file: simd,
    find: "  w32(p + 4, lkey);",
    put: "  w32(p + 4, lkey ^ 0x00010000);",
    first: ["cyclic"],
  },
  {
    name: "the length in a data segment is little-endian",
    file: simd,
    find: "  w32(p, swap32(length));",
    put: "  w32(p, length);",
    first: ["cyclic"],
  },
  {
    name: "the words of an address are exchanged",
    file: simd,
    find: "  w32(p, swap32(sum < low ? high + 1 : high));\n  w32(p + 4, swap32(sum));",
    put: "  w32(p + 4, swap32(sum < low ? high + 1 : high));\n  w32(p, swap32(sum));",
    first: ["cyclic"],
  },
  {
    name: "no checksum is asked for",
    file: send,
    find: "asked == 0 ? 0 : checksumFlags(asked)",
    put: "0",
    first: ["offloads"],
  },
  {
    name: "a tag that is put in is little-endian",
    file: send,
    find: "      w8(ringByte(q, to + 2), tag >>> 8);\n      w8(ringByte(q, to + 3), tag & 255);",
    put: "      w8(ringByte(q, to + 2), tag & 255);\n      w8(ringByte(q, to + 3), tag >>> 8);",
    first: ["offloads"],
  },
  {
    name: "segments behind the ring's end are written beyond it",
    file: send,
    find: "writeSegment(ringByte(q, to), r32(m + Mbuf.DATA) + before",
    put: "writeSegment(r32(q + Mlx5Queue.RING) + to, r32(m + Mbuf.DATA) + before",
    first: ["jumbo"],
  },
  {
    name: "a multi-packet WQE does not count its title",
    file: runs,
    find: "const segments: u32 = k + WqeField.TITLE_SEGMENTS;",
    put: "const segments: u32 = k;",
    first: ["runs"],
  },
  {
    name: "a multi-packet WQE goes on behind the ring's end",
    file: runs,
    find: "(start + Wqe.DATA + (k << WqeSize.SEGMENT_SHIFT)) & end;",
    put: "start + Wqe.DATA + (k << WqeSize.SEGMENT_SHIFT);",
    first: ["runs"],
  },
];
