// What console commands change about a port beside starting and stopping it.
import { PollmodeError } from "../../errors.ts";
import { checkConfig, checkRss } from "../../ethdev/config.ts";
import type { RssType } from "../../ethdev/driver.ts";
import type { Port } from "../../ethdev/port.ts";
import type { ForwardConfig } from "./config.ts";
import type { PortChoice, SessionPorts } from "./ports.ts";

/** What `port config` changes. */
export interface PortSettings {
  /** Bytes of an IP packet: the frame without its 14 bytes of header. At once. */
  readonly mtu?: number;
  /** The largest frame with its CRC, which all ports (id "all") get as their MTU. They must be stopped. */
  readonly maxPktLen?: number;
  /** Of all ports (id "all"): they must be stopped, and take it on when they are started. */
  readonly rxq?: number;
  readonly txq?: number;
  readonly rxd?: number;
  readonly txd?: number;
  /** What is hashed (RssType); "all": all that the port has; empty: nothing. At once where the port is started. */
  readonly rss?: readonly string[] | "all";
  /** The hash's key. */
  readonly rssKey?: Uint8Array;
}

const RSS_TYPES: readonly RssType[] = ["ipv4", "ipv4-tcp", "ipv4-udp", "ipv6", "ipv6-tcp", "ipv6-udp"];
const VLANS = 4096;
/** As it was typed, for messages. */
const MAX_PKT_LEN = "max-pkt-len";

export class PortTuning {
  private readonly ports: SessionPorts;

  constructor(ports: SessionPorts) {
    this.ports = ports;
  }

  /** Returns what changes for all ports. */
  async configure(
    id: PortChoice,
    settings: PortSettings,
    config: ForwardConfig,
  ): Promise<Partial<ForwardConfig>> {
    const ports = this.ports.chosen(id);
    if (settings.maxPktLen !== undefined) this.checkFrames(ports, settings.maxPktLen);
    const edit = this.queueEdit(id, settings, config);
    const types = settings.rss === undefined ? undefined : rssTypes(settings.rss);
    if (types !== undefined || settings.rssKey !== undefined) {
      for (const port of ports) this.requireRss(port, types, settings.rssKey);
    }
    if (settings.mtu !== undefined) {
      const { mtu } = settings;
      await this.setFrames(ports, (port) => this.ports.setMtu(port, mtu));
    }
    if (settings.maxPktLen !== undefined) {
      const { maxPktLen } = settings;
      await this.setFrames(ports, (port) => this.ports.setFrames(port, MAX_PKT_LEN, maxPktLen));
    }
    for (const port of ports) {
      if (types !== undefined || settings.rssKey !== undefined)
        await this.setRss(port, types, settings.rssKey);
    }
    if (Object.keys(edit).length > 0)
      for (const port of this.ports.all) this.ports.state(port.id).stale = true;
    return edit;
  }

  private queueEdit(id: PortChoice, settings: PortSettings, config: ForwardConfig): Partial<ForwardConfig> {
    const names = (["rxq", "txq", "rxd", "txd"] as const).filter((name) => settings[name] !== undefined);
    if (names.length === 0) return {};
    if (id !== "all") {
      const message = `port config ${id} ${names[0]}: all ports have as many`;
      throw new PollmodeError("PORT_STATE", message, `port config all ${names[0]} ${settings[names[0]!]}`);
    }
    this.requireStopped();
    const edit = Object.fromEntries(names.map((name) => [name, settings[name]]));
    this.ports.checkQueues({ ...config, ...edit });
    return edit;
  }

  private requireStopped(): void {
    if (this.ports.all.every((port) => this.ports.state(port.id).status === "stopped")) return;
    throw new PollmodeError("PORT_STATE", "Please stop all ports first", "port stop all");
  }

  private checkFrames(ports: readonly Port[], bytes: number): void {
    this.requireStopped();
    for (const port of ports) this.ports.checkFrames(port, MAX_PKT_LEN, bytes);
  }

  /** Of all these ports or of none. */
  private async setFrames(ports: readonly Port[], set: (port: Port) => Promise<void>): Promise<void> {
    const before = ports.map(({ id }) => ({ ...this.ports.state(id) }));
    for (const [k, port] of ports.entries()) {
      try {
        await set(port);
      } catch (error) {
        for (const [at, { mtu, maxPktLen }] of before.slice(0, k).entries()) {
          const one = ports[at]!;
          if (one.can("setMtu")) await this.ports.setMtu(one, mtu);
          this.ports.state(one.id).maxPktLen = maxPktLen;
        }
        throw error;
      }
    }
  }

