// `pollmode mdev` with the kernel's mtty sample, in the lab: instances made, opened by sysfsdev, refused, removed.
import { fileURLToPath } from "node:url";
import t from "tap";
import { Lab, labBed } from "../beds/lab/lab.ts";
import type { Step } from "./guest/tool-steps.ts";
import { guestFile, guestSteps } from "./guest-steps.ts";
import type { Kept } from "./tool/kept.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const [A, B] = ["83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"];
const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));
const mtty = "/sys/class/mdev_bus/mtty/mdev_supported_types";
/** Eleven more of two ports each: with B's one port, 23 of 24 are given. */
const more = `for i in {10..20}; do echo 83b8f4f2-509f-382f-3c1e-e6bfe0fa10$i > ${mtty}/mtty-2/create; done`;
const all = `for d in /sys/bus/mdev/devices/*; do echo 1 > $d/remove; done`;

const steps = {
  before: { tool: "mdev", words: "--json" },
  dry: { tool: "mdev", words: `create mtty mtty-2 --uuid ${A} --dry-run` },
  first: { tool: "mdev", words: `create mtty mtty-2 --uuid ${A}` },
  second: { tool: "mdev", words: `create mtty 1 --uuid ${B}` },
  again: { tool: "mdev", words: `create mtty mtty-1 --uuid ${A}` },
  list: { tool: "mdev", words: "list --json" },
  kernel: { run: `cat ${mtty}/mtty-{1,2}/available_instances; ls /sys/bus/mdev/devices` },
  show: { tool: "mdev", words: `show ${A} --json` },
  text: { tool: "mdev", words: `show ${B}` },
  used: { sysfsdev: A },
  user: {
    run: `setpriv --reuid 65534 --regid 65534 --clear-groups ${process.execPath} ${program} mdev show ${A} --json`,
  },
  hold: { hold: [process.execPath, guestFile("hold-mdev"), A] },
  busy: { tool: "mdev", words: `show ${A} --json` },
  refused: { tool: "mdev", words: `remove ${A}` },
  forced: { tool: "mdev", words: `remove ${A} --force --json` },
  blocked: { run: `ls /sys/class/mdev_bus/mtty | grep -c ${A}` },
  release: { release: true },
  gone: {
    run: `for _ in {1..50}; do [ -e /sys/class/mdev_bus/mtty/${A} ] || exit 0; sleep 0.1; done; exit 1`,
  },
  more: { run: more },
  noneLeft: { tool: "mdev", words: "create mtty mtty-2" },
  removed: { tool: "mdev", words: `remove ${B}` },
  all: { run: all },
  after: { tool: "mdev", words: "--json" },
} satisfies Record<string, Step>;

async function inGuest(): Promise<Record<keyof typeof steps, Kept>> {
  await labBed.setup();
  await using lab = await Lab.boot({ hugepages: 0 });
  await lab.run("modprobe mtty");
  return await guestSteps(lab, steps); // the guest ends with this function
}

const got = skip ? (undefined as unknown as Record<keyof typeof steps, Kept>) : await inGuest();

/** mtty's types, of which there can be so many more. */
const types = (first: number, second: number) => ({
  parents: [
    {
      name: "mtty",
      types: [
        { id: "mtty-1", name: "Single port serial", deviceApi: "vfio-pci", availableInstances: first },
        { id: "mtty-2", name: "Dual port serial", availableInstances: second },
      ],
    },
  ],
});

