// The filter against libpcap's own interpreter: real expressions over made packets, programs of random instructions.
// Where there is no libpcap, what was recorded here stands in its place.
import koffi from "koffi";
import t from "tap";
import { type BpfInstruction, type BpfProgram, checkProgram, encodeProgram } from "../../src/capture/bpf.ts";
import { compileFilter, loadLibpcap } from "../../src/capture/filter.ts";
import { PollmodeError } from "../../src/errors.ts";
import { Mbuf, OlFlag } from "../../src/hot/layout.ts";
import { onEngines, type Rig, type Tap } from "../support/engines.ts";
import { Random } from "../support/random.ts";
import { expressions, randomPacket } from "./packets.ts";
import { recorded } from "./recorded.ts";
import { TapRig } from "./support.ts";

const options = { arenaMib: 24, mbufs: 512 };
const SEED = 20_260;

function missing(): string | undefined {
  try {
    compileFilter("ip");
    return undefined;
  } catch (error) {
    if (error instanceof PollmodeError && error.code === "CAPTURE_LIBPCAP") return error.message;
    throw error;
  }
}
const noLibpcap = missing();

/** On each engine, or skipped by name. */
function againstLibpcap(name: string, body: (t: Tap, rig: Rig) => Promise<void>): void {
  if (noLibpcap) t.test(name, { skip: noLibpcap }, async () => {});
  else onEngines(name, options, body);
}

/** pcap_offline_filter over programs that need not have come from libpcap. */
class Reference {
  private readonly run;

  constructor() {
    const library = koffi.load("libpcap.so.0.8");
    this.run = library.func("int pcap_offline_filter(void *, void *, void *)");
  }

  accepts(program: BpfProgram, packets: readonly Uint8Array[]): boolean[] {
    const code = encodeProgram(program);
    const struct = Buffer.alloc(16);
    struct.writeUInt32LE(program.length);
    struct.writeBigUInt64LE(koffi.address(code), 8);
    return packets.map((packet) => {
      const header = Buffer.alloc(24); // struct timeval, caplen, len
      header.writeUInt32LE(packet.length, 16);
      header.writeUInt32LE(packet.length, 20);
      return this.run(struct, header, Buffer.from(packet)) !== 0;
    });
  }
}

/** What the tap accepts, packet by packet. */
async function accepted(tap: TapRig, program: BpfProgram, mbufs: readonly number[]): Promise<boolean[]> {
  const taps = tap.taps({ program, direction: "in", queue: 0, snaplen: 1 });
  let before = 0;
  const verdicts = mbufs.map((mbuf) => {
    tap.receive([mbuf]);
    const now = taps.counters.accepted;
    const verdict = now > before;
    before = now;
    return verdict;
  });
  await taps.close();
  return verdicts;
}

const bits = (verdicts: readonly boolean[]) => verdicts.map((yes) => (yes ? "1" : "0")).join("");

function makePackets(rig: Rig, random: Random, count: number) {
  const packets = Array.from({ length: count }, () => randomPacket(random));
  return { packets, mbufs: packets.map((packet) => rig.packet(packet)) };
}

againstLibpcap("expressions, against libpcap", async (t, rig) => {
  const random = new Random(SEED);
  const reference = new Reference();
  const tap = new TapRig(rig);
  const { packets, mbufs } = makePackets(rig, random, 200);
  let compiled = 0;
  let matches = 0;
  for (const expression of expressions(random, rig.kind === "wasm" ? 400 : 150)) {
    let program: BpfProgram;
    try {
      program = compileFilter(expression);
    } catch {
      continue; // "expression rejects all packets", "ARP and TCP exclude each other": libpcap's to say
    }
    compiled++;
    const wanted = bits(reference.accepts(program, packets));
    const found = bits(await accepted(tap, program, mbufs));
    matches += wanted.split("1").length - 1;
    if (found !== wanted) t.equal(found, wanted, expression);
  }
  t.ok(compiled > (rig.kind === "wasm" ? 300 : 100), `${compiled} expressions`);
  t.ok(matches > 1000, `${matches} matches`);
});

