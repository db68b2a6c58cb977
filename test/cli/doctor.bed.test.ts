// Five guests, each broken in another way: the doctor names the one cause, what it prints is done word for word, and
// then it has nothing against the guest.
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { Lab, type LabOptions, labBed } from "../beds/lab/lab.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const pollmode = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));
const nic = "0000:00:03.0";
/** Two functions of one device without ACS, hence one IOMMU group. */
const [first, second] = ["0000:01:00.0", "0000:01:00.1"];
/** For fixes that call the device tool. The guest's files are its own. */
const COMMAND = "/usr/local/bin/pollmode";
const POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

async function withLab(options: LabOptions, body: (lab: Lab) => Promise<void>): Promise<void> {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [{ model: "e1000e" }], ...options });
  await lab.writeFile(COMMAND, `#!/bin/sh\nexec ${process.execPath} ${pollmode} "$@"\n`);
  await lab.run(["chmod", "+x", COMMAND]);
  await body(lab);
}

interface Checked {
  readonly code: number | null;
  readonly text: string;
  /** Ids of the lines that failed. */
  readonly failed: readonly string[];
}

/** `as`: a command that runs the doctor as somebody else. */
async function doctor(lab: Lab, device: string, as: readonly string[] = []): Promise<Checked> {
  const { code, stdout, stderr } = await lab.exec([...as, process.execPath, pollmode, "doctor", device]);
  const failed = [...stdout.matchAll(/^ {2}FAIL +(\S+)/gm)].map(([, id]) => id!);
  return { code, text: stdout + stderr, failed };
}

/** The first command below the line of `id`. */
function fixOf({ text }: Checked, id: string): string {
  const at = text.search(new RegExp(`^ {2}FAIL +${id} `, "m"));
  const command = /^ +(?:fix|or), as root: (.*)$/m.exec(text.slice(at))?.[1];
  if (at < 0 || command === undefined) throw new Error(`no fix of ${id} in:\n${text}`);
  return command;
}

async function isGreen(t: Test, lab: Lab, device: string, as?: readonly string[]): Promise<void> {
  const found = await doctor(lab, device, as);
  t.match(found.text, /Packets could flow/);
  t.same([found.code, found.failed], [0, []], "and then nothing fails");
}

t.test("behind an IOMMU", { skip }, async (t) => {
  // below a root port: what is integrated into Intel's root complex, the kernel takes for isolated
  const functions = ["0.0,multifunction=on", "0.1"].map((addr) => `e1000e,bus=above,addr=${addr},romfile=`);
  const devices = ["pcie-root-port,id=above,addr=8.0", ...functions];
  await withLab({ devices }, async (lab) => {
    await t.test("the module is not loaded", async (t) => {
      const found = await doctor(lab, nic);
      t.same([found.code, found.failed], [1, ["modules"]]);
      t.match(found.text, /the kernel module vfio-pci is not loaded/);
      t.match(found.text, /skipped +bound +not looked at, because of modules/);
      await lab.run(`set -e; ${fixOf(found, "modules")}`);
      await isGreen(t, lab, nic);
    });

    await t.test("an ordinary user may lock too little memory", async (t) => {
      const group = (await lab.run(`basename $(readlink /sys/bus/pci/devices/${nic}/iommu_group)`)).trim();
      await lab.run(`chown nobody /dev/vfio/${group}`);
      const login = ["runuser", "-u", "nobody", "--"]; // a new session, with the limits that PAM reads
      const found = await doctor(lab, nic, login);
      t.same([found.code, found.failed], [1, ["memlock"]]);
      t.match(
        found.text,
        /user nobody: RLIMIT_MEMLOCK is 8192 KiB, 65536 KiB are needed for 64 MiB of memory/,
      );
      await lab.run(`set -e; ${fixOf(found, "memlock")}`);
      await isGreen(t, lab, nic, login);
    });

    await t.test("another function of the group has its kernel driver", async (t) => {
      await lab.bind(first, "vfio-pci");
      await lab.bind(second, "e1000e");
      const found = await doctor(lab, first);
      t.same([found.code, found.failed], [1, ["group"]]);
      t.match(
        found.text,
        new RegExp(`is not viable: the kernel drives others of it, ${second} \\(driver e1000e\\)`),
      );
      await lab.run(`set -e; ${fixOf(found, "group")}`);
      await isGreen(t, lab, first);
    });

    await t.test("no hugepages: only a warning, for an IOMMU makes do without", async (t) => {
      await lab.run(`echo 0 > ${POOL}`);
      const found = await doctor(lab, nic);
      t.same([found.code, found.failed], [0, []]);
      t.match(
        found.text,
        /warn +hugepages +0 of 0 .*\n +fix, as root: pollmode hugepages -p 2M (-n 0 )?-r 64M/,
      );
    });
  });
});

t.test("without an IOMMU", { skip }, async (t) => {
  await withLab({ iommu: false }, async (lab) => {
    await t.test("there is none", async (t) => {
      const found = await doctor(lab, nic);
      t.same([found.code, found.failed], [1, ["firmware"]]);
      t.match(found.text, /fix: give the virtual machine an IOMMU/);
      const command = fixOf(found, "firmware");
      t.match(
        command,
        /^pollmode devbind --noiommu-mode -b vfio-pci 0000/,
        "the other way, VFIO without one",
      );
      await lab.run(`set -e; ${command}`);
      await isGreen(t, lab, nic);
    });

    await t.test("no hugepages, which a NIC without IOMMU needs", async (t) => {
      await lab.run(`echo 0 > ${POOL}`);
      const found = await doctor(lab, nic);
      t.same([found.code, found.failed], [1, ["hugepages"]]);
      await lab.run(`set -e; ${fixOf(found, "hugepages")}`);
      await isGreen(t, lab, nic);
    });
  });
});
