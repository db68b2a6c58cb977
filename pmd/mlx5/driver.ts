// net_mlx5 (-a 0000:03:00.0) and net_rdma (--vdev=net_rdma0,host-if=enp3s0f0): the same port, by its PCI address or by
// its names in the kernel. net_rdma takes other NICs with raw packet queues too, in mode ibv.
import type { Driver } from "../../src/ethdev/driver.ts";
import { mlx5Usage } from "./arguments.ts";
import { mlx5Ids } from "./ids.ts";

/** The rest, and src/bus/rdma with it, is loaded by programs that have such a port alone. */
const probeAs =
  (driver: string): Driver["probe"] =>
  async (devargs, context, events) => {
    const { openPort } = await import("./probe.ts");
    return openPort(driver, devargs, context, events);
  };

export const mlx5Driver: Driver = {
  name: "net_mlx5",
  usage: mlx5Usage,
  ids: mlx5Ids,
  keepsKernelDriver: true,
  probe: probeAs("net_mlx5"),
};

export const rdmaDriver: Driver = {
  name: "net_rdma",
  usage: `host-if=NAME|ibdev=NAME|pci=ADDRESS,${mlx5Usage}`,
  probe: probeAs("net_rdma"),
};
