// Names of vendors, devices and classes, from the system's pci.ids where there is one (packages pci.ids, hwdata). For
// people alone: nothing is decided by them. The file is read at the first question and searched, not taken apart: few
// of its 36,000 lines are ever asked for. Its format stands in its own head and in pci.ids(5).
import { readFileSync } from "node:fs";

const paths = ["/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids", "/usr/share/pci.ids"];

export class PciIds {
  readonly #paths: readonly string[];
  #text: string | undefined;

  /** The first of `paths` that can be read is used. */
  constructor(from: readonly string[] = paths) {
    this.#paths = from;
  }

  vendor(vendor: number): string | undefined {
    return nameAt(this.#vendorBlock(vendor));
  }

  device(vendor: number, device: number): string | undefined {
    return nameAt(this.#deviceBlock(vendor, device));
  }

  /** The board that a chip is on. */
  subsystem(vendor: number, device: number, subVendor: number, subDevice: number): string | undefined {
    const chip = this.#deviceBlock(vendor, device);
    return nameAt(block(chip, `\t\t${hex(subVendor, 4)} ${hex(subDevice, 4)}`));
  }

  /** Of base class and sub-class: 0x020000 is "Ethernet controller". */
  className(code: number): string | undefined {
    const base = block(this.#load(), `C ${hex(code >> 16, 2)}`);
    return nameAt(block(base, `\t${hex((code >> 8) & 0xff, 2)}`)) ?? nameAt(base);
  }

  #vendorBlock(vendor: number): string | undefined {
    return block(this.#load(), hex(vendor, 4));
  }

  #deviceBlock(vendor: number, device: number): string | undefined {
    return block(this.#vendorBlock(vendor), `\t${hex(device, 4)}`);
  }

  #load(): string {
    this.#text ??= `\n${firstReadable(this.#paths)}`;
    return this.#text;
  }
}

function firstReadable(from: readonly string[]): string {
  for (const path of from) {
    try {
      return readFileSync(path, "utf8");
    } catch {
      // the next one, or none: names are for convenience
    }
  }
  return "";
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");

/** The line that begins with `key`, and those after it that belong to it: they are further in. */
function block(text: string | undefined, key: string): string | undefined {
  const start = text?.indexOf(`\n${key}  `) ?? -1;
  if (text === undefined || start < 0) return undefined;
  const depth = /^\t*/.exec(key)![0].length;
  const next = new RegExp(`\\n\\t{0,${depth}}[^\\t\\n#]`, "g");
  next.lastIndex = start + 1;
  return text.slice(start, next.exec(text)?.index);
}

/** The name in a block's first line. */
function nameAt(block: string | undefined): string | undefined {
  return block && /^\n[^\n]*? {2}([^\n]*)/.exec(block)?.[1];
}
