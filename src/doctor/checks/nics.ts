// The NICs: whether pollmode drives them, and who has them now.
import { bindCommand, unbindCommand } from "../../bus/pci/commands.ts";
import type { PciDevice } from "../../bus/pci/scan.ts";
import { behindIommu, isUioDriver, passThrough } from "../../bus/uio/errors.ts";
import type { Machine } from "../../devices/machine.ts";
import { BOUND, type MachineCheck, type NicCheck } from "../check.ts";
import { isContainer, isSysReadOnly } from "../container.ts";
import { type Fix, fail, ok, skipped, warn } from "../finding.ts";
import { hasVfs, type KnownNic, type Nic, type Situation } from "../situation.ts";

const hex = (id: number) => id.toString(16).padStart(4, "0");
const virtualPorts =
  "virtual ports do without: --vdev net_tap0, --vdev net_af_packet0,iface=NAME, --vdev net_vhost0,…";

const nics: MachineCheck = {
  id: "nics",
  needs: [],
  look(situation) {
    const { nics, known, isNamed, left } = situation;
    const unknown = nics.filter(({ chip }) => chip === undefined).map(({ pci }) => pci);
    if (unknown.length > 0) {
      const names = unknown.map(
        ({ address, vendor, device }) => `${address} (${hex(vendor)}:${hex(device)})`,
      );
      const text = `pollmode has no driver for ${names.join(", ")}; it drives ${chipsOf(known)}`;
      const [name] = unknown.flatMap(({ interfaces }) => interfaces);
      const more =
        name === undefined
          ? []
          : [{ setting: `let the kernel drive it: --vdev net_af_packet0,iface=${name}` }];
      return fail(text, { setting: "name a NIC that it drives" }, ...more);
    }
    const others = left.length > 0 ? `; not looked at: ${left.join(", ")}` : "";
    if (nics.length === 0) {
      return warn(
        `this machine has no NIC that pollmode drives (${chipsOf(known)})${others}; ${virtualPorts}`,
      );
    }
    const names = nics.map(({ pci, chip }) => `${pci.address} (${chip})`).join(", ");
    const isSpare = !isNamed && !nics.some(({ isBound }) => isBound);
    return ok(`${names}${isSpare ? ", for none is bound for user space yet" : ""}${others}`);
  },
};

function chipsOf(known: readonly KnownNic[]): string {
  return [...new Set(known.map(({ chip }) => chip))].join(", ");
}

const bound: NicCheck = {
  id: "bound",
  needs: ["nics", "firmware", "cmdline", "iommu", "modules", "lockdown"],
  ways: BOUND,
  look(nic, situation) {
    const { pci, group } = nic;
    const { address, driver, interfaces } = pci;
    if (hasVfs(nic)) {
      const text = `${address} has virtual functions (${pci.sriov?.vfs.join(", ")}), which have its queues`;
      const command = `pollmode sriov remove ${address}`;
      return fail(
        text,
        { setting: "take one of them" },
        { command, after: "mind that they are gone, whoever uses them" },
      );
    }
    if (isUioDriver(driver)) {
      if (group === undefined || group.type === "identity") return ok(`${driver} has it`);
      const error = behindIommu(pci, group.type ?? "unknown");
      return fail(error.message, ...usesVfio(nic));
    }
    if (nic.isBound) return ok(`${driver} has it`);
    const has = driver === undefined ? "no driver" : `the kernel's driver ${driver}`;
    const names = interfaces.length > 0 ? `, as ${interfaces.join(", ")}` : "";
    const bind = onHost({ command: bindCommand("vfio-pci", address) }, situation);
    if (nic.uses.length === 0) return fail(`${address} has ${has}${names}, not vfio-pci`, bind);
    const uses = nic.uses.map(({ text }) => text).join("; ");
    const after = `mind that ${interfaces.join(", ") || "its interface"} is gone with all that it is used for`;
    return fail(
      `${address} is in use by the kernel: ${uses}`,
      { setting: "take another NIC" },
      { ...onHost({ command: `pollmode devbind --force -b vfio-pci ${address}` }, situation), after },
    );
  },
};