t.test("list and create", { skip }, async (t) => {
  t.match(JSON.parse(got.before.stdout), { ...types(24, 12), instances: [] });
  t.same(got.dry, { code: 0, stdout: `echo ${A} > ${mtty}/mtty-2/create\n`, stderr: "" });
  t.same(got.first, { code: 0, stdout: `${A}\n`, stderr: "" });
  t.same(got.second, { code: 0, stdout: `${B}\n`, stderr: "" });
  t.match(got.again, { code: 1, stderr: /there is a mediated device \S+1001 already/ });
  t.match(JSON.parse(got.list.stdout), {
    ...types(21, 10),
    instances: [
      { uuid: A, parent: "mtty", type: "mtty-2", driver: "mtty", iommuGroup: Number },
      { uuid: B, type: "mtty-1" },
    ],
  });
  t.equal(got.kernel.stdout, `21\n10\n${A}\n${B}\n`);
  t.match(got.more, { code: 0, stderr: "" });
  t.match(got.noneLeft, {
    code: 1,
    stderr: /no more mediated devices of type mtty-2\n {2}fix: take another type: mtty-1/,
  });
});

t.test("open by sysfsdev: regions, interrupts, registers", { skip }, async (t) => {
  const region = { readable: true, writable: true, mappable: [] };
  t.match(JSON.parse(got.show.stdout), {
    holders: [],
    device: {
      kind: "pci",
      vendor: 0x4348,
      device: 0x3253,
      regions: [
        { index: 0, name: "BAR0", bytes: 8, ...region },
        { index: 1, name: "BAR1", bytes: 8, ...region },
        { index: 7, name: "configuration space", bytes: 255, ...region },
      ],
      interrupts: [
        {
          index: 0,
          name: "INTx",
          count: 1,
          eventfd: true,
          maskable: true,
          automasked: true,
          noResize: false,
        },
        { index: 1, name: "MSI", count: 1, eventfd: true, maskable: false, noResize: true },
      ],
    },
  });
  t.match(got.text.stdout, /PCI id +4348:3253\n {2}VFIO +pci/);
  t.match(got.text.stdout, /\n +0 +BAR0 +8 +rw-\n +7 +configuration space +255 +rw-\n/, "one port: one BAR");
  t.equal(got.used.code, 0, got.used.stderr);
  t.same(JSON.parse(got.used.stdout), {
    vendor: 0x4348,
    device: 0x3253,
    scratch: 0x5a,
    errors: ["VFIO_REGION", "VFIO_REGION", "VFIO_REGION", "VFIO_REGION", "VFIO_BUSY", "VFIO_REGION"],
    kind: "pci",
    group: JSON.parse(got.list.stdout).instances[0].iommuGroup,
    canReset: false,
    left: [],
  });
});

t.test("an ordinary user sees what sysfs tells, and why it cannot be opened", { skip }, async (t) => {
  const { iommuGroup } = JSON.parse(got.list.stdout).instances[0];
  t.equal(got.user.code, 0, got.user.stderr);
  t.match(JSON.parse(got.user.stdout), {
    type: "mtty-2",
    notOpened: { code: "VFIO_PERMISSION", fix: new RegExp(`chown \\S+ /dev/vfio/${iommuGroup}$`) },
  });
});

t.test("one that is open is not removed, and by force goes when it is closed", { skip }, async (t) => {
  t.equal(got.hold.stdout, `open: ${A}\n`);
  const pid = got.hold.code;
  const holder = `\\S+ \\(process ${pid}\\)`; // newer versions of node call themselves node-MainThread
  t.match(JSON.parse(got.busy.stdout), {
    holders: [{ pid }],
    notOpened: { code: "VFIO_BUSY", message: new RegExp(`in use by ${holder}`) },
  });
  t.match(got.refused, { code: 3, stderr: new RegExp(`${A} is open in ${holder}`) });
  const waits = new RegExp(`the kernel waits for ${holder} to let it go`);
  t.match(got.forced, { code: 1, stdout: /MDEV_PENDING/, stderr: waits });
  t.equal(got.blocked.stdout, "1\n", "it is there as long as it is open");
  t.equal(got.release.code, 0);
  t.equal(got.gone.code, 0, "and goes when it is closed");
});

t.test("remove", { skip }, async (t) => {
  t.same(got.removed, { code: 0, stdout: `${B} is removed\n`, stderr: "" });
  t.match(JSON.parse(got.after.stdout), { ...types(24, 12), instances: [] });
});
