// The EAL's options: those that every program shares, spelled as DPDK spells them. A program either keeps them apart
// from its own with `--` (parseEal, as testpmd does) or mixes both kinds in one command line (parseProgram).
import { PollmodeError } from "../errors.ts";
import { ARENA_BYTES_MAX, MEMORY_MIB_DEFAULT, MIB } from "../limits.ts";
import { type Devargs, parseDevargs } from "./devargs.ts";
import { parseAllowed } from "./kubernetes.ts";
import { type LcoreCpus, type LcoreLimits, parseCoremask, parseLcoreList } from "./lcore-list.ts";
import { nearest } from "./nearest.ts";
import { mergeTables, type OptionTable, type OptionValues, parseOptions } from "./option-table.ts";

/** DPDK's levels: 1 is the gravest; a level shows itself and all graver ones. */
const logLevels = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"] as const;

export interface LogLevel {
  /** Which loggers, as a glob: `pmd.*`; `*` for all. */
  readonly pattern: string;
  /** 0 (nothing) to 8 (debug). */
  readonly level: number;
}

/** --vfio-intr; legacy is INTx. */
export type VfioIntr = "legacy" | "msi" | "msix";

export interface EalOptions {
  /** Ascending by lcore; undefined when none of -l, --lcores, -c is given. */
  readonly lcores: readonly LcoreCpus[] | undefined;
  /** -m: undefined when not given. */
  readonly memoryMiB: number | undefined;
  readonly noHuge: boolean;
  readonly inMemory: boolean;
  readonly filePrefix: string;
  readonly vdevs: readonly Devargs[];
  /** Only these devices; empty: all that are bound to a driver of ours. */
  readonly allow: readonly Devargs[];
  /** Names of devices not to use. Never together with `allow`. */
  readonly block: readonly string[];
  readonly noPci: boolean;
  readonly iovaMode: "va" | "pa" | undefined;
  /** A UUID in lower case. */
  readonly vfioVfToken: string | undefined;
  readonly vfioIntr: VfioIntr | undefined;
  readonly logLevels: readonly LogLevel[];
  /** -n: a hint that nothing depends on. */
  readonly memoryChannels: number | undefined;
  readonly help: boolean;
  readonly version: boolean;
}

/** The table to merge into a program's own, and to print its help from. */
export const ealOptionTable = {
  lcores: {
    short: "l",
    value: "LIST",
    meaning: "lcores and their CPUs: 0-3,5 or 0@2,(1,2)@(4-7).",
    byDefault: "chosen by the program",
  },
  coremask: { short: "c", value: "MASK", meaning: "lcores as a hexadecimal mask: DPDK's older way of -l." },
  "memory-size": {
    short: "m",
    value: "MIB",
    meaning: "Memory for packets and rings, in MiB.",
    byDefault: `${MEMORY_MIB_DEFAULT}`,
  },
  "memory-channels": {
    short: "n",
    value: "N",
    meaning: "Memory channels. A hint, accepted as in DPDK; unused.",
  },
  "no-huge": { meaning: "Use plain memory instead of hugepages." },
  "in-memory": { meaning: "Leave no files behind: memory is anonymous." },
  "file-prefix": {
    value: "NAME",
    meaning: "Sets apart the files of several processes.",
    byDefault: "pollmode",
  },
  "single-file-segments": { meaning: "Accepted: memory always is one single file." },
  vdev: {
    value: "DEVARGS",
    multiple: true,
    meaning: "Add a virtual device: net_virtio_user0,path=/tmp/s,queues=2.",
  },
  allow: {
    short: "a",
    value: "DEVARGS",
    multiple: true,
    meaning:
      "Use only this PCI device: 0000:01:00.0,key=value. pcidevice:RESOURCE: those that Kubernetes gave the container.",
  },
  block: { short: "b", value: "DEVICE", multiple: true, meaning: "Do not use this PCI device." },
  "no-pci": { meaning: "Use no PCI device at all." },
  "iova-mode": {
    value: "va|pa",
    meaning: "Addresses devices see: virtual or physical.",
    byDefault: "va with an IOMMU",
  },
  "vfio-vf-token": {
    value: "UUID",
    meaning: "What a VF and its PF share where the PF is bound to vfio-pci too.",
  },
  "vfio-intr": {
    value: "legacy|msi|msix",
    meaning: "Interrupts of devices on VFIO, where they are asked for.",
    byDefault: "the best a device has",
  },
  "log-level": {
    value: "[GLOB:]LEVEL",
    multiple: true,
    meaning: "What to log: debug, pmd.*:7; 1 to 8 or a name.",
    byDefault: "notice",
  },
  help: { short: "h", meaning: "Show this text." },
  version: { short: "v", meaning: "Show the version." },
} as const satisfies OptionTable;

const oneProcess = "there is one process: share memory between lcores (worker threads) instead";
const noServices = "there are no service cores: run the work on an lcore of its own (-l)";
const noTrace = "use --log-level debug, or perf on the process";
const noNuma = "memory is one arena: give its size with -m";

