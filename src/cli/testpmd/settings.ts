// What the session starts with, and how commands change it: each change is checked here and becomes an edit of the
// configuration, with testpmd's words for it.
import { existsSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import { BURST_MAX, PORTS_MAX } from "../../limits.ts";
import type { ForwardConfig, ForwardMode } from "./config.ts";
import { appOf, parseMode } from "./modes.ts";
import type { Lcores } from "./open.ts";
import { readTxpkts } from "./option-values.ts";
import type { TestpmdOptions } from "./options.ts";
import type { SessionPorts } from "./ports.ts";

export interface Change {
  readonly edit: Partial<ForwardConfig>;
  /** What testpmd says when it is done. */
  readonly words?: string;
}

/** Throws where the change cannot be. */
export type ChangeOf = (config: ForwardConfig) => Change;

/** The command line's configuration on the ports and lcores there are. */
export function startConfig(
  options: TestpmdOptions,
  lcores: Lcores,
  ports: readonly number[],
): ForwardConfig {
  const { forward } = options;
  const available = lcores.forwarding.map(({ lcore }) => lcore);
  const corelist = options.corelist ?? available;
  checkCorelist("--coremask", corelist, available, lcores.main.lcore);
  if (forward.nbCores > corelist.length) {
    const message = `--nb-cores ${forward.nbCores}: nb-cores should be > 0 and <= ${corelist.length}`;
    const fix = "name more lcores with -l; the first one forwards nothing";
    throw new PollmodeError("OPTION_VALUE", message, fix);
  }
  const portlist = choosePorts(options, ports);
  if (options.nbPorts !== undefined && options.nbPorts > portlist.length) {
    const message = `--nb-ports ${options.nbPorts}: there are ${portlist.length} ports that forward`;
    throw new PollmodeError(
      "OPTION_VALUE",
      message,
      "attach more by --vdev or -a, or write a smaller number",
    );
  }
  for (const port of forward.ethPeers.keys()) {
    if (port < PORTS_MAX) continue;
    throw new PollmodeError(
      "OPTION_VALUE",
      `--eth-peer ${port}: ports are 0 to ${PORTS_MAX - 1}`,
      "name a port",
    );
  }
  checkApp("--forward-mode", forward.mode);
  return { ...forward, corelist, portlist, nbPorts: options.nbPorts ?? portlist.length };
}

/** What testpmd says where the command line names its lcores or ports. */
export function choiceWords(options: TestpmdOptions, config: ForwardConfig, ports: number): string[] {
  const { corelist, portlist } = config;
  const cores = options.corelist && changed("forwarding cores", 1, "configured cores", corelist.length).words;
  const chosen =
    options.ports && changed("forwarding ports", ports, "configured ports", portlist.length).words;
  return [cores, chosen].filter((words) => words !== undefined);
}

function choosePorts({ ports: asked }: TestpmdOptions, ports: readonly number[]): readonly number[] {
  if (asked === undefined) return ports;
  const there = asked.ids.filter((id) => ports.includes(id));
  const missing = asked.ids.find((id) => !ports.includes(id));
  if (missing === undefined || (!asked.strict && there.length > 0)) return there;
  const valid =
    ports.length > 0 ? `ports are ${ports.join(", ")}` : "there is no port: --vdev=net_null0 makes one";
  throw new PollmodeError("PORT_UNKNOWN", `${asked.option}: there is no port ${missing}`, valid);
}

function checkCorelist(
  what: string,
  lcores: readonly number[],
  available: readonly number[],
  main?: number,
): void {
  const wrong = lcores.find((lcore) => !available.includes(lcore));
  const twice = lcores.find((lcore, at) => lcores.indexOf(lcore) !== at);
  if (wrong === undefined && twice === undefined && lcores.length > 0) return;
  const fix = `lcores that may forward: ${available.join(", ")}`;
  if (lcores.length === 0) throw new PollmodeError("LCORE_LIST", `${what}: no lcore`, fix);
  if (wrong === undefined) throw new PollmodeError("LCORE_DUPLICATE", `${what}: lcore ${twice} twice`, fix);
  const why = wrong === main ? "is the main one, which forwards nothing" : "is not enabled";
  throw new PollmodeError("LCORE_UNKNOWN", `${what}: lcore ${wrong} ${why}`, fix);
}

/** An application's file must be there; what it holds is seen when it starts. */
function checkApp(option: string, mode: ForwardMode): void {
  const app = appOf(mode);
  if (app === undefined || existsSync(app)) return;
  throw new PollmodeError(
    "FORWARD_MODE",
    `${option} ${mode}: there is no such file`,
    "name a .ts or .js file",
  );
}

function checkNumber(what: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= max) return;
  throw new PollmodeError(
    "FORWARD_OPTION",
    `${what} ${value} is not between 1 and ${max}`,
    "choose one in between",
  );
}

