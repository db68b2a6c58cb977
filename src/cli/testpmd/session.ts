// A testpmd session: the engine, its ports and what is forwarded between them. The command line opens it, the console's
// commands and the web page work on it.
//
// Every method checks all it is given before it changes anything, and throws a PollmodeError that says what is wrong.
// What testpmd prints when a thing is done comes by `say`, so a console command has nothing to add to it. While
// forwarding, a change takes effect at once: the lcores whose work it changes are stopped and relaunched, the others
// run on.
import type { Devargs } from "../../eal/devargs.ts";
import { describeError, PollmodeError } from "../../errors.ts";
import { drainVerbose } from "../../forward/verbose.ts";
import { threadCpus } from "../../libc/libc.ts";
import type { Pollmode } from "../../pollmode.ts";
import type { ForwardConfig, ForwardMode } from "./config.ts";
import { type CsumChange, changeCsum, csumText } from "./csum.ts";
import { configRxtx, fwdStats, oddWarning, planText } from "./display-fwd.ts";
import { verboseText } from "./display-verbose.ts";
import { Forwarder } from "./forwarder.ts";
import type { PortDelta, StreamStats } from "./fwd-stats.ts";
import { chooseLcores, openEngine } from "./open.ts";
import type { TestpmdOptions } from "./options.ts";
import { type PortSettings, PortTuning } from "./port-tuning.ts";
import { type Leave, type PortChoice, type PortStatus, SessionPorts } from "./ports.ts";
import { type ChangeOf, changes, choiceWords, startConfig } from "./settings.ts";
import { makePlan, type Plan } from "./topology.ts";

export type { ForwardConfig, ForwardMode, NoisyConfig, Topology } from "./config.ts";
export type { PortSettings } from "./port-tuning.ts";
export type { Leave, PortChoice, PortStatus } from "./ports.ts";

/** Where a session's words go: whole lines, without the last one's newline. */
export type Say = (text: string) => void;

/** So often packets of `set verbose` are printed, and counts of 32 bits taken over (they wrap within minutes). */
const LOOK_MS = 100;

export class Session {
  readonly engine: Pollmode;
  readonly options: TestpmdOptions;
  readonly ports: SessionPorts;
  readonly say: Say;
  readonly warn: Say;
  private readonly forwarder: Forwarder;
  private readonly tuning: PortTuning;
  private current: ForwardConfig;
  private turn: Promise<unknown> = Promise.resolve();
  private ended: Promise<void> | undefined;
  private missed = 0;
  private look: NodeJS.Timeout | undefined;

  private constructor(
    engine: Pollmode,
    options: TestpmdOptions,
    config: ForwardConfig,
    { say, warn, leave }: { say: Say; warn: Say; leave: Leave },
  ) {
    this.engine = engine;
    this.options = options;
    this.current = config;
    this.say = say;
    this.warn = warn;
    this.forwarder = new Forwarder(engine);
    const isForwarding = (id: number) => this.forwarder.forwards(id);
    const context = { engine, config: () => this.current, say, warn, isForwarding, leave };
    this.ports = new SessionPorts(context, [...options.eal.allow, ...options.eal.vdevs]);
    this.tuning = new PortTuning(this.ports);
    engine.on("lcoreStalled", ({ lcore, reason }) => warn(`lcore ${lcore} stalls: ${reason}`));
    engine.on("lcoreRecovered", ({ lcore }) => warn(`lcore ${lcore} goes on`));
    engine.on("appReloaded", (lcore, file) => say(`lcore ${lcore}: ${file} was reloaded`));
    engine.on("appReloadFailed", (_, error) => warn(describeError(error)));
    engine.on("lcoreFailed", ({ lcore }, error) => warn(`lcore ${lcore} stopped: ${describeError(error)}`));
  }

