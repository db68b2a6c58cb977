// What a person is told to type, as a root shell takes it.
import type { PciDevice } from "./scan.ts";

/** Gives a device to a driver that is loaded, whoever has it now. */
export function bindCommands(
  { address, driver }: Pick<PciDevice, "address" | "driver">,
  wanted: string,
): string {
  const device = `/sys/bus/pci/devices/${address}`;
  const unbind = driver === undefined ? "" : `echo ${address} > ${device}/driver/unbind; `;
  return `echo ${wanted} > ${device}/driver_override; ${unbind}echo ${address} > /sys/bus/pci/drivers_probe`;
}
