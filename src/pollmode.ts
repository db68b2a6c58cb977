// The engine: arena, pool, lcores and ports of one embedding program, made by start() and given back by close().
import { EventEmitter } from "node:events";
import { IommuFaults } from "./bus/iommu-faults.ts";
import { PciBus, preferredIovaMode } from "./bus/open.ts";
import { StampClock } from "./capture/clock.ts";
import { type Devargs, parseDevargs } from "./eal/devargs.ts";
import { parseAllowed } from "./eal/kubernetes.ts";
import { RuntimeDir } from "./eal/runtime-dir.ts";
import { AppHost } from "./engine/app-host.ts";
import { appQueues, sleepPlan } from "./engine/app-queues.ts";
import { type Capture, type CaptureOptions, Captures } from "./engine/capture.ts";
import { openControlSocket } from "./engine/control.ts";
import { driverOf, openedFunctions, pciDevicesOf } from "./engine/devices.ts";
import type { AppLaunch, ForwardOptions, PollmodeEvents } from "./engine/launch.ts";
import { checkOptions, lcoresOf, type PollmodeOptions } from "./engine/options.ts";
import { PollmodeError } from "./errors.ts";
import type { DriverContext } from "./ethdev/driver.ts";
import { Port } from "./ethdev/port.ts";
import { assignApp, assignStreams, checkWatch, emptyStreams, type StreamSpec } from "./forward/streams.ts";
import type { EngineName } from "./hot/engine.ts";
import { LcoreState, Queue } from "./hot/layout.ts";
import { type LcoreStatus, Lcores } from "./lcore/lcores.ts";
import { atExit } from "./libc/at-exit.ts";
import { Poller } from "./libc/poller.ts";
import {
  ARENA_BYTES_DEFAULT,
  MBUF_COUNT_DEFAULT,
  MBUF_DATA_ROOM_DEFAULT,
  MEMORY_MIB_DEFAULT,
  MIB,
  MONITOR_INTERVAL_MS,
  PORTS_MAX,
  PRIVATE_ZONE_BYTES,
} from "./limits.ts";
import { Arena } from "./memory/arena.ts";
import { IovaMap } from "./memory/iova.ts";
import { MbufPool } from "./memory/pool.ts";
import { dmaZone, privateZone, type Zone } from "./memory/zone.ts";
import type { ControlSocket } from "./telemetry/control-socket.ts";

/**
 * An engine: its memory, lcores and ports. Several may live in one process. `await using` or close() gives all back.
 */
export class Pollmode extends EventEmitter<PollmodeEvents> {
  /** The memory that every thread sees, by views: `u8`, `u16`, `u32`, `f64`. */
  readonly arena: Arena;
  /** @internal */
  readonly private: Zone;
  /** @internal */
  readonly dma: Zone;
  /** @internal */
  readonly pool: MbufPool;
  /** @internal */
  readonly poller: Poller;
  /** The polling threads: `all`, `byId(0)`; `status()` of each says how it is. */
  readonly lcores: Lcores;
  private readonly apps: AppHost;
  /** What the poll loops run as. */
  readonly engine: EngineName;
  /**
   * Addresses of the DMA zone as devices see them.
   * @internal
   */
  readonly iova: IovaMap;
  private readonly pci: PciBus;
  /** By id; a detached port leaves a hole. */
  private readonly list: (Port | undefined)[] = [];
  /** Which lcore was given a queue, by block. */
  private readonly owners = new Map<number, number>();
  private readonly runtime: RuntimeDir | undefined;
  private readonly warn: (text: string) => void;
  /** Made with the first PCI function. */
  private iommuFaults: IommuFaults | undefined;
  /** Takes the exit handler back: see the constructor. */
  private readonly forgetExit: () => void;
  private monitor: NodeJS.Timeout | undefined;
  /**
   * Of this program and of others.
   * @internal
   */
  readonly captures: Captures;
  /** Only with a runtime directory: how other programs ask (`pollmode capture`). */
  private control: ControlSocket | undefined;
  private closing: Promise<void> | undefined;

