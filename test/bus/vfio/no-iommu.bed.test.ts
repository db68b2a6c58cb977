// VFIO without an IOMMU, in the lab: refused, then allowed as its error says; physical addresses, root alone, and a
// warning.
import t from "tap";
import { Lab, labBed } from "../../beds/lab/lab.ts";
import { examine, type Findings } from "./findings.ts";
import { guestJson, obey, openError, tryOpen } from "./guest-run.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const [e1000e, igb] = ["0000:00:03.0", "0000:00:04.0"];
const physical = { iova: "pa", noHuge: false } as const;

const boot = async () => {
  await labBed.setup();
  return Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }], iommu: false, cpus: 1 });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) t.teardown(() => lab[Symbol.asyncDispose]());

t.test("no IOMMU: an error, until that mode is turned on", { skip }, async (t) => {
  const error = await openError(lab, e1000e, physical);
  t.match(error, {
    code: "VFIO_NO_IOMMU",
    message: "0000:00:03.0: this machine has no IOMMU, or it is off, and VFIO works behind one",
    fix: /intel_iommu=on .* as root: pollmode devbind --noiommu-mode /,
  });
  await obey(lab, error.fix);
  const result = await tryOpen(lab, [e1000e], physical);
  t.match(result, { tries: [{ value: { vendor: 0x8086, access: "vfio-noiommu" } }] });
  t.match(result.warnings, [/^0000:00:03.0: no IOMMU stands between this device and all memory/]);
  t.same([result.left, result.lockedKib], [[], 0], "and nothing is left");
  await lab.bind(igb, "vfio-pci");
});

t.test("it takes physical addresses", { skip }, async (t) => {
  t.match(await openError(lab, e1000e, { iova: "va" }), {
    code: "VFIO_NOIOMMU_IOVA",
    message: /^0000:00:03.0 has no IOMMU/,
    fix: /--iova-mode pa/,
  });
});

t.test("and CAP_SYS_RAWIO, whoever owns the node", { skip }, async (t) => {
  const exec = { prefix: ["setpriv", "--bounding-set=-sys_rawio"] };
  t.match(await openError(lab, e1000e, { ...physical, exec }), {
    code: "VFIO_NOIOMMU_RIGHTS",
    message: /^0000:00:03.0: \/dev\/vfio\/noiommu-\d takes CAP_SYS_RAWIO/,
  });
  const node = "/dev/vfio/noiommu-0";
  const open = await lab.exec(["setpriv", "--bounding-set=-sys_rawio", "dd", `if=${node}`, "count=0"]);
  t.match(open, { code: 1, stderr: /Operation not permitted/ }, "as the kernel has it");
});

t.test("two NICs at once", { skip }, async (t) => {
  const args = [JSON.stringify(physical), e1000e, igb];
  const found = await guestJson<{ functions: Findings[]; open: string[]; left: string[] }>(
    lab,
    "functions",
    args,
  );
  t.same(found.open.length, 5, "two groups, two devices, one container");
  t.same(found.left, []);
  await examine(t, found.functions[0]!, e1000e);
  await examine(t, found.functions[1]!, igb);
});
