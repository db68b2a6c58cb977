// Runs the guest's programs in the lab and reads the JSON that they print.
import { fileURLToPath } from "node:url";
import type { Test } from "tap";
import type { ExecOptions, Lab } from "../../beds/lab/lab.ts";
import type { Caught } from "../vfio/guest/environment.ts";
import type { Tried, TryOptions } from "./guest/try-open.ts";

export function guestProgram(name: string): string {
  return fileURLToPath(new URL(`./guest/${name}.js`, import.meta.url));
}

/** What a program printed; fails with its stderr when that is no JSON. */
export async function guestJson<T>(
  lab: Lab,
  name: string,
  args: readonly string[] = [],
  options?: ExecOptions,
) {
  const { stdout, stderr } = await lab.node(guestProgram(name), args, options);
  try {
    return JSON.parse(stdout) as T;
  } catch {
    throw new Error(`${name} printed no JSON: ${stdout}\n${stderr}`);
  }
}

/** Opens a function in a process of the guest, and closes it. */
export function tryOpen(lab: Lab, address: string, options: TryOptions = {}, exec?: ExecOptions) {
  return guestJson<Tried>(lab, "try-open", [address, JSON.stringify(options)], exec);
}

/** The error by which it cannot be opened, or what stands for "it was opened". */
export async function openError(
  lab: Lab,
  address: string,
  options: TryOptions = {},
  exec?: ExecOptions,
): Promise<Caught> {
  const { start, tries } = await tryOpen(lab, address, options, exec);
  if (start) return start;
  const [first] = tries;
  return first && "error" in first
    ? first.error
    : { code: "OPENED", message: JSON.stringify(first), fix: "" };
}

export async function opens(t: Test, lab: Lab, address: string, access: string): Promise<void> {
  const { start, tries, warnings } = await tryOpen(lab, address);
  t.match({ start, tries }, { start: undefined, tries: [{ value: { access } }] }, `${access}: it opens`);
  const about = warnings.filter((text) => !text.includes("no IOMMU stands between"));
  t.same(about, [], "without a warning about its memory");
}

interface Found {
  address: string;
  vectors: { msix: number; msi: number; intx: number };
  interrupts: { masked: boolean; rearm: string | undefined };
}

interface Report {
  functions: Found[];
  open: string[];
}

const masks = { uio_pci_generic: "config-command", igb_uio: "uio-write" } as const;

/** functions.ts finds all as it should be, on NICs that are bound to `access` and have one vector of `kind`. */
export async function examine(
  t: Test,
  lab: Lab,
  addresses: readonly string[],
  access: keyof typeof masks,
  kind: "msix" | "msi" | "intx",
): Promise<void> {
  const report = await guestJson<Report>(lab, "functions", addresses);
  for (const found of report.functions) await t.test(found.address, async (t) => one(t, found, access, kind));
  t.match(report, {
    left: [],
    warnings: [],
    isPinned: true,
    wakes: { none: 0, early: true, drained: true },
  });
  const uio = report.open.filter((path) => path.startsWith("/dev/uio"));
  t.equal(uio.length, addresses.length, "it held /dev/uioN, and let go");
}

function one(t: Test, found: Found, access: keyof typeof masks, kind: "msix" | "msi" | "intx"): void {
  t.match(found, { access, vendor: 0x8086, barBytes: 131072, sameBar: true, master: [0, 1, 1, 0] });
  t.same(found.vectors, { msix: 0, msi: 0, intx: 0, [kind]: 1 });
  t.match(found.interrupts, { before: false, first: true, again: [true, true, true] });
  // The 82574's MSI cannot be masked: it is counted, though nobody looks.
  if (kind !== "msi") t.match(found.interrupts, { off: false });
  t.equal(found.interrupts.masked, kind === "intx", "INTx is masked until it is rearmed");
  t.equal(found.interrupts.rearm, kind === "intx" ? masks[access] : undefined);
  // QEMU's e1000e can be reset by power management alone, which leaves its registers as they are.
  const isIgb = found.address === "0000:00:04.0";
  const { ral, ...kept } = (found as unknown as { reset: { before: { ral: number } } }).reset.before;
  t.match(found, {
    reset: { changed: true, done: true, after: isIgb ? { ral, ...kept } : kept },
    sent: { done: true },
  });
  const error = (code: string, message: RegExp) => ({ error: { code, message } });
  t.match(found, {
    errors: {
      ports: error("PCI_BAR", /^BAR2 of 0000:00:0[34].0: it is of I\/O ports/),
      none: error("PCI_BAR", /BAR5/),
      config: error("PCI_CONFIG", /at 4096/),
      crooked: error("PCI_CONFIG", /at 1/),
      vectors: error(
        "INTERRUPT_VECTORS",
        new RegExp(`: 2 vectors of ${kind}, ${access} gives one of ${kind}`),
      ),
      kind: error("INTERRUPT_VECTORS", new RegExp(`gives one of ${kind}`)),
      open: error("UIO_BUSY", /open already, by this program itself/),
    },
  });
}
