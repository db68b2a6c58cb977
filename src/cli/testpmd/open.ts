// Makes the engine of a session: which lcores, how much memory, which devices.
import { formatCpus, type LcoreCpus } from "../../eal/lcore-list.ts";
import { shows, WARNING } from "../../eal/log.ts";
import { pciDevicesOf, userSpaceDevices } from "../../engine/devices.ts";
import { describeError, PollmodeError } from "../../errors.ts";
import { pinThread } from "../../libc/libc.ts";
import {
  MBUF_CACHE_HIGH,
  MBUF_COUNT_DEFAULT,
  MBUF_COUNT_MAX,
  MEMORY_MIB_DEFAULT,
  RING_SIZE_DEFAULT,
} from "../../limits.ts";
import { Pollmode } from "../../pollmode.ts";
import type { TestpmdOptions } from "./options.ts";

/** lcores where -l names none: all CPUs, but no more threads than this unless --nb-cores asks for them. */
const LCORES_BY_DEFAULT = 16;
/** Mbufs of a queue pair beside its rings: bursts under way. */
const MBUFS_UNDER_WAY = 512;
/** Ports that may be attached later, with -i. */
const SPARE_PORTS = 4;
/** What an mbuf takes beside its frame: headroom, metadata, its place in the caches; generously. */
const MBUF_OVERHEAD_BYTES = 512;
const MIB = 2 ** 20;

export interface Lcores {
  /** testpmd's first lcore, which forwards nothing: the CPUs of this thread. */
  readonly main: LcoreCpus;
  /** Those that may forward. */
  readonly forwarding: readonly LcoreCpus[];
}

/** DPDK's way: the lowest lcore is the main one, the others forward. */
export function chooseLcores(
  options: Pick<TestpmdOptions, "eal" | "forward">,
  cpus: readonly number[],
): Lcores {
  const wanted = Math.max(LCORES_BY_DEFAULT, options.forward.nbCores + 1);
  const lcores = options.eal.lcores ?? cpus.slice(0, wanted).map((cpu) => ({ lcore: cpu, cpus: [cpu] }));
  const [main, ...forwarding] = lcores;
  if (main === undefined || forwarding.length === 0) {
    const given = main ? `lcore ${main.lcore} is the main one, which forwards nothing` : "there is no CPU";
    const [cpu = 0] = main?.cpus ?? [];
    const fix =
      cpus.length > 1
        ? `name two lcores: -l ${formatCpus([cpu, cpus.find((other) => other !== cpu) ?? cpu])}`
        : `let both share the one CPU there is: --lcores '(0,1)@${cpu}'`;
    throw new PollmodeError("LCORE_COUNT", `No cores defined for forwarding: ${given}`, fix);
  }
  return { main, forwarding };
}

/** Starts the engine with its ports attached, and puts this thread on the main lcore's CPUs. */
export async function openEngine(
  options: TestpmdOptions,
  lcores: Lcores,
  warn: (text: string) => void,
): Promise<Pollmode> {
  const { eal } = options;
  const pci = options.eal.noPci ? [] : pciDevicesOf(eal);
  const mbufs = options.mbufs ?? mbufsFor(options, pci.length + eal.vdevs.length);
  const perMbuf = options.mbufDataRoom + MBUF_OVERHEAD_BYTES;
  const memory = Math.max(MEMORY_MIB_DEFAULT, Math.ceil((2 * mbufs * perMbuf) / MIB));
  const engine = await Pollmode.start({
    lcores: lcores.forwarding,
    memoryMib: eal.memoryMiB ?? memory,
    mbufs,
    mbufDataRoom: options.mbufDataRoom,
    noHuge: eal.noHuge,
    inMemory: eal.inMemory,
    filePrefix: eal.filePrefix,
    engine: options.engine,
    warn: (text) => {
      if (shows(eal.logLevels, "pollmode", WARNING)) warn(text);
    },
    allow: pci,
    vdev: eal.vdevs,
    ...(eal.vfioVfToken ? { vfioVfToken: eal.vfioVfToken } : {}),
    ...(eal.vfioIntr ? { vfioIntr: eal.vfioIntr } : {}),
    ...(eal.iovaMode ? { iovaMode: eal.iovaMode } : {}),
  });
  try {
    pinThread(lcores.main.cpus);
    if (!eal.noPci && eal.allow.length === 0 && eal.block.length === 0) await attachAll(engine, warn);
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** Rings of all queues, what lies in caches, and some for ports to come. */
function mbufsFor({ forward, interactive }: TestpmdOptions, ports: number): number {
  const { rxd = RING_SIZE_DEFAULT, txd = RING_SIZE_DEFAULT, rxq, txq, nbCores } = forward;
  const pairs = Math.max(rxq, txq) * (ports + (interactive ? SPARE_PORTS : 0));
  const wanted = pairs * (rxd + txd + MBUFS_UNDER_WAY) + (nbCores + 1) * MBUF_CACHE_HIGH;
  return Math.min(MBUF_COUNT_MAX, Math.max(MBUF_COUNT_DEFAULT, wanted));
}

/** As DPDK: without -a and -b all NICs that are bound for user space, but for those that cannot be opened. */
async function attachAll(engine: Pollmode, warn: (text: string) => void): Promise<void> {
  for (const device of userSpaceDevices(new Set())) {
    try {
      await engine.attach(device);
    } catch (error) {
      warn(`${device.name} is left out: ${describeError(error)}`);
    }
  }
}
