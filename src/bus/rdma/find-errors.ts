// Why no RDMA device answers to a name: it is misspelled, its modules are not loaded, another driver has the function.
import { nearest } from "../../eal/nearest.ts";
import { PollmodeError } from "../../errors.ts";
import { bindCommand } from "../pci/commands.ts";
import { devicePath, type Sysfs } from "../pci/sysfs.ts";
import type { RdmaDeviceInfo } from "./types.ts";

/** How a device is named: one of them, or several that mean the same. */
export interface RdmaQuery {
  /** `mlx5_0`. */
  readonly ibdev?: string;
  /** `enp94s0f0`. */
  readonly netdev?: string;
  /** `0000:5e:00.0`, or short. */
  readonly pci?: string;
}

const MELLANOX = 0x15b3;
const MODULES = "as root: modprobe -a mlx5_ib ib_uverbs";

/** `found`: those that fit, none or several. */
export function cannotFind(
  query: RdmaQuery,
  what: string,
  devices: readonly RdmaDeviceInfo[],
  found: readonly (RdmaDeviceInfo | undefined)[],
  sysfs: Sysfs,
): PollmodeError {
  const { ibdev, netdev, pci } = query;
  const words = [
    ibdev === undefined ? "" : `ibdev ${ibdev}`,
    netdev === undefined ? "" : `interface ${netdev}`,
    pci === undefined ? "" : `PCI address ${pci}`,
  ].filter((word) => word !== "");
  const asked = words.join(", ");
  const several = found.filter((device) => device !== undefined);
  if (several.length > 1) {
    const message = `${what}: ${asked || "no name at all"} may mean ${several.map(title).join(" or ")}`;
    return new PollmodeError("RDMA_AMBIGUOUS", message, `name one of them: ibdev=${several[0]!.ibdev}`);
  }
  const address = pci ?? (netdev === undefined ? undefined : sysfs.linkName(`class/net/${netdev}/device`));
  return functionError(address, what, sysfs) ?? unknown(query, asked, what, devices, sysfs);
}

/** The PCI function is there, and has no RDMA device. */
function functionError(address: string | undefined, what: string, sysfs: Sysfs): PollmodeError | undefined {
  if (address === undefined || !sysfs.exists(devicePath(address, "vendor"))) return undefined;
  const vendor = Number(sysfs.readOptional(devicePath(address, "vendor")));
  if (vendor !== MELLANOX) return undefined;
  const driver = sysfs.linkName(devicePath(address, "driver"));
  if (driver === "mlx5_core") {
    if (sysfs.list(devicePath(address, "infiniband")).length > 0 && sysfs.exists("class/infiniband_verbs")) {
      return undefined; // it has one: another word of the query does not fit
    }
    const message = `${what}: ${address} has no RDMA device: the kernel modules mlx5_ib and ib_uverbs are not loaded`;
    return new PollmodeError("RDMA_MODULE", message, MODULES);
  }
  const holder = driver === undefined ? "no driver" : `the driver ${driver}`;
  const message = `${what}: ${address} has ${holder}: an mlx5 is used beside its kernel driver, mlx5_core`;
  const bind = bindCommand("mlx5_core", address);
  return new PollmodeError(
    "RDMA_NO_DRIVER",
    message,
    `as root: modprobe -a mlx5_core mlx5_ib ib_uverbs; ${bind}`,
  );
}

function unknown(
  { ibdev, netdev, pci }: RdmaQuery,
  asked: string,
  what: string,
  devices: readonly RdmaDeviceInfo[],
  sysfs: Sysfs,
): PollmodeError {
  if (!sysfs.exists("class/infiniband_verbs")) {
    const message = `${what}: the kernel module ib_uverbs is not loaded, so there are no RDMA devices`;
    return new PollmodeError("RDMA_MODULE", message, MODULES);
  }
  const all = devices.map(title).join(", ");
  const message = `${what}: there is no RDMA device of ${asked}`;
  if (devices.length === 0) {
    const fix = `${MODULES}; \`rdma link\` lists devices (in a container, those of its network namespace alone)`;
    return new PollmodeError("RDMA_UNKNOWN", `${message}, nor any other`, fix);
  }
  const near =
    (ibdev !== undefined && nearest(ibdev, names(devices, "ibdev"))) ||
    (netdev !== undefined &&
      nearest(
        netdev,
        devices.flatMap(({ netdevs }) => netdevs),
      )) ||
    (pci !== undefined && nearest(pci, names(devices, "pci")));
  return new PollmodeError(
    "RDMA_UNKNOWN",
    message,
    `${near ? `did you mean ${near}? ` : ""}there are: ${all}`,
  );
}

function names(devices: readonly RdmaDeviceInfo[], field: "ibdev" | "pci"): string[] {
  return devices.map((device) => device[field]).filter((name) => name !== undefined);
}

function title({ ibdev, pci, netdevs }: RdmaDeviceInfo): string {
  return `${ibdev} (${[pci, ...netdevs].filter((word) => word !== undefined).join(", ")})`;
}
