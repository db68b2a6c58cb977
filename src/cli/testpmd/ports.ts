// The session's ports: started, stopped, configured, attached and taken away, with testpmd's words. What was asked of a
// port is kept here, because a device cannot always be asked back.
import { type Devargs, parseDevargs } from "../../eal/devargs.ts";
import { PollmodeError } from "../../errors.ts";
import { checkConfig } from "../../ethdev/config.ts";
import type { DeviceConfig, OffloadName, RssConfig, RssType } from "../../ethdev/driver.ts";
import type { Port } from "../../ethdev/port.ts";
import { RING_SIZE_DEFAULT } from "../../limits.ts";
import type { Pollmode } from "../../pollmode.ts";
import type { ForwardConfig } from "./config.ts";
import { linkText, macText } from "./words.ts";

/** A port's id, or all ports. */
export type PortChoice = number | "all";
export type PortStatus = "started" | "stopped";

/** Whether the program was asked to end: no further command is run then, and nothing is waited for. */
export interface Leave {
  readonly asked: boolean;
}

/** Ethernet header and CRC: what a frame of --max-pkt-len has beyond the MTU. */
const FRAME_OVERHEAD_BYTES = 18;
const CRC_BYTES = 4;
const MTU_DEFAULT = 1500;
/** As testpmd: so long are links waited for. */
const LINK_WAIT_MS = 9000;
const LINK_LOOK_MS = 100;

/** What is known of a port beside what its device tells. */
export interface PortState {
  status: PortStatus;
  /** Its device's arguments, as they were given. */
  readonly devargs: string;
  /** Its device is to be configured before it is started. */
  stale: boolean;
  promiscuous: boolean;
  allMulticast: boolean;
  mtu: number;
  /** --max-pkt-len, until the port is configured for the first time or told otherwise: then its MTU says it all. */
  maxPktLen: number | undefined;
  vlanStrip: boolean;
  vlanFilter: boolean;
  /** What `port config rss` chose; undefined: as the command line says. */
  rss: readonly RssType[] | "all" | undefined;
  rssKey: Uint8Array | undefined;
  /** What `port config rss reta` made of the redirection table; undefined: all queues in turn. */
  rssTable: readonly number[] | undefined;
}

/** 0: the device has none. */
interface Rings {
  readonly rxDescriptors: number;
  readonly txDescriptors: number;
}

export interface PortsContext {
  readonly engine: Pollmode;
  readonly config: () => ForwardConfig;
  readonly say: (text: string) => void;
  readonly warn: (text: string) => void;
  /** Whether lcores forward the port's packets now. */
  readonly isForwarding: (id: number) => boolean;
  readonly leave: Leave;
}

export class SessionPorts {
  private readonly context: PortsContext;
  private readonly states = new Map<number, PortState>();
  /** Devices' arguments by name. */
  private readonly devargs = new Map<string, string>();

  /** `devices`: what the engine's ports were made of. */
  constructor(context: PortsContext, devices: readonly Devargs[]) {
    this.context = context;
    for (const one of devices) this.devargs.set(one.name, argsText(one));
    for (const port of context.engine.ports) this.adopt(port);
  }

  /** The engine's ports, ascending by id. */
  get all(): readonly Port[] {
    return this.context.engine.ports;
  }

  get(id: number): Port {
    const port = this.all.find((one) => one.id === id);
    if (port) return port;
    const valid = this.all.map((one) => one.id).join(" ");
    throw new PollmodeError("PORT_UNKNOWN", `Invalid port ${id}`, `The valid ports array is [ ${valid} ]`);
  }

  state(id: number): PortState {
    this.get(id);
    return this.states.get(id)!;
  }

  chosen(id: PortChoice): readonly Port[] {
    return id === "all" ? this.all : [this.get(id)];
  }

  /** A port that was attached; stopped. It receives all frames, as testpmd's ports do from the beginning. */
  private adopt(port: Port): void {
    const { maxPktLen, vlanStrip, vlanFilter } = this.context.config();
    this.states.set(port.id, {
      status: "stopped",
      devargs: this.devargs.get(port.name) ?? "",
      stale: true,
      promiscuous: true,
      allMulticast: !port.can("setAllMulticast"),
      mtu: MTU_DEFAULT,
      maxPktLen,
      vlanStrip,
      vlanFilter,
      rss: undefined,
      rssKey: undefined,
      rssTable: undefined,
    });
    port.on("link", () => this.context.say(`\nPort ${port.id}: link state change event`));
    port.on("error", (error) => this.context.warn(`${error.message}\n  fix: ${error.fix}`));
  }

  async start(id: PortChoice): Promise<void> {
    const { say, warn } = this.context;
    const config = this.context.config();
    const ports = this.chosen(id);
    const stopped = ports.filter((port) => this.state(port.id).status === "stopped");
    for (const port of ports) if (!stopped.includes(port)) warn(`Port ${port.id} is now not stopped`);
    if (stopped.length === 0 && ports.length > 0) {
      throw new PollmodeError("PORT_STATE", "Please stop the ports first", `port stop ${id}`);
    }
    for (const port of stopped) {
      await this.startOne(port);
      say(`Port ${port.id}: ${macText(port.mac)}`);
    }
    if (config.linkCheck && stopped.length > 0) await this.checkLinks(config.linkWait);
    say("Done");
  }

