// What the device says of itself, and what is refused before the kernel is asked.
import { RdmaContext } from "../../../../src/bus/rdma/context.ts";
import { listRdmaDevices } from "../../../../src/bus/rdma/devices.ts";
import { Bench } from "./device.ts";
import { errorOf, errorsOf } from "./failures.ts";

export function limits() {
  const devices = listRdmaDevices();
  const bench = new Bench();
  const { context } = bench;
  const pd = context.allocPd();
  const cq = context.createCq({ entries: 64 });
  const queue = { pd, cq, wrs: 64, sges: 1 };
  const wq = context.createWq(queue);
  const table = context.createIndirection([wq]);
  const qp = context.createHashQp({ pd, table, key: new Uint8Array(40), fields: 0 });
  const striding = { logStrideBytes: 6, logStrides: 30, twoByteShift: false };
  const refusals = errorsOf({
    entries: () => context.createCq({ entries: context.limits.maxCqe + 1 }),
    noEntries: () => context.createCq({ entries: 0 }),
    wqes: () => context.createSendQp({ pd, cq, wqes: 1 << 30, sges: 1 }),
    wrs: () => context.createWq({ ...queue, wrs: 1.5 }),
    sges: () => context.createWq({ ...queue, sges: 1000 }),
    strides: () => context.createWq({ ...queue, striding }),
    table: () => context.createIndirection([wq, wq, wq]),
    key: () => context.createHashQp({ pd, table, key: new Uint8Array(52), fields: 0 }),
    fields: () => context.createHashQp({ pd, table, key: new Uint8Array(40), fields: 1 << 30 }),
    tag: () => context.createFlow(qp, { priority: 0, tag: 1 << 24 }),
    priority: () => context.createFlow(qp, { priority: -1 }),
    default: () => {
      const specs = [{ kind: "ipv4", value: {} }] as const;
      return context.createFlow(qp, { priority: 0, type: "all-default", specs });
    },
    allocator: () =>
      context.useAllocator(
        () => 0,
        () => {},
        0n,
      ),
  });
  const found = { limits: context.limits, dv: context.dv, port: context.queryPort(), refusals };
  const left = bench.close();
  const { vendor: _, ...rest } = devices[0]!;
  return {
    devices: devices.map(({ ibdev, pci, netdevs }) => ({ ibdev, pci, netdevs })),
    ...found,
    left,
    closed: errorOf(() => context.createCq({ entries: 64 })),
    stranger: stranger({ ...rest, vendor: 0x1d0f }),
    unknown: errorOf(() => RdmaContext.open({ ...devices[0]!, ibdev: "mlx5_9" }, "port 9")),
  };
}

/** A device that is taken for no mlx5: verbs work, direct verbs are refused. */
function stranger(info: Parameters<typeof RdmaContext.open>[0]) {
  const context = RdmaContext.open(info, "port 0");
  const none = () => 0;
  const allocator = errorOf(() => context.useAllocator(none, none, 0n)).code;
  const cq = context.createCq({ entries: 64 });
  const errors = errorsOf({
    place: () => context.dvCq(cq),
    compression: () => context.createCq({ entries: 64, compression: "hash" }),
    rule: () => context.createDvFlow({ priority: 0, specs: [], action: "drop" }),
  });
  return { dv: context.dv === undefined, allocator, errors, entries: cq.entries, left: context.close() };
}
