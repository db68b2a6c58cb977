// What errors of a virtual function name: its PF by interface, by address, or not at all.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { vfNames } from "../../../pmd/e1000/vf-names.ts";
import { Sysfs } from "../../../src/bus/pci/sysfs.ts";

const root = mkdtempSync(join(tmpdir(), "pollmode-vf-names-"));
t.teardown(() => rmSync(root, { recursive: true }));
const devices = join(root, "bus/pci/devices");

function device(address: string): string {
  const folder = join(devices, address);
  mkdirSync(folder, { recursive: true });
  for (const name of ["vendor", "device", "subsystem_vendor", "subsystem_device", "class", "revision"])
    writeFileSync(join(folder, name), "0x1\n");
  return folder;
}

t.test("by what sysfs shows of the PF", async (t) => {
  const vf = "0000:01:10.2";
  const folder = device(vf);
  const sysfs = new Sysfs(root);
  t.same(vfNames(vf, sysfs), { vf, pf: "PF", index: "N", mend: "on the host: ip link set PF up" });
  const pf = device("0000:01:00.0");
  symlinkSync("../0000:01:00.0", join(folder, "physfn"));
  writeFileSync(join(pf, "sriov_totalvfs"), "7\n");
  writeFileSync(join(pf, "sriov_numvfs"), "2\n");
  symlinkSync("../0000:01:10.0", join(pf, "virtfn0"));
  symlinkSync(`../${vf}`, join(pf, "virtfn1"));
  t.match(vfNames(vf, sysfs), {
    pf: "0000:01:00.0",
    index: 1,
    mend: /^bind 0000:01:00.0 to igb: on no driver/,
  });
  mkdirSync(join(pf, "net/eth3"), { recursive: true });
  t.same(vfNames(vf, sysfs), { vf, pf: "eth3", index: 1, mend: "ip link set eth3 up" });
});
