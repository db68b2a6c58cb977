// DPDK's testpmd as the vhost-user backend of our net_virtio_user, and as the frontend of our net_vhost.
import { Testpmd } from "../beds/dpdk.ts";

/** Hugepages for one testpmd: its heap, and a little for what the EAL keeps for itself. */
export const backendPages = 160;

export interface BackendOptions {
  queues?: number;
  mode?: string;
  /** Of a frontend: the ring to ask for. */
  packed?: boolean;
  /** testpmd's CPU; its main thread sleeps on the other one. */
  cpu?: number;
  /** Further arguments of the application. */
  extra?: string[];
}

function applicationArguments({ queues = 1, mode = "io", extra = [] }: BackendOptions): string[] {
  return [
    `--forward-mode=${mode}`,
    "--nb-cores=1",
    "--total-num-mbufs=16384",
    "--disable-link-check",
    `--rxq=${queues}`,
    `--txq=${queues}`,
    ...extra,
  ];
}

function ealArguments(vdev: string, cpu: number): string[] {
  return ["--lcores", `0@${1 - cpu},1@${cpu}`, "--no-pci", "-m", "256", `--vdev=${vdev}`];
}

/** testpmd's net_vhost listens at `socket`, where no file may be. With one port, what it receives it sends back. */
export function startBackend(socket: string, options: BackendOptions = {}): Promise<Testpmd> {
  const { queues = 1, cpu = 0 } = options;
  const vdev = `net_vhost0,iface=${socket},queues=${queues}`;
  return Testpmd.start({ eal: ealArguments(vdev, cpu), app: applicationArguments(options) });
}

/** testpmd's net_virtio_user connects to `socket`. */
export function startFrontend(socket: string, options: BackendOptions = {}): Promise<Testpmd> {
  const { queues = 1, cpu = 0, packed = false } = options;
  const ring = `queues=${queues},queue_size=1024,packed_vq=${packed ? 1 : 0}`;
  const vdev = `net_virtio_user0,path=${socket},${ring}`;
  return Testpmd.start({
    eal: [...ealArguments(vdev, cpu), "--single-file-segments"],
    app: applicationArguments(options),
  });
}
