// testpmd's command line: EAL options, `--`, and testpmd's own. What needs the ports to be judged (do they exist, have
// they so many queues?) is left to the session.
import { readFileSync } from "node:fs";
import { helpText, type OptionValues, parseOptions } from "../../eal/option-table.ts";
import { type EalOptions, ealOptionTable, type MachineLimits, parseEal } from "../../eal/options.ts";
import { PollmodeError } from "../../errors.ts";
import type { RssType } from "../../ethdev/driver.ts";
import type { EngineName } from "../../hot/engine.ts";
import {
  BURST_DEFAULT,
  BURST_MAX,
  LCORES_MAX,
  MBUF_COUNT_MAX,
  MBUF_DATA_ROOM_DEFAULT,
  MBUF_DATA_ROOM_MAX,
  PORTS_MAX,
  QUEUES_MAX,
  RING_SIZE_MAX,
} from "../../limits.ts";
import type { ForwardConfig, NoisyConfig } from "./config.ts";
import { modeWords, parseMode } from "./modes.ts";
import { dpdkOnlyTable, forwardTable, programTable } from "./option-tables.ts";
import { readInteger, readList, readMac, readMask, readTxpkts, readWord } from "./option-values.ts";

/** RTE_PKTMBUF_HEADROOM, which --mbuf-size counts and an mbuf's data room does not. */
const HEADROOM_BYTES = 128;
/** DPDK: --total-num-mbufs must be above this. */
const MBUFS_MIN = 1024;
/** Smallest frame with its CRC (RTE_ETHER_MIN_LEN). */
const FRAME_BYTES_MIN = 64;
const COUNT_MAX = 2 ** 31 - 1;
/** A day: longer than anybody waits for a line. */
const PERIOD_MAX_S = 86_400;

/** Which ports forward, as asked for; whether they exist is not known yet. */
export interface PortsAsked {
  /** `--portlist`, `--portmask`, for messages. */
  readonly option: string;
  readonly ids: readonly number[];
  /** A mask names what there is of it, a list exactly these. */
  readonly strict: boolean;
}

export interface TestpmdOptions {
  /** What testpmd says while it reads its command line. */
  readonly notes: readonly string[];
  readonly eal: EalOptions;
  readonly interactive: boolean;
  readonly autoStart: boolean;
  readonly txFirst: boolean;
  readonly cmdlineFile: string | undefined;
  /** Seconds; 0: none. */
  readonly statsPeriod: number;
  readonly http: { readonly host: string; readonly port: number } | undefined;
  readonly engine: EngineName;
  /** Bytes of frame an mbuf holds. */
  readonly mbufDataRoom: number;
  /** undefined: as many as the queues need. */
  readonly mbufs: number | undefined;
  readonly deviceStart: boolean;
  readonly ports: PortsAsked | undefined;
  readonly nbPorts: number | undefined;
  readonly corelist: readonly number[] | undefined;
  /** What the session starts with; its portlist and corelist come from the ports and lcores there are. */
  readonly forward: Omit<ForwardConfig, "portlist" | "nbPorts" | "corelist">;
}

type ForwardValues = OptionValues<typeof forwardTable>;
type ProgramValues = OptionValues<typeof programTable>;

/** What is to be done: run with options, or print help or the version. */
export type Parsed =
  | { readonly what: "run"; readonly options: TestpmdOptions }
  | { readonly what: "help" | "version" };

/** Parses a command line without node and script. Throws a PollmodeError for the first thing that is wrong. */
export function parseTestpmd(argv: readonly string[], limits: MachineLimits = {}): Parsed {
  const { eal, rest } = parseEal(argv, limits);
  if (eal.version) return { what: "version" };
  const table = { ...programTable, ...forwardTable };
  const { values } = parseOptions(rest, table, { unsupported: dpdkOnlyTable });
  if (eal.help || values.help) return { what: "help" };
  const options: TestpmdOptions = {
    eal,
    notes: notesOf(rest),
    ...readProgram(values),
    ...readForwarding(values),
  };
  if (options.txFirst && options.interactive) {
    const message = "--tx-first cannot be used with --interactive";
    throw new PollmodeError("OPTION_CONFLICT", message, "type `start tx_first` at the prompt instead");
  }
  if (options.statsPeriod > 0 && options.interactive) {
    const message = "--stats-period cannot be used with --interactive";
    throw new PollmodeError("OPTION_CONFLICT", message, "type `show port stats all` at the prompt instead");
  }
  return { what: "run", options };
}

