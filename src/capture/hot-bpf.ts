// The filter: classic BPF over a packet where it lies, in one segment or several. Programs were validated when they
// were set (bpf.ts): codes are known, jumps lead forward and stay inside, a RET comes last. So a run ends after at most
// as many steps as the program has instructions. Loads are checked here: one beyond the packet refuses it.
//
// A VLAN tag that receive has taken off, or that transmit is to put in, is part of the packet: it appears where it
// stands on the wire, so that "vlan 5" finds it.
import { Mbuf, OlFlag } from "../hot/layout.ts";
import { mul32, r8, r16, r32, w32 } from "../hot/mem.ts";
import { BpfBit, BpfClass, BpfJump, BpfMode, BpfOp, BpfSize, Insn } from "./layout.ts";

// The packet at hand.
let first: u32 = 0;
/** Its first byte, and how many lie there in one piece before a tag or a segment's end. */
let data: u32 = 0;
let flat: u32 = 0;
/** Bytes on the wire. */
let length: u32 = 0;
/** Tag protocol identifier and tag; 0: there is none beside the packet. */
let tag: u32 = 0;

const TAG_AT: u32 = 12;
const TAG_BYTES: u32 = 4;
/** The longest program: BPF_MAXINSNS. */
const STEPS_MAX: u32 = 4096;

/** Makes `mbuf` the packet at hand. Returns its bytes on the wire. */
export function viewPacket(mbuf: u32, outbound: u32): u32 {
  first = mbuf;
  data = r32(mbuf + Mbuf.DATA);
  flat = r32(mbuf + Mbuf.DATA_LEN);
  length = r32(mbuf + Mbuf.PKT_LEN);
  const wanted: u32 = outbound != 0 ? OlFlag.TX_VLAN : OlFlag.RX_VLAN_STRIPPED;
  tag = 0;
  if ((r32(mbuf + Mbuf.OL_FLAGS) & wanted) != 0 && length >= TAG_AT && flat >= TAG_AT) {
    tag = (0x81000000 | r16(mbuf + Mbuf.VLAN_TCI)) >>> 0;
    length = length + TAG_BYTES;
    flat = TAG_AT;
  }
  return length;
}

/** The tag that stands beside the packet at hand, TPID and TCI; 0: none. */
export function viewedTag(): u32 {
  return tag;
}

/** The byte at `offset`, which is less than `length`. */
function byteAt(offset: u32): u32 {
  if (offset < flat) return r8(data + offset);
  let at: u32 = offset;
  if (tag != 0) {
    if (at < TAG_AT + TAG_BYTES) return (tag >>> ((TAG_AT + TAG_BYTES - 1 - at) << 3)) & 255;
    at = at - TAG_BYTES;
  }
  let mbuf: u32 = first;
  let bytes: u32 = r32(mbuf + Mbuf.DATA_LEN);
  while (at >= bytes) {
    at = at - bytes;
    mbuf = r32(mbuf + Mbuf.NEXT);
    if (mbuf == 0) return 0; // segments shorter than they claim together
    bytes = r32(mbuf + Mbuf.DATA_LEN);
  }
  return r8(r32(mbuf + Mbuf.DATA) + at);
}

/** Whether `bytes` bytes from `base + k` on lie in the packet, without the sum's overflow. */
function inside(base: u32, k: u32, bytes: u32): boolean {
  return k <= length && base <= length - k && bytes <= length - k - base;
}

/** `bytes` bytes (1, 2 or 4) at `offset`, in network order. */
function load(offset: u32, bytes: u32): u32 {
  if (offset + bytes <= flat) {
    const p: u32 = data + offset;
    if (bytes == 1) return r8(p);
    if (bytes == 2) return (r8(p) << 8) | r8(p + 1);
    return ((r8(p) << 24) | (r8(p + 1) << 16) | (r8(p + 2) << 8) | r8(p + 3)) >>> 0;
  }
  let value: u32 = 0;
  for (let k: u32 = 0; k < bytes; k++) value = ((value << 8) | byteAt(offset + k)) >>> 0;
  return value;
}

