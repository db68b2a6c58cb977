// Why a verb failed, found out from the errno, the process and sysfs, and the command that mends it. An errno alone
// says little: EPERM, ENOMEM and EINVAL have a dozen causes here.
import { closeSync, constants, openSync, realpathSync } from "node:fs";
import { userInfo } from "node:os";
import { PollmodeError } from "../../errors.ts";
import { errnoName, errnoText } from "../../libc/foreign.ts";
import { KIB } from "../../limits.ts";
import { processRights, type Rights } from "./rights.ts";
import type { RdmaDeviceInfo } from "./types.ts";

// asm-generic/errno.h
const EPERM = 1;
const ENOENT = 2;
const EIO = 5;
const ENXIO = 6;
const ENOMEM = 12;
const EACCES = 13;
const EBUSY = 16;
const ENODEV = 19;
const EMFILE = 24;
const ENOSYS = 38;
const EOPNOTSUPP = 95;
/** linux/errno.h: the kernel's own, which mlx5 lets out now and then. */
const ENOTSUPP = 524;

const KERNEL_LOG = "dmesg | grep -i mlx5";

/** What a failed verb was about. */
export interface Verb {
  /** `ibv_create_qp`. */
  readonly call: string;
  /** `a send queue of 512 WQEs`. */
  readonly what: string;
  /** Memory that the kernel pins for it, at least. */
  readonly pinnedBytes?: number;
}

export function verbFailed(
  who: string,
  info: RdmaDeviceInfo,
  verb: Verb,
  errno: number,
  rights: Rights = processRights(),
): PollmodeError {
  const name = errno === 0 ? "no reason given" : errnoName(errno);
  const message = `${who}: ${verb.what}: ${verb.call} failed: ${name}${errno === 0 ? "" : `, ${errnoText(errno)}`}`;
  switch (errno) {
    case EPERM:
    case EACCES:
      return noRawRight(message, rights);
    case ENOMEM:
      return noMemory(message, verb.pinnedBytes ?? 0, rights);
    case EIO:
    case ENODEV:
    case ENXIO:
      return deviceLost(message, info);
    case EBUSY: {
      const fix =
        "destroy what uses it first: flows, then queue pairs, tables, work queues, completion queues";
      return new PollmodeError("RDMA_BUSY", message, fix);
    }
    case ENOSYS:
    case EOPNOTSUPP:
    case ENOTSUPP:
      return unsupported(message, info);
    case EMFILE:
      return new PollmodeError("RDMA_FAILED", message, "raise the limit of open files: ulimit -n 65536");
    default:
      return new PollmodeError("RDMA_FAILED", message, `the kernel's log says more: ${KERNEL_LOG}`);
  }
}

/** The device, its firmware or the kernel's driver has not what was asked for. */
export function unsupported(message: string, { pci }: RdmaDeviceInfo): PollmodeError {
  const query = pci === undefined ? "devlink dev info" : `devlink dev info pci/${pci}`;
  const fix = `do without it, or update the firmware: \`${query}\` shows its version, mstflint or mlxup burns another`;
  return new PollmodeError("RDMA_UNSUPPORTED", message, fix);
}

function noRawRight(message: string, { hasNetRaw, inFirstUserNamespace }: Rights): PollmodeError {
  const node = realpathSync(process.execPath);
  const setcap = `as root: setcap cap_net_raw+ep ${node}; in a container: docker run --cap-add NET_RAW`;
  if (!hasNetRaw) {
    return new PollmodeError("RDMA_RAW_PERMISSION", `${message}; this process has no CAP_NET_RAW`, setcap);
  }
  if (inFirstUserNamespace) {
    const fix =
      "see what forbids it: a security module (SELinux, AppArmor) or the device's driver; dmesg | tail";
    return new PollmodeError("RDMA_RAW_PERMISSION", message, fix);
  }
  const why = `${message}; CAP_NET_RAW counts in the first user namespace alone, and this process is in another`;
  return new PollmodeError(
    "RDMA_RAW_PERMISSION",
    why,
    "run it outside of the rootless container: docker or podman started by root, with --cap-add NET_RAW",
  );
}

