// rx-pps and the embedding API on a NIC, as on any port: options, counters, errors, sleeping until interrupts.
import { fileURLToPath } from "node:url";
import t from "tap";
import { dpdkBed } from "../beds/dpdk.ts";
import { Lab, labBed } from "../beds/lab/lab.ts";
import { floodPing, guestEnd, guestStart, kernelPeer, lastJson, shell } from "./support.ts";

t.setTimeout(0); // the runner has the deadline
const missing = labBed.missing() ?? dpdkBed.missing();
const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));
const nics = [{ model: "e1000e" }, { model: "igb" }] as const;

interface RxPpsReport {
  packets: number;
  dropped: Record<string, number>;
}

t.test("rx-pps", { skip: missing ?? false }, async (t) => {
  await labBed.setup();
  await dpdkBed.setup();
  await using lab = await Lab.boot({ nics: [...nics] });
  const [e1000e, igb] = lab.nics.map(({ address }) => address) as [string, string];
  for (const address of [e1000e, igb]) await lab.bind(address, "vfio-pci");

  await t.test("receives what DPDK's txonly sends", async (t) => {
    const eal = ["--lcores", "0@0,1@0", "-m", "128", "-a", igb, "--in-memory"];
    const app = ["--nb-cores=1", "--total-num-mbufs=4096", "--no-mlockall", "--forward-mode=txonly"];
    // to every station: rx-pps turns no promiscuous mode on
    const more = ["--eth-peer=0,ff:ff:ff:ff:ff:ff", "--stats-period=5"];
    const generator = await lab.start(["stdbuf", "-oL", "dpdk-testpmd", ...eal, "--", ...app, ...more]);
    await generator.waitFor(/Port statistics =/, 60_000);
    const args = [program, "rx-pps", "-a", e1000e, "-l", "1", "--seconds", "2", "--json"];
    const { code, stdout, stderr } = await lab.node(args[0]!, args.slice(1), { timeoutMs: 60_000 });
    generator.signal("SIGINT");
    await generator.exited;
    t.equal(code, 0, stderr);
    const report = lastJson<RxPpsReport>(stdout);
    t.ok(report.packets > 10_000, `${report.packets} packets`);
    const { rxErrors, queueFaults } = report.dropped;
    t.same([rxErrors, queueFaults], [0, 0]);
  });

  await t.test("says what is wrong with a device", async (t) => {
    const errors = async (address: string) => {
      const { code, stderr } = await lab.node(program, ["rx-pps", "-a", address, "--seconds", "1"]);
      t.not(code, 0);
      return stderr;
    };
    t.match(await errors("0000:00:1e.7"), /0000:00:1e\.7/);
    await lab.bind(e1000e, "e1000e");
    t.match(await errors(e1000e), /e1000e[\s\S]*fix:/, "a NIC that the kernel drives");
  });

  await t.test("an lcore sleeps while nothing comes, and wakes by interrupt", async (t) => {
    await kernelPeer(lab, e1000e, "e1000e", "10.77.0.1/24");
    const settings = {
      nics: [igb],
      rxInterrupt: true,
      config: { rxInterrupts: true, rxQueues: 2, txQueues: 2 },
    };
    const echo = await guestStart(lab, "echo", settings);
    const ticks = async () => Number(await shell(lab, `cut -d' ' -f14 /proc/${echo.pid}/stat`));
    const before = await ticks();
    await shell(lab, "sleep 3");
    const idle = (await ticks()) - before;
    t.ok(idle < 100, `idle for 3 s it used ${idle} ticks of 10 ms`);
    t.same(await floodPing(lab, "10.77.0.2", 2000), { sent: 2000, received: 2000 });
    const { sleeps } = await guestEnd<{ sleeps: number }>(echo);
    t.ok(sleeps > 10, `it slept ${sleeps} times`);
  });
});
