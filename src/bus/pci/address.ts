// PCI addresses: domain, bus, device and function, as the kernel writes them (`0000:00:03.0`) and people shorten them
// (`00:03.0`). Everything else in this folder takes and gives the kernel's spelling.
import { PollmodeError } from "../../errors.ts";

export interface PciAddress {
  /** 16 bits; wider for domains that the kernel makes up, as behind Intel's VMD. */
  readonly domain: number;
  readonly bus: number;
  readonly device: number;
  readonly function: number;
}

const form = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/i;

/** Undefined if the text is no PCI address. */
export function parsePciAddress(text: string): PciAddress | undefined {
  const found = form.exec(text);
  if (!found) return undefined;
  const [domain = 0, bus, device, fn] = found.slice(1).map((part) => Number.parseInt(part ?? "0", 16));
  return { domain, bus: bus!, device: device!, function: fn! };
}

/** As sysfs names it: `0000:00:03.0`. */
export function formatPciAddress({ domain, bus, device, function: fn }: PciAddress): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  return `${hex(domain, 4)}:${hex(bus, 2)}:${hex(device, 2)}.${fn}`;
}

/** The kernel's spelling of an address, full or short. Throws PCI_ADDRESS. */
export function fullPciAddress(text: string): string {
  const address = parsePciAddress(text);
  if (address) return formatPciAddress(address);
  throw new PollmodeError(
    "PCI_ADDRESS",
    `"${text}" is no PCI address`,
    "write it as 0000:01:00.0 or 01:00.0",
  );
}

/** Order of bus numbers, for sort(): by domain, bus, device, function. */
export function comparePciAddresses(a: string, b: string): number {
  const [left, right] = [parsePciAddress(a), parsePciAddress(b)];
  if (!left || !right) return a < b ? -1 : Number(a > b);
  return (
    left.domain - right.domain ||
    left.bus - right.bus ||
    left.device - right.device ||
    left.function - right.function
  );
}