export const changes = {
  mode:
    (mode: ForwardMode): ChangeOf =>
    () => {
      parseMode("set fwd", mode);
      checkApp("set fwd", mode);
      return { edit: { mode }, words: `Set ${mode} packet forwarding mode` };
    },
  burst:
    (burst: number): ChangeOf =>
    () => {
      checkNumber("burst", burst, BURST_MAX);
      return { edit: { burst }, words: `Number of packets per burst set to ${burst}` };
    },
  nbCores:
    (nbCores: number): ChangeOf =>
    ({ corelist }) => {
      checkNumber("nbcore", nbCores, corelist.length);
      return { edit: { nbCores }, words: `Number of forwarding cores set to ${nbCores}` };
    },
  corelist:
    (lcores: readonly number[], available: readonly number[]): ChangeOf =>
    ({ nbCores }) => {
      checkCorelist("corelist", lcores, available);
      const edit = { corelist: [...lcores], nbCores: lcores.length };
      return { edit, ...changed("forwarding cores", nbCores, "configured cores", lcores.length) };
    },
  nbPorts:
    (nbPorts: number): ChangeOf =>
    ({ portlist }) => {
      checkNumber("nbport", nbPorts, portlist.length);
      return { edit: { nbPorts }, words: `Number of forwarding ports set to ${nbPorts}` };
    },
  portlist:
    (ids: readonly number[], ports: SessionPorts): ChangeOf =>
    ({ nbPorts }) => {
      for (const id of ids) ports.get(id);
      const twice = ids.find((id, at) => ids.indexOf(id) !== at);
      if (twice !== undefined || ids.length === 0) {
        const message = `portlist: ${twice === undefined ? "no port" : `port ${twice} twice`}`;
        throw new PollmodeError("FORWARD_OPTION", message, "name each port once: set portlist 0,1");
      }
      const edit = { portlist: [...ids], nbPorts: ids.length };
      return { edit, ...changed("forwarding ports", nbPorts, "configured ports", ids.length) };
    },
  ethPeer:
    (port: number, mac: Uint8Array, ports: SessionPorts): ChangeOf =>
    ({ ethPeers }) => {
      ports.get(port);
      if (mac.length !== 6) {
        throw new PollmodeError("MAC_ADDRESS", `eth-peer ${port}: ${mac.length} bytes`, "give six bytes");
      }
      return { edit: { ethPeers: new Map([...ethPeers, [port, mac.slice()]]) } };
    },
  txpkts:
    (segments: readonly number[], dataRoom: number): ChangeOf =>
    () => ({ edit: { txpkts: readTxpkts("txpkts", segments.join(","), dataRoom) } }),
  verbose:
    (level: number): ChangeOf =>
    ({ verbose }) => {
      if (!Number.isInteger(level) || level < 0 || level > 0xffff) {
        throw new PollmodeError(
          "FORWARD_OPTION",
          `verbose ${level}`,
          "0 is silent, 1 received, 2 sent, 3 both",
        );
      }
      return { edit: { verbose: level }, words: `Change verbose level from ${verbose} to ${level}` };
    },
};

/** testpmd says so only where the number is another. */
function changed(what: string, before: number, now: string, count: number): { words?: string } {
  if (before === count) return {};
  return { words: `previous number of ${what} ${before} - changed to number of ${now} ${count}` };
}
