// A device's configuration space through sysfs `config`: for whoever has no VFIO device to ask, as UIO's drivers.
// Reading beyond the first 64 bytes and writing take root; under kernel lockdown nobody writes.
import { closeSync, constants, readSync, writeSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import { lockdownFix, lockdownMode } from "./lockdown.ts";
import * as regs from "./registers.ts";
import { devicePath, Sysfs } from "./sysfs.ts";

/** The image of configuration space as far as this user may see it: 64, 256 or 4096 bytes. See parseConfigSpace. */
export function readConfigImage(address: string, sysfs = new Sysfs()): Buffer {
  const fd = sysfs.open(devicePath(address, "config"), constants.O_RDONLY);
  try {
    const image = Buffer.alloc(regs.PCI_CFG_SPACE_EXP_SIZE);
    let bytes = 0;
    for (let got = -1; got !== 0 && bytes < image.length; bytes += got) {
      got = readSync(fd, image, bytes, image.length - bytes, bytes);
    }
    return image.subarray(0, bytes);
  } catch (cause) {
    throw failed(address, `read of configuration space`, cause, sysfs);
  } finally {
    closeSync(fd);
  }
}

/** Open for reading and writing. */
export class ConfigFile {
  /** Readable and writable; configuration space from offset 0. */
  readonly fd: number;
  readonly #address: string;
  readonly #sysfs: Sysfs;
  #isClosed = false;

  constructor(address: string, sysfs = new Sysfs()) {
    this.#address = address;
    this.#sysfs = sysfs;
    this.fd = sysfs.open(devicePath(address, "config"), constants.O_RDWR);
  }

  /** Throws PCI_CONFIG. */
  read(offset: number, bytes: 1 | 2 | 4): number {
    const value = Buffer.alloc(4);
    this.#access("read", offset, bytes, () => readSync(this.fd, value, 0, bytes, offset));
    return value.readUIntLE(0, bytes);
  }

  /** Throws PCI_CONFIG. */
  write(offset: number, bytes: 1 | 2 | 4, value: number): void {
    const data = Buffer.alloc(4);
    data.writeUInt32LE(value >>> 0);
    this.#access("write", offset, bytes, () => writeSync(this.fd, data, 0, bytes, offset));
  }

  /** PCI_COMMAND_MASTER: without it the function reads and writes no memory, and sends no MSI. */
  setBusMaster(on: boolean): void {
    this.#setCommand(regs.PCI_COMMAND_MASTER, on);
  }

  /** PCI_COMMAND_MEMORY: without it BARs do not answer. */
  setMemory(on: boolean): void {
    this.#setCommand(regs.PCI_COMMAND_MEMORY, on);
  }

  /** PCI_COMMAND_INTX_DISABLE, turned round: whether the function may raise its INTx line. */
  setIntx(on: boolean): void {
    this.#setCommand(regs.PCI_COMMAND_INTX_DISABLE, !on);
  }

  /** By halves: the kernel and an lcore's thread switch INTx, in the high one, while this thread switches others. */
  #setCommand(bits: number, on: boolean): void {
    const half = bits > 0xff ? 1 : 0;
    const mask = bits >>> (8 * half);
    const before = this.read(regs.PCI_COMMAND + half, 1);
    const wanted = on ? before | mask : before & ~mask;
    if (wanted !== before) this.write(regs.PCI_COMMAND + half, 1, wanted);
  }

  #access(what: "read" | "write", offset: number, bytes: number, access: () => number): void {
    const name = `${what} of ${bytes} bytes of configuration space at ${offset}`;
    if (this.#isClosed) throw this.#closed(name); // the fd's number may be another file's by now
    const isInside = offset >= 0 && offset + bytes <= regs.PCI_CFG_SPACE_EXP_SIZE;
    if (Number.isInteger(offset) && isInside && offset % bytes === 0) {
      let done: number;
      try {
        done = access();
      } catch (cause) {
        throw failed(this.#address, name, cause, this.#sysfs);
      }
      if (done === bytes) return;
    }
    const fix = `use a multiple of ${bytes} within what the device has, and this user may see: root sees it all`;
    throw new PollmodeError("PCI_CONFIG", `${this.#address}: ${name}: there is none`, fix);
  }

  #closed(name: string): PollmodeError {
    return new PollmodeError("PCI_CONFIG", `${this.#address}: ${name}: it is closed`, "open it anew");
  }

  /** Twice does nothing. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.fd);
  }
}

function failed(address: string, name: string, cause: unknown, sysfs: Sysfs): PollmodeError {
  const { code } = cause as NodeJS.ErrnoException;
  const mode = lockdownMode(sysfs);
  const isLocked = code === "EPERM" && mode !== undefined && mode !== "none";
  const message = `${address}: ${name}: ${code}${isLocked ? `, kernel lockdown is on (${mode})` : ""}`;
  const fix =
    code === "EPERM" ? lockdownFix : "see whether the device is still there: ls /sys/bus/pci/devices";
  return new PollmodeError("PCI_CONFIG", message, fix, { cause });
}
