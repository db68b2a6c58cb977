// `pollmode mdev` on a made-up machine (--root): what is shown, its sub-commands and their operands, exit codes.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import t from "tap";
import { main } from "../../../src/cli/mdev/main.ts";
import { kept } from "../tool/kept.ts";

const [A, B] = ["83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"];

/** mtty with one instance of its first type, which a program has open. */
function machine(t: { teardown(done: () => void): unknown }, isOpen = false): string {
  const root = mkdtempSync(join(tmpdir(), "pollmode-mdev-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  const file = (path: string, text = "") => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const link = (path: string, target: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    symlinkSync(target, join(root, path));
  };
  const parent = "sys/devices/virtual/mtty/mtty";
  for (const [type, name, left] of [
    ["mtty-1", "Single port serial", 23],
    ["mtty-2", "Dual port serial", 11],
  ] as const) {
    const folder = `${parent}/mdev_supported_types/${type}`;
    file(`${folder}/name`, `${name}\n`);
    file(`${folder}/device_api`, "vfio-pci\n");
    file(`${folder}/available_instances`, `${left}\n`);
    file(`${folder}/create`);
    mkdirSync(join(root, folder, "devices"));
  }
  link("sys/class/mdev_bus/mtty", "../../devices/virtual/mtty/mtty");
  file(`${parent}/${A}/remove`);
  link(`${parent}/${A}/driver`, "../../../../../bus/mdev/drivers/mtty");
  link(`${parent}/${A}/iommu_group`, "../../../../../kernel/iommu_groups/12");
  link(`${parent}/mdev_supported_types/mtty-1/devices/${A}`, `../../../${A}`);
  link(`sys/bus/mdev/devices/${A}`, `../../../devices/virtual/mtty/mtty/${A}`);
  file("proc/42/comm", "qemu\n");
  mkdirSync(join(root, "proc/42/fd"));
  if (isOpen) symlinkSync("/dev/vfio/12", join(root, "proc/42/fd/5"));
  return root;
}

t.test("list", async (t) => {
  const root = machine(t);
  const { code, stdout } = await kept(() => main(["--root", root]));
  t.equal(code, 0);
  t.same(
    stdout.split("\n").map((line) => line.trim().replace(/ {2,}/g, " | ")),
    [
      "Parent | Type | Left | API | What it is",
      "mtty | mtty-1 | 23 | vfio-pci | Single port serial",
      "mtty | mtty-2 | 11 | vfio-pci | Dual port serial",
      "",
      "UUID | Parent | Type | Group | Driver",
      `${A} | mtty | mtty-1 | 12 | mtty`,
      "",
    ],
  );
  const json = JSON.parse((await kept(() => main(["list", "--json", "--root", root]))).stdout);
  t.match(json, {
    parents: [
      { name: "mtty", types: [{ id: "mtty-1", availableInstances: 23, instances: [A] }, { id: "mtty-2" }] },
    ],
    instances: [{ uuid: A, iommuGroup: 12, nodes: ["/dev/vfio/12"] }],
  });
  const empty = mkdtempSync(join(tmpdir(), "pollmode-mdev-"));
  t.teardown(() => rmSync(empty, { recursive: true }));
  const none = await kept(() => main(["--root", empty]));
  t.same(none, { code: 0, stdout: "no device of this machine offers mediated devices\n", stderr: "" });
});

t.test("show", async (t) => {
  const root = machine(t, true);
  const { stdout } = await kept(() => main(["show", A, "--root", root]));
  t.match(stdout, new RegExp(`^${A}\n {2}type +mtty-1 \\(Single port serial\\)\n {2}parent +mtty\n`));
  t.match(stdout, /IOMMU group +12\n/);
  t.match(stdout, /open in +qemu \(process 42\)\n/);
  const json = JSON.parse((await kept(() => main(["show", A, "--json", "--root", root]))).stdout);
  t.match(json, { uuid: A, type: "mtty-1", holders: [{ pid: 42, name: "qemu" }] });
});

t.test("create and remove, as a dry run prints them", async (t) => {
  const root = machine(t);
  const line = async (...argv: string[]) =>
    (await kept(() => main(["--dry-run", "--root", root, ...argv]))).stdout.replaceAll(root, "");
  t.equal(
    await line("create", "mtty", "2", "--uuid", B),
    `echo ${B} > /sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create\n`,
  );
  t.equal(await line("remove", A), `echo 1 > /sys/bus/mdev/devices/${A}/remove\n`);
});

t.test("refusals and wrong words", async (t) => {
  const root = machine(t, true);
  const fails = async (words: string, code: number, text: RegExp) => {
    const result = await kept(() => main(["--root", root, ...words.split(" ")]));
    t.match(result, { code, stdout: "", stderr: text }, words);
  };
  await fails(`remove ${A}`, 3, /is open in qemu \(process 42\)/);
  await fails(`remove ${B}`, 1, /there is no mediated device/);
  await fails("remove", 2, /mdev remove needs UUID\n {2}fix: write pollmode mdev remove UUID/);
  await fails("create mtty", 2, /mdev create needs TYPE/);
  await fails("create", 2, /mdev create needs PARENT and TYPE/);
  await fails(`show ${A} now`, 2, /unexpected "now"/);
  await fails("show me", 2, /"me" is no UUID/);
  await fails("creat mtty 1", 2, /did you mean create\?/);
  await fails("toString", 2, /there is no "toString"/);
  await fails("list --force", 2, /--force is for mdev remove/);
  await fails(`show ${A} --uuid ${B}`, 2, /--uuid is for mdev create/);
  await fails("create gpu 1", 1, /gpu offers no mediated devices\n {2}fix: .*parents: mtty/);
});
