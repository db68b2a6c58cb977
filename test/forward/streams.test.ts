// Assigning streams: what is asked wrongly is named, and changes nothing.
import { readStreams } from "../../src/forward/counters.ts";
import { assignStreams, type ModeName, modeNames, type StreamSpec } from "../../src/forward/streams.ts";
import { Lcore, Stream } from "../../src/hot/layout.ts";
import { onEngines } from "../support/engines.ts";
import { RingEnd } from "../support/lcore.ts";
import { fakePort, StreamRun } from "../support/stream.ts";

const testpmdModes = [
  "io",
  "mac",
  "macswap",
  "flowgen",
  "rxonly",
  "txonly",
  "csum",
  "icmpecho",
  "noisy",
  "5tswap",
];
const ts = ["ts"] as const;

onEngines(
  "testpmd's modes, by its names, then those of our own",
  {},
  (t) => {
    t.same(modeNames, [...testpmdModes, "count", "touch", "seq-send", "seq-check"]);
  },
  ts,
);

type Wrong = Omit<StreamSpec, "rx" | "tx">;

const wrong: [what: Wrong, code: string, message: RegExp][] = [
  [{ mode: "macswop" as ModeName }, "FORWARD_MODE", /no forwarding mode macswop/],
  [{ mode: "toString" as ModeName }, "FORWARD_MODE", /toString/],
  [{ mode: "mac", ethPeer: Buffer.alloc(5) }, "FORWARD_OPTION", /5 bytes/],
  [{ mode: "csum", ethPeer: Buffer.alloc(7) }, "FORWARD_OPTION", /7 bytes/],
  [{ mode: "csum", checksum: "port" }, "NOT_SUPPORTED", /port 7 \(net_fake\) does not make checksums/],
  [{ mode: "txonly", ethPeer: Buffer.alloc(0) }, "FORWARD_OPTION", /0 bytes/],
  [{ mode: "txonly", frameBytes: 59 }, "FORWARD_OPTION", /frame size 59 is not between 60 and 9018/],
  [{ mode: "txonly", frameBytes: 9019 }, "FORWARD_OPTION", /9019/],
  [{ mode: "txonly", frameBytes: 64, txpkts: [64] }, "FORWARD_OPTION", /both/],
  [{ mode: "txonly", txpkts: [] }, "FORWARD_OPTION", /number of segments 0 is not between 1 and 255/],
  [{ mode: "txonly", txpkts: Array(256).fill(1) }, "FORWARD_OPTION", /256/],
  [{ mode: "txonly", txpkts: [64, 0] }, "FORWARD_OPTION", /segment of 0/],
  [{ mode: "txonly", txpkts: [2049] }, "FORWARD_OPTION", /segment of 2049 is not between 1 and 2048/],
  [{ mode: "txonly", txpkts: [20, 21] }, "FORWARD_OPTION", /frame size 41 is not between 42/],
  [{ mode: "txonly", txpkts: [2000, 2000, 2000, 2000, 2000] }, "FORWARD_OPTION", /10000/],
  [{ mode: "txonly", txpkts: [50], stamp: true }, "FORWARD_OPTION", /frame size 50 is not between 58/],
  [{ mode: "txonly", txpkts: [20, 44], multiFlow: true }, "FORWARD_OPTION", /first segment of 20/],
  [{ mode: "txonly", txpkts: [64.5] }, "FORWARD_OPTION", /64.5/],
  [{ mode: "flowgen", flows: 0 }, "FORWARD_OPTION", /flows 0/],
  [{ mode: "flowgen", flows: 2 ** 31 }, "FORWARD_OPTION", /2147483648/],
  [{ mode: "flowgen", txpkts: [45] }, "FORWARD_OPTION", /frame size 41/],
  [{ mode: "noisy", noisy: { reads: 1 } }, "FORWARD_OPTION", /no memory/],
  [{ mode: "noisy", noisy: { bufferPackets: -1 } }, "FORWARD_OPTION", /-1/],
  [{ mode: "noisy", noisy: { memoryMib: 5000 } }, "FORWARD_OPTION", /5000/],
  [{ mode: "io", verbose: -1 }, "FORWARD_OPTION", /verbose level -1/],
  [{ mode: "seq-send" }, "FORWARD_OPTION", /no sequence/],
];

