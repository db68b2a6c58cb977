// A container's limits. What they keep from working, later lines say: here is what they are.
import type { MachineCheck } from "../check.ts";
import * as limits from "../container.ts";
import { type Fix, ok, warn } from "../finding.ts";
import { nicsBy, physicalNics, type Situation } from "../situation.ts";

/** /dev/vfio/vfio: MISC_MAJOR and VFIO_MINOR (linux/major.h, linux/miscdevice.h). */
const [MISC_MAJOR, VFIO_MINOR] = [10, 196];

interface Limit {
  readonly text: string;
  readonly fix: Fix;
}

const container: MachineCheck = {
  id: "container",
  needs: [],
  look(situation) {
    const { machine } = situation;
    if (!limits.isContainer(machine)) return ok("not in a container");
    const found = limitsOf(situation);
    if (found.length === 0) return ok("in a container, which takes away nothing that pollmode needs");
    return warn(
      `in a container: ${found.map(({ text }) => text).join("; ")}`,
      ...found.map(({ fix }) => fix),
    );
  },
};

function limitsOf(situation: Situation): Limit[] {
  const { machine } = situation;
  const found: Limit[] = [];
  const needsBinding = situation.nics.some(({ isBound }) => !isBound);
  if (needsBinding && limits.isSysReadOnly(machine)) {
    const setting = "bind NICs on the host; or start the container with --privileged";
    found.push({ text: "/sys is read-only, so that no NIC can be bound from inside", fix: { setting } });
  }
  const isPhysical = physicalNics(situation).length > 0;
  const wanted = isPhysical ? [limits.CAP_SYS_RAWIO, limits.CAP_SYS_ADMIN] : [];
  const lacking = limits.lackingCapabilities(machine, "CapBnd", wanted);
  if (lacking.length > 0) {
    const setting = `docker run ${lacking.map((name) => `--cap-add ${name}`).join(" ")}`;
    found.push({ text: `nobody in it can have ${lacking.join(", ")}`, fix: { setting } });
  }
  const usesVfio = nicsBy("vfio", situation).length + nicsBy("noiommu", situation).length > 0;
  if (usesVfio && limits.cgroupAllows(machine, MISC_MAJOR, VFIO_MINOR) === false) {
    const setting = "docker run --device /dev/vfio/vfio, and --device with the group's node";
    found.push({ text: "its device rules (cgroup) forbid /dev/vfio/vfio", fix: { setting } });
  }
  if (isPhysical && limits.hasSeccompFilter(machine)) {
    const text = "its seccomp filter may forbid io_uring, by which memory is pinned for NICs without IOMMU";
    const setting =
      "docker run --security-opt seccomp=FILE with a profile that allows io_uring_setup and io_uring_register";
    found.push({ text, fix: { setting } });
  }
  return found;
}

export const containerChecks = [container];
