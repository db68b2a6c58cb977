// The processor, the firmware, the kernel's command line, and the IOMMU that should come of them.
import { bindCommand, bindWithoutIommuCommand } from "../../bus/pci/commands.ts";
import { lockdownMode } from "../../bus/pci/lockdown.ts";
import type { MachineCheck } from "../check.ts";
import { type Finding, type Fix, fail, ok, skipped, warn } from "../finding.ts";
import { addKernelArguments, kernelArguments, kernelOption, noIommuMode } from "../kernel-config.ts";
import { nicsBy, type Situation } from "../situation.ts";

/** Which ACPI table describes an IOMMU: Intel's VT-d, AMD-Vi, Arm's SMMU, virtio-iommu. */
const TABLES: Readonly<Record<string, string>> = {
  DMAR: "VT-d",
  IVRS: "AMD-Vi",
  IORT: "SMMU",
  VIOT: "virtio-iommu",
};

const cpu: MachineCheck = {
  id: "cpu",
  needs: [],
  look({ machine }) {
    const info = machine.readText("/proc/cpuinfo") ?? "";
    const model = /^model name\s*:\s*(.*)$/m.exec(info)?.[1] ?? "a processor that names no model";
    const flags = new Set(/^flags\s*:\s*(.*)$/m.exec(info)?.[1]?.split(" "));
    if (flags.has("hypervisor")) return ok(`${model}, in a virtual machine`);
    const virtualization = flags.has("vmx") ? "VT-x" : flags.has("svm") ? "AMD-V" : undefined;
    return ok(virtualization === undefined ? model : `${model}, ${virtualization} on`);
  },
};

const firmware: MachineCheck = {
  id: "firmware",
  needs: ["nics"],
  ways: ["vfio", "noiommu", "uio", "none"],
  look(situation) {
    const { machine } = situation;
    const tables = machine.list("/sys/firmware/acpi/tables");
    const found = Object.keys(TABLES).filter((name) => tables.includes(name));
    const names = found.map((name) => `${name} (${TABLES[name]})`).join(", ");
    if (found.length > 0) return ok(`ACPI describes an IOMMU: ${names}`);
    if (machine.system.hasIommu) return ok("no ACPI table describes the IOMMU, and the kernel has found one");
    if (tables.length === 0) return skipped("ACPI's tables cannot be seen here, as in a container");
    return withoutIommu(
      situation,
      "no IOMMU: ACPI has no table DMAR (VT-d) or IVRS (AMD-Vi)",
      turnOn(situation),
    );
  },
};

/** By hand, in the firmware's setup, or from outside. */
function turnOn({ machine }: Situation): Fix {
  const isVm = /^flags\s*:.*\bhypervisor\b/m.test(machine.readText("/proc/cpuinfo") ?? "");
  if (!isVm)
    return { setting: "turn VT-d (Intel) or AMD-Vi, there often called IOMMU, on in the firmware's setup" };
  const qemu = "-machine q35,kernel-irqchip=split -device intel-iommu,intremap=on,caching-mode=on";
  return {
    setting: `give the virtual machine an IOMMU, for QEMU: ${qemu}`,
    after: "boot it with intel_iommu=on",
  };
}

const cmdline: MachineCheck = {
  id: "cmdline",
  needs: ["nics", "firmware"],
  ways: ["vfio", "noiommu", "uio", "none"],
  look(situation) {
    const { machine } = situation;
    const words = kernelArguments(machine);
    const own = words.filter((word) => /iommu|^intremap=/.test(word));
    const said = own.length > 0 ? own.join(" ") : "nothing about the IOMMU: the kernel's default";
    if (machine.system.hasIommu) return ok(said);
    const off = own.find((word) => /^(intel_iommu|amd_iommu|iommu)=(.*,)?off\b/.test(word));
    if (off !== undefined) {
      const fix = {
        setting: `take ${off} off the kernel's command line, in the boot loader's configuration`,
      };
      return withoutIommu(situation, `${off} keeps the IOMMU off`, { ...fix, after: "reboot" });
    }
    const isOn = own.some((word) => /^intel_iommu=(.*,)?on\b/.test(word));
    const isIntel = machine.list("/sys/firmware/acpi/tables").includes("DMAR");
    if (!isIntel || isOn || kernelOption(machine, "CONFIG_INTEL_IOMMU_DEFAULT_ON") === "y") return ok(said);
    const text = "there is no intel_iommu=on, without which this kernel leaves Intel's IOMMU off";
    return withoutIommu(situation, text, addKernelArguments(machine, "intel_iommu=on iommu=pt"));
  },
};

