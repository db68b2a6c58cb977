// A function's interrupt by UIO: one vector, whose kind the kernel's driver chooses, counted by /dev/uioN.
//
//   uio_pci_generic   INTx; its handler masks it in the command register each time
//   igb_uio           by its parameter intr_mode, and what the device has: MSI-X, MSI or INTx. Only INTx is masked
import { readSync, writeSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import type { ConfigFile } from "../pci/config-file.ts";
import { devicePath, type Sysfs } from "../pci/sysfs.ts";
import type { InterruptKind, InterruptLine } from "../pci-function.ts";
import type { UioDriver } from "./errors.ts";

/** irqcontrol's argument, an s32. */
const irqControl = (on: boolean) => Buffer.from(Int32Array.of(Number(on)).buffer);

export class UioInterrupts {
  readonly vectors: Readonly<Record<InterruptKind, number>>;
  private readonly address: string;
  private readonly driver: UioDriver;
  private readonly uio: number;
  private readonly config: ConfigFile;
  private readonly kind: InterruptKind | undefined;

  constructor(address: string, driver: UioDriver, uio: number, config: ConfigFile, sysfs: Sysfs) {
    this.address = address;
    this.driver = driver;
    this.uio = uio;
    this.config = config;
    this.kind = this.hasLine() ? kindOf(address, sysfs) : undefined;
    this.vectors = { msix: 0, msi: 0, intx: 0, ...(this.kind && { [this.kind]: 1 }) };
  }

  /** uio_read() fails by EIO where the driver has no interrupt for the device, as of a VF without INTx. */
  private hasLine(): boolean {
    try {
      readSync(this.uio, Buffer.alloc(4));
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN") return true;
      if (code === "EIO") return false;
      throw error;
    }
  }

  enable(kind: InterruptKind, count: number): readonly InterruptLine[] {
    if (count !== 1 || kind !== this.kind) throw this.unavailable(kind, count);
    this.hasLine(); // forgets what has fired before
    const { uio, config } = this;
    if (this.driver === "uio_pci_generic") {
      config.setIntx(true);
      return [{ fd: uio, readBytes: 4, rearm: { by: "config-command", fd: config.fd } }];
    }
    writeSync(uio, irqControl(true));
    const rearm = kind === "intx" ? ({ by: "uio-write", fd: uio } as const) : undefined;
    return [{ fd: uio, readBytes: 4, rearm }];
  }

  private unavailable(kind: InterruptKind, count: number): PollmodeError {
    const has = this.kind === undefined ? "none" : `one of ${this.kind}`;
    const message = `${this.address}: ${count} vectors of ${kind}, ${this.driver} gives ${has}`;
    const mode = `the other kind, as root: modprobe -r igb_uio; modprobe igb_uio intr_mode=msix (or msi, legacy)`;
    const fix =
      this.driver === "igb_uio"
        ? `${mode}; several vectors are to be had by vfio-pci`
        : "igb_uio gives one of MSI-X or MSI, vfio-pci gives all that the device has";
    return new PollmodeError("INTERRUPT_VECTORS", message, fix);
  }

  /** Twice does no harm. MSI without a mask bit, as the 82574's, goes on counting, and nobody looks. */
  disable(): void {
    if (this.driver === "uio_pci_generic") this.config.setIntx(false);
    else if (this.kind !== undefined) writeSync(this.uio, irqControl(false));
  }
}

/** The files of `msi_irqs` are there while message-signalled interrupts are on, each with its kind. */
function kindOf(address: string, sysfs: Sysfs): InterruptKind {
  const [first] = sysfs.list(devicePath(address, "msi_irqs"));
  if (first === undefined) return "intx";
  return sysfs.read(devicePath(address, `msi_irqs/${first}`)) === "msix" ? "msix" : "msi";
}