  private async startOne(port: Port): Promise<void> {
    const state = this.state(port.id);
    if (state.stale) {
      this.context.say(`Configuring Port ${port.id} (socket 0)`);
      await this.configure(port, state);
      state.stale = false;
    }
    try {
      await port.start();
    } catch (error) {
      state.stale = true; // what a device took on its way is given back by configuring it anew
      throw error;
    }
    state.status = "started";
    if (state.vlanFilter) await port.setVlanFilter(true);
    if (state.promiscuous && port.can("setPromiscuous")) await port.setPromiscuous(true);
  }

  private async configure(port: Port, state: PortState): Promise<void> {
    const config = this.context.config();
    if (state.maxPktLen !== undefined) await this.setFrames(port, "--max-pkt-len", state.maxPktLen);
    if (!this.tableFits(state)) this.forgetTable(port, state);
    if (config.flowIsolate) port.flow.isolate(true);
    if (!port.info.descriptors && (config.rxd ?? config.txd) !== undefined) {
      this.context.warn(`${nameOf(port)}: ${port.info.driver} has no rings: --rxd and --txd change nothing`);
    }
    await port.configure(this.deviceConfig(port, state));
  }

  /**
   * Makes the largest frame, CRC included, the port's MTU; a port whose MTU is fixed must take such frames anyway.
   * `option` is where it was given, for messages.
   */
  async setFrames(port: Port, option: string, bytes: number): Promise<void> {
    this.checkFrames(port, option, bytes);
    if (port.can("setMtu")) await this.setMtu(port, bytes - FRAME_OVERHEAD_BYTES);
    this.state(port.id).maxPktLen = undefined;
  }

  /** Throws where no frame is so long there. */
  checkFrames(port: Port, option: string, bytes: number): void {
    const most = port.info.frameBytesMax + CRC_BYTES;
    if (port.can("setMtu") || bytes <= most) return;
    const message = `${option} ${bytes}: ${nameOf(port)} has frames of ${most} bytes at most`;
    throw new PollmodeError("OPTION_VALUE", message, `choose ${most} or less`);
  }

  async setMtu(port: Port, mtu: number): Promise<void> {
    await port.setMtu(mtu);
    const state = this.state(port.id);
    state.mtu = mtu;
    state.maxPktLen = undefined;
  }

  /** A redirection table that was set leads to receive queues that there are. */
  private tableFits({ rssTable }: PortState): boolean {
    const { rxq } = this.context.config();
    return rssTable === undefined || (rxq > 1 && rssTable.every((queue) => queue < rxq));
  }

  private forgetTable(port: Port, state: PortState): void {
    const { rxq } = this.context.config();
    const last = Math.max(...state.rssTable!);
    const now = rxq === 1 ? "there is one now" : `queues are 0 to ${rxq - 1} now and take turns`;
    this.context.warn(`${nameOf(port)}: its redirection table led to receive queue ${last}; ${now}`);
    state.rssTable = undefined;
  }

  private deviceConfig(port: Port, state: PortState, config = this.context.config()): DeviceConfig {
    const { rxq, txq, rxd, txd, rxChecksum, rxInterrupt } = config;
    const { info } = port;
    const offloads: OffloadName[] = [];
    if (rxChecksum) offloads.push("rxChecksum");
    if (state.vlanStrip) {
      offloads.push("vlanStrip");
      if (info.offloads?.includes("vlanInsert")) offloads.push("vlanInsert"); // one switch for both in some chips
    }
    const rings = info.descriptors !== undefined; // as in DPDK the ring sizes of a device without rings mean nothing
    return {
      rxQueues: rxq,
      txQueues: txq,
      ...(rings && rxd !== undefined ? { rxDescriptors: rxd } : {}),
      ...(rings && txd !== undefined ? { txDescriptors: txd } : {}),
      ...(offloads.length > 0 ? { offloads } : {}),
      ...(rxq > 1 && info.rss ? { rss: this.rssOf(port, state, rxq) } : {}),
      ...(rxInterrupt ? { rxInterrupts: true } : {}),
    };
  }

  /** Of the types asked for those that the port has, as testpmd does. A table that leads too far is left out. */
  private rssOf(port: Port, { rss, rssKey, rssTable }: PortState, rxq: number): RssConfig {
    const has = port.info.rss?.types ?? [];
    const wanted = rss ?? this.context.config().rssTypes;
    const types = wanted === "all" ? [...has] : has.filter((type) => wanted.includes(type));
    const fits = rssTable?.every((queue) => queue < rxq) ?? false;
    return { types, ...(rssKey ? { key: rssKey } : {}), ...(fits ? { table: rssTable! } : {}) };
  }

  /** Whether the ports have what the configuration asks of them; throws for the first that has not. */
  checkQueues(config: ForwardConfig): void {
    for (const port of this.all) {
      checkConfig(nameOf(port), port.info, this.deviceConfig(port, this.state(port.id), config));
    }
  }

