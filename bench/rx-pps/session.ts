// What is measured: an engine with its ports, and streams dealt out to lcores. Everything is given back by close().
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Devargs } from "../../src/eal/devargs.ts";
import { shows, WARNING } from "../../src/eal/log.ts";
import { pciDevicesOf } from "../../src/engine/devices.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { Port } from "../../src/ethdev/port.ts";
import type { StreamSpec } from "../../src/forward/streams.ts";
import type { LcoreControl } from "../../src/lcore/lcores.ts";
import { pinThread, threadCpus } from "../../src/libc/libc.ts";
import {
  MBUF_COUNT_DEFAULT,
  MBUF_COUNT_MAX,
  MEMORY_MIB_DEFAULT,
  RING_SIZE_DEFAULT,
} from "../../src/limits.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { clockCost } from "./clock.ts";
import { type Settings, sendsBack } from "./options.ts";
import { mainCpus, type Placement, place } from "./placement.ts";

/** Mbufs a queue pair may hold: a ring for either way, and a burst or two under way. */
const MBUFS_PER_QUEUE = 2 * RING_SIZE_DEFAULT + 512;
/** Mbufs that lie in lcores' caches, whatever the queues. */
const MBUFS_IN_CACHES = 4096;

const TMPDIR_BYTES_MAX = 107 - "/pollmode-rx-pps-XXXXXX/s.sock".length;

export interface Session {
  readonly engine: Pollmode;
  /** Received from. */
  readonly ports: readonly Port[];
  readonly receivers: readonly LcoreControl[];
  /** The built-in generator's port. */
  readonly generator: Port | undefined;
  readonly placement: Placement;
  /** What a look at the clock costs in a clocked poll, ns. */
  readonly clockNs: number;
  launch(): Promise<void>;
  close(): Promise<void>;
}

export async function openSession(settings: Settings, say: (text: string) => void): Promise<Session> {
  const { eal, queues } = settings;
  const allow = eal.noPci ? [] : pciDevicesOf(eal);
  const given = allow.length + eal.vdevs.length;
  const builtIn = given === 0;
  if (builtIn && eal.block.length > 0) throw nothingLeft(eal.block);
  const cpus = threadCpus();
  const queueCount = queues * (builtIn ? 1 : given);
  const placement = place({ lcores: eal.lcores, cpus, queues: queueCount, generator: builtIn });
  if (placement.note) say(placement.note);
  const mbufs = Math.min(
    MBUF_COUNT_MAX,
    Math.max(MBUF_COUNT_DEFAULT, MBUFS_IN_CACHES + queueCount * MBUFS_PER_QUEUE),
  );
  const prefixGiven = eal.filePrefix !== "pollmode"; // without one, any number of runs may go on at once
  const engine = await Pollmode.start({
    lcores: placement.lcores,
    memoryMib: eal.memoryMiB ?? Math.ceil((MEMORY_MIB_DEFAULT * mbufs) / MBUF_COUNT_DEFAULT),
    mbufs,
    noHuge: eal.noHuge,
    inMemory: eal.inMemory || !prefixGiven,
    engine: settings.engine,
    warn: (text) => {
      if (shows(eal.logLevels, "pollmode", WARNING)) say(text);
    },
    allow,
    vdev: eal.vdevs,
    ...(eal.vfioVfToken ? { vfioVfToken: eal.vfioVfToken } : {}),
    ...(eal.vfioIntr ? { vfioIntr: eal.vfioIntr } : {}),
    ...(prefixGiven ? { filePrefix: eal.filePrefix } : {}),
    ...(eal.iovaMode ? { iovaMode: eal.iovaMode } : {}),
  });
  const folder = builtIn ? temporaryFolder() : undefined;
  try {
    pinThread(mainCpus(cpus, placement));
    const receivers = placement.receivers.map(({ lcore }) => engine.lcores.byId(lcore));
    const clockNs = await clockCost(engine, receivers[0]!);
    const { ports, generator } = folder
      ? await builtInPorts(engine, join(folder.path, "s.sock"), queues)
      : { ports: await givenPorts(engine, settings), generator: undefined };
    return {
      engine,
      ports,
      receivers,
      generator,
      placement,
      clockNs,
      launch: () => launch(engine, settings, placement, ports, generator),
      close: async () => {
        await engine.close();
        folder?.remove();
      },
    };
  } catch (error) {
    await engine.close().catch(() => {}); // the first error is the one to tell
    folder?.remove();
    throw error;
  }
}