/** A valid program of random instructions that begins by filling the scratch memory. */
function randomProgram(random: Random): BpfProgram {
  const program: BpfInstruction[] = Array.from({ length: 16 }, (_, k) => [0x02, 0, 0, k]);
  const length = random.between(4, 40);
  const small = () => (random.chance(95) ? random.below(24) : random.pick([0xffff_fffe, random.word(), 70]));
  for (let k = 0; k < length; k++) {
    const behind = length - k; // instructions that follow, with the RET at the end
    const jump = () => random.below(Math.min(behind, 256));
    const operand = random.pick([0, 8]);
    const kind = random.below(10);
    if (kind < 3) program.push([random.pick([0x20, 0x28, 0x30, 0x40, 0x48, 0x50]), 0, 0, small()]);
    else if (kind === 3) program.push([random.pick([0x00, 0x01, 0x80, 0x81, 0xb1]), 0, 0, small()]);
    else if (kind === 4) program.push([random.pick([0x60, 0x61, 0x02, 0x03]), 0, 0, random.below(16)]);
    else if (kind === 5) program.push([random.pick([0x07, 0x87]), 0, 0, 0]);
    else if (kind < 8) {
      const operation = random.pick([0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0]);
      const constant = operation === 0x60 || operation === 0x70 ? random.below(32) : small() || 1;
      program.push([0x04 | operation | operand, 0, 0, constant]);
    } else if (kind === 8) program.push([0x84, 0, 0, 0]);
    else if (random.chance(15)) program.push([0x05, 0, 0, jump()]);
    else program.push([random.pick([0x15, 0x25, 0x35, 0x45]) | operand, jump(), jump(), small()]);
  }
  program.push(random.chance(70) ? [0x16, 0, 0, 0] : [0x06, 0, 0, random.below(2)]);
  return program;
}

againstLibpcap("programs of random instructions, against libpcap", async (t, rig) => {
  const random = new Random(SEED + 1);
  const reference = new Reference();
  const tap = new TapRig(rig);
  const { packets, mbufs } = makePackets(rig, random, 40);
  const seen = new Set<string>();
  for (let k = 0; k < (rig.kind === "wasm" ? 1500 : 400); k++) {
    const program = randomProgram(random);
    const wanted = bits(reference.accepts(program, packets));
    const found = bits(await accepted(tap, program, mbufs));
    if (found !== wanted) t.same(found, wanted, `program ${k}: ${JSON.stringify(program)}`);
    seen.add(wanted);
  }
  t.ok(seen.size > (rig.kind === "wasm" ? 100 : 30), `${seen.size} different outcomes`);
});

onEngines("recorded programs", options, async (t, rig) => {
  const tap = new TapRig(rig);
  const { mbufs } = makePackets(rig, new Random(recorded.seed), recorded.packets);
  for (const { expression, program, verdicts } of recorded.filters) {
    checkProgram(program);
    t.equal(bits(await accepted(tap, program, mbufs)), verdicts, expression);
  }
});

onEngines("segments and tags beside the packet", options, async (t, rig) => {
  const random = new Random(SEED + 2);
  const tap = new TapRig(rig);
  for (const { expression, program } of recorded.filters) {
    for (let k = 0; k < 8; k++) {
      const frame = Buffer.from(randomPacket(random));
      const whole = rig.packet(frame);
      const cut = rig.packet(frame, random.between(14, 40));
      const found = [...(await accepted(tap, program, [whole, cut]))];
      if (found[0] !== found[1]) t.fail(`${expression}: ${frame.toString("hex")} in segments`);
      rig.free([whole, cut]);
      if (frame.length < 16) continue;
      // the same frame with a tag in it, and with that tag beside it
      const tag = Buffer.from([0x81, 0x00, 0x20, 5]);
      const tagged = rig.packet(Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]));
      const beside = rig.packet(frame, random.pick([2048, 14, 20]));
      rig.put(beside + Mbuf.OL_FLAGS, OlFlag.RX_VLAN_STRIPPED);
      rig.arena.u16[(beside + Mbuf.VLAN_TCI) >>> 1] = 0x2005;
      const both = await accepted(tap, program, [tagged, beside]);
      if (both[0] !== both[1]) t.fail(`${expression}: ${frame.toString("hex")} with its tag beside it`);
      rig.free([tagged, beside]);
    }
  }
  t.same(rig.audit(), []);
});

