// The drivers: of virtual devices by their names, of PCI devices by their ids.
import type { Driver } from "../src/ethdev/driver.ts";
import { afPacketDriver } from "./af_packet/device.ts";
import { e1000Driver } from "./e1000/driver.ts";
import { mlx5Driver, rdmaDriver } from "./mlx5/driver.ts";
import { nullDriver } from "./null/device.ts";
import { pcapDriver } from "./pcap/device.ts";
import { ringDriver } from "./ring/device.ts";
import { tapDriver } from "./tap/device.ts";
import { vhostDriver } from "./vhost/device.ts";
import { virtioUserDriver } from "./virtio/user.ts";

export const pmds: readonly Driver[] = [
  nullDriver,
  ringDriver,
  pcapDriver,
  afPacketDriver,
  tapDriver,
  virtioUserDriver,
  vhostDriver,
  e1000Driver,
  mlx5Driver,
  rdmaDriver,
];
