// What the guest's functions.ts finds out of a NIC, and what it should be.
import type { Test } from "tap";

/** What functions.ts finds out of one NIC. */
export interface Findings {
  device: number;
  msix: { own: number; other: number }[];
  again: { own: number; other: number }[];
  msi: { first: number; before: number };
  intx: { first: number; before: number; after: number; rearm: string };
}

/** Device id of QEMU's igb, the 82576. */
const IGB = 0x10c9;

/** A NIC's findings are as they should be. */
export async function examine(t: Test, found: Findings, address: string): Promise<void> {
  t.match(found, { barBytes: 131072, sameBar: true, master: [0, 1, 1, 0] });
  for (const vectors of [found.msix, found.again]) {
    for (const { own, other } of vectors) {
      t.ok(own >= 1, `an MSI-X vector fires (${own})`);
      t.equal(other, 0, "and only that");
    }
  }
  t.ok(found.msi.first >= 1 && found.msi.before >= 1, "MSI fires, and again");
  t.same(
    found.intx,
    { first: 1, before: 0, after: 1, rearm: "vfio-intx" },
    "INTx is masked until it is rearmed",
  );
  // QEMU's e1000e can be reset by power management alone, which leaves its registers as they are.
  t.match(found, { reset: { done: true, back: found.device === IGB } });
  const bar = { error: { code: "PCI_BAR" } };
  const config = { error: { code: "PCI_CONFIG" } };
  t.match(found, {
    errors: {
      ports: { error: { code: "PCI_BAR", message: /^BAR2 of 0000:00:0[34].0: it is of I\/O ports/ } },
      none: bar,
      beyond: bar,
      config,
      crooked: config,
      vectors: {
        error: { code: "INTERRUPT_VECTORS", message: new RegExp(`^${address}: 1000 vectors of msix`) },
      },
      open: { error: { code: "VFIO_BUSY", message: /by this program itself/ } },
    },
  });
}
