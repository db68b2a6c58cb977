// UUID: opens a mediated device, says so, and holds it until its stdin ends.
import { Sysfsdev } from "../../../src/bus/vfio/sysfsdev.ts";

using opened = Sysfsdev.open(`/sys/bus/mdev/devices/${process.argv[2]}`);
console.log(`open: ${opened.name}`);
for await (const _ of process.stdin);