  /**
   * Starts the engine, and its ports unless --disable-device-start. What fails gives back all that was taken.
   * `warn` has testpmd's stderr; without it all goes to `say`. Once `leave` is asked nothing is waited for any more.
   */
  static async open(
    options: TestpmdOptions,
    say: Say,
    warn: Say = say,
    leave: Leave = { asked: false },
  ): Promise<Session> {
    const lcores = chooseLcores(options, threadCpus());
    const engine = await openEngine(options, lcores, warn);
    try {
      const ids = engine.ports.map(({ id }) => id);
      if (ids.length === 0) warn("testpmd: No probed ethernet devices");
      const config = startConfig(options, lcores, ids);
      const session = new Session(engine, options, config, { say, warn, leave });
      for (const words of choiceWords(options, config, ids.length)) say(words);
      session.ports.checkQueues(config);
      makePlan(config);
      if (options.deviceStart && ids.length > 0) await session.portStart("all");
      session.look = setInterval(() => session.lookAtLcores(), LOOK_MS).unref();
      return session;
    } catch (error) {
      await engine.close().catch(() => {}); // the first error is the one to tell
      throw error;
    }
  }

  get config(): Readonly<ForwardConfig> {
    return this.current;
  }
  get forwarding(): boolean {
    return this.forwarder.active;
  }
  /** What is forwarded, or would be by `start`. */
  get plan(): Plan {
    return this.forwarding ? this.forwarder.stats.plan : makePlan(this.current);
  }
  /** The ports of the forward statistics: those forwarded now, or when forwarding stopped. */
  get countedPorts(): readonly number[] {
    return this.forwarder.stats.plan.ports;
  }
  /** What each stream counted since `start`. */
  streamStats(): StreamStats[] {
    return this.forwarder.stats.streams(this.forwarder.lcores);
  }
  /** What a port counted since `start`. */
  portDelta(id: number): PortDelta {
    return this.forwarder.stats.port(id, this.forwarder.lcores);
  }

  /** Prints the packets that lcores set aside, and how many they could not. */
  private lookAtLcores(): void {
    const { arena, lcores } = this.engine;
    if (this.current.recordBurstStats) this.forwarder.stats.update(this.forwarder.lcores);
    const { packets, missed } = drainVerbose(arena, lcores.all);
    if (packets.length > 0) this.say(verboseText(packets));
    if (missed > this.missed) this.warn(`${missed - this.missed} packets more went by too fast to be shown`);
    this.missed = missed;
  }

  /** One thing after the other, whoever asks: a signal may end what a command has begun. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.turn.then(work, work);
    this.turn = result.catch(() => {});
    return result;
  }

  /** `start [tx_first [N]]`: N bursts of each stream first. */
  start(txFirst = 0): Promise<void> {
    return this.inTurn(async () => {
      if (this.forwarding) {
        throw new PollmodeError("FORWARDING", "Packet forwarding already started", "type `stop` first");
      }
      if (this.ports.all.some(({ id }) => this.ports.state(id).status !== "started")) {
        throw new PollmodeError("PORT_STATE", "Not all ports were started", "type `port start all`");
      }
      const odd = oddWarning(this.current);
      if (odd !== undefined) this.warn(odd);
      const plan = makePlan(this.current);
      this.say(planText(plan, this.current));
      const { mode, flows } = this.current;
      if (mode === "flowgen") {
        for (const id of plan.ports) this.say(`  number of flows for port ${id}: ${flows}`);
      }
      await this.forwarder.start(this.current, txFirst, () => this.say(configRxtx(this)));
    });
  }

  /** Stops all lcores; says and returns the forward statistics. */
  stop(): Promise<string> {
    return this.inTurn(() => this.stopNow());
  }

  private async stopNow(): Promise<string> {
    if (!this.forwarding) {
      throw new PollmodeError("FORWARDING", "Packet forwarding not started", "type `start`");
    }
    this.say("Telling cores to stop...\nWaiting for lcores to finish...");
    await this.forwarder.stop();
    this.lookAtLcores();
    const text = fwdStats(this);
    this.say(text);
    this.say("\nDone.");
    return text;
  }

  /** Checks a change of the configuration, brings it to the lcores that it concerns, and says so. */
  private change(make: ChangeOf): Promise<void> {
    return this.inTurn(async () => {
      const { edit, words } = make(this.current);
      const next = { ...this.current, ...edit };
      makePlan(next);
      if (edit.portlist ?? edit.nbPorts) this.requireStarted(next);
      await this.forwarder.change(this.startedOf(next));
      this.current = next;
      if (words !== undefined) this.say(words);
    });
  }

