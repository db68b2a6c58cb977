// A port as testpmd prints it: `show port info|summary|rss-hash`.
import type { RssType } from "../../ethdev/driver.ts";
import type { Session } from "./session.ts";
import { macText, speedText } from "./words.ts";

const BORDER = "*".repeat(21);
/** testpmd breaks its list of hash types before this column. */
const RSS_COLUMNS = 64;
/** What a device without rings says of their size, as testpmd prints DPDK's defaults. */
const NO_RINGS = { min: 0, max: 65_535, multiple: 1 };

/** `show port info N` */
export function portInfo(session: Session, id: number): string {
  const port = session.ports.get(id);
  const state = session.ports.state(id);
  const { info } = port;
  const link = port.link();
  const rings = info.descriptors ?? NO_RINGS;
  const on = (flag: boolean) => (flag ? "on" : "off");
  const enabled = (flag: boolean) => (flag ? "enabled" : "disabled");
  return [
    "",
    `${BORDER} Infos for port ${`${id}`.padEnd(2)} ${BORDER}`,
    `MAC address: ${macText(port.mac)}`,
    `Device name: ${port.name}`,
    `Driver name: ${info.driver}`,
    "Firmware-version: not available",
    `Devargs: ${state.devargs}`,
    "Connect to socket: 0",
    "memory allocation on the socket: 0",
    `Link status: ${link.up ? "up" : "down"}`,
    `Link speed: ${speedText(link)}`,
    `Link duplex: ${link.duplex}-duplex`,
    `Autoneg status: ${link.autoneg ? "On" : "Off"}`,
    `MTU: ${state.mtu}`,
    `Promiscuous mode: ${enabled(state.promiscuous)}`,
    `Allmulticast mode: ${enabled(state.allMulticast)}`,
    "VLAN offload: ",
    `  strip ${on(state.vlanStrip)}, filter ${on(state.vlanFilter)}, extend off, qinq strip off`,
    ...rssLines(session, id),
    `Maximum configurable length of RX packet: ${info.frameBytesMax}`,
    "Maximum configurable size of LRO aggregated packet: 0",
    `Current number of RX queues: ${port.rxQueues.length}`,
    `Max possible RX queues: ${info.rxQueuesMax}`,
    `Max possible number of RXDs per queue: ${rings.max}`,
    `Min possible number of RXDs per queue: ${rings.min}`,
    `RXDs number alignment: ${rings.multiple}`,
    `Current number of TX queues: ${port.txQueues.length}`,
    `Max possible TX queues: ${info.txQueuesMax}`,
    `Max possible number of TXDs per queue: ${rings.max}`,
    `Min possible number of TXDs per queue: ${rings.min}`,
    `TXDs number alignment: ${rings.multiple}`,
    "Device capabilities: 0x0( )",
    "Device error handling mode: none",
  ].join("\n");
}

function rssLines(session: Session, id: number): string[] {
  const { rss } = session.ports.get(id).info;
  if (!rss) return ["No RSS offload flow type is supported."];
  return [
    `Hash key size in bytes: ${rss.keyBytes}`,
    `Redirection table size: ${rss.tableEntries}`,
    "Supported RSS offload flow types:",
    ...typeLines(rss.types),
  ];
}

/** Words in lines of two blanks each. */
function typeLines(types: readonly RssType[]): string[] {
  const lines = [""];
  for (const type of types) {
    if (lines.at(-1)!.length + type.length + 2 >= RSS_COLUMNS) lines.push("");
    lines[lines.length - 1] += `  ${type}`;
  }
  return lines;
}

/** `show port summary N|all`, with its head line. */
export function portSummary(session: Session, ids: readonly number[]): string {
  const { ports } = session;
  const row = (id: string, mac: string, name: string, driver: string, status: string, link: string) =>
    `${id.padEnd(4)} ${mac.padEnd(17)} ${name.padEnd(12)} ${driver.padEnd(14)} ${status.padEnd(8)} ${link}`;
  const rows = ids.map((id) => {
    const port = ports.get(id);
    const link = port.link();
    const status = link.up ? "up" : "down";
    return row(`${id}`, macText(port.mac), port.name, port.info.driver, status, speedText(link));
  });
  return [
    `Number of available ports: ${ports.all.length}`,
    row("Port", "MAC Address", "Name", "Driver", "Status", "Link"),
    ...rows,
  ].join("\n");
}

/** `show port N rss-hash [key]`. Throws NOT_SUPPORTED where the port spreads nothing. */
export function rssText(session: Session, id: number, key: boolean): string {
  const rss = session.ports.get(id).rss();
  if (rss.types.length === 0) return "RSS disabled";
  const lines = ["RSS functions:", ...typeLines(rss.types)];
  return (key ? [...lines, "RSS key:", Buffer.from(rss.key).toString("hex").toUpperCase()] : lines).join(
    "\n",
  );
}
