// The tree that stands for /sys (and /dev/infiniband) where a software ConnectX is: what ib_core, mlx5_core and the PCI
// bus show of a card with one or two ports, each a PCI function, an RDMA device and a network interface of its own.
// Who reads what of it: libibverbs (sysfs.c, init.c), ibv_devinfo, DPDK's PCI and mlx5 code, src/bus/rdma.
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

export type SoftChip = "connectx4lx" | "connectx5" | "connectx6dx";

/** What tells the chips apart here; what the device itself says is in test/softmlx5/uverbs-device.c, and the same. */
const chips: Record<SoftChip, { id: string; hca: string; firmware: string; rate: string; mbps: number }> = {
  connectx4lx: {
    id: "1015",
    hca: "MT4117",
    firmware: "14.32.1010",
    rate: "25 Gb/sec (1X EDR)",
    mbps: 25_000,
  },
  connectx5: {
    id: "1017",
    hca: "MT4119",
    firmware: "16.35.2000",
    rate: "100 Gb/sec (4X EDR)",
    mbps: 100_000,
  },
  connectx6dx: {
    id: "101d",
    hca: "MT4125",
    firmware: "22.35.2000",
    rate: "100 Gb/sec (4X EDR)",
    mbps: 100_000,
  },
};

export interface TreePort {
  /** mlx5_0 … */
  readonly ibdev: string;
  /** PCI address. */
  readonly address: string;
  readonly netdev: string;
  readonly mac: string;
}

const gids = 255; // as long as the table that query_port tells
const zeroGid = "0000:0000:0000:0000:0000:0000:0000:0000";
const pciRoot = "devices/pci0000:00";

/** Files by their paths: text, or a path of the tree that a link there points to. */
type Files = Record<string, string | { link: string }>;

/** Makes the tree in a folder that is empty. */
export function makeTree(folder: string, chip: SoftChip, ports: readonly TreePort[]): void {
  const files: Files = { "class/infiniband_verbs/abi_version": "6", "bus/pci/drivers/mlx5_core/module": "" };
  for (const [index, port] of ports.entries()) {
    Object.assign(files, pciFunction(chip, port, index), rdmaDevice(chip, port, index), gidTable(port));
  }
  for (const [path, content] of Object.entries(files)) {
    const whole = join(folder, path);
    mkdirSync(dirname(whole), { recursive: true });
    if (typeof content === "string") writeFileSync(whole, `${content}\n`);
    else symlinkSync(relative(dirname(whole), join(folder, content.link)), whole);
  }
  for (const index of ports.keys()) chmodSync(join(folder, node(index)), 0o666); // as rdma-core's udev rule has it
}

/** Its permissions are those of the device node; the emulator opens /dev/null instead. */
function node(index: number): string {
  return `dev/infiniband/uverbs${index}`;
}

function below(folder: string, files: Files): Files {
  return Object.fromEntries(Object.entries(files).map(([name, content]) => [`${folder}/${name}`, content]));
}

function pciFunction(chip: SoftChip, { address, netdev, mac }: TreePort, index: number): Files {
  const { id, mbps } = chips[chip];
  const folder = `${pciRoot}/${address}`;
  const upper = id.toUpperCase();
  const bars = Array<string>(7).fill("0x0000000000000000 0x0000000000000000 0x0000000000000000");
  return {
    [`bus/pci/devices/${address}`]: { link: folder },
    [`class/net/${netdev}`]: { link: `${folder}/net/${netdev}` },
    ...below(folder, {
      vendor: "0x15b3",
      device: `0x${id}`,
      subsystem_vendor: "0x15b3",
      subsystem_device: "0x0008",
      class: "0x020000",
      revision: "0x00",
      modalias: `pci:v000015B3d0000${upper}sv000015B3sd00000008bc02sc00i00`,
      uevent: `DRIVER=mlx5_core\nPCI_CLASS=20000\nPCI_ID=15B3:${upper}\nPCI_SLOT_NAME=${address}`,
      numa_node: "-1",
      local_cpus: "3",
      max_vfs: "0",
      resource: bars.join("\n"),
      driver: { link: "bus/pci/drivers/mlx5_core" },
      "infiniband_verbs/.keep": "",
    }),
    ...below(`${folder}/net/${netdev}`, {
      device: { link: folder },
      address: mac,
      mtu: "1500",
      ifindex: String(index + 2),
      dev_port: "0", // each port is a PCI function of its own
      dev_id: "0x0",
      type: "1",
      carrier: "1",
      operstate: "up",
      speed: String(mbps),
    }),
  };
}