  private requireRss(port: Port, types: readonly RssType[] | "all" | undefined, key?: Uint8Array): void {
    const { rxQueues, txQueues } = this.ports.setup(port.id);
    const rss = { ...(types === undefined || types === "all" ? {} : { types }), ...(key ? { key } : {}) };
    checkConfig(`port ${port.id} (${port.name})`, port.info, { rxQueues, txQueues, rss });
  }

  private async setRss(
    port: Port,
    types: readonly RssType[] | "all" | undefined,
    key?: Uint8Array,
  ): Promise<void> {
    const state = this.ports.state(port.id);
    if (state.status === "started") {
      const wanted = types === "all" ? port.info.rss?.types : types;
      const now = port.rss(); // what is left out would become the default
      await port.setRss({ ...now, ...(wanted ? { types: wanted } : {}), ...(key ? { key } : {}) });
    } else state.stale = true;
    if (types !== undefined) state.rss = types;
    if (key !== undefined) state.rssKey = key.slice();
  }

  /** Entries of the redirection table and their queues. The others stay, and all over stops and starts. */
  async setRedirection(
    id: number,
    pairs: readonly (readonly [entry: number, queue: number])[],
    rxq: number,
  ): Promise<void> {
    const port = this.ports.get(id);
    const state = this.ports.state(id);
    const title = `port ${id} (${port.name})`;
    checkRss(title, port.info, {}, rxq);
    const entries = port.info.rss!.tableEntries;
    if (rxq === 1) {
      const message = `${title}: with one receive queue nothing is redirected`;
      throw new PollmodeError("RSS", message, "port stop all, port config all rxq 2, port config all txq 2");
    }
    const inTurn = Array.from({ length: entries }, (_, entry) => entry % rxq);
    const table = [...(state.rssTable ?? (port.started ? port.rss().table : inTurn))];
    for (const [entry, queue] of pairs) {
      if (entry >= entries) {
        const message = `${title}: the redirection table has no entry ${entry}`;
        throw new PollmodeError("RSS", message, `entries are 0 to ${entries - 1}`);
      }
      table[entry] = queue;
    }
    checkRss(title, port.info, { table }, rxq);
    if (port.started) await port.setRss({ ...port.rss(), table });
    else state.stale = true;
    state.rssTable = table;
  }

  async setPromiscuous(id: PortChoice, on: boolean): Promise<void> {
    for (const port of this.ports.chosen(id)) {
      if (!on || port.can("setPromiscuous")) await port.setPromiscuous(on); // else it receives all frames anyway
      this.ports.state(port.id).promiscuous = on;
    }
  }

  async setAllMulticast(id: PortChoice, on: boolean): Promise<void> {
    for (const port of this.ports.chosen(id)) {
      if (!on || port.can("setAllMulticast")) await port.setAllMulticast(on);
      this.ports.state(port.id).allMulticast = on;
    }
  }

  async setVlan(what: "strip" | "filter", id: number, on: boolean): Promise<void> {
    const port = this.ports.get(id);
    const state = this.ports.state(id);
    if (what === "filter") {
      await port.setVlanFilter(on);
      state.vlanFilter = on;
      return;
    }
    if (on && !port.info.offloads?.includes("vlanStrip")) {
      const message = `port ${id} (${port.name}): ${port.info.driver} does not take VLAN tags off`;
      throw new PollmodeError("NOT_SUPPORTED", message, "use a port whose driver does");
    }
    if (state.status === "stopped") state.stale = true;
    else if (port.can("setVlanStrip")) await port.setVlanStrip(on);
    else if (state.vlanStrip !== on) {
      const message = `port ${id} is started: ${port.info.driver} takes tags off, or leaves them, from a start on`;
      throw new PollmodeError("PORT_STATE", message, `port stop ${id}`);
    }
    state.vlanStrip = on;
  }

  async rxVlan(id: number, vlan: number | "all", on: boolean): Promise<void> {
    const port = this.ports.get(id);
    const vlans = vlan === "all" ? Array.from({ length: VLANS }, (_, k) => k) : [vlan];
    for (const one of vlans) await port.setVlan(one, on);
  }
}

function rssTypes(names: readonly string[] | "all"): readonly RssType[] | "all" {
  if (names === "all") return "all";
  return names.map((name) => {
    const type = RSS_TYPES.find((one) => one === name);
    if (type !== undefined) return type;
    throw new PollmodeError("RSS", `there is no RSS type ${name}`, `types: ${RSS_TYPES.join(", ")}`);
  });
}
