// Makes a port of an RDMA device: finds it, opens it, decides on the mode, and gives it the arena to work in. Loaded
// when the first such port is asked for (driver.ts).
import { RdmaContext } from "../../src/bus/rdma/context.ts";
import { findRdmaDevice } from "../../src/bus/rdma/devices.ts";
import { notMlx5 } from "../../src/bus/rdma/errors.ts";
import type { Devargs } from "../../src/eal/devargs.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { DeviceEvents, DriverContext, EthDevice } from "../../src/ethdev/driver.ts";
import { PAGE_BYTES } from "../../src/limits.ts";
import { type ModeChoice, readArguments } from "./arguments.ts";
import { Mlx5Device } from "./device.ts";
import { chipName } from "./ids.ts";
import { KernelInterface } from "./netdev.ts";
import { type Mode, PortQueues } from "./queues.ts";

/** Errors: DEVARGS_…, RDMA_…, OUT_OF_MEMORY. */
export async function openPort(
  driver: string,
  devargs: Devargs,
  context: DriverContext,
  events: DeviceEvents,
): Promise<EthDevice> {
  const port = devargs.name;
  const args = readArguments(devargs);
  const info = findRdmaDevice(args.who, port);
  const rdma = RdmaContext.open(info, port);
  try {
    const mode = chooseMode(args.mode, rdma, port);
    const { arena, dma } = context;
    shareZone(rdma, context, port);
    const pd = rdma.allocPd();
    const mr = pd.regMr(arena.address + BigInt(dma.range.start), dma.range.bytes);
    const { striding, compression, multiPacketSend, inlineMin } = args;
    const wishes = { striding, compression, multiPacketSend, inlineMin };
    const queues = new PortQueues({ context, rdma, pd, lkey: mr.lkey, mode, port, ...wishes });
    const netdev = new KernelInterface(port, info, args.who.netdev);
    return new Mlx5Device({ port, driver, args, mode, rdma, queues, netdev }, context, events);
  } catch (error) {
    rdma.close();
    throw error;
  }
}

/** dv needs mlx5's own verbs, and completions of the layout that pmd/mlx5/cqe.ts reads. */
function chooseMode(choice: ModeChoice, rdma: RdmaContext, port: string): Mode {
  if (choice === "ibv") return "ibv";
  if (rdma.dv?.cqeVersion1) return "dv";
  if (choice === "auto") return "ibv";
  if (!rdma.dv) throw notMlx5(port, rdma.info);
  const chip = chipName(rdma.info.vendor, rdma.info.device);
  const message = `${port}: ${rdma.info.ibdev} (${chip}) has completions of version 0, which mode=dv does not read`;
  throw new PollmodeError(
    "RDMA_UNSUPPORTED",
    message,
    "update the firmware: the kernel has no raw packet queues on this one either",
  );
}

/** Rings and doorbell records come to lie in the DMA zone, where our own code reaches them. */
function shareZone(rdma: RdmaContext, { arena, dma }: DriverContext, port: string): void {
  rdma.useAllocator(
    (bytes) => {
      try {
        return dma.allocate(`rings of ${port}`, bytes, PAGE_BYTES);
      } catch {
        return 0; // full: the verb that asked fails, and says so
      }
    },
    (offset) => dma.free(offset),
    arena.address,
  );
}
