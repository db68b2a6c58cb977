// bench:mlx5's C program, what pollmode's ibv mode is compared with: it does what the bench believes it does.
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { buildVerbs } from "../../bench/mlx5/verbs/build.ts";
import { workloads } from "../../bench/mlx5/workloads.ts";
import { OwnedProcess } from "../beds/child.ts";
import { softMlx5, softMlx5Bed } from "../beds/softmlx5.ts";

const skip = softMlx5Bed.missing() ?? false;
const enough = 100_000;
t.setTimeout(120_000);

for (const { name, wire, meter } of workloads) {
  t.test(`${name} by libibverbs in C`, { skip }, async (t) => {
    await softMlx5Bed.setup();
    using program = buildVerbs();
    await using bed = await softMlx5({ ports: [{ wire }], lossless: true });
    const words = [bed.ports[0]!.ibdev, name, "0"];
    const env = { ...process.env, ...bed.env };
    await using child = new OwnedProcess(name, program.path, words, { env });
    await child.waitFor(/^ready$/m, 10_000);
    const counters = async () => JSON.parse((await bed.control("counters 0")).replace(/^ok /, ""));
    while ((await counters())[meter] < enough && !child.status) await pause(20);
    const { tx_packets, tx_bytes, dropped } = await counters();
    t.equal(Math.round(tx_bytes / tx_packets), 64, "bytes a frame");
    t.equal(dropped, 0);
    child.write("stop\n");
    const status = await child.endWithin(15_000);
    t.same([status.code, child.output.includes("complaint")], [0, false], "nothing is left open");
  });
}
