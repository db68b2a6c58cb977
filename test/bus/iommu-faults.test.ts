// What the kernel logs of stopped DMA: Intel's and AMD's lines, and other lines between them.
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { IommuFaults, parseIommuFault } from "../../src/bus/iommu-faults.ts";

const intelLine =
  "3,912,8123456,-;DMAR: [DMA Write NO_PASID] Request device [00:03.0] fault addr 0x7f00001000 " +
  "[fault reason 0x05] PTE Write access is not set";
const amdLine =
  "3,1,2,-;vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:01:00.0 domain=0x000e " +
  "address=0xfffffff000 flags=0x0020]";

t.test("lines of the kernel", async (t) => {
  t.same(parseIommuFault(intelLine), { device: "0000:00:03.0", address: 0x7f00001000n, access: "write" });
  t.same(parseIommuFault(intelLine.replace("Write NO", "Read NO")), {
    device: "0000:00:03.0",
    address: 0x7f00001000n,
    access: "read",
  });
  t.same(parseIommuFault(amdLine), { device: "0000:01:00.0", address: 0xfffffff000n, access: "write" });
  t.equal(parseIommuFault(amdLine.replace("0x0020", "0x0000"))?.access, "read");
  t.equal(parseIommuFault("6,1,1,-;DMAR: IOMMU enabled"), undefined);
});

t.test("only what comes after the start, each once", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-kmsg-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "kmsg");
  writeFileSync(path, `${intelLine}\n`);
  const faults = new IommuFaults(path);
  t.same(faults.take(), []);
  appendFileSync(path, `6,1,1,-;nothing\n${amdLine}\n`);
  t.same(
    faults.take().map(({ device }) => device),
    ["0000:01:00.0"],
  );
  t.same(faults.take(), []);
  faults.close();
  faults.close();
  t.same(faults.take(), []);
  t.same(new IommuFaults(join(folder, "nothing")).take(), [], "no log: nothing to tell");
});
