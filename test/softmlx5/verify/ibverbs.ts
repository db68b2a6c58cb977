// Debian's ibverbs-utils: what libibverbs makes of the device.
import { type Check, expect, expectAll } from "./check.ts";
import { Host } from "./host.ts";

/** Device IDs as lspci and DPDK's mlx5.h have them: ConnectX-4 Lx, ConnectX-5, ConnectX-6 Dx. */
const chips = [
  { chip: "connectx4lx", part: [0x1015] },
  { chip: "connectx5", part: [0x1017, 0x1019] },
  { chip: "connectx6dx", part: [0x101d] },
] as const;

async function devices(): Promise<string> {
  await using host = await Host.create({ ports: [{}, {}] });
  const words = await host.run("ibv_devices", []);
  return expectAll(words, [/mlx5_0\s+[0-9a-f]{16}/, /mlx5_1\s+[0-9a-f]{16}/]);
}

/** An Ethernet port that takes raw packets, with the offloads and the RSS of its family, and 25 Gb/s or more. */
async function devinfo(chip: (typeof chips)[number]): Promise<string> {
  await using host = await Host.create({ chip: chip.chip });
  const words = await host.run("ibv_devinfo", ["-v", "-d", "mlx5_0"]);
  expectAll(words, [
    /transport:\s+InfiniBand \(0\)/,
    /vendor_id:\s+0x02c9/,
    /phys_port_cnt:\s+1\n/,
    /link_layer:\s+Ethernet/,
    /raw packet caps:\s+C-VLAN stripping offload\s+Scatter FCS offload\s+IP csum offload/,
    /rss_caps:[\s\S]*?supported_qp:\s+SUPPORT_RAW_PACKET/,
    /tso_caps:\s+max_tso:\s+[1-9]\d*\s+supported_qp:\s+SUPPORT_RAW_PACKET/,
    /max_wq_type_rq:\s+[1-9]/,
    /GID\[\s*0\]:\s+fe80:/,
  ]);
  const part = expectAll(words, [/vendor_part_id:\s+\d+/]);
  expect(
    chip.part.some((id) => part.endsWith(` ${id}`)),
    `not the part ID of a ${chip.chip}`,
    words,
  );
  return expectAll(words, [
    /hca_id:\s+mlx5_0/,
    /vendor_part_id:\s+\d+/,
    /fw_ver:\s+[\d.]+/,
    /state:\s+PORT_ACTIVE \(4\)/,
  ]);
}

/** The link goes down and comes back: two events, then the device is gone. */
async function asyncEvents(): Promise<string> {
  await using host = await Host.create();
  await using watch = host.start("ibv_asyncwatch", "ibv_asyncwatch", ["-d", "mlx5_0"]);
  await watch.waitFor(/mlx5_0: async event FD \d+/, 10_000);
  await host.nic.control("link 0 down");
  await watch.waitFor(/event_type IBV_EVENT_PORT_ERR \(10\), port 1/, 10_000);
  await host.nic.control("link 0 up");
  await watch.waitFor(/event_type IBV_EVENT_PORT_ACTIVE \(9\), port 1/, 10_000);
  await host.nic.control("fatal 0");
  const [fatal] = await watch.waitFor(/IBV_EVENT_DEVICE_FATAL \(8\)/, 10_000);
  return `IBV_EVENT_PORT_ERR (10), IBV_EVENT_PORT_ACTIVE (9), ${fatal}`;
}

export const ibverbsChecks: readonly Check[] = [
  { program: "ibv_devices", name: "lists both ports", run: devices },
  ...chips.map((chip) => ({
    program: "ibv_devinfo",
    name: `sees a ${chip.chip}`,
    run: () => devinfo(chip),
  })),
  { program: "ibv_asyncwatch", name: "hears of the link and of a fatal error", run: asyncEvents },
];
