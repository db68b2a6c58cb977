// PCI devices that Kubernetes gave to this container. Its SR-IOV network device plugin tells them in the environment:
// PCIDEVICE_<RESOURCE> holds the addresses, with commas; PCIDEVICE_<RESOURCE>_INFO, of newer plugins, is JSON with what
// each device comes with. <RESOURCE> is the resource's name, `intel.com/sriov_net`, in upper case with "_"
// for "." and "/" (k8snetworkplumbingwg/sriov-network-device-plugin: README.md, pkg/resources/server.go and
// pkg/infoprovider).
import { PollmodeError } from "../errors.ts";
import { type Devargs, parseDevargs } from "./devargs.ts";
import { nearest } from "./nearest.ts";

/** A PCI device that the container was given. */
export interface AssignedPciDevice {
  /** As the variable's name has it: `INTEL_COM_SRIOV_NET`. */
  readonly resource: string;
  /** `0000:3b:02.6`. */
  readonly address: string;
  /** Nodes that the container was given for it: `/dev/vfio/vfio`, `/dev/vfio/169`. Empty where none are told. */
  readonly mounts: readonly string[];
  /** What --vfio-vf-token wants, if the plugin's configuration has it: `extraInfo.token`. */
  readonly vfToken: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = "PCIDEVICE_";
/** Before a resource's name, where an address could stand: `--allow pcidevice:intel.com/sriov_net`. */
const WORD = "pcidevice:";
const pciAddress = /^[\da-f]{4,8}:[\da-f]{2}:[01][\da-f]\.[0-7]$/i;
const uuid = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

interface Resource {
  readonly name: string;
  /** PCI addresses, and of other devices what the plugin calls them: `mlx5_core.sf.4`. */
  readonly ids: readonly string[];
}

/**
 * All PCI devices that the environment tells of, by resource and then in its order; devices of other kinds are left
 * out. Errors: PCIDEVICE_VALUE (JSON that is none).
 */
export function pciDevicesFromEnvironment(env: Environment = process.env): AssignedPciDevice[] {
  return resourcesOf(env).flatMap((resource) => {
    return resource.ids.filter((id) => pciAddress.test(id)).map((id) => assigned(resource, id, env));
  });
}

export interface AllowedDevices {
  readonly devices: readonly Devargs[];
  /** The one that all devices of the environment have. */
  readonly vfToken: string | undefined;
}

/**
 * Values of `option`: devargs, parsed or not, or `pcidevice:RESOURCE` (`*`: all resources), with arguments for each of
 * its devices.
 * Errors: DEVARGS; PCIDEVICE_UNKNOWN, PCIDEVICE_VALUE, PCIDEVICE_TOKEN.
 */
export function parseAllowed(
  given: readonly (string | Devargs)[],
  option: string,
  env: Environment = process.env,
): AllowedDevices {
  const tokens = new Set<string>();
  const devices = given.flatMap((text) => {
    if (typeof text !== "string") return [text];
    if (!text.startsWith(WORD)) return [parseDevargs(text, option)];
    const [wanted = "", ...args] = text.slice(WORD.length).split(",");
    return devicesOf(wanted, option, env).map(({ address, vfToken }) => {
      if (vfToken !== undefined) tokens.add(vfToken);
      return parseDevargs([address, ...args].join(","), option);
    });
  });
  const again = devices.find(({ name }, k) => devices.findIndex((one) => one.name === name) < k);
  if (again) {
    const fix = `write ${option} ${again.name} once, with all its arguments`;
    throw new PollmodeError("DEVARGS_REPEATED", `${option} ${again.name} is given twice`, fix);
  }
  if (tokens.size > 1) {
    const message = `${option}: the devices of this container have ${tokens.size} different VF tokens`;
    throw new PollmodeError(
      "PCIDEVICE_TOKEN",
      message,
      "start an engine for each, with a resource of one token",
    );
  }
  return { devices, vfToken: [...tokens][0] };
}

function devicesOf(wanted: string, option: string, env: Environment): AssignedPciDevice[] {
  const all = resourcesOf(env);
  const chosen = all.filter(({ name }) => wanted === "*" || plain(name) === plain(wanted));
  if (chosen.length === 0) throw unknown(wanted, option, all);
  return chosen.flatMap((resource) => {
    const stranger = resource.ids.find((id) => !pciAddress.test(id));
    if (stranger === undefined) return resource.ids.map((id) => assigned(resource, id, env));
    const message = `${PREFIX}${resource.name} holds ${JSON.stringify(stranger)}, which is no PCI address`;
    const fix = "name a resource of PCI devices: env | grep PCIDEVICE_ shows those of this container";
    throw new PollmodeError("PCIDEVICE_VALUE", message, fix);
  });
}

function unknown(wanted: string, option: string, all: readonly Resource[]): PollmodeError {
  const names = all.map(({ name }) => name);
  const near = nearest(plain(wanted), names.map(plain));
  const list = names.length === 0 ? "none" : names.map((name) => `${WORD}${name}`).join(", ");
  const message = `${option} ${WORD}${wanted}: this container was given no such resource`;
  const hint = near === undefined ? "" : `did you mean ${WORD}${near}? `;
  const ask = 'others are asked for in the pod\'s resources: limits: { "intel.com/sriov_net": 1 }';
  return new PollmodeError("PCIDEVICE_UNKNOWN", message, `${hint}it has ${list}; ${ask}`);
}

/** Kubernetes' spelling and the variable's are the same then. */
const plain = (name: string) => name.toUpperCase().replace(/[^A-Z\d]/g, "_");

function resourcesOf(env: Environment): Resource[] {
  return Object.keys(env)
    .filter((name) => name.startsWith(PREFIX))
    .sort()
    .flatMap((variable) => {
      const value = env[variable]?.trim() ?? "";
      if (value === "" || value.startsWith("{")) return []; // the JSON beside it
      const ids = value.split(",").map((id) => id.trim());
      return [{ name: variable.slice(PREFIX.length), ids: [...new Set(ids.map((id) => id.toLowerCase()))] }];
    });
}

function assigned({ name }: Resource, address: string, env: Environment): AssignedPciDevice {
  const variable = `${PREFIX}${name}_INFO`;
  const sections = Object.entries(deviceInfo(env[variable], variable, address));
  const values = sections.flatMap(([, section]) =>
    Object.values(section).filter((value) => typeof value === "string"),
  );
  const token = sections.find(([section]) => section === "extraInfo")?.[1].token;
  return {
    resource: name,
    address,
    // `mount` and `dev-mount` or, of other plugins, `vfio-mount` and `vfio-dev-mount`; `uverbs`, …: each a path
    mounts: [...new Set(values.filter((value) => value.startsWith("/dev/")))].sort(),
    vfToken: token !== undefined && uuid.test(token) ? token.toLowerCase() : undefined,
  };
}

/** Texts by section and key, of one device. */
function deviceInfo(
  text: string | undefined,
  variable: string,
  address: string,
): Record<string, Record<string, string>> {
  if (text === undefined || text.trim() === "") return {};
  try {
    const all = JSON.parse(text) as Record<string, Record<string, unknown>>;
    const sections = Object.entries(all[address] ?? {});
    const isObject = (section: unknown) => section !== null && typeof section === "object";
    return Object.fromEntries(sections.filter(([, section]) => isObject(section))) as Record<
      string,
      Record<string, string>
    >;
  } catch (cause) {
    const message = `${variable} is no JSON: ${text.slice(0, 80)}`;
    const fix =
      "it is the SR-IOV device plugin's to set: leave it out, or see what changed it in the pod's env";
    throw new PollmodeError("PCIDEVICE_VALUE", message, fix, { cause });
  }
}
