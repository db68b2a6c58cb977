// Memory that NICs are to reach: how much of it may be pinned, and whether it lies in hugepages near the NIC.
import { type HugepagePool, hugepagesOf, reserveCommand } from "../../devices/hugepages.ts";
import type { Machine } from "../../devices/machine.ts";
import { HUGEPAGE_BYTES, KIB, MIB } from "../../limits.ts";
import type { MachineCheck, NicCheck } from "../check.ts";
import { isContainer } from "../container.ts";
import { type Finding, type Fix, fail, ok, skipped, warn } from "../finding.ts";
import { physicalNics, type Situation } from "../situation.ts";
import { memlockLimit } from "../user.ts";

const memlock: MachineCheck = {
  id: "memlock",
  needs: ["nics"],
  ways: ["vfio", "verbs"],
  look({ machine, user, memoryBytes, nics }) {
    const limit = memlockLimit(user, machine);
    if (limit === Infinity) return ok(`user ${user.name} may pin as much memory as there is`);
    const locked = user.isSelf ? machine.system.lockedMemory.lockedBytes : 0;
    const kib = Math.ceil((memoryBytes + locked) / KIB);
    const has = `user ${user.name}: RLIMIT_MEMLOCK is ${limit / KIB} KiB`;
    if (limit >= memoryBytes + locked) return ok(`${has}, ${kib} KiB are needed`);
    const text = `${has}, ${kib} KiB are needed for ${memoryBytes / MIB} MiB of memory`;
    if (isContainer(machine)) return fail(text, { setting: `docker run --ulimit memlock=${kib * KIB}` });
    const line = `echo '${user.name} - memlock ${kib}' >> /etc/security/limits.conf`;
    return fail(
      text,
      { command: line, after: "log in again" },
      {
        command: `pollmode permit ${user.name} ${nics.map(({ pci }) => pci.address).join(" ")}`,
        after: "log in again",
      },
      { setting: `in a systemd unit: LimitMEMLOCK=${kib}K` },
      {
        setting: `ask for less memory: -m ${Math.max(2, Math.floor((limit - locked) / HUGEPAGE_BYTES) * 2)}`,
      },
    );
  },
};

const dmaEntries: MachineCheck = {
  id: "dma-entries",
  needs: ["nics", "firmware", "cmdline", "iommu", "modules"],
  ways: ["vfio"],
  look({ machine, memoryBytes }) {
    const parameter = "module/vfio_iommu_type1/parameters/dma_entry_limit";
    const text = machine.sysfs.readOptional(parameter);
    if (text === undefined) return skipped("the kernel shows no dma_entry_limit");
    const limit = Number(text);
    const pages = Math.ceil(memoryBytes / HUGEPAGE_BYTES);
    const fix = { command: `echo ${Math.max(65535, pages * 2)} > /sys/${parameter}` };
    // the zone is one mapping; with --iova-mode pa each run of neighbouring hugepages is one
    if (limit < 1) return fail("dma_entry_limit is 0: nothing can be mapped for a NIC", fix);
    if (limit < pages)
      return warn(`dma_entry_limit is ${limit}; --iova-mode pa may need ${pages} mappings`, fix);
    return ok(`${limit} mappings are allowed (dma_entry_limit), ${pages} are needed at most`);
  },
};

const hugepages: MachineCheck = {
  id: "hugepages",
  needs: [],
  look(situation) {
    const { machine, memoryBytes } = situation;
    const needed = Math.ceil(memoryBytes / HUGEPAGE_BYTES);
    const size = hugepagesOf(machine).sizes.find(({ pageBytes }) => pageBytes === HUGEPAGE_BYTES);
    const isMust = physicalNics(situation).length > 0;
    const price = isMust
      ? "a NIC without an IOMMU in between needs them"
      : "pollmode then takes 4 KiB pages, with which a NIC behind an IOMMU does less than half of its rate";
    const without = (text: string, ...fixes: Fix[]) => (isMust ? fail : warn)(`${text}: ${price}`, ...fixes);
    if (!size) {
      const setting = "use a kernel with CONFIG_HUGETLBFS and 2 MiB pages";
      return without("the kernel has no hugepages of 2 MiB", { setting });
    }
    const count = `${size.free} of ${size.total} hugepages of 2 MiB are free, ${needed} are needed`;
    const cgroup = cgroupLimit(machine);
    if (size.free < needed) return without(count, ...reserve(situation, needed));
    if (cgroup !== undefined && cgroup < memoryBytes) {
      const setting = `raise the container's limit: ${needed * 2}Mi of hugepages-2Mi, as Kubernetes has it`;
      return without(`${count}, but its control group allows ${Math.floor(cgroup / HUGEPAGE_BYTES)}`, {
        setting,
      });
    }
    return ok(count);
  },
};