function nothingLeft(block: readonly string[]): PollmodeError {
  const message = `--block ${block.join(" --block ")}: no other NIC is bound to vfio-pci, uio_pci_generic or igb_uio`;
  return new PollmodeError(
    "OPTION_CONFLICT",
    message,
    "bind one, or name a port: -a 0000:01:00.0, --vdev net_null0",
  );
}

/** A folder of our own for the socket; gone when the process ends, whichever way it does. */
function temporaryFolder(): { path: string; remove: () => void } {
  // a socket's path has 107 bytes at most, and some set TMPDIR deep down
  const base = Buffer.byteLength(tmpdir()) <= TMPDIR_BYTES_MAX ? tmpdir() : "/tmp";
  const path = mkdtempSync(join(base, "pollmode-rx-pps-"));
  const remove = () => {
    rmSync(path, { recursive: true, force: true });
    process.off("exit", remove);
  };
  process.on("exit", remove);
  return { path, remove };
}

async function givenPorts(engine: Pollmode, { queues, rxInterrupt }: Settings): Promise<readonly Port[]> {
  for (const port of engine.ports) {
    await port.configure({ rxQueues: queues, txQueues: queues, rxInterrupts: rxInterrupt });
    await port.start();
  }
  return engine.ports;
}

/** The vhost port listens before the virtio-user port connects to it. */
async function builtInPorts(
  engine: Pollmode,
  socket: string,
  queues: number,
): Promise<{ ports: Port[]; generator: Port }> {
  const make = (driver: string, path: string) =>
    startPort(engine, virtualDevice(driver, { [path]: socket, queues: `${queues}` }), queues);
  const generator = await make("net_vhost", "iface");
  return { generator, ports: [await make("net_virtio_user", "path")] };
}

/** Devargs as they are, not as text: a folder's name may have commas. */
function virtualDevice(driver: string, args: Record<string, string>): Devargs {
  return { bus: "vdev", driver, name: `${driver}0`, args: new Map(Object.entries(args)), repeated: [] };
}

async function startPort(engine: Pollmode, devargs: Devargs, queues: number): Promise<Port> {
  const port = await engine.attach(devargs);
  await port.configure({ rxQueues: queues, txQueues: queues });
  await port.start();
  return port;
}

/** Receivers first, so that the generator's first frames are not the ones that wait. */
async function launch(
  engine: Pollmode,
  settings: Settings,
  placement: Placement,
  ports: readonly Port[],
  generator: Port | undefined,
): Promise<void> {
  const { app, burst, queues, frameBytes } = settings;
  const ends = ports.flatMap((port) => Array.from({ length: queues }, (_, queue) => ({ port, queue })));
  for (const [k, { lcore }] of placement.receivers.entries()) {
    const mine = ends.filter((_, at) => at % placement.receivers.length === k);
    await engine.forward(
      lcore,
      mine.map((end) => ({ mode: app, rx: end, tx: end })),
      { burst, rxInterrupt: settings.rxInterrupt },
    );
  }
  if (!generator || !placement.generator) return;
  const streams = Array.from({ length: queues }, (_, queue): StreamSpec[] => {
    const end = { port: generator, queue };
    const send: StreamSpec = { mode: "txonly", tx: end, frameBytes };
    return sendsBack(app) ? [send, { mode: "count", rx: end }] : [send];
  });
  await engine.forward(placement.generator.lcore, streams.flat(), { burst });
}