const iommu: MachineCheck = {
  id: "iommu",
  needs: ["nics", "firmware", "cmdline"],
  ways: ["vfio", "noiommu", "uio", "none"],
  look(situation) {
    const { machine } = situation;
    const units = machine.sysfs.list("class/iommu");
    const groups = machine.sysfs.list("kernel/iommu_groups").length;
    if (units.length > 0 && groups > 0) return ok(`${units.join(", ")}: ${groups} groups`);
    if (units.length > 0) {
      const log = "dmesg | grep -i -e DMAR -e AMD-Vi -e iommu";
      return fail(`${units.join(", ")}, but no IOMMU groups`, {
        setting: `the kernel's log says why: ${log}`,
      });
    }
    if (nicsBy("none", situation).length === 0) {
      return warn("none: a NIC can overwrite all of memory, and only root may drive it");
    }
    const text = "the kernel has turned no IOMMU on (/sys/class/iommu is empty)";
    const log = "dmesg | grep -i -e DMAR -e AMD-Vi -e iommu";
    return withoutIommu(situation, text, { setting: `the kernel's log may say why: ${log}` });
  },
};

/** No reason to fail where all NICs are served in another way, which a later line warns of. */
function withoutIommu(situation: Situation, text: string, fix: Fix): Finding {
  const unserved = nicsBy("none", situation);
  if (unserved.length === 0) return skipped(`${text}; the NICs are driven without one`);
  const { machine } = situation;
  // those that the kernel uses are not taken from it in passing: of them alone, devbind says what they are used for
  const idle = unserved.filter(({ uses }) => uses.length === 0).map(({ pci }) => pci);
  const free = idle.length > 0 ? idle : unserved.map(({ pci }) => pci);
  const addresses = free.map(({ address }) => address);
  const fixes = [fix];
  const after = "mind that the device can overwrite all of memory, and run pollmode as root, with hugepages";
  if (noIommuMode(machine) !== "absent") {
    fixes.push({ command: bindWithoutIommuCommand("vfio-pci", ...addresses), after });
  }
  // virtual functions have no INTx, which uio_pci_generic takes
  const hasVf = free.some(({ physicalFunction }) => physicalFunction !== undefined);
  const driver = hasVf ? "igb_uio" : "uio_pci_generic";
  const isLocked = !["none", undefined].includes(lockdownMode(machine.sysfs));
  if (idle.length > 0 && !isLocked && machine.modules.state(driver) !== "missing") {
    fixes.push({ command: bindCommand(driver, ...addresses), after });
  }
  return fail(text, ...fixes);
}

const remapping: MachineCheck = {
  id: "interrupt-remapping",
  needs: ["nics", "firmware", "cmdline", "iommu"],
  ways: ["vfio"],
  look({ machine }) {
    const interrupts = machine.readText("/proc/interrupts");
    const isX86 = /^vendor_id/m.test(machine.readText("/proc/cpuinfo") ?? "");
    if (!isX86 || interrupts === undefined) return skipped("the kernel does not show it here");
    // names of interrupt chips: IR-IO-APIC, IR-PCI-MSI (Linux, arch/x86/kernel/apic, drivers/iommu/*/irq_remapping.c)
    if (/\sIR-/.test(interrupts)) return ok("on: a device can raise its own interrupts alone");
    const parameter = "module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    const price = "a NIC could raise any interrupt by a write to memory";
    if (machine.sysfs.readOptional(parameter) === "Y")
      return warn(`off, and VFIO is told to go on: ${price}`);
    const off = kernelArguments(machine).find((word) => /^intremap=(.*,)?off\b|^nointremap$/.test(word));
    const setting =
      off === undefined
        ? "turn x2APIC and interrupt remapping on in the firmware's setup, or in the virtual machine's IOMMU"
        : `take ${off} off the kernel's command line`;
    const command = `modprobe vfio_iommu_type1; echo 1 > /sys/${parameter}`;
    const after = `mind that ${price}`;
    return fail(
      "off: the IOMMU does not check interrupts, and VFIO then gives no device away",
      { setting, after: "reboot" },
      { command, after },
    );
  },
};

export const platformChecks = [cpu, firmware, cmdline, iommu, remapping];