/** On the NIC's node, or where the firmware does not tell it, on the first one. */
function reserve({ machine, nics }: Situation, needed: number): Fix[] {
  const size = hugepagesOf(machine).sizes.find(({ pageBytes }) => pageBytes === HUGEPAGE_BYTES);
  if (!size) return [];
  const near = size.pools.find(({ node }) => node !== undefined && node === nics[0]?.pci.numaNode);
  const pool = near ?? size.pools[0];
  if (!pool) return [];
  const command = moreFree(pool, needed);
  const setting = `if the memory is too scattered by now: hugepages=${needed} on the kernel's command line`;
  return isContainer(machine)
    ? [{ setting: `on the host, as root: ${command}` }]
    : [{ command }, { setting }];
}

/** What is reserved is what the pool is to have in all. */
function moreFree(pool: HugepagePool, needed: number): string {
  const total = Math.max(0, pool.total - pool.surplus) + Math.max(0, needed - pool.free);
  return reserveCommand(pool, total);
}

/** hugetlb.2MB.max of cgroup v2, in bytes; undefined where there is no limit. */
function cgroupLimit(machine: Machine): number | undefined {
  const path = /^0::(.*)$/m.exec(machine.readText("/proc/self/cgroup") ?? "")?.[1];
  const text = path && machine.readText(`/sys/fs/cgroup${path}/hugetlb.2MB.max`)?.trim();
  return text && /^\d+$/.test(text) ? Number(text) : undefined;
}

const hugetlbfs: MachineCheck = {
  id: "hugetlbfs",
  needs: [],
  look({ machine }) {
    const folders = hugepagesOf(machine).mounts.map(({ folder }) => folder);
    if (folders.length > 0) return ok(`mounted at ${folders.join(", ")}`);
    const mount = "mkdir -p /dev/hugepages; mount -t hugetlbfs hugetlbfs /dev/hugepages";
    return skipped(`not mounted; pollmode needs no mount, DPDK's programs and QEMU beside it do: ${mount}`);
  },
};

const numa: NicCheck = {
  id: "numa",
  needs: ["nics"],
  look({ pci }, { machine, memoryBytes }): Finding {
    const nodes = machine.sysfs.list("devices/system/node").filter((name) => /^node\d+$/.test(name));
    if (nodes.length < 2) return skipped("the machine has one NUMA node");
    const { numaNode: node } = pci;
    if (node === undefined) return skipped("the firmware does not tell the NIC's NUMA node");
    const cpus = machine.sysfs.readOptional(`devices/system/node/node${node}/cpulist`) ?? "?";
    const place = `the NIC is at NUMA node ${node}: run its lcores on the CPUs ${cpus} (-l), under numactl -m ${node}`;
    const size = hugepagesOf(machine).sizes.find(({ pageBytes }) => pageBytes === HUGEPAGE_BYTES);
    const pool = size?.pools.find((pool) => pool.node === node);
    const needed = Math.ceil(memoryBytes / HUGEPAGE_BYTES);
    if (!pool || pool.free >= needed) return ok(place);
    const text = `${place}; ${pool.free} hugepages are free there, ${needed} are needed`;
    return warn(text, { command: moreFree(pool, needed) });
  },
};

export const memoryChecks = [memlock, dmaEntries, hugepages, hugetlbfs];
export const placementChecks = [numa];