/** Behind an IOMMU that translates, UIO's devices reach nothing. */
function usesVfio({ pci, group }: Nic): Fix[] {
  return [
    { command: bindCommand("vfio-pci", pci.address) },
    { command: passThrough(pci.address, pci.driver, group?.number) },
    { setting: "add iommu=pt to the kernel's command line", after: "reboot" },
  ];
}

/** What a container cannot do from inside. */
function onHost(fix: Fix, { machine }: Situation): Fix {
  if (!isContainer(machine) || !isSysReadOnly(machine)) return fix;
  return { setting: `on the host, as root: ${fix.command}` };
}

const group: NicCheck = {
  id: "group",
  needs: ["nics", "firmware", "cmdline", "iommu"],
  ways: ["vfio"],
  look({ pci, group, dangers }) {
    const { address } = pci;
    if (!group) {
      const setting = "put it into another slot; or update the firmware, whose tables leave it out";
      return fail(`${address} has no IOMMU group, though this machine has an IOMMU`, { setting });
    }
    const others = group.devices.filter((device) => device.isInTheWay && device.address !== address);
    if (others.length > 0) {
      const names = others.map(({ address, driver }) => `${address} (driver ${driver})`).join(", ");
      const text = `IOMMU group ${group.number} is not viable: the kernel drives others of it, ${names}`;
      const stay = "take that out of use, or put the NIC into another slot";
      if (dangers.length > 0) return fail(`${text}; ${dangers.join("; ")}`, { setting: stay });
      const addresses = others.map((other) => other.address);
      const after = "nobody drives them: pollmode groups shows what they are";
      return fail(
        text,
        { command: bindCommand("vfio-pci", ...addresses), after },
        { command: unbindCommand(...addresses), after },
      );
    }
    const count = group.devices.length;
    const shared = count > 1 ? `, viable, shared by ${count} devices` : ", its own";
    const text = `group ${group.number}${shared}`;
    const setting =
      "turn what the firmware does with the device off in its setup, or ask the machine's vendor";
    if (group.warnings.length > 0) return warn(`${text}; ${group.warnings.join("; ")}`, { setting });
    return ok(text);
  },
};

const link: NicCheck = {
  id: "link",
  needs: ["nics"],
  look({ pci }, { machine }) {
    const down = downPf(pci, machine);
    if (down !== undefined) {
      const text = `${down}, the interface of its physical function, is down: a virtual function does nothing then`;
      return fail(text, { command: `ip link set ${down} up` });
    }
    const [name] = pci.interfaces;
    if (name === undefined) return skipped("not to be seen before pollmode drives the NIC");
    const attribute = (file: string) => machine.readText(`/sys/class/net/${name}/${file}`)?.trim();
    const carrier = attribute("carrier"); // EINVAL while the interface is down
    if (carrier === "1") return ok(`${name} has a link${speedOf(attribute("speed"))}`);
    if (carrier === "0") return warn(`${name} is up and has no link`, { setting: "plug the cable in" });
    return skipped(`${name} is down: its link shows when it is up`);
  },
};

/** IFF_UP, linux/if.h. */
const IFF_UP = 0x1;

/** The interface of a virtual function's physical function, if it is down. */
function downPf({ physicalFunction }: PciDevice, { sysfs }: Machine): string | undefined {
  if (physicalFunction === undefined) return undefined;
  const folder = `bus/pci/devices/${physicalFunction}/net`;
  const [name] = sysfs.list(folder);
  const flags = name === undefined ? undefined : sysfs.readOptional(`${folder}/${name}/flags`);
  return flags !== undefined && (Number(flags) & IFF_UP) === 0 ? name : undefined;
}

/** Mbit/s; -1 where it is not known. */
function speedOf(text: string | undefined): string {
  return Number(text) > 0 ? `, ${text} Mbit/s` : "";
}

export const nicsChecks = [nics];
export const nicChecks = [group, bound, link];
