// QEMU's command line for the lab: a q35 machine with an emulated IOMMU, the host's root over 9p, the agent's port, and
// the NICs with their wires.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { PollmodeError } from "../../../src/errors.ts";
import { initramfsFile, kernelFile, moduleFolder } from "./setup.ts";

/** QEMU's name of each model, without the options that all of them have. */
const models = {
  /** 82574L. */
  e1000e: "e1000e",
  /** 82576 with SR-IOV: up to 7 virtual functions. */
  igb: "igb",
  virtio: "virtio-net-pci,disable-legacy=on",
} as const;

export type NicModel = keyof typeof models;
export const nicModels = Object.keys(models) as NicModel[];

export interface NicSpec {
  model: NicModel;
  /**
   * Where its wire goes: the number of a hub, which repeats each frame to all else that is wired to it; a Unix stream
   * socket that somebody listens on, where each frame follows its length in 4 bytes, the highest first; or nowhere.
   * Default: hub 0.
   */
  wire?: number | { socket: string } | "none";
  /** Default: 52:54:00:1a:b0:01 for the first NIC, …:02 for the second. */
  mac?: string;
}

export interface LabOptions {
  /** At most 8. Default: none. */
  nics?: NicSpec[];
  /** Whether there is an IOMMU; without one there is vfio's no-IOMMU mode, and UIO. Default true. */
  iommu?: boolean;
  /** Default 2560; from 2816 on there is memory above 4 GiB, and igb's virtual functions show no registers. */
  memoryMib?: number;
  /**
   * Default 2, which lcores need. With 2 and an IOMMU, QEMU 10.0 goes wrong once in some hundred openings of a device:
   * a CPU gets no timer interrupts any more, or `iotlb_to_section` fails. Where no lcore runs, take 1.
   */
  cpus?: number;
  /** Hugepages of 2 MiB to reserve. Default 512. */
  hugepages?: number;
  /** Added to the kernel's command line. */
  kernelArguments?: string[];
  /** A Unix stream socket (see `NicSpec.wire`) that hub 0 is wired to as well. */
  hubSocket?: string;
  /** More devices, as QEMU's option -device takes them: a bridge, and what is behind it. */
  devices?: string[];
}

export interface LabNic {
  readonly model: NicModel;
  /** Its PCI address in the guest. */
  readonly address: string;
  readonly mac: string;
}

/**
 * The first NIC is in slot 3 of bus 0, and so at 0000:00:03.0; the next NICs follow. There each function has an IOMMU
 * group of its own, and so has each virtual function: those of the igb in slot s are at slot s + 0x10, functions 0, 2,
 * 4 and 6, and go on in the next slot.
 */
const firstSlot = 3;
const nicsMax = 8;

export function placeNics(specs: readonly NicSpec[]): LabNic[] {
  if (specs.length > nicsMax) {
    const message = `the lab has room for ${nicsMax} NICs, not ${specs.length}`;
    throw new PollmodeError("BED_UNSUPPORTED", message, "ask for fewer NICs");
  }
  return specs.map(({ model, mac }, index) => ({
    model,
    address: `0000:00:${(firstSlot + index).toString(16).padStart(2, "0")}.0`,
    mac: mac ?? `52:54:00:1a:b0:${(index + 1).toString(16).padStart(2, "0")}`,
  }));
}

export function qemuArguments(
  options: LabOptions,
  sockets: { readonly agent: string; readonly monitor: string },
): string[] {
  const { iommu = true, memoryMib = 2560, cpus = 2 } = options;
  return [
    ...["-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off"],
    ...["-smp", `${cpus}`, "-m", `${memoryMib}M`],
    // QEMU 10.0 drops the upper half of a virtual function's 64-bit BAR: give the guest no room above 4 GiB for it.
    ...["-global", "q35-pcihost.pci-hole64-size=0", "-global", "q35-pcihost.x-pci-hole64-fix=false"],
    ..."-nodefaults -no-user-config -no-reboot -display none -serial stdio".split(" "),
    ...["-kernel", kernelFile, "-initrd", initramfsFile, "-append", kernelCommandLine(options)],
    // Before all other devices: QEMU wants it so.
    ...(iommu ? ["-device", "intel-iommu,intremap=on"] : []),
    ...["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"],
    ...["-device", "virtio-9p-pci,fsdev=root,mount_tag=host,disable-legacy=on,addr=1e.0"],
    ...["-chardev", `socket,id=agent,path=${quoted(sockets.agent)}`],
    ...[
      "-chardev",
      `socket,id=monitor,path=${quoted(sockets.monitor)}`,
      "-mon",
      "chardev=monitor,mode=control",
    ],
    ...["-device", "virtio-serial-pci,disable-legacy=on,addr=1d.0"],
    ...["-device", "virtserialport,chardev=agent,name=pollmode.agent"],
    ...nicArguments(options),
    ...(options.devices ?? []).flatMap((device) => ["-device", device]),
  ];
}

/** QEMU's name of the NIC of this index. */
export function nicId(index: number): string {
  return `nic${index}`;
}

function nicArguments(options: LabOptions): string[] {
  const { nics = [], hubSocket, iommu = true } = options;
  const args = placeNics(nics).flatMap(({ model, mac }, index) => {
    const { wire = 0 } = nics[index]!;
    // No option ROM: the boot would wait for it.
    const device = [
      models[model],
      `id=${nicId(index)}`,
      `mac=${mac}`,
      `addr=${(firstSlot + index).toString(16)}.0`,
      "romfile=",
    ];
    const netdev = `id=wire${index}`;
    // By itself, QEMU lets virtio devices bypass the IOMMU.
    if (model === "virtio" && iommu) device.push("iommu_platform=on");
    if (wire === "none") return ["-device", device.join(",")];
    const end = typeof wire === "number" ? `hubport,hubid=${wire}` : streamSocket(wire.socket);
    return ["-netdev", `${end},${netdev}`, "-device", [...device, `netdev=wire${index}`].join(",")];
  });
  if (hubSocket === undefined) return args;
  return [
    ...args,
    ...["-netdev", `${streamSocket(hubSocket)},id=host`, "-netdev", "hubport,hubid=0,id=hosthub,netdev=host"],
  ];
}

/** A comma would end the value. */
function quoted(value: string): string {
  return value.replaceAll(",", ",,");
}

function streamSocket(path: string): string {
  // QEMU would go on without a word, and the wire would lead nowhere.
  if (!existsSync(path)) {
    const message = `there is no socket ${path} to wire the lab's NICs to`;
    throw new PollmodeError("BED_UNSUPPORTED", message, "let a program listen on it before the lab boots");
  }
  return `stream,server=off,addr.type=unix,addr.path=${quoted(path)}`;
}

function kernelCommandLine(options: LabOptions): string {
  const { iommu = true, hugepages = 512, kernelArguments = [] } = options;
  const agent = fileURLToPath(new URL("./agent.js", import.meta.url));
  const words = ["console=ttyS0 panic=-1 quiet mitigations=off init_on_alloc=0 no_timer_check tsc=reliable"];
  if (iommu) words.push("intel_iommu=on");
  const parameters = { modules: moduleFolder, node: process.execPath, agent, hugepages };
  for (const [name, value] of Object.entries(parameters))
    words.push(`lab.${name}=${percentEncoded(`${value}`)}`);
  return [...words, ...kernelArguments].join(" ");
}

/** As guest-init.sh decodes it. */
function percentEncoded(text: string): string {
  return encodeURI(text).replaceAll("'", "%27");
}