onEngines(
  "what is wrong is named, and the streams before go on",
  {},
  (t, rig) => {
    const run = new StreamRun(rig, { mode: "noisy", noisy: { bufferPackets: 4 }, recordBursts: true });
    const used = rig.private.usedBytes;
    run.pass([rig.packet(Buffer.alloc(60))]);
    for (const [spec, code, message] of wrong) {
      t.throws(() => run.assign(spec), { code, message }, JSON.stringify(spec));
    }
    t.throws(() => run.assign({ mode: "io" }, 513), { message: /burst 513/ });
    t.throws(() => run.assign({ mode: "macswop" as ModeName }), {
      message: /macswop/,
      fix: /did you mean macswap/,
    });
    const assign = (streams: StreamSpec[]) =>
      assignStreams({ zone: rig.private, pool: rig.pool, lcore: run.control, streams });
    t.throws(() => assign([]), { message: /streams 0/ });
    t.throws(() => assign([{ mode: "io" }]), { code: "QUEUE_UNKNOWN", message: /no rx queue given/ });
    const rx = { port: run.port, queue: 0 };
    t.throws(() => assign([{ mode: "io", rx, tx: { port: run.port, queue: 1 } }]), {
      message: /no tx queue 1 on port 7/,
    });
    t.throws(
      () =>
        assign([
          { mode: "io", rx, tx: rx },
          { mode: "txonly", tx: rx, frameBytes: 1 },
        ]),
      {
        code: "FORWARD_OPTION",
      },
    );
    t.equal(rig.private.usedBytes, used);
    run.pass(Array.from({ length: 4 }, () => rig.packet(Buffer.alloc(60))));
    t.match(
      run.counters,
      { rxPackets: 5, txPackets: 1 },
      "counters go on, and the packet that waited is sent",
    );
    run.stop();
  },
  ts,
);

onEngines(
  "memory that is short: the lcore has no streams then, and all is given back",
  {},
  (t, rig) => {
    const run = new StreamRun(rig, { mode: "noisy", noisy: { bufferPackets: 64 } });
    run.pass([rig.packet(Buffer.alloc(60))]);
    const bare = () => {
      run.assign({ mode: "io" });
      return rig.private.usedBytes;
    };
    const used = bare();
    run.assign({ mode: "noisy", noisy: { bufferPackets: 64 } });
    run.pass([rig.packet(Buffer.alloc(60))]);
    const noisy = { bufferPackets: 64, memoryMib: 1000, reads: 1 };
    t.throws(() => run.assign({ mode: "noisy", noisy }), { code: "OUT_OF_MEMORY" });
    t.equal(run.control.get(Lcore.STREAMS), 0);
    t.same(run.pass([]), []);
    t.same(rig.audit(), []);
    t.equal(bare(), used);
  },
  ts,
);

onEngines("many streams on one lcore, each counts for itself", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "io" });
  const ends = Array.from({ length: 64 }, () => ({ rx: new RingEnd(rig), tx: new RingEnd(rig) }));
  const streams = ends.map(({ rx, tx }, k): StreamSpec => {
    const end = { port: fakePort(k, rx, tx), queue: 0 };
    return { mode: k % 2 === 0 ? "io" : "rxonly", rx: end, tx: end };
  });
  assignStreams({ zone: rig.private, pool: rig.pool, lcore: run.control, streams });
  ends.forEach(({ rx }, k) => {
    rx.put(Array.from({ length: k % 5 }, () => rig.packet(Buffer.alloc(60))));
  });
  run.run(2);
  const counters = readStreams(rig.arena, run.control);
  t.equal(counters.length, 64);
  counters.forEach((one, k) => {
    const { rx, tx } = ends[k]!;
    t.match(one, { rxPackets: k % 5, txPackets: k % 2 === 0 ? k % 5 : 0, rxQueue: rx.block.offset });
    t.equal(one.txQueue, k % 2 === 0 ? tx.block.offset : 0);
    rig.free(tx.take());
  });
  t.equal(Stream.BLOCK_BYTES, 256);
  t.same(rig.audit(), []);
});
