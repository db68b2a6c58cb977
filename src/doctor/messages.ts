// Messages of the kernel that tell why a NIC cannot be had, and what to do. Their words are those of Linux 4.x to 6.x;
// the source file stands with each.
import { parseIommuFault } from "../bus/iommu-faults.ts";
import type { Fix } from "./finding.ts";

export interface Explanation {
  /** The message, with the device that it is about. */
  readonly text: string;
  readonly device: string | undefined;
  readonly fix: Fix;
}

interface Message {
  readonly pattern: RegExp;
  readonly meaning: string;
  readonly fix: Fix;
}

const NO_IOMMU: Fix = {
  setting:
    "turn the IOMMU on, VT-d or AMD-Vi in the firmware and intel_iommu=on on Intel's kernel command line",
};

const table: readonly Message[] = [
  {
    // drivers/base/dd.c, in both of its wordings; vfio_pci_core_register_device and vfio_register_group_dev return it
    pattern: /vfio-pci: probe of \S+ failed with error -22|probe with driver vfio-pci failed with error -22/,
    meaning: "the device has no IOMMU group",
    fix: NO_IOMMU,
  },
  {
    pattern: /vfio-pci: probe of \S+ failed with error -16|probe with driver vfio-pci failed with error -16/,
    meaning: "something still has the device or one of its virtual functions",
    fix: { setting: "stop what uses it, and bind it again" },
  },
  {
    pattern:
      /uio_pci_generic: probe of \S+ failed with error -\d+|No IRQ assigned to device: no support for interrupts/,
    meaning: "uio_pci_generic takes only devices with an INTx interrupt that can be masked", // drivers/uio
    fix: { setting: "use vfio-pci, or igb_uio" },
  },
  {
    pattern: /igb_uio: probe of \S+ failed with error -\d+|probe with driver igb_uio failed with error -\d+/,
    meaning: "igb_uio found no interrupt or no memory to map",
    fix: { setting: "use vfio-pci" },
  },
  {
    pattern: /ineligible for IOMMU domain attach due to platform RMRR requirement/, // drivers/iommu/intel/iommu.c
    meaning:
      "the firmware keeps using memory through this device (RMRR), and the kernel gives it to nobody then",
    fix: {
      setting:
        "turn what the firmware does with the device off in its setup (shared management networking; HPE: conrep), " +
        "or ask the machine's vendor",
    },
  },
  {
    pattern: /No interrupt remapping support/, // drivers/vfio/vfio_iommu_type1.c
    meaning: "the IOMMU does not check interrupts",
    fix: { command: "echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts" },
  },
  {
    pattern: /RLIMIT_MEMLOCK \(\d+\) exceeded/, // vfio_pin_pages_remote
    meaning: "a program was to pin more memory for a device than its limit allows",
    fix: { setting: "raise it: see memlock" },
  },
  {
    pattern: /not enough MMIO resources for SR-IOV/, // drivers/pci/iov.c
    meaning: "the firmware left no room for the virtual functions' registers",
    fix: {
      setting:
        "turn SR-IOV and Above 4G Decoding on in the firmware's setup; or add pci=realloc to the command line",
    },
  },
  {
    pattern: /SR-IOV: bus number out of range|can't enable \d+ VFs \(bus \w+ out of range/, // drivers/pci/iov.c
    meaning: "the firmware left no bus numbers for the virtual functions",
    fix: {
      setting: "turn SR-IOV and ARI on in the firmware's setup; or add pci=assign-busses to the command line",
    },
  },
  {
    pattern: /BAR \d+.*: can't reserve \[/, // drivers/pci/pci.c, __pci_request_region
    meaning: "another driver has the device's registers",
    fix: { setting: "grep the address range in /proc/iomem for its owner; a frame buffer: video=efifb:off" },
  },
  {
    // drivers/pci/setup-res.c
    pattern: /BAR \d+.*: (no space for|failed to assign|can't assign) \[|can't assign; no space/,
    meaning: "the firmware and the kernel found no address for the device's registers",
    fix: {
      setting: "turn Above 4G Decoding on in the firmware's setup; or add pci=realloc to the command line",
    },
  },
  {
    pattern: /Lockdown: .* (direct PCI access|unsigned module loading) is restricted/, // security/lockdown/lockdown.c
    meaning: "kernel lockdown forbids UIO, and modules without a signature",
    fix: { setting: "bind the NIC to vfio-pci, which lockdown allows" },
  },
  {
    pattern: /Loading of (unsigned module|module with unavailable key) is rejected/, // kernel/module/signing.c
    meaning: "the kernel loads signed modules alone, and igb_uio has no signature that it knows",
    fix: { setting: "bind the NIC to vfio-pci; or sign the module with a key of this machine (mokutil)" },
  },
  {
    pattern: /vfio-noiommu group on device|vfio-noiommu device opened by user/, // drivers/vfio
    meaning: "a device is driven without an IOMMU, and can overwrite all of memory",
    fix: NO_IOMMU,
  },
];

const ADDRESS = /\b[\da-f]{4,8}:[\da-f]{2}:[01][\da-f]\.[0-7]\b/i;

/** What a line of the log explains, if it does. */
export function explain(line: string): Explanation | undefined {
  const device = ADDRESS.exec(line)?.[0].toLowerCase();
  const found = table.find(({ pattern }) => pattern.test(line));
  if (found) return { text: `"${line.trim()}": ${found.meaning}`, device, fix: found.fix };
  const fault = parseIommuFault(line);
  if (!fault) return undefined;
  const where = `0x${fault.address.toString(16)}`;
  return {
    text: `the IOMMU stopped a ${fault.access} of ${fault.device} at ${where}, which nobody had mapped for it`,
    device: fault.device,
    fix: { setting: "reset the device: stop and start its port; if it comes again, report it with the log" },
  };
}
