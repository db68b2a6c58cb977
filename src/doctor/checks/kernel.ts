// What the running kernel has and allows: secure boot and lockdown, modules, VFIO's mode without an IOMMU.
import { readFileSync } from "node:fs";
import { bindCommand } from "../../bus/pci/commands.ts";
import { lockdownFix, lockdownMode } from "../../bus/pci/lockdown.ts";
import type { Machine } from "../../devices/machine.ts";
import { BY_VFIO, type MachineCheck } from "../check.ts";
import { isContainer } from "../container.ts";
import { type Finding, fail, ok, skipped } from "../finding.ts";
import { kernelOption } from "../kernel-config.ts";
import { nicsBy, type Situation } from "../situation.ts";

const lockdown: MachineCheck = {
  id: "lockdown",
  needs: [],
  look(situation) {
    const { machine } = situation;
    const mode = lockdownMode(machine.sysfs);
    const boot = secureBoot(machine);
    const secure = boot === undefined ? "" : `, secure boot is ${boot ? "on" : "off"}`;
    if (mode === undefined) return ok(`the kernel shows no lockdown${secure}`);
    if (mode === "none") return ok(`off${secure}`);
    const uio = nicsBy("uio", situation).map(({ pci }) => pci.address);
    if (uio.length === 0)
      return ok(`${mode}${secure}: VFIO is allowed, UIO and modules without signature are not`);
    const text = `${mode}${secure}: nobody may drive a device through UIO (${uio.join(", ")}), not even root`;
    return fail(text, { setting: lockdownFix });
  },
};

/** The UEFI variable: 4 bytes of attributes, then 1 for on. Undefined without UEFI. */
function secureBoot(machine: Machine): boolean | undefined {
  const variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
  try {
    return readFileSync(machine.path(variable))[4] === 1;
  } catch {
    return undefined;
  }
}

const modules: MachineCheck = {
  id: "modules",
  needs: ["nics", "firmware", "cmdline", "iommu"],
  ways: BY_VFIO,
  look(situation) {
    const { machine } = situation;
    const state = machine.modules.state("vfio-pci");
    if (state !== "loaded") return noVfioPci(state, situation);
    const needsType1 = nicsBy("vfio", situation).length > 0;
    // where it is not to be had, iommufd stands in for it (CONFIG_IOMMUFD_VFIO_CONTAINER)
    if (needsType1 && machine.modules.state("vfio_iommu_type1") === "available") {
      return fail("the kernel module vfio_iommu_type1 is not loaded", {
        command: "modprobe vfio_iommu_type1",
      });
    }
    return ok(needsType1 ? "vfio-pci and vfio_iommu_type1 are loaded" : "vfio-pci is loaded");
  },
};

function noVfioPci(state: "available" | "missing", situation: Situation): Finding {
  const { machine, nics } = situation;
  // what is bound to another driver and idle is bound at once, which loads the module: without it it could not be
  const free = nics.filter(
    ({ way, isBound, uses }) => (way === "vfio" || way === "noiommu") && !isBound && uses.length === 0,
  );
  const bind = bindCommand("vfio-pci", ...free.map(({ pci }) => pci.address));
  const command = free.length > 0 ? bind : "modprobe vfio-pci";
  if (state === "available") return fail("the kernel module vfio-pci is not loaded", { command });
  if (isContainer(machine)) {
    const text = "the kernel module vfio-pci is not loaded, and a container cannot load it";
    return fail(text, { setting: `on the host, as root: ${command}` });
  }
  const option = kernelOption(machine, "CONFIG_VFIO_PCI");
  const how = option === "n" ? "was built without CONFIG_VFIO_PCI" : "has no module vfio-pci";
  return fail(`the kernel ${machine.kernelRelease} ${how}`, {
    setting:
      "install a kernel that has it, as distributions' ordinary kernels do, or its package of further modules",
  });
}

const noIommu: MachineCheck = {
  id: "no-iommu",
  needs: ["nics", "modules"],
  ways: ["noiommu"],
  look({ machine }) {
    if (machine.system.noIommuModeOn) return ok("VFIO's mode without an IOMMU is on");
    const parameter = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    if (!machine.exists(parameter)) return skipped("the kernel does not show it");
    const text = "VFIO's mode without an IOMMU was turned off again";
    return fail(text, { command: `echo 1 > ${parameter}` });
  },
};

export const kernelChecks = [lockdown, modules, noIommu];