function sizeOf(code: u32): u32 {
  const size: u32 = code & BpfSize.MASK;
  return size == <u32>BpfSize.WORD ? 4 : size == <u32>BpfSize.HALF ? 2 : 1;
}

/** A division by zero is told from its result by `divided`, and refuses the packet. */
let divided: u32 = 0;

function calculate(code: u32, a: u32, b: u32): u32 {
  switch (code & BpfOp.MASK) {
    case BpfOp.ADD:
      return (a + b) >>> 0;
    case BpfOp.SUB:
      return (a - b) >>> 0;
    case BpfOp.MUL:
      return mul32(a, b);
    case BpfOp.DIV:
      divided = b;
      return b == 0 ? 0 : (a / b) >>> 0;
    case BpfOp.MOD:
      divided = b;
      return b == 0 ? 0 : a % b;
    case BpfOp.OR:
      return (a | b) >>> 0;
    case BpfOp.AND:
      return (a & b) >>> 0;
    case BpfOp.XOR:
      return (a ^ b) >>> 0;
    case BpfOp.LSH:
      return b < 32 ? (a << b) >>> 0 : 0;
    case BpfOp.RSH:
      return b < 32 ? a >>> b : 0;
    default:
      return (0 - a) >>> 0; // NEG
  }
}

/** Which of a jump's two ways is taken. */
function holds(code: u32, a: u32, b: u32): boolean {
  switch (code & BpfOp.MASK) {
    case BpfJump.JEQ:
      return a == b;
    case BpfJump.JGT:
      return a > b;
    case BpfJump.JGE:
      return a >= b;
    default:
      return (a & b) != 0; // JSET
  }
}

/** Runs `program` on the packet at hand. Returns how many bytes it wants kept; 0: it refuses the packet. */
export function runFilter(program: u32, scratch: u32): u32 {
  let a: u32 = 0;
  let x: u32 = 0;
  let pc: u32 = program;
  for (let steps: u32 = 0; steps < STEPS_MAX; steps++) {
    const code: u32 = r16(pc + Insn.CODE);
    const k: u32 = r32(pc + Insn.K);
    const operand: u32 = (code & BpfBit.X) != 0 ? x : k;
    switch (code & BpfClass.MASK) {
      case BpfClass.LD: {
        const mode: u32 = code & BpfMode.MASK;
        if (mode == <u32>BpfMode.ABS || mode == <u32>BpfMode.IND) {
          const base: u32 = mode == <u32>BpfMode.IND ? x : 0;
          const bytes: u32 = sizeOf(code);
          if (!inside(base, k, bytes)) return 0;
          a = load(base + k, bytes);
        } else a = mode == <u32>BpfMode.MEM ? r32(scratch + (k << 2)) : mode == <u32>BpfMode.LEN ? length : k;
        break;
      }
      case BpfClass.LDX: {
        const mode: u32 = code & BpfMode.MASK;
        if (mode == <u32>BpfMode.MSH) {
          if (!inside(0, k, 1)) return 0;
          x = (byteAt(k) & 15) << 2;
        } else x = mode == <u32>BpfMode.MEM ? r32(scratch + (k << 2)) : mode == <u32>BpfMode.LEN ? length : k;
        break;
      }
      case BpfClass.ST:
        w32(scratch + (k << 2), a);
        break;
      case BpfClass.STX:
        w32(scratch + (k << 2), x);
        break;
      case BpfClass.ALU:
        divided = 1;
        a = calculate(code, a, operand);
        if (divided == 0) return 0;
        break;
      case BpfClass.JMP:
        if ((code & BpfOp.MASK) == <u32>BpfJump.JA) pc = pc + (k << 3);
        else pc = pc + (r8(pc + (holds(code, a, operand) ? <u32>Insn.JT : <u32>Insn.JF)) << 3);
        break;
      case BpfClass.RET:
        return (code & BpfBit.RET_A) != 0 ? a : k;
      default:
        if ((code & BpfBit.TXA) != 0) a = x;
        else x = a;
        break;
    }
    pc = pc + Insn.BYTES;
  }
  return 0;
}
