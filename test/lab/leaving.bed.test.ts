// However a program ends, its NIC is quiet afterwards, its memory is given back, the next program can have the NIC,
// and so can the kernel's own driver.
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { Lab, type LabNic, labBed } from "../beds/lab/lab.ts";
import type { EchoSettings } from "./guest/echo.ts";
import {
  endKernelPeer,
  floodPing,
  guestEnd,
  guestStart,
  kernelPeer,
  shell,
  type UserDriver,
} from "./support.ts";

type Tap = Pick<typeof t, "test" | "same" | "ok" | "equal" | "match" | "comment">;

t.setTimeout(0); // the runner has the deadline
const missing = labBed.missing();
const busMaster = 4;
const ourIp = "10.77.0.2";
const ends = ["stop", "SIGINT", "uncaught exception", "SIGHUP", "SIGKILL"] as const;

async function command(lab: Lab, address: string): Promise<number> {
  const bytes = await shell(lab, `od -An -tu2 -j4 -N2 /sys/bus/pci/devices/${address}/config`);
  return Number(bytes.trim());
}

async function freeHugepages(lab: Lab): Promise<number> {
  return Number(await shell(lab, "awk '/HugePages_Free/{print $2}' /proc/meminfo"));
}

/** Starts the echo program, lets the kernel's NIC ping it, and ends it one way. */
async function useAndEnd(t: Tap, lab: Lab, address: string, how: (typeof ends)[number]): Promise<void> {
  const echo = await guestStart(lab, "echo", { nics: [address] } satisfies EchoSettings);
  t.same(await floodPing(lab, ourIp, 200), { sent: 200, received: 200 }, "it answers");
  t.equal((await command(lab, address)) & busMaster, busMaster, "it may read and write memory");
  if (how === "stop" || how === "SIGINT") {
    const report = await guestEnd<{ stats: object[] }>(echo, how === "stop" ? "SIGTERM" : "SIGINT");
    t.equal(report.stats.length, 1);
    t.equal((await echo.exited).code, 0);
    return;
  }
  echo.signal(how === "uncaught exception" ? "SIGUSR2" : how);
  const { code, signal } = await echo.exited;
  if (how === "uncaught exception") {
    t.equal(code, 1);
    t.match(echo.stderr, /nobody catches this/);
  } else t.equal(signal ?? code, how, "it had no chance to clean up");
}

async function everyEnd(t: Tap, lab: Lab, driver: UserDriver): Promise<void> {
  const [ours, theirs] = lab.nics as readonly [LabNic, LabNic];
  await kernelPeer(lab, theirs.address, "igb", "10.77.0.1/24");
  await lab.bind(ours.address, driver);
  const free = await freeHugepages(lab);
  for (const how of ends) {
    await t.test(how, async (t) => {
      await useAndEnd(t, lab, ours.address, how);
      await pause(200);
      t.equal((await command(lab, ours.address)) & busMaster, 0, "no DMA any more");
      t.equal(await freeHugepages(lab), free, "its memory is given back");
      t.match(
        await shell(lab, `fuser /dev/vfio/* /dev/uio* 2> /dev/null || true`),
        /^\s*$/,
        "nobody holds a device",
      );
    });
  }
  await t.test("the next program has the NIC at once", async (t) => {
    const echo = await guestStart(lab, "echo", { nics: [ours.address] });
    t.same(await floodPing(lab, ourIp, 200), { sent: 200, received: 200 });
    await guestEnd(echo);
  });
  await endKernelPeer(lab);
  await t.test("the kernel's own driver takes it back", async (t) => {
    await kernelPeer(lab, ours.address, "e1000e", "10.77.0.1/24");
    await lab.bind(theirs.address, driver);
    const echo = await guestStart(lab, "echo", { nics: [theirs.address] });
    t.same(await floodPing(lab, ourIp, 500), { sent: 500, received: 500 }, "link and ping work");
    await guestEnd(echo);
    await endKernelPeer(lab);
    await lab.bind(theirs.address, "igb");
    await kernelPeer(lab, theirs.address, "igb", "10.77.0.1/24");
    await endKernelPeer(lab);
  });
}

const nics = [{ model: "e1000e" }, { model: "igb" }] as const;

t.test("with an IOMMU", { skip: missing ?? false }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [...nics] });
  await t.test("vfio-pci", (t) => everyEnd(t, lab, "vfio-pci"));
  await t.test("nothing was written where it must not be", async (t) => {
    t.notMatch(await lab.dmesg(), /DMAR:.*fault/i);
  });
});

t.test("without an IOMMU", { skip: missing ?? false }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [...nics], iommu: false });
  for (const driver of ["vfio-pci", "uio_pci_generic", "igb_uio"] as const) {
    await t.test(driver, (t) => everyEnd(t, lab, driver));
  }
});