  /** What `show config rxtx` tells of a port. */
  setup(id: number): Required<Pick<DeviceConfig, "rxQueues" | "txQueues" | "offloads">> & Rings {
    const port = this.get(id);
    const { rxQueues, txQueues, offloads = [], ...config } = this.deviceConfig(port, this.state(id));
    const byDefault = port.info.descriptors ? RING_SIZE_DEFAULT : 0;
    const { rxDescriptors = byDefault, txDescriptors = byDefault } = config;
    return { rxQueues, txQueues, offloads, rxDescriptors, txDescriptors };
  }

  /** testpmd's look at the links: it tells how they are where it waits for them. */
  private async checkLinks(wait: boolean): Promise<void> {
    const { say } = this.context;
    say("Checking link statuses...");
    if (!wait) return;
    const end = performance.now() + LINK_WAIT_MS;
    const { leave } = this.context;
    while (this.all.some((port) => !port.link().up) && performance.now() < end && !leave.asked) {
      await new Promise((done) => setTimeout(done, LINK_LOOK_MS));
    }
    for (const port of this.all) say(`Port ${port.id} ${linkText(port.link())}`);
  }

  /** `leaving`: nobody asks how the links are any more. */
  async stop(id: PortChoice, leaving = false): Promise<void> {
    const { say, config } = this.context;
    const ports = this.removable(this.chosen(id), id);
    say("Stopping ports...");
    const started = ports.filter((port) => this.state(port.id).status === "started");
    for (const port of started) {
      this.state(port.id).status = "stopped";
      if (port.flow.list().length > 0) port.flow.flush();
      await port.stop();
    }
    if (config().linkCheck && !leaving && started.length > 0) say("Checking link statuses...");
    say("Done");
  }

  /** Without those that are forwarded: one that was named alone is an error, among all it is passed over. */
  private removable(ports: readonly Port[], id: PortChoice): readonly Port[] {
    const { isForwarding, warn } = this.context;
    return ports.filter((port) => {
      if (!isForwarding(port.id)) return true;
      const message = `Please remove port ${port.id} from forwarding configuration.`;
      if (id !== "all") {
        const others = this.all.filter((one) => one !== port && isForwarding(one.id));
        const list = others.map((one) => one.id).join(",");
        const fix = list === "" ? "type `stop`" : `set portlist ${list}, or type \`stop\``;
        throw new PollmodeError("PORT_STATE", message, fix);
      }
      warn(message);
      return false;
    });
  }

  /** As in DPDK a closed port is no more: its id is free. Returns those that were closed. */
  async close(id: PortChoice): Promise<number[]> {
    const { say } = this.context;
    const ports = this.removable(this.chosen(id), id);
    say("Closing ports...");
    for (const port of ports) {
      await this.remove(port);
      say(`Port ${port.id} is closed`);
    }
    say("Done");
    return ports.map((port) => port.id);
  }

  private async remove(port: Port): Promise<void> {
    try {
      await this.context.engine.detach(port);
    } finally {
      if (!this.all.includes(port)) this.states.delete(port.id);
    }
  }

  /** The device is set up from the beginning when the port is started next. */
  reset(id: PortChoice): void {
    const { say } = this.context;
    const ports = this.chosen(id);
    if (ports.some((port) => this.state(port.id).status !== "stopped")) {
      const message = "Can not reset port(s), please stop port(s) first.";
      throw new PollmodeError("PORT_STATE", message, `port stop ${id}`);
    }
    say("Resetting ports...");
    for (const port of ports) this.state(port.id).stale = true;
    say("Done");
  }

  async attach(device: string | Devargs): Promise<Port> {
    const { engine, say } = this.context;
    const devargs = typeof device === "string" ? parseDevargs(device, "port attach") : device;
    if (this.all.some((port) => port.name === devargs.name)) {
      const message = `Failed to attach port ${devargs.name}: there is one of this name`;
      throw new PollmodeError(
        "DEVARGS_REPEATED",
        message,
        "give it another name or number, or detach that port first",
      );
    }
    say("Attaching a new port...");
    const port = await engine.attach(devargs);
    this.devargs.set(devargs.name, argsText(devargs));
    this.adopt(port);
    say(`Port ${port.id} is attached. Now total ports is ${this.all.length}`);
    say("Done");
    return port;
  }

  async detach(id: number): Promise<void> {
    const { say, warn } = this.context;
    const port = this.get(id);
    if (this.state(id).status !== "stopped") {
      throw new PollmodeError("PORT_STATE", "Port not stopped", `port stop ${id}`);
    }
    warn("Port was not closed");
    say("Removing a device...");
    await this.remove(port);
    say(`Port ${id} is closed`);
    say("Device is detached");
    say(`Now total ports is ${this.all.length}`);
    say("Done");
  }
}

function argsText({ args }: Devargs): string {
  return [...args].map(([key, value]) => `${key}=${value}`).join(",");
}

function nameOf({ id, name }: Port): string {
  return `port ${id} (${name})`;
}
