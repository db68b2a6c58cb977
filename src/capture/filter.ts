// Filter expressions, compiled by libpcap: what tcpdump understands is understood here, by the same code.
import koffi from "koffi";
import { PollmodeError } from "../errors.ts";
import { libc } from "../libc/native.ts";
import { BPF_INSTRUCTIONS_MAX, PCAP_FRAME_BYTES_MAX } from "../limits.ts";
import { LinkType } from "../pcap/format.ts";
import { type BpfProgram, checkProgram, decodeProgram } from "./bpf.ts";
import { Insn } from "./layout.ts";

/** Debian and its kin call it .0.8, all others .1. */
const sonames = ["libpcap.so.1", "libpcap.so.0.8"];

/** pcap/pcap.h: the netmask is not known, so that "ip broadcast" is refused by name. */
const NETMASK_UNKNOWN = 0xffff_ffff;

/** struct bpf_program of pcap/bpf.h: u_int bf_len; struct bpf_insn *bf_insns. */
const PROGRAM_BYTES = 16;
const PROGRAM_INSNS = 8;

/** libpcap, by the first of `names` that is there. */
export function loadLibpcap(names: readonly string[] = sonames): ReturnType<typeof koffi.load> {
  for (const name of names) {
    try {
      return koffi.load(name);
    } catch {
      // not by this name
    }
  }
  throw new PollmodeError(
    "CAPTURE_LIBPCAP",
    `capture filters are compiled by libpcap, and neither ${names.join(" nor ")} is here`,
    "apt-get install libpcap0.8 (Fedora: dnf install libpcap), or capture without a filter",
  );
}

let functions: ReturnType<typeof bind> | undefined;

function bind() {
  const library = loadLibpcap();
  return {
    openDead: library.func("void *pcap_open_dead(int, int)"),
    compile: library.func("int pcap_compile(void *, void *, const char *, int, uint32_t)"),
    geterr: library.func("const char *pcap_geterr(void *)"),
    freecode: library.func("void pcap_freecode(void *)"),
    close: library.func("void pcap_close(void *)"),
    memcpy: libc.func("uint64_t memcpy(void *, uint64_t, size_t)"),
  };
}

/** The program of a filter expression over Ethernet frames. */
export function compileFilter(expression: string): BpfProgram {
  if (expression.includes("\0")) throw refused(expression, "it has a NUL byte");
  functions ??= bind();
  const { openDead, compile, geterr, freecode, close, memcpy } = functions;
  const handle: unknown = openDead(LinkType.ETHERNET, PCAP_FRAME_BYTES_MAX);
  if (handle === null) throw refused(expression, "pcap_open_dead: out of memory");
  try {
    const program = Buffer.alloc(PROGRAM_BYTES);
    if (compile(handle, program, expression, 1, NETMASK_UNKNOWN) !== 0) {
      throw refused(expression, geterr(handle) as string);
    }
    try {
      const count = program.readUInt32LE(0);
      if (count > BPF_INSTRUCTIONS_MAX) throw refused(expression, `it makes ${count} instructions, too many`);
      const insns = Buffer.alloc(count * Insn.BYTES);
      memcpy(insns, program.readBigUInt64LE(PROGRAM_INSNS), insns.length);
      const decoded = decodeProgram(insns);
      checkProgram(decoded);
      return decoded;
    } finally {
      freecode(program);
    }
  } finally {
    close(handle);
  }
}

function refused(expression: string, why: string): PollmodeError {
  return new PollmodeError(
    "CAPTURE_FILTER",
    `capture filter "${expression}": ${why}`,
    'write it as in pcap-filter(7): "tcp port 80", "ether host 02:00:00:00:00:01", "vlan 5 and icmp"',
  );
}
