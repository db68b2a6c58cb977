// VF tokens, in the lab: who has to give one, who may not, and what a missing or wrong one says.
import t from "tap";
import { Lab, labBed } from "../../beds/lab/lab.ts";
import { openError, opens, whileHeld } from "./guest-run.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const [e1000e, igb] = ["0000:00:03.0", "0000:00:04.0"];
const TOKEN = "14d63f20-8445-11ea-8900-1f9ce7d5650d";
const OTHER_TOKEN = "00000000-8445-11ea-8900-1f9ce7d5650d";

const boot = async () => {
  await labBed.setup();
  return Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }], cpus: 1 });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) {
  t.teardown(() => lab[Symbol.asyncDispose]());
  for (const { address } of lab.nics) await lab.bind(address, "vfio-pci");
}

/** Makes virtual functions of igb; their addresses. */
async function makeVfs(count: number): Promise<string[]> {
  const device = `/sys/bus/pci/devices/${igb}`;
  await lab.run(`echo 0 > ${device}/sriov_numvfs; echo ${count} > ${device}/sriov_numvfs`);
  const links = await lab.run(`for vf in ${device}/virtfn*; do basename $(readlink $vf); done`);
  return links.trim().split("\n");
}

t.test("VF tokens: the PF is bound to vfio-pci", { skip }, async (t) => {
  await lab.writeFile("/sys/module/vfio_pci/parameters/enable_sriov", "1");
  const [vf, second] = (await makeVfs(2)) as [string, string];
  t.match(await openError(lab, vf), {
    code: "VFIO_TOKEN_MISSING",
    message: `${vf} wants a VF token, for ${igb} is bound to vfio-pci and may be another's`,
    fix: /--vfio-vf-token UUID/,
  });
  t.match(await openError(lab, vf, { vfToken: TOKEN }), {
    code: "VFIO_TOKEN_WRONG",
    message: `${vf}: VF token ${TOKEN} is not the one that ${igb} has`,
  });
  await opens(t, lab, [igb, vf, second], { vfToken: TOKEN }); // the PF sets it, the VFs give it
  await opens(t, lab, vf, { vfToken: TOKEN }); // and it stays
  await whileHeld(lab, vf, TOKEN, async () => {
    t.match(await openError(lab, igb), { code: "VFIO_TOKEN_MISSING" }, "a PF whose VF is in use");
    t.match(await openError(lab, igb, { vfToken: OTHER_TOKEN }), { code: "VFIO_TOKEN_WRONG" });
    t.match(await openError(lab, second, { vfToken: OTHER_TOKEN }), { code: "VFIO_TOKEN_WRONG" });
    await opens(t, lab, igb, { vfToken: TOKEN });
  });
  await opens(t, lab, e1000e, { vfToken: TOKEN }); // which has no VFs: the kernel would refuse a token
});

t.test("VF tokens: the PF is the kernel's", { skip }, async (t) => {
  await lab.run(`echo 0 > /sys/bus/pci/devices/${igb}/sriov_numvfs`);
  await lab.bind(igb, "igb");
  const [vf] = (await makeVfs(1)) as [string];
  await lab.bind(vf, "vfio-pci");
  await opens(t, lab, vf);
  await opens(t, lab, vf, { vfToken: TOKEN }); // not passed on: the kernel would refuse it
});
