// Whether this user may drive the NIC: nodes in /dev, rights, libraries.
import { closeSync, openSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { cannotOpen } from "../../bus/vfio/errors.ts";
import type { Machine } from "../../devices/machine.ts";
import type { NicCheck } from "../check.ts";
import * as limits from "../container.ts";
import { type Finding, type Fix, fail, ok, parseFix } from "../finding.ts";
import type { Nic, Situation } from "../situation.ts";
import { mayOpen } from "../user.ts";

const onTheWay = [
  "nics",
  "firmware",
  "cmdline",
  "iommu",
  "modules",
  "no-iommu",
  "lockdown",
  "group",
  "bound",
];

const node: NicCheck = {
  id: "node",
  needs: [...onTheWay, "rights"],
  ways: ["vfio", "noiommu", "uio"],
  look(nic, situation) {
    const nodes = nodesOf(nic);
    for (const node of nodes) {
      const problem = access(node, nic, situation);
      if (problem) return problem;
    }
    return ok(
      `${nodes.join(" and ")}: user ${situation.user.name} may open ${nodes.length > 1 ? "them" : "it"}`,
    );
  },
};

function nodesOf({ pci, way, group }: Nic): string[] {
  if (way === "uio") return pci.uio === undefined ? [] : [`/dev/${pci.uio}`];
  if (!group) return ["/dev/vfio/vfio"];
  return ["/dev/vfio/vfio", `/dev/vfio/${group.noIommu ? "noiommu-" : ""}${group.number}`];
}

function access(path: string, { pci, way }: Nic, { machine, user }: Situation): Finding | undefined {
  const { address } = pci;
  if (!machine.exists(path)) {
    if (limits.isContainer(machine)) {
      const setting = `give it to the container: docker run --device ${path}`;
      return fail(`there is no ${path} in this container`, { setting });
    }
    if (way !== "uio") return fail(`there is no ${path}`, { command: "modprobe vfio-pci; udevadm trigger" });
    return fail(`there is no ${path}`, {
      command: `mknod ${path} c $(tr : ' ' < /sys/class/uio/${pci.uio}/dev)`,
    });
  }
  if (!mayOpen(user, machine, path)) {
    const command = `chown ${user.name} ${path}`;
    const lasting = `pollmode permit ${user.name} ${address}`;
    return fail(`user ${user.name} may not open ${path}`, { command }, { command: lasting });
  }
  // opening a UIO device turns its bus mastering on or off: that is left to the engine
  const code = user.isSelf && way !== "uio" ? openError(machine.path(path)) : undefined;
  if (code === undefined) return undefined;
  const error = cannotOpen(path, code, address, machine.system);
  return fail(error.message, parseFix(error.fix));
}

/** Errno's name. Containers' device rules show only when one opens. */
function openError(path: string): string | undefined {
  try {
    closeSync(openSync(path, "r+"));
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "EIO";
  }
}

const rights: NicCheck = {
  id: "rights",
  needs: onTheWay,
  ways: ["noiommu", "uio"],
  look({ way }, { machine, user }) {
    if (user.uid !== 0) {
      const text = `user ${user.name} may not drive a NIC without an IOMMU, which reaches all of memory: only root may`;
      const setting = "run pollmode as root; or turn the IOMMU on, and any user may";
      return fail(text, { setting });
    }
    const wanted = way === "noiommu" ? [limits.CAP_SYS_RAWIO, limits.CAP_SYS_ADMIN] : [limits.CAP_SYS_ADMIN];
    const lacking = user.isSelf ? limits.lackingCapabilities(machine, "CapEff", wanted) : [];
    if (lacking.length === 0) return ok("root, with the rights that it takes");
    const setting = `docker run ${lacking.map((name) => `--cap-add ${name}`).join(" ")}`;
    return fail(`root here lacks ${lacking.map((name) => `CAP_${name}`).join(", ")}`, { setting });
  },
};

/** Where Debian, Fedora and others keep libraries. */
const LIBRARIES = [
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib/aarch64-linux-gnu",
  "/usr/lib64",
  "/usr/lib",
  "/usr/local/lib",
];

const verbs: NicCheck = {
  id: "verbs",
  needs: ["nics"],
  ways: ["verbs"],
  otherwise: "of no matter: the NIC is no bifurcated one, which stays with its kernel driver",
  look({ pci }, { machine, user }) {
    const device = machine.sysfs.list(`bus/pci/devices/${pci.address}/infiniband`)[0];
    const module = pci.driver === "mlx4_core" ? "mlx4_ib" : "mlx5_ib";
    if (machine.modules.state("ib_uverbs") !== "loaded" || device === undefined) {
      const text = `${pci.address} shows no RDMA device: the kernel modules ib_uverbs and ${module} are to be loaded`;
      return fail(text, { command: `modprobe -a ib_uverbs ${module}` });
    }
    const library = `lib${module.slice(0, 4)}.so.1`;
    const missing = ["libibverbs.so.1", library].filter((name) => !hasLibrary(name, machine));
    if (missing.length > 0) {
      const command = "apt-get install libibverbs1 ibverbs-providers";
      const others: Fix = { setting: "elsewhere install the package rdma-core" };
      return fail(`rdma-core is not installed: there is no ${missing.join(", no ")}`, { command }, others);
    }
    const node = uverbsNode(device, machine);
    if (node === undefined || !machine.exists(node)) {
      const setting = limits.isContainer(machine)
        ? "docker run --device /dev/infiniband"
        : "udevadm trigger, as root";
      return fail(`there is no ${node ?? "/dev/infiniband/uverbs*"} for ${device}`, { setting });
    }
    if (!mayOpen(user, machine, node)) {
      return fail(`user ${user.name} may not open ${node}`, { command: `chmod 666 ${node}` });
    }
    const lacking = user.isSelf ? limits.lackingCapabilities(machine, "CapEff", [limits.CAP_NET_RAW]) : [];
    if (lacking.length > 0 || (!user.isSelf && user.uid !== 0)) {
      const command = `setcap cap_net_raw+ep ${machine.isReal ? realpathSync(process.execPath) : "$(which node)"}`;
      return fail(`user ${user.name} has no CAP_NET_RAW, which raw packet queues take`, { command });
    }
    return ok(`${device}, ${node}: queues beside its kernel driver, without VFIO`);
  },
};

function hasLibrary(name: string, machine: Machine): boolean {
  return LIBRARIES.some((folder) => machine.exists(join(folder, name)));
}

/** /sys/class/infiniband_verbs/uverbs0/ibdev holds the RDMA device's name. */
function uverbsNode(device: string, { sysfs }: Machine): string | undefined {
  const names = sysfs.list("class/infiniband_verbs").filter((name) => /^uverbs\d+$/.test(name));
  const own = names.find((name) => sysfs.readOptional(`class/infiniband_verbs/${name}/ibdev`) === device);
  return own === undefined ? undefined : `/dev/infiniband/${own}`;
}

export const accessChecks = [rights, node, verbs];
