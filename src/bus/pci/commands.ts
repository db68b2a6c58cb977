// What a person is told to type: commands of the device tool, for root's shell. They load the driver's module, refuse
// what is in use, and put back what fails, none of which a line of `echo … > /sys/…` does. That stays for what the tool
// has no command for.

/** Gives devices to a driver, whoever has them now. */
export function bindCommand(driver: string, ...addresses: readonly string[]): string {
  return `pollmode devbind -b ${driver} ${addresses.join(" ")}`;
}

/** The same by VFIO without an IOMMU: its no-IOMMU mode is turned on. */
export function bindWithoutIommuCommand(driver: string, ...addresses: readonly string[]): string {
  return `pollmode devbind --noiommu-mode -b ${driver} ${addresses.join(" ")}`;
}

/** Takes devices from their drivers, and gives them to none. */
export function unbindCommand(...addresses: readonly string[]): string {
  return `pollmode devbind -u ${addresses.join(" ")}`;
}

/** Has the device's driver start anew. */
export function rebindCommand(driver: string, address: string): string {
  return `${unbindCommand(address)}; ${bindCommand(driver, address)}`;
}
