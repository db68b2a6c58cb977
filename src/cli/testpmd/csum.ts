// testpmd's `csum` commands: who makes which checksums of what a port sends in the mode csum.
import { PollmodeError } from "../../errors.ts";
import type { Port } from "../../ethdev/port.ts";
import type { ChecksumName } from "../../forward/streams.ts";
import type { CsumConfig, ForwardConfig } from "./config.ts";
import type { ChangeOf } from "./settings.ts";

/** What `csum set` may name. No port makes SCTP's, which stay as they came, nor outer ones, which are software's. */
export type CsumLayer = ChecksumName | "sctp" | "outer-ip" | "outer-udp";

/** As testpmd says them, where it refuses and where it shows. */
const NAMES: Readonly<Record<CsumLayer, readonly [refused: string, shown: string]>> = {
  ip: ["IP", "IP"],
  udp: ["UDP", "UDP"],
  tcp: ["TCP", "TCP"],
  sctp: ["SCTP", "SCTP"],
  "outer-ip": ["Outer IP", "Outer-Ip"],
  "outer-udp": ["Outer UDP", "Outer-Udp"],
};

const BY_PORTS: readonly CsumLayer[] = ["ip", "udp", "tcp"] satisfies ChecksumName[];

const isByPorts = (layer: CsumLayer): layer is ChecksumName => BY_PORTS.includes(layer);
const makesChecksums = ({ info }: Port) => info.offloads?.includes("txChecksum") ?? false;

export function csumOf({ csum }: ForwardConfig, port: number): CsumConfig {
  return csum.get(port) ?? { tunnels: false, software: [] };
}

/** What the port itself makes. */
export function checksumsBy(port: Port, config: ForwardConfig): ChecksumName[] {
  if (!makesChecksums(port)) return [];
  const { software } = csumOf(config, port.id);
  return BY_PORTS.filter(isByPorts).filter((layer) => !software.includes(layer));
}

/** What is asked: to look into tunnels or not, or who makes a layer's checksums. */
export type CsumChange =
  | { readonly tunnels: boolean }
  | { readonly layer: CsumLayer; readonly by: "hw" | "sw" };

export function changeCsum(port: Port, asked: CsumChange): ChangeOf {
  return (config) => {
    const change = {
      ...csumOf(config, port.id),
      ...("layer" in asked ? shared(port, config, asked) : asked),
    };
    return { edit: { csum: new Map([...config.csum, [port.id, change]]) } };
  };
}

/** Throws where the port is to make what it cannot. */
function shared(
  port: Port,
  config: ForwardConfig,
  { layer, by }: { layer: CsumLayer; by: "hw" | "sw" },
): Pick<CsumConfig, "software"> {
  if (by === "hw" && !(isByPorts(layer) && makesChecksums(port))) {
    const message = `${NAMES[layer][0]} checksum offload is not supported by port ${port.id}`;
    throw new PollmodeError("NOT_SUPPORTED", message, `csum set ${layer} sw ${port.id}`);
  }
  const { software } = csumOf(config, port.id);
  if (!isByPorts(layer)) return { software };
  const others = software.filter((one) => one !== layer);
  return { software: by === "hw" ? others : [...others, layer].sort() };
}

/** `csum show`, and what the other commands answer. */
export function csumText(port: Port, config: ForwardConfig): string {
  const byPort: readonly CsumLayer[] = checksumsBy(port, config);
  const lines = Object.entries(NAMES).map(([layer, [, shown]]) => {
    return `${shown} checksum offload is ${byPort.includes(layer as CsumLayer) ? "hw" : "sw"}`;
  });
  return [`Parse tunnel is ${csumOf(config, port.id).tunnels ? "on" : "off"}`, ...lines].join("\n");
}
