// The command line of `npm run lab`.
import { type OptionTable, parseOptions } from "../../../src/eal/option-table.ts";
import { PollmodeError } from "../../../src/errors.ts";
import { type LabOptions, type NicModel, nicModels } from "./qemu.ts";

export const optionTable = {
  nic: {
    value: "MODEL,…",
    multiple: true,
    meaning: `The guest's NICs in order, each one of: ${nicModels.join(", ")}.`,
    byDefault: "e1000e,igb",
  },
  wire: {
    value: "WIRE",
    meaning:
      "What the NICs are wired to: hub (all to each other), none, or socket:PATH (the hub, and a Unix socket).",
    byDefault: "hub",
  },
  bind: {
    value: "DRIVER",
    meaning: "Bind each NIC to this kernel driver first: vfio-pci, igb_uio, e1000e, …",
  },
  "no-iommu": { meaning: "Boot without an IOMMU: for VFIO's no-IOMMU mode, and UIO." },
  memory: { value: "MIB", meaning: "The guest's memory.", byDefault: "3072" },
  hugepages: { value: "N", meaning: "How many hugepages of 2 MiB to reserve of it.", byDefault: "512" },
  cpus: { value: "N", meaning: "The guest's CPUs.", byDefault: "2" },
  quiet: { short: "q", meaning: "Do not say on stderr where the NICs are." },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

export interface Settings {
  readonly help: boolean;
  readonly quiet: boolean;
  readonly lab: LabOptions;
  readonly driver: string | undefined;
  /** Empty: a shell. */
  readonly command: readonly string[];
}

export function readOptions(argv: readonly string[]): Settings {
  const { values, rest } = parseOptions(argv, optionTable);
  const models = (values.nic.length > 0 ? values.nic : ["e1000e,igb"]).flatMap((text) => text.split(","));
  const wire = wireOptions(values.wire ?? "hub");
  const lab: LabOptions = {
    nics: models.map((text) => ({ model: nicModel(text), wire: wire.wire })),
    iommu: !values["no-iommu"],
    hubSocket: wire.hubSocket,
    memoryMib: count("memory", values.memory),
    hugepages: count("hugepages", values.hugepages),
    cpus: count("cpus", values.cpus),
  };
  return { help: values.help, quiet: values.quiet, lab, driver: values.bind, command: rest };
}

function nicModel(text: string): NicModel {
  const model = nicModels.find((name) => name === text);
  if (model) return model;
  const fix = `models: ${nicModels.join(", ")}`;
  throw new PollmodeError("OPTION_VALUE", `--nic: there is no model "${text}"`, fix);
}

function wireOptions(text: string): { wire: number | "none"; hubSocket?: string } {
  if (text === "hub") return { wire: 0 };
  if (text === "none") return { wire: "none" };
  const path = /^socket:(.+)$/.exec(text)?.[1];
  if (path) return { wire: 0, hubSocket: path };
  const message = `--wire "${text}" is neither hub, none nor socket:PATH`;
  throw new PollmodeError("OPTION_VALUE", message, "write --wire hub, for instance");
}

function count(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,6}$/.test(text)) return Number(text);
  const fix = `write --${option} ${optionTable[option as "memory"].byDefault}, for instance`;
  throw new PollmodeError("OPTION_VALUE", `--${option} "${text}" is no whole number below a million`, fix);
}