t.test("programs that are refused", async (t) => {
  const ret: BpfInstruction = [6, 0, 0, 1];
  const bad: [unknown, RegExp][] = [
    [[], /1 to 4096/],
    [new Array(4097).fill(ret), /1 to 4096/],
    ["ret", /1 to 4096/],
    [[[6, 0, 0]], /code, jt, jf and k/],
    [[[6, 0, 0, -1]], /code, jt, jf and k/],
    [[[6, 0, 256, 1]], /code, jt, jf and k/],
    [[[6.5, 0, 0, 1]], /code, jt, jf and k/],
    [[[0x28, 0, 0, 12]], /no RET/],
    [
      [
        [5, 0, 0, 0],
        [5, 0, 0, 0],
      ],
      /instruction 1: it jumps over 0 instructions, 0 follow/,
    ],
    [[[0x15, 1, 0, 0], ret], /jumps over 1 instructions, 1 follow/],
    [[[0x15, 0, 1, 0], ret], /jumps over 1/],
    [[[5, 0, 0, 0xffff_ffff], ret], /jumps over 4294967295/],
    [[[0x60, 0, 0, 16], ret], /scratch word 16/],
    [[[0x02, 0, 0, 99], ret], /scratch word 99/],
    [[[0x34, 0, 0, 0], ret], /divides by 0/],
    [[[0x94, 0, 0, 0], ret], /divides by 0/],
    [[[0x64, 0, 0, 32], ret], /shifts by 32/],
    [[[0xb4, 0, 0, 1], ret], /no code 0xb4/],
    [[[0x8c, 0, 0, 0], ret], /no code 0x8c/],
    [[[0x55, 0, 0, 0], ret], /no code 0x55/],
    [[[0x29, 0, 0, 0], ret], /no code 0x29/],
    [[[0x104, 0, 0, 1], ret], /no code 0x104/],
    [[[0xb0, 0, 0, 0], ret], /no code 0xb0/],
    [[[0x0e, 0, 0, 0], ret], /no code 0xe/],
    [[[0x17, 0, 0, 0], ret], /no code 0x17/],
  ];
  for (const [program, message] of bad) {
    t.throws(
      () => checkProgram(program),
      { code: "CAPTURE_PROGRAM", message },
      JSON.stringify(program).slice(0, 60),
    );
  }
  t.doesNotThrow(() => checkProgram([ret]));
});

t.test("expressions that libpcap refuses", { skip: noLibpcap ?? false }, async (t) => {
  for (const expression of ["tcp prt 80", "host", "ip[", "vlan 99999", "port 70000", "\0"]) {
    t.throws(
      () => compileFilter(expression),
      { code: "CAPTURE_FILTER", fix: /pcap-filter\(7\)/ },
      expression,
    );
  }
  t.throws(() => compileFilter("tcp prt 80"), { message: /^capture filter "tcp prt 80": .+/ });
  t.equal(compileFilter("").length, 1, "none: everything");
});

t.test("a machine without libpcap", async (t) => {
  const wanted = { code: "CAPTURE_LIBPCAP", message: /neither libno\.so nor libnot\.so is here/ };
  t.throws(() => loadLibpcap(["libno.so", "libnot.so"]), { ...wanted, fix: /^apt-get install libpcap0\.8 / });
});
