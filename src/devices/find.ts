// Devices as a person names them: an address, full or short; a pattern of addresses, as `0000:03:00.*` or `*:00.1`; the
// name of a network interface, or a pattern of such names.
import { formatPciAddress, parsePciAddress } from "../bus/pci/address.ts";
import { type PciDevice, scanPci } from "../bus/pci/scan.ts";
import { fnmatch } from "../eal/fnmatch.ts";
import { nearest } from "../eal/nearest.ts";
import { PollmodeError } from "../errors.ts";
import type { Machine } from "./machine.ts";

/** The domain that a short address leaves out. */
const DOMAIN = "0000:";
const CLASS_NETWORK = 0x02;
/** NICs that an error lists; there is a command for all. */
const LISTED_MAX = 12;

/**
 * The devices that `words` name, in the order of the words and, of a pattern, of addresses; each once.
 * Errors: PCI_UNKNOWN (an address that this machine has not), DEVICE_UNKNOWN (any other word).
 */
export function findDevices(machine: Machine, words: readonly string[]): PciDevice[] {
  const all = scanPci(machine.sysfs);
  const found = words.flatMap((word) => named(word, all, machine));
  return [...new Map(found.map((device) => [device.address, device])).values()];
}

function named(word: string, all: readonly PciDevice[], machine: Machine): PciDevice[] {
  const address = parsePciAddress(word);
  if (address) {
    const full = formatPciAddress(address);
    const device = all.find((device) => device.address === full);
    if (device) return [device];
    throw unknown("PCI_UNKNOWN", full, `${full}: this machine has no such PCI device`, all);
  }
  const found = /[*?[]/.test(word) ? matching(word, all) : all.filter((device) => hasInterface(device, word));
  if (found.length > 0) return found;
  throw unknown("DEVICE_UNKNOWN", word, `"${word}" ${isInterface(word, machine)}`, all);
}

/** Addresses first, as they stand and then without the domain; else names of interfaces. */
function matching(pattern: string, all: readonly PciDevice[]): PciDevice[] {
  const lower = pattern.toLowerCase();
  const ways: ((device: PciDevice) => boolean)[] = [
    ({ address }) => fnmatch(lower, address),
    ({ address }) => fnmatch(DOMAIN + lower, address),
    ({ interfaces }) => interfaces.some((name) => fnmatch(pattern, name)),
  ];
  for (const fits of ways) {
    const found = all.filter(fits);
    if (found.length > 0) return found;
  }
  return [];
}

const hasInterface = ({ interfaces }: PciDevice, name: string) => interfaces.includes(name);

/** Why a word that no device has is none. */
function isInterface(word: string, { sysfs }: Machine): string {
  const isThere = !word.includes("/") && word !== "" && sysfs.exists(`class/net/${word}`);
  return isThere ? "is an interface without a PCI device of its own" : "names no PCI device of this machine";
}

function unknown(code: string, word: string, message: string, all: readonly PciDevice[]): PollmodeError {
  const nics = all.filter((device) => device.class >>> 16 === CLASS_NETWORK);
  const others = all.filter((device) => !nics.includes(device));
  const names = [...nics, ...others].flatMap(({ address, interfaces }) => {
    const short = address.startsWith(DOMAIN) ? [address.slice(DOMAIN.length)] : [];
    return [...interfaces, address, ...short];
  });
  const near = nearest(word, names);
  const listed = nics.slice(0, LISTED_MAX).map(({ address, interfaces }) => {
    return interfaces.length > 0 ? `${address} (${interfaces.join(", ")})` : address;
  });
  const more = nics.length > LISTED_MAX ? ", …" : "";
  const none = "this machine has no PCI network device; lspci lists what it has";
  const list = listed.length > 0 ? `network devices: ${listed.join(", ")}${more}` : none;
  return new PollmodeError(code, message, near === undefined ? list : `did you mean ${near}? ${list}`);
}
