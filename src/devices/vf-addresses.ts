// Where virtual functions will be that are not there yet: First VF Offset and VF Stride, PCI Express Base 5.0, 9.3.3.
import { formatPciAddress, parsePciAddress } from "../bus/pci/address.ts";
import { devicePath, type Sysfs } from "../bus/pci/sysfs.ts";

/** Of the first `count`. Where the kernel does not tell (before 4.14), names that stand for them. */
export function nextAddresses(pf: string, count: number, sysfs: Sysfs): string[] {
  const number = (attribute: string) => Number(sysfs.readOptional(devicePath(pf, attribute)) ?? Number.NaN);
  const [offset, stride] = [number("sriov_offset"), number("sriov_stride")];
  const { domain, bus, device, function: fn } = parsePciAddress(pf)!;
  return Array.from({ length: count }, (_, k) => {
    const routing = (bus << 8) + (device << 3) + fn + offset + stride * k;
    if (Number.isNaN(routing)) return `VF${k}`;
    return formatPciAddress({
      domain,
      bus: routing >> 8,
      device: (routing >> 3) & 31,
      function: routing & 7,
    });
  });
}
