// A filter's program as control code handles it: a list of instructions, as the compiler gave them or as they came over
// the control socket. Hot code runs it unchecked but for loads, so here is where it is checked.
import { PollmodeError } from "../errors.ts";
import { BPF_INSTRUCTIONS_MAX } from "../limits.ts";
import { BpfBit, BpfClass, BpfJump, BpfMode, BpfOp, BpfSize, Insn } from "./layout.ts";

/** One instruction: code, jt, jf, k, as in struct bpf_insn and as `tcpdump -dd` prints it. */
export type BpfInstruction = readonly [code: number, jt: number, jf: number, k: number];
export type BpfProgram = readonly BpfInstruction[];

/** Words of scratch memory: BPF_MEMWORDS. */
const SCRATCH_WORDS = 16;

const loads = new Set<number>();
for (const size of [BpfSize.WORD, BpfSize.HALF, BpfSize.BYTE]) {
  for (const mode of [BpfMode.ABS, BpfMode.IND]) loads.add(BpfClass.LD | size | mode);
}
for (const mode of [BpfMode.IMM, BpfMode.MEM, BpfMode.LEN]) {
  loads.add(BpfClass.LD | mode);
  loads.add(BpfClass.LDX | mode);
}
loads.add(BpfClass.LDX | BpfSize.BYTE | BpfMode.MSH);

/**
 * Throws CAPTURE_PROGRAM unless the program ends on every packet: known codes, jumps forward and inside, a RET last,
 * scratch words that exist, no division by a constant 0. What bpf_validate of the BSDs demands, and Linux.
 */
export function checkProgram(program: unknown): asserts program is BpfProgram {
  if (!Array.isArray(program) || program.length < 1 || program.length > BPF_INSTRUCTIONS_MAX) {
    throw fault(`it has not 1 to ${BPF_INSTRUCTIONS_MAX} instructions`);
  }
  program.forEach((instruction: unknown, at) => {
    const what = wrong(instruction, program.length - at - 1);
    if (what) throw fault(`instruction ${at}: ${what}`);
  });
  const [last] = program.at(-1) as BpfInstruction;
  if ((last & BpfClass.MASK) !== BpfClass.RET) throw fault("its last instruction is no RET");
}

function fault(what: string): PollmodeError {
  return new PollmodeError(
    "CAPTURE_PROGRAM",
    `capture filter: ${what}`,
    "give what pcap_compile made of an expression: `tcpdump -dd EXPRESSION` shows it",
  );
}

/** What is wrong with an instruction that `behind` others follow. */
function wrong(instruction: unknown, behind: number): string | undefined {
  const words = Array.isArray(instruction) && instruction.length === 4 ? (instruction as unknown[]) : [];
  const limits = [0xffff, 0xff, 0xff, 0xffff_ffff];
  const fits = (word: unknown, k: number) =>
    Number.isInteger(word) && (word as number) >= 0 && (word as number) <= limits[k]!;
  if (words.length !== 4 || !words.every(fits)) return "it is not code, jt, jf and k";
  const [code, jt, jf, k] = words as [number, number, number, number];
  const unknown = `there is no code 0x${code.toString(16)}`;
  const scratch = k < SCRATCH_WORDS ? undefined : `there is no scratch word ${k}`;
  switch (code & BpfClass.MASK) {
    case BpfClass.LD:
    case BpfClass.LDX:
      if (!loads.has(code)) return unknown;
      return (code & BpfMode.MASK) === BpfMode.MEM ? scratch : undefined;
    case BpfClass.ST:
    case BpfClass.STX:
      return code === BpfClass.ST || code === BpfClass.STX ? scratch : unknown;
    case BpfClass.ALU:
      return wrongOperation(code, k);
    case BpfClass.JMP:
      return wrongJump(code, jt, jf, k, behind);
    case BpfClass.RET:
      return code === BpfClass.RET || code === (BpfClass.RET | BpfBit.RET_A) ? undefined : unknown;
    default:
      return code === 0x07 || code === (0x07 | BpfBit.TXA) ? undefined : unknown;
  }
}

function wrongOperation(code: number, k: number): string | undefined {
  const operation = code & BpfOp.MASK;
  const byConstant = (code & BpfBit.X) === 0;
  const known = code <= (BpfClass.ALU | BpfBit.X | BpfOp.XOR) && !(operation === BpfOp.NEG && !byConstant);
  if (!known) return `there is no code 0x${code.toString(16)}`;
  const divides = operation === BpfOp.DIV || operation === BpfOp.MOD;
  if (divides && byConstant && k === 0) return "it divides by 0";
  const shifts = operation === BpfOp.LSH || operation === BpfOp.RSH;
  return shifts && byConstant && k > 31 ? `it shifts by ${k}` : undefined;
}

function wrongJump(code: number, jt: number, jf: number, k: number, behind: number): string | undefined {
  const always = code === (BpfClass.JMP | BpfJump.JA);
  const known =
    always || ((code & BpfJump.MASK) !== BpfJump.JA && code <= (BpfClass.JMP | BpfBit.X | BpfJump.JSET));
  if (!known) return `there is no code 0x${code.toString(16)}`;
  const farthest = always ? k : Math.max(jt, jf);
  return farthest < behind ? undefined : `it jumps over ${farthest} instructions, ${behind} follow`;
}

/** The program as hot code runs it. */
export function encodeProgram(program: BpfProgram): Buffer {
  const bytes = Buffer.alloc(program.length * Insn.BYTES);
  program.forEach(([code, jt, jf, k], at) => {
    const p = at * Insn.BYTES;
    bytes.writeUInt16LE(code, p + Insn.CODE);
    bytes.writeUInt8(jt, p + Insn.JT);
    bytes.writeUInt8(jf, p + Insn.JF);
    bytes.writeUInt32LE(k, p + Insn.K);
  });
  return bytes;
}

/** The other way: struct bpf_insn[]. */
export function decodeProgram(bytes: Buffer): BpfProgram {
  return Array.from({ length: Math.floor(bytes.length / Insn.BYTES) }, (_, at) => {
    const p = at * Insn.BYTES;
    return [
      bytes.readUInt16LE(p + Insn.CODE),
      bytes.readUInt8(p + Insn.JT),
      bytes.readUInt8(p + Insn.JF),
      bytes.readUInt32LE(p + Insn.K),
    ];
  });
}
