// `pollmode doctor`: the checklist as people and programs read it, and its exit codes.
import { chmodSync } from "node:fs";
import t from "tap";
import { main } from "../../src/cli/doctor/main.ts";
import { healthy, nic, router, routerNic } from "../doctor/made.ts";
import { kept } from "./tool/kept.ts";

const doctor = (...argv: string[]) => kept(() => main(argv));

t.test("in good health", async (t) => {
  const { root } = healthy(t);
  const { code, stdout, stderr } = await doctor("--root", root, "--user", "root");
  t.same([code, stderr], [0, ""]);
  t.match(stdout, /^This machine\n {2}ok {7}nics {17}0000:01:00.2 \(I350\), 0000:01:00.3 \(I350\); /);
  t.match(stdout, /\n\n0000:01:00.2 I350\n {2}ok {7}group {16}group 17, its own\n/);
  t.match(stdout, /\n\nPackets could flow \(0 warnings\)\.\n$/);
});

t.test("something is wrong: text and JSON", async (t) => {
  const made = router(t);
  const { code, stdout } = await doctor("--root", made.root, routerNic);
  t.equal(code, 1);
  const at = " ".repeat(32);
  t.match(
    stdout,
    `\n  FAIL     firmware             no IOMMU: ACPI has no table DMAR (VT-d) or IVRS (AMD-Vi)\n${at}fix: turn VT-d`,
  );
  t.match(stdout, `\n${at}or, as root: pollmode devbind --noiommu-mode -b vfio-pci ${routerNic}\n`);
  t.match(stdout, `\n${at}  then mind that the device can overwrite all of memory`);
  t.match(stdout, "\n  skipped  modules              not looked at, because of firmware\n");
  t.match(stdout, /\n\nPackets cannot flow yet: mend firmware \(\d warnings?\)\.\n$/);

  const json = await doctor("--root", made.root, "--json", "-m", "128", routerNic);
  t.same([json.code, json.stderr], [1, ""]);
  const found = JSON.parse(json.stdout);
  t.match(found, { healthy: false, memoryMib: 128 });
  const firmware = found.checks.find(({ id }: { id: string }) => id === "firmware");
  t.match(firmware, { state: "fail", fix: /^turn VT-d .*; or as root: pollmode devbind --noiommu-mode / });
  t.match(firmware.commands, [
    /^pollmode devbind --noiommu-mode -b vfio-pci /,
    /^pollmode devbind -b uio_pci_generic /,
  ]);
  const bound = found.checks.find(({ id }: { id: string }) => id === "bound");
  t.match(bound, { device: routerNic, state: "skipped", because: "firmware" });
});

t.test("another user, other memory", async (t) => {
  const made = healthy(t);
  for (const node of ["vfio", "17"]) chmodSync(`${made.root}/dev/vfio/${node}`, 0o666);
  made.put("/proc/1/limits", "Max locked memory 8388608 8388608 bytes\n");
  const few = await doctor("--root", made.root, "--user", "alice", nic);
  t.match(few, { code: 1, stdout: /\nPackets cannot flow yet: mend memlock \(/ });
  t.match(await doctor("--root", made.root, "--user", "alice", "--memory", "8", nic), { code: 0 });
});

t.test("a wrong command line", async (t) => {
  const { root } = healthy(t);
  t.match(await doctor("--memory", "0"), {
    code: 2,
    stderr: /--memory "0" is not a whole number from 1 to 4096/,
  });
  t.match(await doctor("--root", root, "--user", "bob"), { code: 2, stderr: /there is no user "bob"/ });
  t.match(await doctor("--root", root, "0000:77:00.0"), { code: 2, stderr: /no such PCI device/ });
  t.match(await doctor("--help"), { code: 0, stdout: /^usage: pollmode doctor \[OPTIONS\] \[DEVICE…\]/ });
});
