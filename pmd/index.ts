// The drivers: of virtual devices by their names, of PCI devices by their ids.
import type { Driver } from "../src/ethdev/driver.ts";
import { e1000Driver } from "./e1000/driver.ts";
import { nullDriver } from "./null/device.ts";
import { ringDriver } from "./ring/device.ts";
import { vhostDriver } from "./vhost/device.ts";
import { virtioUserDriver } from "./virtio/user.ts";

export const pmds: readonly Driver[] = [nullDriver, ringDriver, virtioUserDriver, vhostDriver, e1000Driver];
