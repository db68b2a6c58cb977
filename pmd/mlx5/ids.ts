// PCI ids of the NICs that mlx5_core drives and this driver shares with it: the kernel's mlx5_core_pci_table
// (drivers/net/ethernet/mellanox/mlx5/core/main.c), which libmlx5's hca_table (providers/mlx5/mlx5.c) repeats.
import type { PciId } from "../../src/ethdev/driver.ts";

const MELLANOX = 0x15b3;

const CHIPS: readonly (readonly [device: number, chip: string])[] = [
  [0x1013, "ConnectX-4"],
  [0x1014, "ConnectX-4 VF"],
  [0x1015, "ConnectX-4 Lx"],
  [0x1016, "ConnectX-4 Lx VF"],
  [0x1017, "ConnectX-5"],
  [0x1018, "ConnectX-5 VF"],
  [0x1019, "ConnectX-5 Ex"],
  [0x101a, "ConnectX-5 Ex VF"],
  [0x101b, "ConnectX-6"],
  [0x101c, "ConnectX-6 VF"],
  [0x101d, "ConnectX-6 Dx"],
  [0x101e, "ConnectX VF"], // the VFs of all chips from the 6 Dx on
  [0x101f, "ConnectX-6 Lx"],
  [0x1021, "ConnectX-7"],
  [0xa2d2, "BlueField"],
  [0xa2d3, "BlueField VF"],
  [0xa2d6, "BlueField-2"],
  [0xa2dc, "BlueField-3"],
];

export const mlx5Ids: readonly PciId[] = CHIPS.map(([device, chip]) => ({ vendor: MELLANOX, device, chip }));

/** `ConnectX-5 Ex`; of any other device its ids. */
export function chipName(vendor: number, device: number): string {
  const known = mlx5Ids.find((id) => id.vendor === vendor && id.device === device);
  return known?.chip ?? `device ${vendor.toString(16)}:${device.toString(16)}`;
}
