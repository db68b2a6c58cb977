// Every mode on frames that were drawn, spoilt and cut: nothing traps, nothing is lost, and both engines send the same.
import { createHash } from "node:crypto";
import t from "tap";
import type { StreamSpec } from "../../src/forward/streams.ts";
import { Mbuf, OlFlag } from "../../src/hot/layout.ts";
import { type EngineKind, Rig } from "../support/engines.ts";
import { arp, ethernet, icmpEcho, ipv4, ipv6, tcp, udp } from "../support/frames.ts";
import { Random } from "../support/random.ts";
import { StreamRun } from "../support/stream.ts";
import { tunnelCases } from "../support/tunnels.ts";

t.setTimeout(120_000);
const tunnels = tunnelCases([0, 20, 300]);
const ROUNDS = Number(process.env.FORWARD_FUZZ_ROUNDS ?? 150);
const kinds: readonly EngineKind[] = ["wasm", "wasm-plain", "ts"];

const specs: Omit<StreamSpec, "rx" | "tx">[] = [
  { mode: "io", verbose: 3, recordBursts: true, latency: true },
  { mode: "mac" },
  { mode: "macswap", latency: true },
  { mode: "5tswap" },
  { mode: "csum" },
  { mode: "csum", tunnels: true },
  { mode: "icmpecho", verbose: 2 },
  {
    mode: "noisy",
    noisy: { bufferPackets: 37, flushMs: 1, memoryMib: 1, reads: 1, writes: 1, readWrites: 1 },
  },
  { mode: "rxonly", verbose: 1 },
  { mode: "touch" },
  { mode: "flowgen", flows: 5, stamp: true },
];

function drawTags(random: Random): [number, number][] {
  const count = random.chance(70) ? 0 : random.chance(80) ? random.between(1, 3) : random.between(4, 40);
  return Array.from({ length: count }, () => [random.pick([0x8100, 0x88a8]), random.below(0x10000)]);
}

/** A frame of some protocol, mostly sound. */
function drawFrame(random: Random): Buffer {
  const data = random.bytes(random.chance(80) ? random.below(100) : random.below(3000));
  const tags = drawTags(random);
  const fragment = random.chance(80) ? 0 : random.below(0x10000);
  const v4 = {
    tags,
    fragment,
    options: random.chance(70) ? 0 : 4 * random.below(11),
    padding: random.below(20),
  };
  switch (random.below(10)) {
    case 8:
    case 9:
      return random.pick(tunnels).frame;
    case 0:
      return ipv4(17, udp(data), v4);
    case 1:
      return ipv4(6, tcp(data), v4);
    case 2:
      return ipv6(17, udp(data, { v6: true }), { tags, padding: random.below(9) });
    case 3:
      return ipv6(6, tcp(data, { v6: true }), { tags });
    case 4:
      return ipv4(1, icmpEcho(data), v4);
    case 5:
      return arp(random.between(1, 2), { tags, padding: random.below(20) });
    case 6:
      return ethernet(random.pick([0x0800, 0x86dd, 0x0806]), data, { tags });
    default:
      return Buffer.from(random.bytes(random.between(14, 200)));
  }
}

/** Cuts it, changes bytes, or leaves it. */
function spoil(random: Random, frame: Buffer): Buffer {
  const kind = random.below(10);
  if (kind < 4) return frame;
  if (kind < 6) return frame.subarray(0, random.between(1, frame.length));
  const changed = Buffer.from(frame);
  for (let k = random.between(1, 4); k > 0; k--)
    changed[random.below(Math.min(120, frame.length))] = random.below(256);
  return changed;
}

function drawPacket(random: Random, rig: Rig): number {
  const frame = spoil(random, drawFrame(random));
  const mbuf = rig.packet(frame, random.chance(60) ? rig.pool.dataRoom : random.between(60, 400));
  const marks = [
    0,
    OlFlag.RX_IP_CKSUM_BAD,
    OlFlag.RX_L4_CKSUM_BAD,
    OlFlag.RX_IP_CKSUM_GOOD | OlFlag.RX_L4_CKSUM_GOOD,
  ];
  rig.put(mbuf + Mbuf.OL_FLAGS, random.pick(marks));
  return mbuf;
}

/** Runs a mode on drawn packets. A hash of all that it sent and counted, and what went wrong. */
async function play(kind: EngineKind, spec: Omit<StreamSpec, "rx" | "tx">, byPort: boolean) {
  let timeMs = 1000;
  const rig = await Rig.make(kind, {
    mbufs: 4096,
    dataRoom: 512,
    dmaMib: 8,
    arenaMib: 32,
    now: () => timeMs,
  });
  const hash = createHash("sha256");
  const random = new Random(0xf0 + specs.indexOf(spec));
  try {
    const info = byPort ? { offloads: ["txChecksum" as const] } : {};
    const run = new StreamRun(rig, spec, { txEntries: 32, info });
    for (let round = 0; round < ROUNDS; round++) {
      timeMs += random.below(3);
      const packets = Array.from({ length: random.below(60) }, () => drawPacket(random, rig));
      const sent = run.pass(packets);
      for (const mbuf of sent) {
        const frame = rig.frame(mbuf);
        if (frame.length !== rig.word(mbuf + Mbuf.PKT_LEN))
          return { fault: `round ${round}: length ${frame.length}` };
        // what is behind a generated frame's template is whatever the buffer held
        hash.update(spec.mode === "flowgen" ? frame.subarray(0, 42) : frame);
        hash.update(`${rig.word(mbuf + Mbuf.OL_FLAGS)},`);
      }
      rig.free(sent);
    }
    hash.update(JSON.stringify(run.counters, (key, value) => (key.endsWith("Queue") ? 0 : value)));
    run.stop();
    return { hash: hash.digest("hex"), fault: rig.audit()[0] };
  } finally {
    rig.close();
  }
}

for (const spec of specs) {
  for (const byPort of spec.mode === "csum" ? [false, true] : [false]) {
    t.test(
      `${spec.mode}${spec.tunnels ? " in tunnels" : ""}${byPort ? ", checksums by the port" : ""}: ${ROUNDS} rounds`,
      async (t) => {
        const seen = new Set<string | undefined>();
        for (const kind of kinds) {
          const { hash, fault } = await play(kind, spec, byPort);
          t.equal(fault, undefined, kind);
          seen.add(hash);
        }
        t.equal(seen.size, 1, "all engines send and count the same");
        t.not([...seen][0], undefined);
      },
    );
  }
}
