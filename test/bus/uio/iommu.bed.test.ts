// UIO in the lab, with an IOMMU: refused where it translates, taken where it passes the device through.
import t from "tap";
import { Lab, labBed } from "../../beds/lab/lab.ts";
import { obey } from "../vfio/guest-run.ts";
import { examine, openError, opens } from "./guest-run.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const [e1000e, igb] = ["0000:00:03.0", "0000:00:04.0"];
const nics = [{ model: "e1000e" }, { model: "igb" }] as const;

t.test("an IOMMU that translates", { skip }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [...nics] });
  for (const driver of ["uio_pci_generic", "igb_uio"]) {
    await lab.bind(e1000e, driver);
    const error = await openError(lab, e1000e);
    t.match(error, {
      code: "UIO_IOMMU",
      message: /^0000:00:03.0: an IOMMU translates .*IOMMU group \d+ has the type DMA(-FQ)?, not identity/,
      fix: /iommu=pt/,
    });
    await obey(lab, error.fix, "use VFIO, as root: ");
    await opens(t, lab, e1000e, "vfio");
  }
  await t.test("until it is told to pass the device through", async (t) => {
    await lab.bind(igb, "uio_pci_generic");
    const { fix } = await openError(lab, igb);
    await obey(lab, fix, "until the next boot, as root: ");
    await examine(t, lab, [igb], "uio_pci_generic", "intx");
    t.notMatch(await lab.dmesg(), /DMAR:.*fault/i);
  });
});

t.test("iommu=pt", { skip }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [...nics], kernelArguments: ["iommu=pt"] });
  for (const [driver, kind] of [
    ["uio_pci_generic", "intx"],
    ["igb_uio", "msix"],
  ] as const) {
    for (const { address } of lab.nics) await lab.bind(address, driver);
    await t.test(driver, (t) => examine(t, lab, [e1000e, igb], driver, kind));
  }
  t.notMatch(await lab.dmesg(), /DMAR:.*fault/i);
});