/** Options DPDK has and we do not, each with what to do instead. */
export const dpdkOnlyOptions: Readonly<Record<string, string>> = {
  "base-virtaddr": "the arena's address does not matter here: remove the option",
  "create-uio-dev": "udev makes /dev/uioX: remove the option",
  d: "drivers are part of pollmode: remove the option",
  "driver-path": "drivers are part of pollmode: remove the option",
  "force-max-simd-bitwidth": "the hot loops are WebAssembly with 128-bit vectors: remove the option",
  "huge-dir": "hugepages come from memfd and need no mount: remove the option",
  "huge-unlink": "hugepages come from memfd, no file is left: remove the option",
  "huge-worker-stack": "worker stacks belong to Node.js: see `node --stack-size`",
  "legacy-mem": "all memory is taken at the start, as with --legacy-mem: remove the option",
  "log-color": "remove the option",
  "log-timestamp": "remove the option",
  "main-lcore": "the main thread is no lcore and polls nothing: remove the option",
  "master-lcore": "the main thread is no lcore and polls nothing: remove the option",
  "match-allocations": "all memory is taken at the start and freed at the end: remove the option",
  "mbuf-pool-ops-name": "there is one kind of pool: remove the option",
  "memory-ranks": "nothing depends on the memory's ranks: remove the option",
  "no-hpet": "HPET is not used: remove the option",
  "no-shconf": "no configuration is shared between processes: remove the option",
  "no-telemetry": "telemetry is off unless asked for: remove the option",
  "numa-limit": noNuma,
  "numa-mem": noNuma,
  "pci-blacklist": "use -b or --block",
  "pci-whitelist": "use -a or --allow",
  "proc-type": oneProcess,
  r: "nothing depends on the memory's ranks: remove the option",
  R: "map the lcores yourself: --lcores 0@4,1@5",
  "remap-lcore-ids": "map the lcores yourself: --lcores 0@4,1@5",
  s: noServices,
  S: noServices,
  "service-corelist": noServices,
  "service-coremask": noServices,
  "socket-limit": noNuma,
  "socket-mem": noNuma,
  syslog: "logs go to stderr: pipe them to logger(1)",
  telemetry: "see the program's own options for exporters",
  trace: noTrace,
  "trace-bufsz": noTrace,
  "trace-dir": noTrace,
  "trace-mode": noTrace,
  "vmware-tsc-map": "remove the option",
  w: "use -a or --allow",
};

/** What this machine allows; see LcoreLimits. */
export type MachineLimits = Pick<LcoreLimits, "allowedCpus" | "lcoresMax">;

/** A command line as testpmd's: EAL options, then optionally `--` and the application's arguments (`rest`). */
export function parseEal(
  argv: readonly string[],
  limits: MachineLimits = {},
): { eal: EalOptions; rest: string[] } {
  const { values, rest } = parseOptions(argv, ealOptionTable, { unsupported: dpdkOnlyOptions });
  return { eal: readEal(values, limits), rest };
}

export interface ProgramCommandLine<T extends OptionTable> {
  readonly eal: EalOptions;
  /** The program's own options. */
  readonly values: OptionValues<T>;
  readonly words: string[];
  readonly rest: string[];
}

/** A command line that mixes EAL options with the program's own, in any order. */
export function parseProgram<const T extends OptionTable>(
  argv: readonly string[],
  own: T,
  settings: MachineLimits & { readonly words?: boolean } = {},
): ProgramCommandLine<T> {
  const rules = { unsupported: dpdkOnlyOptions, words: settings.words ?? false };
  const parsed = parseOptions<OptionTable>(argv, mergeTables(ealOptionTable, own), rules);
  const eal = readEal(parsed.values as OptionValues<typeof ealOptionTable>, settings);
  const names = Object.keys(own);
  const values = Object.fromEntries(names.map((name) => [name, parsed.values[name]])) as OptionValues<T>;
  return { eal, values, words: parsed.words, rest: parsed.rest };
}

function readEal(values: OptionValues<typeof ealOptionTable>, limits: MachineLimits): EalOptions {
  const allowed = parseAllowed(values.allow, "--allow");
  const allow = allowed.devices.map((devargs) => pciOnly(devargs, "--allow"));
  const block = values.block.map((text) => pciOnly(parseDevargs(text, "--block"), "--block").name);
  if (allow.length > 0 && block.length > 0) {
    throw new PollmodeError(
      "OPTION_CONFLICT",
      "--allow and --block exclude each other",
      "keep --allow: it is enough",
    );
  }
  if (values["no-pci"] && allow.length > 0) {
    const message = `--no-pci and --allow ${allow[0]!.name} contradict each other`;
    throw new PollmodeError("OPTION_CONFLICT", message, "remove one of the two");
  }
  return {
    lcores: readLcores(values, limits),
    memoryMiB: readInteger("-m", values["memory-size"], { max: ARENA_BYTES_MAX / MIB, example: 256 }),
    noHuge: values["no-huge"],
    inMemory: values["in-memory"],
    filePrefix: readFilePrefix(values["file-prefix"]),
    vdevs: readVdevs(values.vdev),
    allow,
    block,
    noPci: values["no-pci"],
    iovaMode: readIovaMode(values["iova-mode"]),
    vfioVfToken: readUuid("--vfio-vf-token", values["vfio-vf-token"]) ?? allowed.vfToken,
    vfioIntr: readVfioIntr(values["vfio-intr"]),
    logLevels: values["log-level"].map(parseLogLevel),
    memoryChannels: readInteger("-n", values["memory-channels"], { max: 64, example: 4 }),
    help: values.help,
    version: values.version,
  };
}

