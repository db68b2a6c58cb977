// Numbered frames with checksums through every NIC by every way to it: between our own ports, and by way of a
// testpmd that sends back what it receives. And the kernel's own driver and stack, which ping us.
import t from "tap";
import { dpdkBed } from "../beds/dpdk.ts";
import { Lab, labBed } from "../beds/lab/lab.ts";
import type { AuditSettings } from "./guest/audit.ts";
import {
  endKernelPeer,
  floodPing,
  guestEnd,
  guestRun,
  guestStart,
  kernelPeer,
  reflector,
  type UserDriver,
} from "./support.ts";

type Tap = Pick<typeof t, "test" | "same" | "ok" | "equal" | "match" | "comment">;

t.setTimeout(0); // the runner has the deadline
const missing = labBed.missing() ?? dpdkBed.missing();
const million = 1_000_000;
/** Less than a ring: the wire is then never overrun. */
const window = 400;
const ourIp = "10.77.0.2";

interface AuditReport {
  complete: boolean;
  seconds: number;
  flows: { sent: number; received: number; lost: number; late: number; changed: number }[];
  faults: object[];
  stats: { rxErrors: number; txErrors: number; rxMissed: number }[];
  pool: string[];
}

function checkAudit(t: Tap, report: AuditReport, total: number): void {
  const perfect = { sent: total, received: total, lost: 0, late: 0, changed: 0 };
  for (const flow of report.flows) t.same(flow, perfect);
  t.ok(report.complete);
  t.same(report.faults, []);
  t.same(report.pool, [], "every mbuf is back");
  for (const { rxErrors, txErrors, rxMissed } of report.stats)
    t.same([rxErrors, txErrors, rxMissed], [0, 0, 0]);
  t.comment(`${total} frames each way in ${report.seconds.toFixed(1)} s`);
}

const frames = { sizeMin: 60, sizeMax: 1514, window, promiscuous: true };

async function everyWay(t: Tap, lab: Lab, driver: UserDriver): Promise<void> {
  const [e1000e, igb, near, far] = lab.nics.map(({ address }) => address) as [string, string, string, string];
  for (const address of [e1000e, igb, near, far]) await lab.bind(address, driver);
  await t.test("e1000e and igb to each other", async (t) => {
    const settings: AuditSettings = { nics: [e1000e, igb], total: million, ...frames };
    checkAudit(t, await guestRun<AuditReport>(lab, "audit", settings, 280_000), million);
  });
  for (const [ours, theirs, name] of [[near, far, "e1000e"] as const, [igb, e1000e, "igb"] as const]) {
    await t.test(`${name} to DPDK and back`, async (t) => {
      const testpmd = await reflector(lab, theirs);
      const settings: AuditSettings = { nics: [ours], total: million, reflected: true, ...frames };
      try {
        checkAudit(t, await guestRun<AuditReport>(lab, "audit", settings, 280_000), million);
      } finally {
        testpmd.signal("SIGINT");
        await testpmd.exited;
      }
    });
  }
  for (const [ours, theirs, kernel] of [[e1000e, igb, "igb"] as const, [igb, e1000e, "e1000e"] as const]) {
    await t.test(`the kernel's ${kernel} pings us`, async (t) => {
      await kernelPeer(lab, theirs, kernel, "10.77.0.1/24");
      const echo = await guestStart(lab, "echo", { nics: [ours] });
      const pings = await floodPing(lab, ourIp, 5000);
      t.same(pings, { sent: 5000, received: 5000 });
      t.same(await floodPing(lab, ourIp, 500, 1472), { sent: 500, received: 500 });
      const { stats } = await guestEnd<{ stats: { rxPackets: number; txPackets: number }[] }>(echo);
      t.ok(stats[0]!.rxPackets >= 5500 && stats[0]!.txPackets >= 5500);
      await endKernelPeer(lab);
      await lab.bind(theirs, driver);
    });
  }
}

/**
 * Of the second pair, testpmd drives an end: DPDK drives e1000es alone here. In one of seven runs of a million frames
 * its igb driver takes a descriptor that QEMU's igb has not written, and then sees RDT at RDH, so that both wait.
 */
const nics = [
  { model: "e1000e" },
  { model: "igb" },
  { model: "e1000e", wire: 1 },
  { model: "e1000e", wire: 1 },
] as const;

t.test("with an IOMMU", { skip: missing ?? false }, async (t) => {
  await labBed.setup();
  await dpdkBed.setup();
  await using lab = await Lab.boot({ nics: [...nics] });
  await t.test("vfio-pci", (t) => everyWay(t, lab, "vfio-pci"));
  await t.test("the TypeScript engine", async (t) => {
    const total = million / 20;
    const addresses = lab.nics.slice(0, 2).map(({ address }) => address);
    const settings: AuditSettings = { nics: addresses, engine: { engine: "ts" }, total, ...frames };
    checkAudit(t, await guestRun<AuditReport>(lab, "audit", settings, 120_000), total);
  });
  await t.test("frames of several buffers", async (t) => {
    const total = million / 10;
    const addresses = lab.nics.slice(0, 2).map(({ address }) => address);
    const settings: AuditSettings = {
      nics: addresses,
      mtu: 9000,
      total,
      ...frames,
      sizeMax: 9014,
      window: 64,
    };
    checkAudit(t, await guestRun<AuditReport>(lab, "audit", settings, 120_000), total);
  });
});

t.test("without an IOMMU", { skip: missing ?? false }, async (t) => {
  await labBed.setup();
  await dpdkBed.setup();
  await using lab = await Lab.boot({ nics: [...nics], iommu: false });
  for (const driver of ["vfio-pci", "uio_pci_generic", "igb_uio"] as const) {
    await t.test(driver, (t) => everyWay(t, lab, driver));
  }
});