  private constructor(options: PollmodeOptions) {
    super();
    const undo: (() => void)[] = [];
    this.warn = options.warn ?? ((text) => process.emitWarning(text, { code: "POLLMODE" }));
    this.engine = options.engine ?? "wasm";
    checkOptions(options);
    const specs = lcoresOf(options);
    const addresses = openedFunctions(options);
    const inMemory = options.inMemory ?? options.filePrefix === undefined;
    try {
      this.runtime = inMemory ? undefined : RuntimeDir.acquire(options.filePrefix ?? "pollmode");
      undo.push(() => this.runtime?.close());
      this.arena = new Arena(options.arenaMib ? options.arenaMib * MIB : ARENA_BYTES_DEFAULT);
      undo.push(() => this.arena.close());
      this.private = privateZone(this.arena, PRIVATE_ZONE_BYTES);
      const bytes = (options.memoryMib ?? MEMORY_MIB_DEFAULT) * MIB;
      this.dma = dmaZone(this.arena, { bytes, noHuge: options.noHuge ?? false, warn: this.warn });
      undo.push(() => this.dma.close());
      this.iova = new IovaMap(options.iovaMode ?? preferredIovaMode(addresses), this.dma);
      const dataRoom = options.mbufDataRoom ?? MBUF_DATA_ROOM_DEFAULT;
      const count = options.mbufs ?? MBUF_COUNT_DEFAULT;
      this.pool = new MbufPool(this.private, this.dma, this.iova, { name: "mbufs", count, dataRoom });
      this.poller = new Poller((error) => this.warn(`poller: ${error.message}`));
      undo.push(() => this.poller.close());
      const { arena, dma, iova, warn } = this;
      this.pci = new PciBus({
        arena,
        dma,
        iova,
        warn,
        vfToken: options.vfioVfToken ?? parseAllowed(options.allow ?? [], "--allow").vfToken,
        intr: options.vfioIntr === "legacy" ? "intx" : options.vfioIntr,
      });
      undo.push(() => this.pci.close());
      // an exception that nobody catches, process.exit(): devices must not write into memory that is given back
      this.forgetExit = atExit(() => this.pci.close());
      undo.push(() => this.forgetExit());
      this.lcores = new Lcores(this.private, specs, this.engine);
      this.apps = new AppHost(this.private, this.lcores, {
        reloaded: (lcore, file) => this.emit("appReloaded", lcore, file),
        failed: (lcore, error) => {
          if (!this.emit("appReloadFailed", lcore, error)) this.warn(error.message);
        },
      });
      const clock = new StampClock(this.private, this.lcores.nowMs);
      this.captures = new Captures({ zone: this.private, clock, quiesce: () => this.lcores.quiesce() });
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
    for (const lcore of this.lcores.all) this.pool.cacheOf(lcore.index);
  }

  /**
   * Makes an engine with its ports attached (not configured). What fails gives back all that was taken. Errors are
   * PollmodeErrors, whose `fix` says what to do: docs/errors.md.
   */
  static async start(options: PollmodeOptions = {}): Promise<Pollmode> {
    const engine = new Pollmode(options);
    try {
      await engine.lcores.start();
      engine.watch();
      engine.control = openControlSocket(engine, engine.runtime?.path, engine.poller, engine.warn);
      for (const device of pciDevicesOf(options)) await engine.attach(device);
      for (const vdev of options.vdev ?? []) await engine.attach(vdev);
      return engine;
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  /**
   * Captures what passes a port from now on, into a file or a stream: pcapng. See docs/capture.md. Errors:
   * CAPTURE_OPTION, CAPTURE_FILTER, CAPTURE_OUTPUT, CAPTURE_COUNT.
   */
  capture(port: Port, options: CaptureOptions): Capture {
    return this.captures.start(port, options);
  }

  private watch(): void {
    this.lcores.on("stalled", (status) =>
      this.tell("lcoreStalled", `lcore ${status.lcore}: ${status.reason}`, status),
    );
    this.lcores.on("recovered", (status) => this.emit("lcoreRecovered", status));
    this.lcores.on("failed", (status, error) => {
      if (!this.emit("lcoreFailed", status, error))
        this.warn(`lcore ${status.lcore} stopped: ${error.message}`);
    });
    this.monitor = setInterval(() => {
      this.lcores.monitor();
      for (const fault of this.iommuFaults?.take() ?? []) {
        this.ports.find(({ name }) => name === fault.device)?.stopForDmaFault(fault.access, fault.address);
      }
      for (const port of this.ports) port.reportFaults();
    }, MONITOR_INTERVAL_MS);
    this.monitor.unref();
  }

  private tell(event: "lcoreStalled", text: string, status: LcoreStatus): void {
    if (!this.emit(event, status)) this.warn(text);
  }

  /** Ascending by id. Ids are stable: where a port was detached one is missing, until attach() takes it. */
  get ports(): readonly Port[] {
    return this.list.filter((port) => port !== undefined);
  }

  /** The port with this id. Error: PORT_UNKNOWN. */
  port(id: number): Port {
    const port = this.list[id];
    if (port) return port;
    const ids = this.ports.map((one) => one.id).join(", ");
    const message = `there is no port ${id}; there ${ids ? `are ${ids}` : "is none"}`;
    throw new PollmodeError("PORT_UNKNOWN", message, "attach it by --vdev or attach()");
  }

  /**
   * Makes a port of a virtual or a PCI device, as --vdev and -a do: `net_null0,size=64`, `0000:00:03.0`. It is to be
   * configured and started then. Errors: DEVARGS, DRIVER_UNKNOWN, PORT_COUNT, and the driver's own.
   */
  async attach(device: string | Devargs): Promise<Port> {
    const devargs = typeof device === "string" ? parseDevargs(device, "attach") : device;
    const driver = driverOf(devargs);
    if (this.ports.length >= PORTS_MAX) {
      throw new PollmodeError(
        "PORT_COUNT",
        `there are ${PORTS_MAX} ports already`,
        "close the engine and use fewer",
      );
    }
    let port: Port | undefined;
    const probed = await driver.probe(devargs, this.context(), {
      link: (status) => port?.emit("link", status),
      end: () => port?.emit("end"),
      error: (error) => {
        const known =
          error instanceof PollmodeError
            ? error
            : new PollmodeError("DEVICE", error.message, "see the message");
        port?.report(known);
      },
    });
    const hole = this.list.indexOf(undefined);
    const id = hole < 0 ? this.list.length : hole;
    port = new Port(id, devargs.name, probed, this.arena, (queue) => this.ownerOf(queue));
    this.list[id] = port;
    return port;
  }

  /**
   * Closes a port and takes it out of the engine. No lcore may run its queues (QUEUE_BUSY). Its id is free then: the
   * next attach() takes the lowest that is.
   */
  async detach(port: Port): Promise<void> {
    if (this.port(port.id) !== port) {
      const message = `port ${port.id} (${port.name}) was detached before; another has its id`;
      throw new PollmodeError("PORT_UNKNOWN", message, "take the port from `ports` anew");
    }
    port.requireIdle();
    try {
      await port.close();
    } finally {
      this.list[port.id] = undefined;
    }
  }

  private context(): DriverContext {
    const { arena, dma, pool, poller } = this;
    return {
      arena,
      dma,
      pool,
      poller,
      private: this.private,
      openPci: (address) => {
        this.iommuFaults ??= new IommuFaults();
        return this.pci.open(address);
      },
      quiesce: () => this.lcores.quiesce(),
      warn: this.warn,
    };
  }

  /** The lcore that runs a queue now. */
  private ownerOf(queue: number): number | undefined {
    const lcore = this.owners.get(queue);
    if (lcore === undefined || this.lcores.byId(lcore).state === LcoreState.RUNNING) return lcore;
    this.owners.delete(queue); // it has stopped or failed since
    return undefined;
  }

  /** Gives queues to an lcore: they draw from and free into its cache. A queue belongs to one lcore. */
  private own(lcore: number, queues: readonly number[]): void {
    const cache = this.pool.cacheOf(this.lcores.byId(lcore).index);
    for (const queue of queues) {
      const owner = this.ownerOf(queue);
      if (owner !== undefined && owner !== lcore) {
        const message = `lcore ${lcore}: one of its queues is run by lcore ${owner}`;
        throw new PollmodeError("QUEUE_BUSY", message, `stop lcore ${owner} first, or use other queues`);
      }
    }
    for (const [queue, owner] of this.owners) if (owner === lcore) this.owners.delete(queue); // of its last work
    for (const queue of queues) {
      this.arena.u32[(queue + Queue.CACHE) >>> 2] = cache;
      this.owners.set(queue, lcore);
    }
  }

  /**
   * Starts forwarding on an lcore that waits: each stream is a mode between a receive and a transmit queue. Errors:
   * LCORE_UNKNOWN, LCORE_BUSY, QUEUE_BUSY, QUEUE_UNKNOWN, FORWARD_MODE, FORWARD_OPTION.
   */
  async forward(lcore: number, streams: readonly StreamSpec[], options: ForwardOptions = {}): Promise<void> {
    const control = this.lcores.byId(lcore);
    this.lcores.requireWaiting(control);
    const ends = streams.flatMap(({ rx }) => (rx ? [rx] : []));
    const sleep = options.rxInterrupt ? sleepPlan(control, ends) : undefined;
    const { pool } = this;
    const owned = assignStreams({ zone: this.private, pool, lcore: control, streams, burst: options.burst });
    this.own(lcore, owned);
    await this.lcores.launch(control, { kind: "streams", sleep });
  }

  /**
   * Starts an application on an lcore that waits. Errors: LCORE_UNKNOWN, LCORE_BUSY, QUEUE_BUSY, QUEUE_UNKNOWN;
   * APP_FILE, APP_BUILD, APP_COMPILER, APP_WASM, FORWARD_OPTION; LCORE_FAILED where its factory throws.
   */
  async run(launch: AppLaunch): Promise<void> {
    const control = this.lcores.byId(launch.lcore);
    const { app, watch = false, options } = launch;
    this.lcores.requireWaiting(control);
    checkWatch(launch);
    const built = await this.apps.build(app, watch);
    this.lcores.requireWaiting(control);
    const queues = launch.queues.flatMap((one) => appQueues(one));
    const blocks = queues.flatMap(({ rx, tx }) => [rx, tx]).filter((queue) => queue !== 0);
    this.own(launch.lcore, blocks);
    const ends = queues.flatMap(({ port, queue, rx }) => (rx ? [{ port: this.port(port), queue }] : []));
    const sleep = launch.rxInterrupt ? sleepPlan(control, ends) : undefined;
    const watched = assignApp({ zone: this.private, pool: this.pool, lcore: control }, queues, launch);
    const module = this.apps.ready(control, built);
    const work = { kind: "app", app: module, queues, watch: watched, options, sleep } as const;
    await this.lcores.launch(control, work);
    this.apps.started(control, app, built, watch);
  }

  /**
   * Swaps the application of a running lcore between two bursts: for `app`, or for its own file as it is now. Ports and
   * other lcores run on. What fails (APP_RELOAD) leaves the old application running.
   */
  async reload(lcore: number, app?: URL | string): Promise<void> {
    const trouble = await this.apps.reload(this.lcores.byId(lcore), app);
    if (trouble) this.warn(trouble);
  }

  /** Stops an lcore's work within milliseconds; its queues may be given to another then. Nothing if it waits. */
  async stop(lcore: number): Promise<void> {
    const control = this.lcores.byId(lcore);
    this.apps.forget(control);
    await this.lcores.stop(control);
    emptyStreams(this.pool, control);
  }

  /** Stops lcores, then ports, and gives all memory back. May be called at any time, more than once. */
  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    clearInterval(this.monitor);
    this.apps.close();
    const faults: unknown[] = [];
    const attempt = async (step: () => unknown) => {
      try {
        await step();
      } catch (error) {
        faults.push(error);
      }
    };
    for (const lcore of this.lcores.all) await attempt(() => this.lcores.stop(lcore));
    await attempt(() => this.captures.close());
    this.control?.close();
    for (const port of this.ports) await attempt(() => port.close());
    await attempt(() => this.pci.close());
    this.forgetExit();
    this.iommuFaults?.close();
    await attempt(() => this.lcores.close());
    await attempt(() => this.poller.close());
    await attempt(() => this.dma.close());
    await attempt(() => this.arena.close());
    await attempt(() => this.runtime?.close());
    if (faults.length > 0) throw faults[0];
  }

  /** For `await using`: close(). */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