/** In the order of the words. */
function notesOf(words: readonly string[]): string[] {
  return words.flatMap((word, at) => {
    const [, name, value = words[at + 1]] = /^--([a-z-]+)(?:=(.*))?$/.exec(word) ?? [];
    if (word === "-i" || name === "interactive") return ["Interactive-mode selected"];
    if (word === "-a" || name === "auto-start") return ["Auto-start selected"];
    if (name === "cmdline-file") return [`CLI commands to be read from ${value}`];
    if (name === "tx-first") return ["Ports to start sending a burst of packets first"];
    return name === "forward-mode" ? [`Set ${value} packet forwarding mode`] : [];
  });
}

export function help(columns?: number): string {
  const meaning = forwardTable["forward-mode"].meaning.replace("{modes}", modeWords().join(", "));
  const forward = { ...forwardTable, "forward-mode": { ...forwardTable["forward-mode"], meaning } };
  const sections = [
    { title: "EAL, as in DPDK", table: ealOptionTable },
    { title: "testpmd, after --", table: programTable },
    { title: "forwarding, after --", table: forward },
  ];
  return helpText("pollmode testpmd [EAL OPTIONS] -- [OPTIONS]", sections, columns);
}

function readProgram(values: ProgramValues) {
  const period = values["stats-period"];
  return {
    interactive: values.interactive,
    autoStart: values["auto-start"],
    txFirst: values["tx-first"],
    cmdlineFile: values["cmdline-file"],
    statsPeriod:
      period === undefined ? 0 : readInteger("--stats-period", period, { min: 0, max: PERIOD_MAX_S }, 1),
    http: values.http === undefined ? undefined : readAddress(values.http),
    engine: readWord<EngineName>("--engine", values.engine ?? "wasm", ["wasm", "ts"]),
  };
}

/** `9464`, `127.0.0.1:9464`, `[::1]:9464`. */
function readAddress(text: string): { host: string; port: number } {
  const [, bracketed, plain, port] =
    /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):)?([0-9]{1,5})$/.exec(text) ?? [];
  if (port !== undefined && Number(port) <= 65535) {
    return { host: bracketed ?? plain ?? "127.0.0.1", port: Number(port) };
  }
  const message = `--http "${text}" is no address with a port`;
  throw new PollmodeError(
    "OPTION_VALUE",
    message,
    "write --http=127.0.0.1:9464, or --http=9464 for the same",
  );
}

function readForwarding(values: ForwardValues & ProgramValues) {
  const dataRoom =
    values["mbuf-size"] === undefined
      ? MBUF_DATA_ROOM_DEFAULT
      : readInteger("--mbuf-size", values["mbuf-size"], mbufSizes, 2176) - HEADROOM_BYTES;
  const mbufs = values["total-num-mbufs"];
  return {
    mbufDataRoom: dataRoom,
    mbufs:
      mbufs === undefined
        ? undefined
        : readInteger("--total-num-mbufs", mbufs, { min: MBUFS_MIN + 1, max: MBUF_COUNT_MAX }, 16384),
    deviceStart: !values["disable-device-start"],
    ports: readPorts(values),
    nbPorts: optional(values["nb-ports"], (text) =>
      readInteger("--nb-ports", text, { min: 1, max: PORTS_MAX }),
    ),
    corelist: optional(values.coremask, (text) => readMask("--coremask", text)),
    forward: readForward(values, dataRoom),
  };
}

const mbufSizes = { min: HEADROOM_BYTES + 128, max: HEADROOM_BYTES + MBUF_DATA_ROOM_MAX };

function optional<T>(text: string | undefined, read: (text: string) => T): T | undefined {
  return text === undefined ? undefined : read(text);
}

function readPorts({ portlist, portmask }: ForwardValues): PortsAsked | undefined {
  if (portlist !== undefined && portmask !== undefined) {
    const message = `--portlist ${portlist} and --portmask ${portmask} both say which ports forward`;
    throw new PollmodeError("OPTION_CONFLICT", message, "remove --portmask");
  }
  if (portlist !== undefined) {
    return { option: "--portlist", ids: readList("--portlist", portlist, PORTS_MAX - 1), strict: true };
  }
  if (portmask === undefined) return undefined;
  return { option: "--portmask", ids: readMask("--portmask", portmask), strict: false };
}