function readLcores(
  values: OptionValues<typeof ealOptionTable>,
  limits: MachineLimits,
): LcoreCpus[] | undefined {
  const { lcores, coremask } = values;
  if (lcores !== undefined && coremask !== undefined) {
    const message = `-l ${lcores} and -c ${coremask} both say which lcores to use`;
    throw new PollmodeError("OPTION_CONFLICT", message, "remove -c: it is the older spelling");
  }
  if (coremask !== undefined) return parseCoremask(coremask, { ...limits, option: "-c" });
  return lcores === undefined ? undefined : parseLcoreList(lcores, { ...limits, option: "-l/--lcores" });
}

function readVdevs(texts: readonly string[]): Devargs[] {
  const vdevs = texts.map((text) => parseDevargs(text, "--vdev"));
  const names = new Set<string>();
  for (const { bus, name } of vdevs) {
    if (bus === "pci") {
      throw new PollmodeError(
        "DEVARGS",
        `--vdev ${name} is a PCI device, no virtual one`,
        `write --allow ${name}`,
      );
    }
    if (names.has(name)) {
      const fix = `give each its own number: ${name.replace(/[0-9]+$/, "")}${names.size}`;
      throw new PollmodeError("DEVARGS_REPEATED", `--vdev ${name} is given twice`, fix);
    }
    names.add(name);
  }
  return vdevs;
}

function pciOnly(devargs: Devargs, option: string): Devargs {
  if (devargs.bus === "pci") return devargs;
  const fix = `give an address as in \`lspci -D\`: ${option} 0000:01:00.0; virtual devices are added with --vdev`;
  throw new PollmodeError("DEVARGS", `${option} "${devargs.name}" is no PCI address`, fix);
}

function readInteger(option: string, text: string | undefined, { max = 0, example = 0 }): number | undefined {
  if (text === undefined) return undefined;
  const number = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= 1 && number <= max) return number;
  const message = `${option} "${text}" is not a whole number from 1 to ${max}`;
  throw new PollmodeError("OPTION_VALUE", message, `write ${option} ${example}, for instance`);
}

function readFilePrefix(text: string | undefined): string {
  if (text === undefined) return "pollmode";
  if (/^[\w-][\w.-]{0,63}$/.test(text)) return text;
  const message = `--file-prefix "${text}" cannot be part of a file name`;
  throw new PollmodeError(
    "OPTION_VALUE",
    message,
    "use up to 64 letters, digits, dots, dashes and underscores",
  );
}

function readIovaMode(text: string | undefined): "va" | "pa" | undefined {
  if (text === undefined || text === "va" || text === "pa") return text;
  const message = `--iova-mode "${text}" is neither va nor pa`;
  throw new PollmodeError(
    "OPTION_VALUE",
    message,
    "write --iova-mode va (virtual) or --iova-mode pa (physical)",
  );
}

function readVfioIntr(text: string | undefined): VfioIntr | undefined {
  const kind = (["legacy", "msi", "msix"] as const).find((one) => one === text);
  if (text === undefined || kind !== undefined) return kind;
  const message = `--vfio-intr "${text}" is none of legacy, msi, msix`;
  throw new PollmodeError("OPTION_VALUE", message, "write --vfio-intr msix, or leave it out");
}

function readUuid(option: string, text: string | undefined): string | undefined {
  if (text === undefined || /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text))
    return text?.toLowerCase();
  throw new PollmodeError("OPTION_VALUE", `${option} "${text}" is no UUID`, `make one: ${option} $(uuidgen)`);
}

/** `debug`, `7`, `pmd.*:debug`; and DPDK's older `NAME,LEVEL`, whose NAME is taken as a glob too. */
function parseLogLevel(text: string): LogLevel {
  const separator = Math.max(text.lastIndexOf(":"), text.lastIndexOf(","));
  const pattern = separator < 0 ? "*" : text.slice(0, separator);
  const word = text.slice(separator + 1);
  // As in DPDK a beginning is enough: `err`, `warn`.
  const named = word === "" ? -1 : logLevels.findIndex((name) => name.startsWith(word.toLowerCase()));
  const level = named >= 0 ? named + 1 : /^[0-8]$/.test(word) ? Number(word) : undefined;
  if (level === undefined || pattern === "") {
    const near = nearest(word, logLevels);
    const hint = near ? `did you mean ${near}? ` : "";
    const fix = `${hint}levels: ${logLevels.join(", ")}, or 0 to 8; --log-level pmd.*:debug`;
    throw new PollmodeError(
      "OPTION_VALUE",
      `--log-level "${text}": "${pattern ? word : text}" is no level`,
      fix,
    );
  }
  return { pattern, level };
}