  /** While others forward, a port of the portlist that is stopped waits: it joins when it is started. */
  private startedOf(config: ForwardConfig): ForwardConfig {
    const ports = config.portlist.slice(0, config.nbPorts);
    return { ...config, portlist: ports.filter((id) => this.status(id) === "started") };
  }

  /** Whoever names the ports that are to forward now names such as can. */
  private requireStarted({ portlist, nbPorts }: ForwardConfig): void {
    const stopped = portlist.slice(0, nbPorts).find((id) => this.status(id) === "stopped");
    if (!this.forwarding || stopped === undefined) return;
    const message = `port ${stopped} is stopped, and forwarding goes on`;
    throw new PollmodeError("PORT_STATE", message, `port start ${stopped}, or type \`stop\` first`);
  }

  setMode(mode: ForwardMode): Promise<void> {
    return this.change(changes.mode(mode));
  }
  setBurst(packets: number): Promise<void> {
    return this.change(changes.burst(packets));
  }
  setNbCores(cores: number): Promise<void> {
    return this.change(changes.nbCores(cores));
  }
  setCorelist(lcores: readonly number[]): Promise<void> {
    return this.change(
      changes.corelist(
        lcores,
        this.engine.lcores.all.map(({ id }) => id),
      ),
    );
  }
  /** The first N of the portlist. */
  setNbPorts(ports: number): Promise<void> {
    return this.change(changes.nbPorts(ports));
  }
  setPortlist(ports: readonly number[]): Promise<void> {
    return this.change(changes.portlist(ports, this.ports));
  }
  /** Destination of what the port sends, 6 bytes. */
  setEthPeer(port: number, mac: Uint8Array): Promise<void> {
    return this.change(changes.ethPeer(port, mac, this.ports));
  }
  /** Bytes of each segment that txonly and flowgen send. */
  setTxpkts(segments: readonly number[]): Promise<void> {
    return this.change(changes.txpkts(segments, this.engine.pool.dataRoom));
  }
  /** Bit 0: received packets are printed, bit 1: sent ones. */
  async setVerbose(level: number): Promise<void> {
    await this.change(changes.verbose(level));
    this.lookAtLcores(); // what was set aside under the level before
  }
  /** `csum parse-tunnel`, `csum set`; says how checksums of what the port sends are made then. */
  async setCsum(id: number, asked: CsumChange): Promise<void> {
    await this.change(changeCsum(this.ports.get(id), asked));
    this.say(csumText(this.ports.get(id), this.current));
  }
  setRecordBurstStats(on: boolean): Promise<void> {
    return this.change(() => ({ edit: { recordBurstStats: on } }));
  }

  /** While others forward, ports of the portlist join them. */
  portStart(id: PortChoice): Promise<void> {
    return this.inTurn(async () => {
      try {
        await this.ports.start(id);
      } finally {
        await this.join(); // of several, one may fail and those before it have been started
      }
    });
  }

  private async join(): Promise<void> {
    if (!this.forwarding) return;
    const config = this.startedOf(this.current);
    if (config.portlist.every((id) => this.forwarder.forwards(id))) return;
    await this.forwarder.change(config);
    this.say(`Forwarding goes on with ports ${config.portlist.join(", ")}`);
    const words = oddWarning(config);
    if (words !== undefined) this.warn(words);
  }

  portStop(id: PortChoice): Promise<void> {
    return this.inTurn(() => this.ports.stop(id));
  }
  /** As in DPDK a closed port is gone, and its id free. */
  portClose(id: PortChoice): Promise<void> {
    return this.inTurn(async () => this.drop(await this.ports.close(id)));
  }
  portReset(id: PortChoice): Promise<void> {
    return this.inTurn(async () => this.ports.reset(id));
  }
  /** Returns the new port's id. It is stopped, and the last of the portlist: it forwards once it is started. */
  portAttach(devargs: string | Devargs): Promise<number> {
    return this.inTurn(async () => {
      const { id } = await this.ports.attach(devargs);
      const portlist = [...this.current.portlist.slice(0, this.current.nbPorts), id];
      this.current = { ...this.current, portlist, nbPorts: portlist.length };
      return id;
    });
  }
  portDetach(id: number): Promise<void> {
    return this.inTurn(async () => {
      await this.ports.detach(id);
      this.drop([id]);
    });
  }

