// ADDRESS [FDS]: opens a function, turns bus mastering on, says so, and holds it until its stdin ends. FDS: so many fds
// below the memory's are free when the function is opened.
import { closeSync, openSync, readdirSync, readlinkSync } from "node:fs";
import { attempt, print } from "../../vfio/guest/environment.ts";
import { openBus } from "./bus.ts";

const free = Array.from({ length: Number(process.argv[3] ?? 0) }, () => openSync("/dev/null", "r"));
using made = openBus();
for (const fd of free) closeSync(fd);

function fdOf(path: RegExp): number | undefined {
  const fds = readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return path.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false; // readdir's own
    }
  });
  return fds.length === 0 ? undefined : Math.min(...fds.map(Number));
}

const opened = attempt(() => {
  const device = made.bus.open(process.argv[2]!);
  device.mapBar(0);
  device.setBusMaster(true);
  return device.address;
});
const fds = { memory: made.iova.fds, device: fdOf(/^\/dev\/uio|^anon_inode:\[vfio-device\]/) };
print({ ...opened, fds });
for await (const _ of process.stdin);
