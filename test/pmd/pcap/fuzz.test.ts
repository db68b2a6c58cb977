// Files with bytes changed at random: the queue finds the same frames and the same fault as the reader for control
// code, never traps, and touches nothing beside its window.
import t from "tap";
import { PcapRx } from "../../../pmd/pcap/layout.ts";
import { PAGE_BYTES, PCAP_WINDOW_BYTES } from "../../../src/limits.ts";
import { flavours, motley } from "../../pcap/captures.ts";
import { makeFrame, onEngines, type Rig } from "../../support/engines.ts";
import { fuzzEngines } from "../../support/fuzz.ts";
import { Invariants } from "../../support/invariants.ts";
import { Random } from "../../support/random.ts";
import { closeInput, drain, newPath, type Outcome, openInput, reference, save } from "./queues.ts";

t.setTimeout(300_000);

const rounds = Number(process.env.FUZZ_ROUNDS ?? 1000);
const packets = [60, 61, 200, 1514, 70, 3000].map((length, k) => ({
  stampNs: 1_700_000_000_000_000_000n + BigInt(k),
  data: makeFrame(k, length),
}));
const seeds = [...flavours.map(({ write }) => write(packets)), motley(packets)];

function mutate(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  for (let k = random.between(1, 3); k > 0; k--) {
    // heads of records and blocks, more often than frames
    const at = random.chance(50) ? random.below(Math.min(200, copy.length)) : random.below(copy.length);
    const kind = random.below(4);
    if (kind === 0) copy[at] = random.below(256);
    else if (kind === 1) copy[at]! ^= 1 << random.below(8);
    else if (at + 4 <= copy.length)
      copy.writeUInt32LE(
        random.pick([0, 1, 12, 0x7fffffff, 0x80000000, 0xffffffff, 262_145, copy.length]),
        at,
      );
  }
  return random.chance(20) ? copy.subarray(0, random.below(copy.length + 1)) : copy;
}

/** What is wrong with what the queue found; a block larger than its window is where the two may differ. */
function difference(found: Outcome, wanted: Outcome, bytes: Buffer): string | undefined {
  if (found.code === "PCAP_LINK_TYPE") {
    const words = [bytes.readUInt16LE(20), bytes.readUInt16BE(22)];
    return words.every((type) => type === 1) ? "a link type that was Ethernet" : undefined;
  }
  const large = Number(/a block of (\d+) bytes/.exec(found.message ?? "")?.[1]) > PCAP_WINDOW_BYTES;
  const skipped = found.code === "PCAP_TRUNCATED" && found.offset === bytes.length;
  if (found.frames.length !== wanted.frames.length)
    return `${found.frames.length} frames, not ${wanted.frames.length}`;
  const k = found.frames.findIndex((frame, at) => Buffer.compare(frame, wanted.frames[at]!) !== 0);
  if (k >= 0) return `frame ${k} differs`;
  if (large || skipped) return wanted.code === undefined ? "no fault was to be found" : undefined;
  if (found.code !== wanted.code || found.offset !== wanted.offset)
    return `${found.code} at ${found.offset}, not ${wanted.code} at ${wanted.offset}`;
  return undefined;
}

function fuzz(rig: Rig, seed: number): string | undefined {
  const random = new Random(seed);
  const path = newPath("fuzz");
  const invariants = new Invariants(rig);
  const before = rig.arena.reserve("before", PAGE_BYTES, PAGE_BYTES);
  invariants.guardRange(before.start, PAGE_BYTES);
  // the window comes to lie between the two
  const window = rig.arena.reserve("window's place", PCAP_WINDOW_BYTES, PAGE_BYTES);
  const behind = rig.arena.reserve("behind", PAGE_BYTES, PAGE_BYTES);
  invariants.guardRange(behind.start, PAGE_BYTES);
  rig.arena.release(window);
  for (let round = 0; round < rounds; round++) {
    const bytes = mutate(random.pick(seeds), random);
    const queue = openInput(rig, save(bytes, "fuzz", path), { pace: random.chance(10) });
    if (queue.block.get(PcapRx.WINDOW) !== window.start) return "the window lies elsewhere";
    const paced = queue.block.get(PcapRx.PACE) === 1;
    const found = invariants.timed(() => drain(rig, queue, random.pick([1, 7, 32]), 2000));
    const wrong =
      (paced ? undefined : difference(found, reference(bytes), bytes)) ?? invariants.faults([])[0];
    closeInput(queue);
    if (wrong) return `seed ${seed}, round ${round}: ${wrong}; ${bytes.subarray(0, 4000).toString("hex")}`;
  }
  return undefined;
}

onEngines(
  "files changed at random",
  {},
  async (t, rig) => {
    t.equal(fuzz(rig, 0x9ca9), undefined);
  },
  fuzzEngines,
);