function readForward(values: ForwardValues & ProgramValues, dataRoom: number): TestpmdOptions["forward"] {
  const queues = (name: "rxq" | "txq") =>
    readInteger(`--${name}`, values[name] ?? "1", { min: 1, max: QUEUES_MAX });
  const descriptors = (name: "rxd" | "txd") =>
    optional(values[name], (text) => readInteger(`--${name}`, text, { min: 1, max: RING_SIZE_MAX }, 1024));
  const vlan = values["enable-hw-vlan"];
  return {
    mode: parseMode("--forward-mode", values["forward-mode"] ?? "io"),
    burst: readInteger(
      "--burst",
      values.burst ?? `${BURST_DEFAULT}`,
      { min: 1, max: BURST_MAX },
      BURST_DEFAULT,
    ),
    nbCores: readNbCores(values),
    topology: readWord("--port-topology", values["port-topology"] ?? "paired", ["paired", "chained", "loop"]),
    rxq: queues("rxq"),
    txq: queues("txq"),
    rxd: descriptors("rxd"),
    txd: descriptors("txd"),
    maxPktLen: optional(values["max-pkt-len"], (text) =>
      readInteger("--max-pkt-len", text, { min: FRAME_BYTES_MIN, max: 65535 }, 1518),
    ),
    txpkts: readTxpkts("--txpkts", values.txpkts ?? "64", dataRoom),
    ethPeers: readPeers(values),
    flows: readInteger(
      "--flowgen-flows",
      values["flowgen-flows"] ?? "1024",
      { min: 1, max: COUNT_MAX },
      1024,
    ),
    multiFlow: values["txonly-multi-flow"],
    stamp: values.stamp,
    noisy: readNoisy(values),
    csum: new Map(),
    rssTypes: readRss(values),
    rxChecksum: values["enable-rx-cksum"],
    vlanStrip: vlan || values["enable-hw-vlan-strip"],
    vlanFilter: vlan || values["enable-hw-vlan-filter"],
    flushRx: !values["no-flush-rx"],
    flowIsolate: values["flow-isolate-all"],
    linkCheck: !values["disable-link-check"],
    linkWait: values["no-lsc-interrupt"] || values["tx-first"],
    rxInterrupt: values["rx-interrupt"],
    verbose: 0,
    recordBurstStats: values["record-burst-stats"],
    displayXstats: values["display-xstats"]?.split(",").filter((name) => name !== "") ?? [],
  };
}

/** Without --nb-cores all lcores of --coremask forward. */
function readNbCores({ coremask, "nb-cores": cores }: ForwardValues): number {
  const byDefault = coremask === undefined ? 1 : readMask("--coremask", coremask).length;
  return readInteger("--nb-cores", cores ?? `${byDefault}`, { min: 1, max: LCORES_MAX });
}

function readPeers(values: ForwardValues): Map<number, Uint8Array> {
  const peers = new Map<number, Uint8Array>();
  const file = values["eth-peers-configfile"];
  if (file !== undefined) {
    readLines("--eth-peers-configfile", file).forEach((line, port) => {
      const where = `--eth-peers-configfile ${file}, line ${port + 1}`;
      if (port < PORTS_MAX) peers.set(port, readMac(where, line.trim()));
    });
  }
  for (const text of values["eth-peer"]) {
    const [, port, mac] = /^([0-9]+),(.*)$/.exec(text) ?? [];
    if (port === undefined || mac === undefined) {
      const fix = "write --eth-peer=0,02:00:00:00:00:01: the port, a comma, the address";
      throw new PollmodeError("OPTION_VALUE", `--eth-peer "${text}" is not PORT,MAC`, fix);
    }
    peers.set(readInteger("--eth-peer", port, { min: 0, max: PORTS_MAX - 1 }), readMac("--eth-peer", mac));
  }
  return peers;
}

/** A file's lines but for an empty last one. */
function readLines(option: string, path: string): string[] {
  try {
    return readFileSync(path, "utf8").trimEnd().split("\n");
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? "unknown";
    const message = `${option} ${path} cannot be read (${why})`;
    throw new PollmodeError("OPTION_VALUE", message, "name a file with one MAC address a line", { cause });
  }
}

function readNoisy(values: ForwardValues): NoisyConfig {
  const number = (name: keyof ForwardValues & `noisy-${string}`, max: number) =>
    readInteger(`--${name}`, values[name] ?? "0", { min: 0, max });
  return {
    bufferPackets: number("noisy-tx-sw-buffer-size", 65_536),
    flushMs: number("noisy-tx-sw-buffer-flushtime", 3_600_000),
    memoryMib: number("noisy-lkup-memory", 1024),
    writes: number("noisy-lkup-num-writes", 65_535),
    reads: number("noisy-lkup-num-reads", 65_535),
    readWrites: number("noisy-lkup-num-reads-writes", 65_535),
  };
}

function readRss(values: ForwardValues): readonly RssType[] {
  const given = (["disable-rss", "rss-ip", "rss-udp"] as const).filter((name) => values[name]);
  if (given.length > 1) {
    const message = `--${given.join(" and --")} exclude each other`;
    throw new PollmodeError("OPTION_CONFLICT", message, `keep --${given[0]}`);
  }
  if (values["disable-rss"]) return [];
  return values["rss-udp"] ? ["ipv4-udp", "ipv6-udp"] : ["ipv4", "ipv6"];
}
