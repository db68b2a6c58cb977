// net_pcap's arguments: DPDK's, and pace, loops, tx_format and snaplen beside them.
import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import { PollmodeError } from "../../src/errors.ts";
import { PCAP_FRAME_BYTES_MAX, PCAP_LOOPS_MAX, QUEUES_MAX } from "../../src/limits.ts";

/** What a receive queue takes packets from. */
export type Source =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "iface"; readonly name: string; readonly outgoing: boolean }
  | { readonly kind: "none" };

/** Where a transmit queue's packets go. */
export type Sink =
  | { readonly kind: "file"; readonly path: string; readonly format: OutputFormat }
  | { readonly kind: "iface"; readonly name: string }
  | { readonly kind: "none" };

const outputFormats = ["pcap", "pcap-us", "pcapng"] as const;
/** pcap and pcapng: nanoseconds. pcap-us: microseconds, for readers that know no others. */
export type OutputFormat = (typeof outputFormats)[number];
const byName = "by-name";

export interface PcapArguments {
  readonly sources: readonly Source[];
  readonly sinks: readonly Sink[];
  /** How often an input file is read; Infinity for infinite_rx=1. */
  readonly loops: number;
  readonly pace: boolean;
  readonly snaplen: number;
  /** The port has the MAC address of its interface. */
  readonly phyMac: boolean;
}

export const pcapUsage =
  "rx_pcap=FILE…|rx_iface=IF…|rx_iface_in=IF…,tx_pcap=FILE…|tx_iface=IF…,iface=IF,phy_mac=0|1,infinite_rx=0|1," +
  "loops=1,pace=0|1,tx_format=pcap|pcap-us|pcapng,snaplen=BYTES";

type Argument<K extends string> = { readonly key: K; readonly value: string };

/** The arguments as they were given. */
function take(devargs: Devargs) {
  const reader = new DevargsReader(devargs);
  const given = {
    inputs: reader.list("rx_pcap", "rx_iface", "rx_iface_in"),
    outputs: reader.list("tx_pcap", "tx_iface"),
    iface: reader.string("iface"),
    phyMac: reader.flag01("phy_mac", { default: false }),
    infinite: reader.flag01("infinite_rx", { default: false }),
    loops: reader.integer("loops", { default: 0, min: 0, max: PCAP_LOOPS_MAX }),
    pace: reader.flag01("pace", { default: false }),
    format: reader.oneOf("tx_format", [...outputFormats, byName], { default: byName }),
    snaplen: reader.integer("snaplen", { default: 0, min: 0, max: PCAP_FRAME_BYTES_MAX }),
  };
  reader.end();
  return given;
}
type Given = ReturnType<typeof take>;

/** Throws for what does not go together. DPDK passes over most of it in silence. */
function check(port: string, given: Given): void {
  const { inputs, outputs, iface, infinite, loops, pace, phyMac } = given;
  const refuse = (bad: boolean, why: string, fix: string) => {
    if (bad) throw new PollmodeError("DEVARGS_CONFLICT", `${port}: ${why}`, fix);
  };
  const none = inputs.length + outputs.length === 0;
  if (none && iface === undefined) {
    const fix = `give an input, an output or both: ${port},rx_pcap=IN.pcap,tx_pcap=OUT.pcap`;
    throw new PollmodeError("DEVARGS_MISSING", `${port}: neither an input nor an output is given`, fix);
  }
  const mixed = (list: readonly { key: string }[], file: string) =>
    new Set(list.map(({ key }) => key === file)).size > 1;
  const replay = infinite || loops > 0 || pace;
  const most = Math.max(inputs.length, outputs.length);
  const apart = "make a port of each kind";
  refuse(iface !== undefined && !none, "iface= is input and output already", "leave the others out");
  refuse(mixed(inputs, "rx_pcap"), "files and interfaces as inputs of one port", apart);
  refuse(mixed(outputs, "tx_pcap"), "files and interfaces as outputs of one port", apart);
  refuse(
    replay && inputs[0]?.key !== "rx_pcap",
    "infinite_rx, loops and pace belong to files",
    "give rx_pcap=FILE",
  );
  refuse(infinite && loops > 0, "infinite_rx=1 and loops= exclude each other", "keep one");
  refuse(phyMac && iface === undefined, "phy_mac=1 belongs to iface=", "give iface=IF, or leave phy_mac out");
  if (outputs[0]?.key !== "tx_pcap") {
    refuse(given.format !== byName, "tx_format belongs to a file", "give tx_pcap=FILE");
    refuse(given.snaplen > 0, "snaplen belongs to a file", "give tx_pcap=FILE");
  }
  refuse(most > QUEUES_MAX, `${most} queues, and a port has ${QUEUES_MAX}`, "make several ports of them");
}

export function readArguments(devargs: Devargs): PcapArguments {
  const given = take(devargs);
  check(devargs.name, given);
  const { iface, format } = given;
  const sources: Source[] = given.inputs.map(({ key, value }: Argument<string>) =>
    key === "rx_pcap"
      ? { kind: "file", path: value }
      : { kind: "iface", name: value, outgoing: key === "rx_iface" },
  );
  const sinks: Sink[] = given.outputs.map(({ key, value }: Argument<string>) =>
    key === "tx_pcap"
      ? { kind: "file", path: value, format: format === byName ? formatByName(value) : format }
      : { kind: "iface", name: value },
  );
  if (iface !== undefined) {
    // libpcap's one socket does not see what it sends itself; here receiving and sending have a socket each
    sources.push({ kind: "iface", name: iface, outgoing: false });
    sinks.push({ kind: "iface", name: iface });
  }
  // as DPDK: a side that is not given has queues too, which receive nothing and drop what they are to send
  const blank = { kind: "none" } as const;
  return {
    sources: sources.length > 0 ? sources : sinks.map(() => blank),
    sinks: sinks.length > 0 ? sinks : sources.map(() => blank),
    loops: given.infinite ? Number.POSITIVE_INFINITY : Math.max(1, given.loops),
    pace: given.pace,
    snaplen: given.snaplen || PCAP_FRAME_BYTES_MAX,
    phyMac: given.phyMac,
  };
}

/** DPDK writes pcap with nanoseconds; a name that ends in .pcapng asks for pcapng. */
function formatByName(path: string): OutputFormat {
  return path.endsWith(".pcapng") ? "pcapng" : "pcap";
}
