import { existsSync, readdirSync } from "node:fs";
import t from "tap";
import { dpdkBed, Testpmd } from "./dpdk.ts";
import { hugepagesMissing, hugetlbfsMount, reserveHugepages } from "./hugepages.ts";
import { parseFinal, parseSamples } from "./testpmd-stats.ts";

const pages = 160;
const missing = dpdkBed.missing() ?? hugepagesMissing(pages);
t.setTimeout(300_000);
if (!missing) await dpdkBed.setup();

const eal = ["--lcores", "0@0,1@1", "--no-pci", "-m", "256", "--vdev=net_null0"];
const app = ["--forward-mode=rxonly", "--nb-cores=1", "--total-num-mbufs=4096"];

function leftovers(filePrefix: string): string[] {
  const files = readdirSync(hugetlbfsMount()).filter((file) => file.startsWith(filePrefix));
  return existsSync(`/var/run/dpdk/${filePrefix}`) ? [...files, filePrefix] : files;
}

t.test("statistics while it runs and when it stops", { skip: missing ?? false }, async (t) => {
  using _hugepages = reserveHugepages(pages);
  await using testpmd = await Testpmd.start({ eal, app: [...app, "--stats-period", "1"] });
  await testpmd.waitFor(/(Port statistics[\s\S]*?){3}/, 10_000);
  const [sample] = testpmd.samples[1]!;
  t.equal(sample!.port, 0);
  t.ok(sample!.rxPackets > 0 && sample!.rxPps > 0, "the null device receives");
  const final = await testpmd.stop();
  t.ok(final.all.rxPackets >= sample!.rxPackets);
  t.same(final.ports.get(0), final.all);
  t.same(leftovers(testpmd.filePrefix), []);
});

t.test("killed, it leaves nothing behind", { skip: missing ?? false }, async (t) => {
  using _hugepages = reserveHugepages(pages);
  const testpmd = await Testpmd.start({ eal, app });
  t.not(leftovers(testpmd.filePrefix).length, 0);
  await testpmd.kill();
  t.match(await testpmd.exited, { signal: "SIGKILL" });
  t.same(leftovers(testpmd.filePrefix), []);
  await t.rejects(testpmd.stop(), { code: "BED_PROCESS_FAILED" });
});

t.test("two at a time, one at its prompt", { skip: missing ?? false }, async (t) => {
  using _hugepages = reserveHugepages(2 * pages);
  await using one = await Testpmd.start({ eal, app });
  await using two = await Testpmd.start({ eal, app: [...app, "-i"] });
  t.not(one.filePrefix, two.filePrefix);
  two.command("show port info 0");
  await two.waitFor(/Infos for port 0/, 5_000);
  two.command("start");
  two.command("stop");
  await two.waitFor(/Accumulated forward statistics[\s\S]*?\n\s*\++\n/, 5_000);
  t.ok(two.final);
});

t.test("a bad argument", { skip: missing ?? false }, async (t) => {
  const start = Testpmd.start({ eal: ["--no-such-argument"], app });
  await t.rejects(start, { code: "BED_PROCESS_FAILED", message: /Invalid 'command line' arguments/ });
});

t.test("what it prints is read as it is", async (t) => {
  t.equal(parseFinal("Press enter to exit"), undefined);
  t.same(
    parseSamples("Port statistics ====\n  ####### NIC statistics for port 0  #######\n  RX-packets: 5"),
    [],
  );
});
