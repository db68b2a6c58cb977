// /dev/net/tun: linux/if_tun.h and Documentation/networking/tuntap.rst. An open file is a queue of an interface, which
// lives as long as one is open, unless it is persistent.
import { closeSync, openSync } from "node:fs";
import { IFNAMSIZ, IFREQ_BYTES } from "../../src/bus/netdev/abi.ts";
import { PollmodeError } from "../../src/errors.ts";
import { ioctl } from "../../src/libc/ioctl.ts";
import { setNonblocking } from "../../src/libc/libc.ts";

const PATH = "/dev/net/tun";
const TUNSETIFF = { name: "TUNSETIFF", number: 0x400454ca };
const TUNGETIFF = { name: "TUNGETIFF", number: 0x800454d2 };
const TUNSETPERSIST = { name: "TUNSETPERSIST", number: 0x400454cb };

const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;

/** A queue of the TAP interface `name`, which is made if there is none. `dtap%d`: the first free number. */
export function openTap(port: string, name: string): { fd: number; name: string } {
  const fd = openDevice(port);
  try {
    const request = Buffer.alloc(IFREQ_BYTES);
    request.write(name, "latin1");
    request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE, IFNAMSIZ);
    ioctl(fd, TUNSETIFF, `${port}, interface ${name}`, request);
    setNonblocking(fd);
    return { fd, name: request.toString("latin1", 0, request.indexOf(0)) };
  } catch (error) {
    closeSync(fd);
    throw explain(port, name, error);
  }
}

function openDevice(port: string): number {
  try {
    return openSync(PATH, "r+");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const missing = code === "ENOENT" || code === "ENODEV" || code === "ENXIO";
    const fix = missing ? "modprobe tun; in a container: --device /dev/net/tun" : `chmod 666 ${PATH}`;
    throw new PollmodeError("TAP_DEVICE", `${port}: ${PATH} cannot be opened: ${code}`, fix, { cause });
  }
}

/** tun_set_iff() of the kernel's drivers/net/tun.c: what each errno means there. */
function explain(port: string, name: string, cause: unknown): unknown {
  if (!(cause instanceof PollmodeError)) return cause;
  const made = `ip tuntap add dev ${name} mode tap multi_queue user $USER`;
  const known: Record<string, [code: string, why: string, fix: string]> = {
    EPERM: [
      "TAP_PERMISSION",
      "this user may not make or use it",
      `run as root, or: setcap cap_net_admin+ep $(readlink -f $(which node)), or as root: ${made}`,
    ],
    EBUSY: ["TAP_BUSY", "another program has it", `end that program, or choose another iface=`],
    E2BIG: ["TAP_BUSY", "other programs have all its queues", `end them, or choose another iface=`],
    EINVAL: [
      "TAP_NAME",
      "there is an interface of that name that is no TAP with multi_queue",
      `choose another iface=, or make it anew: ip link delete ${name} && ${made}`,
    ],
  };
  const found = known[cause.code];
  if (!found) return cause;
  return new PollmodeError(found[0], `${port}: interface ${name}: ${found[1]}`, found[2], { cause });
}

/** Whether the interface stays when its last queue is closed. */
export function setPersistent(fd: number, what: string, on: boolean): void {
  ioctl(fd, TUNSETPERSIST, what, on ? 1 : 0);
}

/** Whether a queue still has its interface, wherever that is: it may have been moved to another network namespace. */
export function hasInterface(fd: number): boolean {
  try {
    ioctl(fd, TUNGETIFF, "", Buffer.alloc(IFREQ_BYTES));
    return true;
  } catch {
    return false; // EBADFD: it was removed
  }
}