  /** These ports are no more. */
  private drop(ids: readonly number[]): void {
    const portlist = this.current.portlist.filter((id) => !ids.includes(id));
    const csum = new Map([...this.current.csum].filter(([id]) => !ids.includes(id)));
    const nbPorts = Math.min(this.current.nbPorts, portlist.length);
    this.current = { ...this.current, portlist, nbPorts, csum };
    for (const id of ids) this.forwarder.stats.dropPort(id);
  }

  /** `port config`: queues, rings and frames of all ports, MTU and RSS of one or all. */
  configPort(id: PortChoice, settings: PortSettings): Promise<void> {
    return this.inTurn(async () => {
      const edit = await this.tuning.configure(id, settings, this.current);
      this.current = { ...this.current, ...edit };
    });
  }
  /** `port config N rss reta`: entries of the redirection table and their queues; the others stay. */
  setRedirection(id: number, pairs: readonly (readonly [entry: number, queue: number])[]): Promise<void> {
    return this.inTurn(() => this.tuning.setRedirection(id, pairs, this.current.rxq));
  }
  setPromisc(id: PortChoice, on: boolean): Promise<void> {
    return this.inTurn(() => this.tuning.setPromiscuous(id, on));
  }
  setAllmulti(id: PortChoice, on: boolean): Promise<void> {
    return this.inTurn(() => this.tuning.setAllMulticast(id, on));
  }
  setLink(id: number, up: boolean): Promise<void> {
    return this.inTurn(() => this.ports.get(id).setLink(up));
  }
  macAdd(id: number, mac: Uint8Array): Promise<void> {
    return this.inTurn(() => this.ports.get(id).addMac(mac));
  }
  macRemove(id: number, mac: Uint8Array): Promise<void> {
    return this.inTurn(() => this.ports.get(id).removeMac(mac));
  }
  macSet(id: number, mac: Uint8Array): Promise<void> {
    return this.inTurn(() => this.ports.get(id).setMac(mac));
  }
  /** `vlan set strip|filter on|off PORT`. */
  vlanSet(what: "strip" | "filter", id: number, on: boolean): Promise<void> {
    return this.inTurn(() => this.tuning.setVlan(what, id, on));
  }
  /** `rx_vlan add|rm VLAN|all PORT`. */
  rxVlan(id: number, vlan: number | "all", on: boolean): Promise<void> {
    return this.inTurn(() => this.tuning.rxVlan(id, vlan, on));
  }

  status(id: number): PortStatus {
    return this.ports.state(id).status;
  }
  clearStats(id: PortChoice): void {
    for (const port of this.ports.chosen(id)) {
      port.clearStats();
      this.forwarder.stats.forgetPort(port.id);
      this.say(`\n  NIC statistics for port ${port.id} cleared`);
    }
  }
  clearXstats(id: PortChoice): void {
    for (const port of this.ports.chosen(id)) {
      port.clearStats();
      this.forwarder.stats.forgetPort(port.id);
    }
  }
  /** Of all streams, as `start` does. */
  clearFwdStats(): void {
    this.forwarder.stats.clear(this.forwarder.lcores);
  }

  /** Stops forwarding, stops and closes the ports, and gives all back; with testpmd's words. Twice does nothing. */
  close(): Promise<void> {
    this.ended ??= this.inTurn(() => this.shutDown());
    return this.ended;
  }

  private async shutDown(): Promise<void> {
    clearInterval(this.look);
    const faults: unknown[] = [];
    const attempt = (work: () => Promise<unknown>) => work().catch((error) => faults.push(error));
    if (this.forwarding) await attempt(() => this.stopNow());
    const ids = this.ports.all.map(({ id }) => id);
    for (const id of ids) {
      this.say(`\nStopping port ${id}...`);
      await attempt(() => this.ports.stop(id, true));
    }
    for (const id of ids) {
      this.say(`\nShutting down port ${id}...`);
      await attempt(() => this.ports.close(id));
    }
    await attempt(() => this.engine.close());
    this.say("\nBye...");
    if (faults.length > 0) throw faults[0];
  }
}