function noMemory(message: string, bytes: number, rights: Rights): PollmodeError {
  const needed = bytes + rights.pinnedBytes;
  if (needed <= rights.pinLimitBytes) {
    const fix =
      "free memory, or ask for less: fewer or smaller queues, -m; `free -m` and dmesg say what is short";
    return new PollmodeError("RDMA_NO_MEMORY", message, fix);
  }
  const kib = Math.ceil(needed / KIB);
  const why =
    `${message}; RLIMIT_MEMLOCK is ${Math.floor(rights.pinLimitBytes / KIB)} KiB, ${kib} KiB are needed ` +
    `(${Math.ceil(bytes / KIB)} to pin, ${Math.ceil(rights.pinnedBytes / KIB)} pinned already)`;
  const fix =
    `ulimit -l ${kib} in the shell that starts it; beyond the hard limit, as root: ` +
    `echo '${userName()} - memlock ${kib}' >> /etc/security/limits.conf and log in again; in a container: ` +
    `docker run --ulimit memlock=-1; in a systemd unit: LimitMEMLOCK=${kib}K; or ask for less memory: -m`;
  return new PollmodeError("RDMA_MEMLOCK", why, fix);
}

export function deviceLost(message: string, { pci }: RdmaDeviceInfo): PollmodeError {
  const health = pci === undefined ? "" : `; devlink health show pci/${pci}`;
  const fix = `see why the device went: ${KERNEL_LOG}${health}; when it is back, attach the port anew`;
  return new PollmodeError("RDMA_DEVICE_LOST", message, fix);
}

/** As chown takes it. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.geteuid?.() ?? 0); // a user without a name
  }
}

/** ibv_open_device failed, or libibverbs left the device out because its node is not to be had. */
export function cannotOpen(who: string, info: RdmaDeviceInfo, errno: number): PollmodeError {
  const { ibdev, uverbs } = info;
  const device = `docker run --device ${uverbs}`;
  switch (errno) {
    case ENOENT:
    case ENXIO:
    case ENODEV: {
      const fix = `in a container: ${device}; on the host, as root: modprobe ib_uverbs; udevadm trigger`;
      return new PollmodeError("RDMA_NO_NODE", `${who}: there is no ${uverbs} for ${ibdev}`, fix);
    }
    case EACCES: {
      const fix = `as root: chmod 666 ${uverbs} (which is how the kernel makes it)`;
      return new PollmodeError("RDMA_PERMISSION", `${who}: user ${userName()} may not open ${uverbs}`, fix);
    }
    case EPERM: {
      const message = `${who}: ${uverbs} may not be opened here, whoever owns it (a container's device rules)`;
      return new PollmodeError("RDMA_PERMISSION", message, device);
    }
    default:
      return verbFailed(who, info, { call: "ibv_open_device", what: uverbs }, errno);
  }
}

/** Why the device's node itself cannot be opened; undefined: it can. libibverbs says ENOENT whatever the reason. */
export function nodeErrno({ uverbs }: RdmaDeviceInfo): number | undefined {
  try {
    closeSync(openSync(uverbs, constants.O_RDWR));
    return undefined;
  } catch (error) {
    return -((error as NodeJS.ErrnoException).errno ?? -EIO);
  }
}

/** libibverbs has no provider for the device. */
export function noProvider(who: string, { ibdev }: RdmaDeviceInfo): PollmodeError {
  const message = `${who}: libibverbs has no provider for ${ibdev}, so it does not list it`;
  const fix = "as root: apt-get install ibverbs-providers; IBV_SHOW_WARNINGS=1 shows what it looked for";
  return new PollmodeError("RDMA_NO_LIBRARY", message, fix);
}

export function notMlx5(who: string, { ibdev, vendor, device }: RdmaDeviceInfo): PollmodeError {
  const id = `${vendor.toString(16).padStart(4, "0")}:${device.toString(16).padStart(4, "0")}`;
  const message = `${who}: ${ibdev} (${id}) is no ConnectX that libmlx5 drives: it has no direct verbs`;
  return new PollmodeError("RDMA_NOT_MLX5", message, "use mode=ibv, which needs verbs alone");
}

export function notEthernet(who: string, { ibdev, pci }: RdmaDeviceInfo): PollmodeError {
  const message = `${who}: the port of ${ibdev} is InfiniBand, and only an Ethernet one has raw packets`;
  const fix =
    `as root: mstconfig -d ${pci ?? "ADDRESS"} set LINK_TYPE_P1=2, which a VPI card takes, and ` +
    "mstfwreset or a restart";
  return new PollmodeError("RDMA_NOT_ETHERNET", message, fix);
}
