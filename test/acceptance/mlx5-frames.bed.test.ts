// Ten million numbered frames between two ports of the software ConnectX, over a wire that loses nothing: both modes,
// one and four queues, 64 to 9000 bytes, with and without what the NIC offers beside the plain rings. Then receive-side
// scaling: which queue a packet comes to, and with which hash, as Microsoft's page has it.
import { join } from "node:path";
import t from "tap";
import { softMlx5, softMlx5Bed } from "../beds/softmlx5.ts";
import { type Mode, runOn } from "./mlx5.ts";
import type { FramesJob, FramesReport } from "./mlx5-frames.ts";
import type { RssJob, RssReport } from "./mlx5-rss.ts";
import { temporaryFolder } from "./support.ts";

const missing = softMlx5Bed.missing();
const skip = missing ?? false;
t.setTimeout(240_000);
if (!missing) await softMlx5Bed.setup();
const folder = temporaryFolder(t);

type Row = Omit<FramesJob, "address" | "ibdev">;
const plain = { queues: 1, sizeMin: 64, sizeMax: 64, descriptors: 1024, options: "" };
/** Neither several frames a descriptor, nor compressed completions. */
const bare = "mprq_en=0,rxq_cqe_comp_en=0,txq_mpw_en=0";
/** Completion queues count in 24 bits. */
const firstCqe = 2 ** 24 - 4096;
/** So that each mode has 10 million each way. */
const times = 6;
const shares: Row[] = [
  { ...plain, mode: "dv", total: 2_000_000, options: bare },
  { ...plain, mode: "dv", total: 400_000, options: bare, firstCqe },
  { ...plain, mode: "dv", total: 1_200_000, options: "txq_mpw_en=1,rxq_cqe_comp_en=1" },
  { ...plain, mode: "dv", total: 800_000, sizeMax: 300, options: "mprq_en=1,rxq_cqe_comp_en=1" },
  { ...plain, mode: "dv", total: 400_000, sizeMax: 1514, options: "mprq_en=1" },
  { ...plain, mode: "dv", total: 1_200_000, queues: 4, sizeMax: 128, options: "rxq_cqe_comp_en=1" },
  { ...plain, mode: "dv", total: 400_000, queues: 4, sizeMax: 1514, descriptors: 256, options: "mprq_en=1" },
  { ...plain, mode: "dv", total: 60_000, sizeMax: 9000, options: "txq_mpw_en=1" },
  { ...plain, mode: "dv", total: 60_000, queues: 4, sizeMax: 9000, descriptors: 256, options: bare },
  { ...plain, mode: "ibv", total: 2_000_000 },
  { ...plain, mode: "ibv", total: 1_000_000, queues: 4, sizeMax: 300, descriptors: 256 },
  { ...plain, mode: "ibv", total: 400_000, sizeMax: 1514, descriptors: 64 },
  { ...plain, mode: "ibv", total: 80_000, sizeMax: 9000, descriptors: 256 },
];
const rows = shares.map((row) => ({ ...row, total: times * row.total }));

const all = { dv: 0, ibv: 0 };
let cables = 0;

/** Two ports at the two ends of one cable. */
function joined() {
  const cable = join(folder, `cable${cables++}`);
  return softMlx5({ ports: [{ wire: `link:${cable},0` }, { wire: `link:${cable},1` }] });
}

t.test("numbered frames both ways", { skip }, async (t) => {
  for (const row of rows) {
    const { mode, queues, sizeMin, sizeMax, options } = row;
    const late = row.firstCqe === undefined ? "" : ", counters about to wrap";
    const title = `${mode}, ${queues} queues, ${sizeMin} to ${sizeMax} bytes${options && `, ${options}`}${late}`;
    await t.test(title, async (t) => {
      await using bed = await joined();
      const job = { ...row, address: bed.ports[0]!.address, ibdev: bed.ports[1]!.ibdev };
      const wrapper = row.firstCqe === undefined ? [] : ["env", `SOFTMLX5_FIRST_CQE=${row.firstCqe}`];
      const report = await runOn<FramesReport>(bed, "mlx5-frames", job, { wrapper });
      for (const { result, perfect } of report.flows) {
        t.same(result, perfect);
        all[mode] += result.received;
      }
      t.same([report.faults, report.audit, report.missed], [{}, [], 0]);
      const each = row.total / 2 / queues;
      t.same(report.byQueue, new Array(2 * queues).fill(each), "as many by each queue");
      t.comment(`${row.total} frames in ${report.seconds.toFixed(1)} s`);
    });
  }
  for (const [mode, count] of Object.entries(all)) {
    t.ok(count >= 20_000_000, `${count} frames by ${mode}: 10 million and more each way`);
  }
  const longest = Math.max(...rows.map(({ total, queues }) => total / 2 / queues));
  t.ok(longest >= 15 * 2 ** 16, "the 16-bit indices of a queue have wrapped 15 times and more");
});

t.test("receive-side scaling is Microsoft's", { skip }, async (t) => {
  for (const mode of ["dv", "ibv"] satisfies Mode[]) {
    await t.test(mode, async (t) => {
      await using bed = await joined();
      const job: RssJob = { mode, ibdevs: bed.ports.map(({ ibdev }) => ibdev), frames: 4096 };
      const report = await runOn<RssReport>(bed, "mlx5-rss", job);
      t.equal(report.vectors, 16, "each published vector, with and without ports");
      t.same(report.wrong, [], "queue and hash of each frame");
      t.ok(Math.min(...report.byQueue) > job.frames / 8, `spread over four queues: ${report.byQueue}`);
      t.same(report.audit, []);
    });
  }
});
