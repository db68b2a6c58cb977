// Our net_virtio_user against DPDK's own backend: testpmd sends back what it receives, and numbered frames come round
// with none lost, repeated, out of order or changed. Its txonly mode: what it says it sent is what we received.
import { join } from "node:path";
import t from "tap";
import { udpTemplate } from "../../src/forward/streams.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { dpdkBed } from "../beds/dpdk.ts";
import { hugepagesMissing, reserveHugepages } from "../beds/hugepages.ts";
import { backendPages, startBackend } from "./backend.ts";
import { caseTitle, frontendArguments, type PairCase } from "./pair.ts";
import { Flow, type FlowOptions, finished, pause, temporaryFolder, until } from "./support.ts";

const missing = dpdkBed.missing() ?? hugepagesMissing(backendPages);
t.setTimeout(290_000);
const folder = temporaryFolder(t);
if (!missing) await dpdkBed.setup();

/** testpmd drops what a full ring does not take: so no more are under way than the smaller ring holds. */
const window = 256;
/** Frames up to 9000 bytes are chains of testpmd's mbufs. */
const jumbo = ["--max-pkt-len=9600", "--tx-offloads=0x8000"];

interface Row extends PairCase {
  /** Frames over all queues. */
  total: number;
  sizeMin: number;
  sizeMax: number;
}

const plain = { packed: false, mergeable: true, inOrder: true, queues: 1, sizeMin: 64 };
const rows: Row[] = [
  { ...plain, sizeMax: 64, total: 2_500_000 },
  { ...plain, sizeMax: 1518, total: 500_000 },
  { ...plain, sizeMax: 1518, total: 500_000, inOrder: false },
  { ...plain, sizeMax: 1518, total: 500_000, mergeable: false },
  { ...plain, sizeMax: 1518, total: 500_000, mergeable: false, inOrder: false },
  { ...plain, sizeMax: 1518, total: 1_000_000, queues: 2 },
  { ...plain, sizeMax: 9000, total: 100_000 },
  { ...plain, packed: true, sizeMax: 64, total: 2_000_000 },
  { ...plain, packed: true, sizeMax: 1518, total: 500_000 },
  { ...plain, packed: true, sizeMax: 1518, total: 500_000, inOrder: false },
  { ...plain, packed: true, sizeMax: 1518, total: 500_000, mergeable: false },
  { ...plain, packed: true, sizeMax: 1518, total: 1_000_000, queues: 2 },
  { ...plain, packed: true, sizeMax: 9000, total: 100_000 },
];

let all = 0;
let sockets = 0;
t.test("testpmd sends back what it receives", { skip: missing ?? false }, async (t) => {
  using _hugepages = reserveHugepages(backendPages);
  for (const row of rows) {
    const title = `${caseTitle(row)}, ${row.sizeMin} to ${row.sizeMax} bytes`;
    await t.test(title, async (t) => {
      const socket = join(folder, `${sockets++}.sock`);
      const { queues } = row;
      await using testpmd = await startBackend(socket, { queues, extra: row.sizeMax > 1518 ? jumbo : [] });
      await using pm = await Pollmode.start({ lcores: "1", noHuge: true });
      const port = await pm.attach(`net_virtio_user0,path=${socket},${frontendArguments(row)}`);
      await port.configure({ rxQueues: queues, txQueues: queues });
      await port.start();
      const options: FlowOptions = { ...row, window: window / queues, total: row.total / queues };
      const flows = port.rxQueues.map(() => new Flow(pm, options));
      const start = performance.now();
      // checkers first: a queue's first poll fills its receive ring, and testpmd drops what it finds no buffer for
      const checkers = flows.map((flow, k) => flow.checker(port, k));
      await pm.forward(1, [...checkers, ...flows.map((flow, k) => flow.sender(port, k))]);
      await finished(flows);
      const seconds = (performance.now() - start) / 1000;
      await pm.stop(1);
      for (const flow of flows) {
        t.same(flow.result(), flow.perfect);
        all += flow.received;
      }
      t.same(port.faults(), {});
      await port.stop();
      t.same(pm.pool.audit([]), [], "every mbuf is back");
      const final = await testpmd.stop();
      t.same([final.all.rxPackets, final.all.txPackets, final.all.txDropped], [row.total, row.total, 0]);
      t.comment(`${row.total} frames in ${seconds.toFixed(1)} s`);
    });
  }
  t.ok(all >= 10_000_000, `${all} frames in all`);
});

for (const packed of [false, true]) {
  const title = `testpmd's txonly, ${packed ? "packed" : "split"} ring`;
  t.test(title, { skip: missing ?? false }, async (t) => {
    using _hugepages = reserveHugepages(backendPages);
    const socket = join(folder, `${sockets++}.sock`);
    await using pm = await Pollmode.start({ lcores: "1", noHuge: true });
    await using testpmd = await startBackend(socket, { mode: "txonly", extra: ["-i"] });
    const port = await pm.attach(`net_virtio_user0,path=${socket},packed_vq=${packed ? 1 : 0}`);
    await port.configure({ rxQueues: 1, txQueues: 1 });
    await port.start();
    const counters = pm.private.allocate("counters of a test", 64);
    // the address that DPDK's net_vhost gives its first port; testpmd's frame has 22 bytes of payload of its own making
    const template = udpTemplate(Uint8Array.of(0x56, 0x48, 0x4f, 0x53, 0x54, 0x00), 64).subarray(0, 42);
    const app = new URL("./compare-app.js", import.meta.url);
    await pm.run({ lcore: 1, app, queues: [port], options: { template, length: 64, counters } });
    testpmd.command("start");
    await pause(1_000);
    testpmd.command("stop");
    await until("testpmd's count", () => testpmd.final !== undefined);
    const sent = testpmd.final!.all.txPackets;
    const received = () => pm.arena.u32[counters >>> 2]!;
    await until("the last frames", () => received() >= sent).catch(() => {});
    await pm.stop(1);
    t.ok(sent > 1_000, `${sent} frames were sent`);
    t.equal(received(), sent);
    t.equal(port.stats().rxPackets, sent);
    t.equal(pm.arena.u32[(counters >>> 2) + 1], 0, "all are the frame that txonly sends");
    await port.stop();
    t.same(pm.pool.audit([]), [], "every mbuf is back");
  });
}
