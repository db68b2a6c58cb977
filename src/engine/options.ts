// What an engine is started with, checked.
import type { Devargs } from "../eal/devargs.ts";
import { type LcoreCpus, parseLcoreList } from "../eal/lcore-list.ts";
import type { VfioIntr } from "../eal/options.ts";
import { PollmodeError } from "../errors.ts";
import type { EngineName } from "../hot/engine.ts";
import { threadCpus } from "../libc/libc.ts";
import type { IovaMode } from "../memory/iova.ts";

/**
 * What Pollmode.start() is told. The names are those of DPDK's options. Unknown ones throw OPTION_UNKNOWN, values that
 * cannot be OPTION_VALUE, those that exclude each other OPTION_CONFLICT.
 */
export interface PollmodeOptions {
  /** DPDK's -l/--lcores, or its parsed form. By default lcore 0 on the first CPU that the process may use. */
  lcores?: string | readonly LcoreCpus[];
  /**
   * PCI devices to make ports of, in this order and before those of `vdev`: DPDK's -a/--allow. `pcidevice:RESOURCE`:
   * those that Kubernetes gave this container, with their VF token.
   */
  allow?: readonly (string | Devargs)[];
  /** Makes ports of all devices that are bound to VFIO or UIO and have a driver here, but for these addresses. */
  block?: readonly string[];
  /** Ports made at the start: DPDK's --vdev. */
  vdev?: readonly (string | Devargs)[];
  /** --vfio-vf-token: the UUID that a VF and its PF share where the PF is bound to vfio-pci. */
  vfioVfToken?: string;
  /** --vfio-intr: the kind of interrupt that devices on VFIO use. Default: the best that each has. */
  vfioIntr?: VfioIntr;
  /** -m: MiB of memory for packets and rings. Default: 64. */
  memoryMib?: number;
  /** --no-huge: memory for packets without hugepages. No root is needed then, but a NIC cannot use it by VFIO. */
  noHuge?: boolean;
  /** --in-memory: no runtime directory, no lock. The default for embedding, unless a filePrefix is given. */
  inMemory?: boolean;
  /** --file-prefix: one engine at a time has it on this machine. */
  filePrefix?: string;
  /** Default: pa where a device of `allow` or `block` needs it (UIO, VFIO without an IOMMU), else va. */
  iovaMode?: IovaMode;
  /** What the poll loops run as. Default: `wasm`. */
  engine?: EngineName;
  /** MiB of address space for the arena, which a guest's memory is laid over too. Default: 2048. */
  arenaMib?: number;
  /** mbufs in the pool, which all ports and lcores share. Default: 8192. */
  mbufs?: number;
  /** Bytes of frame an mbuf holds. Larger frames are chains. Default: 2048. */
  mbufDataRoom?: number;
  /** Where warnings go; process.emitWarning by default. */
  warn?: (text: string) => void;
}

const OPTIONS: Record<keyof PollmodeOptions, true> = {
  lcores: true,
  allow: true,
  block: true,
  vdev: true,
  vfioVfToken: true,
  vfioIntr: true,
  memoryMib: true,
  noHuge: true,
  inMemory: true,
  filePrefix: true,
  iovaMode: true,
  engine: true,
  arenaMib: true,
  mbufs: true,
  mbufDataRoom: true,
  warn: true,
};

export function checkOptions(options: PollmodeOptions): void {
  const unknown = Object.keys(options).find((key) => !(key in OPTIONS));
  if (unknown !== undefined) {
    const message = `Pollmode.start: there is no option ${unknown}`;
    throw new PollmodeError("OPTION_UNKNOWN", message, `options: ${Object.keys(OPTIONS).join(", ")}`);
  }
  const { engine = "wasm", iovaMode = "va" } = options;
  if (!["wasm", "ts"].includes(engine) || !["va", "pa"].includes(iovaMode)) {
    const message = `Pollmode.start: engine ${engine}, iovaMode ${iovaMode}`;
    throw new PollmodeError("OPTION_VALUE", message, 'engine is "wasm" or "ts", iovaMode is "va" or "pa"');
  }
  const { vfioIntr = "msix" } = options;
  if (!["legacy", "msi", "msix"].includes(vfioIntr)) {
    const message = `Pollmode.start: vfioIntr ${vfioIntr}`;
    throw new PollmodeError("OPTION_VALUE", message, 'vfioIntr is "legacy", "msi" or "msix"');
  }
  if (options.allow?.length && options.block?.length) {
    const message = "Pollmode.start: allow and block exclude each other";
    throw new PollmodeError("OPTION_CONFLICT", message, "keep allow: it is enough");
  }
}

/** The lcores asked for, on CPUs that this process may use; by default one, on the first of those. */
export function lcoresOf(options: PollmodeOptions): readonly LcoreCpus[] {
  const allowed = threadCpus();
  const { lcores } = options;
  if (lcores === undefined) return [{ lcore: 0, cpus: allowed.slice(0, 1) }];
  return typeof lcores === "string" ? parseLcoreList(lcores, { allowedCpus: new Set(allowed) }) : lcores;
}
