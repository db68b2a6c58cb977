// A descriptor that points outside the mapped zone: the IOMMU stops it, the kernel logs it, the port says so.
import t from "tap";
import { Lab, labBed } from "../beds/lab/lab.ts";
import { guestRun } from "./support.ts";

t.setTimeout(300_000);
const missing = labBed.missing();

interface StrayReport {
  errors: { code: string; message: string; fix: string }[];
  faults: Record<string, { name: string }>;
  again: { packets: number; faults: object };
}

t.test("DMA outside the mapped zone", { skip: missing ?? false }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }] });
  for (const { address, model } of lab.nics) {
    await t.test(model, async (t) => {
      await lab.bind(address, "vfio-pci");
      const { errors, faults, again } = await guestRun<StrayReport>(lab, "stray-dma", { nics: [address] });
      t.match(await lab.dmesg(), /DMAR: \[DMA Read.*fault addr 0x7f/, "the kernel's log has the fault");
      const fault = errors.find(({ code }) => code === "DMA_FAULT");
      t.match(fault?.message, new RegExp(`port 0 \\(${address}\\): the IOMMU stopped its read at 0x7f`));
      t.match(fault?.fix, /stop and start the port/);
      t.ok(errors.some(({ code }) => code === "QUEUE_DMA_ERROR"));
      t.equal(faults["tx 0"]?.name, "DMA_ERROR", "the queue has stopped itself");
      t.ok(again.packets > 100, `${again.packets} packets after stop and start`);
      t.same(again.faults, {});
    });
  }
});
