// `pollmode groups` against a real kernel: a root port without ACS with a NIC of two functions below it, one with ACS,
// and a bridge to conventional PCI. The groups are those of /sys, viability is what VFIO says.
import { fileURLToPath } from "node:url";
import t from "tap";
import { Lab, labBed } from "../beds/lab/lab.ts";
import type { GroupStatus } from "../devices/guest/group-status.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(180_000);

const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));
const status = fileURLToPath(new URL("../devices/guest/group-status.js", import.meta.url));

interface PlainGroup {
  number: number;
  type: string;
  sharedBecause: string[];
  devices: { address: string; kind: string; parent: string | null }[];
}

const boot = async () => {
  await labBed.setup();
  const nic = "romfile=";
  return Lab.boot({
    cpus: 1,
    devices: [
      "pcie-root-port,id=open,chassis=1,addr=8.0,disable-acs=on",
      `e1000e,bus=open,addr=0.0,multifunction=on,${nic}`,
      `e1000e,bus=open,addr=0.1,${nic}`,
      "pcie-root-port,id=closed,chassis=2,addr=9.0",
      `e1000e,bus=closed,${nic}`,
      "pcie-root-port,id=old,chassis=3,addr=a.0",
      "pcie-pci-bridge,id=pci,bus=old",
      `e1000,bus=pci,addr=1.0,${nic}`,
      `e1000,bus=pci,addr=2.0,${nic}`,
    ],
  });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) t.teardown(() => lab[Symbol.asyncDispose]());

async function ask<T>(command: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await lab.exec([process.execPath, ...command]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}

t.test(
  "the groups of the guest's kernel, why they are shared, and viability as VFIO has it",
  { skip },
  async (t) => {
    await lab.run("modprobe e1000e; modprobe e1000; modprobe vfio-pci");
    const { groups: all } = await ask<{ groups: PlainGroup[] }>([program, "groups", "--json"]);
    const shown = all.flatMap(({ number, devices }) => devices.map(({ address }) => `${number} ${address}`));
    const found = await lab.run(
      "cd /sys/kernel/iommu_groups; for g in *; do for d in $g/devices/*; do echo $g $(basename $d); done; done",
    );
    t.same(shown.sort(), found.trim().split("\n").sort());
    t.ok(all.every(({ type }) => /^(DMA|DMA-FQ|identity)$/.test(type)));

    const groupOf = (address: string) =>
      all.find(({ devices }) => devices.some((device) => device.address === address))!;
    const open = groupOf("0000:01:00.0");
    t.match(
      open.devices.map(({ address, kind, parent }) => [address, kind, parent]),
      [
        ["0000:00:08.0", "root port", null],
        ["0000:01:00.0", "endpoint", "0000:00:08.0"],
        ["0000:01:00.1", "endpoint", "0000:00:08.0"],
      ],
      "a root port without ACS",
    );
    t.match(open.sharedBecause, [
      /^0000:00:08\.0 \(root port\) has no ACS/,
      /^besides, unless the kernel knows better: 0000:01:00\.0, 0000:01:00\.1 are functions/,
    ]);
    t.match(groupOf("0000:00:09.0"), { devices: [{ kind: "root port", acs: "enabled" }] });
    t.match(groupOf("0000:02:00.0"), { devices: [{ address: "0000:02:00.0" }], sharedBecause: [] });
    const old = groupOf("0000:04:01.0");
    t.match(
      old.devices.map(({ address }) => address),
      ["0000:03:00.0", "0000:04:01.0", "0000:04:02.0"],
    );
    t.match(old.sharedBecause, [/^0000:03:00\.0 \(PCIe-to-PCI bridge\) speaks for all/]);

    // a function of each group to VFIO: then its node is there, and says what the rest of the group allows
    const free = groupOf("0000:02:00.0");
    for (const address of ["0000:01:00.0", "0000:02:00.0", "0000:04:01.0"])
      await lab.bind(address, "vfio-pci");
    const numbers = [open, free, old].map(({ number }) => `${number}`);
    t.match(await ask<GroupStatus[]>([status, ...numbers]), [
      { vfio: false, viable: false, why: ["0000:01:00.1 is driven by the kernel (e1000e)"] },
      { vfio: true, viable: true, why: [] },
      { vfio: false, viable: false, why: ["0000:04:02.0 is driven by the kernel (e1000)"] },
    ]);
    await lab.bind("0000:01:00.1", "vfio-pci");
    await lab.run("echo 0000:04:02.0 > /sys/bus/pci/devices/0000:04:02.0/driver/unbind");
    const fine = { vfio: true, viable: true, why: [] };
    t.match(
      await ask<GroupStatus[]>([status, ...numbers]),
      [fine, fine, fine],
      "all with VFIO, or with no driver",
    );
  },
);

t.test("passthrough on a real machine: a whole group, and QEMU itself is asked", { skip }, async (t) => {
  const found = await ask<object>([
    program,
    "passthrough",
    "--json",
    "--group",
    "--format",
    "qemu",
    "01:00.0",
  ]);
  t.match(found, {
    ready: true,
    warnings: [],
    checkedWith: "qemu-system-x86_64",
    qemu: [
      "-device",
      /^pcie-root-port,/,
      "-device",
      /^vfio-pci,host=0000:01:00\.0,.*,addr=00\.0,multifunction=on$/,
      "-device",
      /^vfio-pci,host=0000:01:00\.1,.*,addr=00\.1$/,
    ],
  });
});
