// Which RDMA devices there are, and which one a network interface or a PCI address means. From sysfs alone:
//   class/infiniband_verbs/uverbs0/ibdev        the device's name; uverbs0 is also its node in /dev/infiniband
//   class/infiniband/mlx5_0/device              link to its PCI function (of a scalable function: an auxiliary device)
//   class/infiniband/mlx5_0/device/net/         interfaces of that function
//   class/infiniband/mlx5_0/ports/1/gid_attrs/ndevs/  interfaces that have RoCE addresses: the bond, where one device
//                                               stands for several functions (mlx5_bond_0)
import { realpathSync } from "node:fs";
import { dirname, relative } from "node:path";
import { parsePciAddress } from "../pci/address.ts";
import { Sysfs } from "../pci/sysfs.ts";
import { cannotFind, type RdmaQuery } from "./find-errors.ts";
import type { RdmaDeviceInfo } from "./types.ts";

/** libibverbs honours the same variable. */
export function rdmaSysfs(): Sysfs {
  return new Sysfs(process.env.SYSFS_PATH || "/sys");
}

const VERBS = "class/infiniband_verbs";

/** All RDMA devices that programs can open, by their uverbs numbers. None where the kernel has no ib_uverbs. */
export function listRdmaDevices(sysfs = rdmaSysfs()): RdmaDeviceInfo[] {
  const nodes = sysfs.list(VERBS).filter((name) => /^uverbs\d+$/.test(name));
  nodes.sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)));
  return nodes.flatMap((node) => describe(node, sysfs) ?? []);
}

/**
 * The device that is meant; of several words all have to mean it. `what` is named in messages. Throws RDMA_UNKNOWN,
 * RDMA_AMBIGUOUS, RDMA_MODULE, RDMA_NO_DRIVER.
 */
export function findRdmaDevice(query: RdmaQuery, what: string, sysfs = rdmaSysfs()): RdmaDeviceInfo {
  const devices = listRdmaDevices(sysfs);
  const pci = query.pci === undefined ? undefined : fullAddress(query.pci);
  const fitting = devices.filter((device) => {
    if (query.ibdev !== undefined && device.ibdev !== query.ibdev) return false;
    if (query.netdev !== undefined && !device.netdevs.includes(query.netdev)) return false;
    return pci === undefined || functionsOf(device, sysfs).includes(pci);
  });
  const own = fitting.filter((device) => {
    if (pci !== undefined) return device.pci === pci;
    return query.netdev === undefined || ownInterfaces(device.ibdev, sysfs).includes(query.netdev);
  });
  // a bond's interface may be listed by its members' devices too: the device that has it as its own is meant
  const [device, ...others] = own.length > 0 ? own : fitting;
  if (device !== undefined && others.length === 0) return device;
  throw cannotFind(
    { ...query, ...(pci !== undefined && { pci }) },
    what,
    devices,
    [device, ...others],
    sysfs,
  );
}

/** A short address may be given; what is none is looked for as it stands, and not found. */
function fullAddress(text: string): string {
  const short = /^[0-9a-f]{2}:/i.test(text) && text.split(":").length === 2;
  return (short ? `0000:${text}` : text).toLowerCase();
}

function describe(node: string, sysfs: Sysfs): RdmaDeviceInfo | undefined {
  const ibdev = sysfs.readOptional(`${VERBS}/${node}/ibdev`);
  if (ibdev === undefined) return undefined; // it went meanwhile
  const parent = sysfs.linkName(`class/infiniband/${ibdev}/device`);
  const pci = parent !== undefined && parsePciAddress(parent) ? parent : undefined;
  const folder = functionFolder(ibdev, pci !== undefined, sysfs);
  const id = (name: string) => Number((folder && sysfs.readOptional(`${folder}/${name}`)) ?? 0);
  return {
    ibdev,
    uverbs: `/dev/infiniband/${node}`,
    pci,
    netdevs: [...new Set([...ownInterfaces(ibdev, sysfs), ...bondInterfaces(ibdev, sysfs)])],
    vendor: id("vendor"),
    device: id("device"),
    physicalFunction: sysfs.linkName(`class/infiniband/${ibdev}/device/physfn`),
  };
}

/** Of its PCI function: a scalable function's is the folder above its own. Relative to the root, as sysfs takes it. */
function functionFolder(ibdev: string, isPci: boolean, sysfs: Sysfs): string | undefined {
  try {
    const own = realpathSync(sysfs.path(`class/infiniband/${ibdev}/device`));
    return relative(realpathSync(sysfs.root), isPci ? own : dirname(own));
  } catch {
    return undefined; // it went meanwhile, or is a software device, which has none
  }
}

/** phys_port_name of other functions: `pf0vf1`, `c1pf0sf88`; the port itself is `p0` (net/devlink). */
const REPRESENTOR = /^(?:c\d+)?pf\d/;

/** Interfaces of the device's own function: in switchdev mode representors of others stand beside them. */
function ownInterfaces(ibdev: string, sysfs: Sysfs): string[] {
  const folder = `class/infiniband/${ibdev}/device/net`;
  return sysfs.list(folder).filter((name) => {
    return !REPRESENTOR.test(readQuietly(`${folder}/${name}/phys_port_name`, sysfs) ?? "");
  });
}

/** Of a device that stands for a bond: the bond and its members. */
function bondInterfaces(ibdev: string, sysfs: Sysfs): string[] {
  const folder = `class/infiniband/${ibdev}/ports/1/gid_attrs/ndevs`;
  const named = new Set(sysfs.list(folder).flatMap((gid) => readQuietly(`${folder}/${gid}`, sysfs) ?? []));
  return [...named].flatMap((name) => {
    const members = sysfs.readOptional(`class/net/${name}/bonding/slaves`);
    return members === undefined ? [] : [name, ...members.split(/\s+/).filter((member) => member !== "")];
  });
}

/** The kernel answers EINVAL for an empty entry of the GID table, EOPNOTSUPP for a port without a name. */
function readQuietly(path: string, sysfs: Sysfs): string | undefined {
  try {
    return sysfs.readOptional(path);
  } catch {
    return undefined;
  }
}

/** PCI addresses that mean the device: its function's, and those of a bond's members, which have no device. */
function functionsOf({ pci, netdevs }: RdmaDeviceInfo, sysfs: Sysfs): string[] {
  const members = netdevs.map((name) => sysfs.linkName(`class/net/${name}/device`));
  return [pci, ...members].filter((address) => address !== undefined);
}
