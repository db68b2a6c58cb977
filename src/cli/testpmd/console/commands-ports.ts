// What is done to ports: start, stop, take away, configure.
import type { PortChoice } from "../ports.ts";
import type { Session } from "../session.ts";
import { redirectionPairs } from "./redirection.ts";
import { type Command, command } from "./table.ts";
import { integer, text } from "./types.ts";

const section = "ports";

type Operation = "start" | "stop" | "close" | "reset";

const operations: Readonly<Record<Operation, (session: Session, id: PortChoice) => Promise<void>>> = {
  start: (session, id) => session.portStart(id),
  stop: (session, id) => session.portStop(id),
  close: (session, id) => session.portClose(id),
  reset: (session, id) => session.portReset(id),
};

const IP_TYPES = ["ipv4", "ipv6"];
/** DPDK's words for what is hashed. */
const RSS_WORDS: Readonly<Record<string, readonly string[] | "all">> = {
  all: "all",
  default: "all",
  ip: IP_TYPES,
  tcp: IP_TYPES.map((ip) => `${ip}-tcp`),
  udp: IP_TYPES.map((ip) => `${ip}-udp`),
  none: [],
};
const RSS_TYPES = "ipv4|ipv4-tcp|ipv4-udp|ipv6|ipv6-tcp|ipv6-udp";

const life: readonly Command[] = [
  command<[Operation, PortChoice]>({
    grammar: "port (start|stop|close|reset) (port_id|all)",
    section,
    help: "Start/Stop/Close/Reset all ports or port_id.",
    example: "port stop all",
    run: ({ session }, [operation, id]) => operations[operation](session, id),
  }),
  command<[string]>({
    grammar: "port attach (identifier)",
    section,
    help: "Attach physical or virtual dev by pci address or virtual device name.",
    example: "port attach net_null9",
    types: { identifier: text("a PCI address, or a virtual device with its arguments: net_null0,size=64") },
    run: ({ session }, [devargs]) => session.portAttach(devargs),
  }),
  command<[number]>({
    grammar: "port detach (port_id)",
    section,
    help: "Detach physical or virtual dev by port_id.",
    example: "port detach 1",
    run: ({ session }, [id]) => session.portDetach(id),
  }),
];

const settings: readonly Command[] = [
  command<["rxq" | "txq" | "rxd" | "txd", number]>({
    grammar: "port config all (rxq|txq|rxd|txd) (value)",
    section,
    help: "Set number for rxq/txq/rxd/txd.",
    example: "port config all rxq 2",
    run: ({ session }, [what, value]) => session.configPort("all", { [what]: value }),
  }),
  command<[number]>({
    grammar: "port config all max-pkt-len (length)",
    section,
    help: "Set the max packet length, with its CRC: the ports' MTU.",
    example: "port config all max-pkt-len 1518",
    types: { length: integer(64, 65_535) },
    run: ({ session }, [maxPktLen]) => session.configPort("all", { maxPktLen }),
  }),
  command<[number]>({
    grammar: "port config all burst (burst)",
    section,
    help: "Set the number of packets per burst.",
    example: "port config all burst 32",
    run: ({ session }, [value]) => session.setBurst(value),
  }),
  command<[number, number]>({
    grammar: "port config mtu (port_id) (mtu)",
    section,
    help: "Set the MTU of port X to a given value.",
    example: "port config mtu 0 1500",
    types: { mtu: integer(68, 65_535) },
    run: ({ session }, [id, mtu]) => session.configPort(id, { mtu }),
  }),
  command<[number, number]>({
    grammar: "port config (port_id) mtu (mtu)",
    section,
    help: "The same, otherwise spelt. Not in DPDK.",
    example: "port config 0 mtu 1500",
    types: { mtu: integer(68, 65_535) },
    run: ({ session }, [id, mtu]) => session.configPort(id, { mtu }),
  }),
  command<[string]>({
    grammar: `port config all rss (all|default|ip|tcp|udp|none|${RSS_TYPES})`,
    section,
    help: "Set the RSS mode.",
    example: "port config all rss ip",
    run: ({ session }, [word]) => session.configPort("all", { rss: RSS_WORDS[word] ?? [word] }),
  }),
  command<[number, string, Uint8Array]>({
    grammar: `port config (port_id) rss-hash-key (${RSS_TYPES}) (hash_key)`,
    section,
    help: "Set the RSS hash key; the type is hashed, beside those before.",
    example: `port config 0 rss-hash-key ipv4 ${"6d5a".repeat(20)}`,
    run: ({ session }, [id, , rssKey]) => session.configPort(id, { rssKey }),
  }),
  command<[number, [number, number][]]>({
    grammar: "port config (port_id) rss reta (entries)",
    section,
    help: "Set the RSS redirection table: (hash,queue)[,(hash,queue)]. It stays while its queues do.",
    example: "port config 0 rss reta (0,1),(1,0)",
    types: { entries: redirectionPairs },
    run: ({ session }, [id, pairs]) => session.setRedirection(id, pairs),
  }),
];

export const portCommands: readonly Command[] = [...life, ...settings];