function rdmaDevice(chip: SoftChip, { address, ibdev }: TreePort, index: number): Files {
  const { hca, firmware, rate } = chips[chip];
  const pci = { link: `${pciRoot}/${address}` };
  return {
    [node(index)]: "",
    // of /dev/null and /dev/zero, which the emulator opens where the client opens the nodes
    ...below(`class/infiniband_verbs/uverbs${index}`, {
      ibdev,
      dev: index === 0 ? "1:3" : "1:5",
      abi_version: "1",
      device: pci,
    }),
    ...below(`class/infiniband/${ibdev}`, {
      device: pci,
      node_type: "1: CA",
      node_guid: `0215:b300:0300:000${index + 1}`,
      sys_image_guid: "0215:b300:0300:0001",
      fw_ver: firmware,
      hca_type: hca,
      board_id: "MT_0000000008",
      node_desc: ibdev,
      hw_rev: "0",
    }),
    ...below(`class/infiniband/${ibdev}/ports/1`, {
      link_layer: "Ethernet",
      state: "4: ACTIVE",
      phys_state: "5: LinkUp",
      rate,
      lid: "0x0",
      sm_lid: "0x0",
      lid_mask_count: "0",
      sm_sl: "0",
      cap_mask: "0x04010000",
      "pkeys/0": "0xffff",
      ...below("hw_counters", zeros(hwCounters)),
      ...below("counters", zeros(portCounters)),
    }),
  };
}

// Those that the hardware counts (device-counters.c brings them up to date), and one of each folder that it does not.
const hwCounters = [
  "out_of_buffer",
  "resp_local_length_error",
  "resp_cqe_error",
  "resp_cqe_flush_error",
  "req_cqe_error",
  "req_cqe_flush_error",
  "rx_read_requests",
];
const portCounters = [
  "port_xmit_packets",
  "port_xmit_data",
  "port_rcv_packets",
  "port_rcv_data",
  "port_xmit_wait",
];
const zeros = (names: readonly string[]): Files => Object.fromEntries(names.map((name) => [name, "0"]));

/** The two RoCE GIDs of an interface without addresses: link-local from its MAC, for RoCE v1 and v2. */
function gidTable({ ibdev, netdev, mac }: TreePort): Files {
  const folder = `class/infiniband/${ibdev}/ports/1`;
  const files: Files = {};
  for (let index = 0; index < gids; index++) {
    files[`${folder}/gids/${index}`] = zeroGid;
    // The kernel's file of an empty entry ends in EINVAL, which libibverbs takes for this (cmd_device.c).
    files[`${folder}/gid_attrs/types/${index}`] = "IB/RoCE v1";
  }
  for (const [index, type] of ["IB/RoCE v1", "RoCE v2"].entries()) {
    files[`${folder}/gids/${index}`] = linkLocal(mac);
    files[`${folder}/gid_attrs/ndevs/${index}`] = netdev;
    files[`${folder}/gid_attrs/types/${index}`] = type;
  }
  return files;
}

/** fe80:: and the modified EUI-64 of a MAC, as sysfs writes a GID. */
function linkLocal(mac: string): string {
  const bytes = mac.split(":").map((byte) => Number.parseInt(byte, 16));
  const eui = [bytes[0]! ^ 2, bytes[1]!, bytes[2]!, 0xff, 0xfe, ...bytes.slice(3)];
  const hex = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...eui]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
  return hex.match(/.{4}/g)!.join(":");
}
