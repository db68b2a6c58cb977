// Arguments of net_mlx5 and net_rdma. Queue sizes, `host-if` and `mode` are spelled as in VPP's `create interface rdma`
// (src/plugins/rdma/cli.c), what the NIC is told of as in DPDK's mlx5 guide (doc/guides/nics/mlx5.rst).
import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import { PollmodeError } from "../../src/errors.ts";
import { QUEUES_MAX, RING_SIZE_DEFAULT, RING_SIZE_MAX, RING_SIZE_MIN } from "../../src/limits.ts";

const modes = ["auto", "dv", "ibv"] as const;
/** dv: rings and doorbells are touched by our own code; ibv: by libibverbs' calls; auto: dv where the NIC has it. */
export type ModeChoice = (typeof modes)[number];

/** A port by its kernel interface, its RDMA device or its PCI address. */
export interface RdmaName {
  readonly netdev?: string;
  readonly ibdev?: string;
  readonly pci?: string;
}

export interface Mlx5Arguments {
  readonly who: RdmaName;
  readonly mode: ModeChoice;
  /** Descriptors where configure() names none. */
  readonly rxSize: number;
  readonly txSize: number;
  readonly rxQueuesMax: number;
  /** The address that the port takes frames by. undefined: the kernel interface's. */
  readonly mac: Uint8Array | undefined;
  /** Multi-packet (striding) receive queues. */
  readonly striding: boolean;
  /** Completions of received frames are compressed, where the NIC can. */
  readonly compression: boolean;
  /** Multi-packet send (eMPW), where the NIC has it. */
  readonly multiPacketSend: boolean;
  /** Bytes of each frame that are to stand in its WQE; undefined: what the NIC needs. */
  readonly inlineMin: number | undefined;
}

export const mlx5Usage =
  "mode=auto|dv|ibv,rx-queue-size=1024,tx-queue-size=1024,num-rx-queues=16,mac=ADDRESS," +
  "mprq_en=0|1,rxq_cqe_comp_en=0|1,txq_mpw_en=0|1,txq_inline_min=BYTES";

/** The largest Ethernet header that a NIC wants to see in the WQE is 18 bytes; more is for experiments. */
const INLINE_MAX = 128;

/** What is about rings that libibverbs' calls keep to themselves. */
const DV_ALONE = ["mprq_en", "rxq_cqe_comp_en", "txq_mpw_en", "txq_inline_min"];

/** Errors: DEVARGS_…. */
export function readArguments(devargs: Devargs): Mlx5Arguments {
  const reader = new DevargsReader(devargs);
  const who = devargs.bus === "pci" ? { pci: devargs.name } : readName(reader, devargs.name);
  const size = { default: RING_SIZE_DEFAULT, min: RING_SIZE_MIN, max: RING_SIZE_MAX };
  const inline = devargs.args.has("txq_inline_min");
  const values = {
    who,
    mode: reader.oneOf("mode", modes, { default: "auto" }),
    rxSize: reader.powerOfTwo("rx-queue-size", size),
    txSize: reader.powerOfTwo("tx-queue-size", size),
    rxQueuesMax: reader.integer("num-rx-queues", { default: QUEUES_MAX, min: 1, max: QUEUES_MAX }),
    mac: reader.mac("mac"),
    striding: reader.flag01("mprq_en", { default: false }),
    compression: reader.flag01("rxq_cqe_comp_en", { default: true }),
    multiPacketSend: reader.flag01("txq_mpw_en", { default: true }),
    inlineMin: reader.integer("txq_inline_min", { default: 0, min: 0, max: INLINE_MAX }),
  };
  reader.end();
  if (values.mode === "ibv") refuseRings(devargs);
  return { ...values, inlineMin: inline ? values.inlineMin : undefined };
}

function refuseRings({ name, args }: Devargs): void {
  const key = DV_ALONE.find((one) => args.has(one) && args.get(one) !== "0");
  if (key === undefined) return;
  const message = `${name}: ${key}=${args.get(key)}, but with mode=ibv libibverbs has the rings`;
  throw new PollmodeError("DEVARGS_VALUE", message, `leave ${key} out, or take mode=dv`);
}

function readName(reader: DevargsReader, port: string): RdmaName {
  const netdev = reader.string("host-if");
  const ibdev = reader.string("ibdev");
  const pci = reader.string("pci");
  const given = [netdev, ibdev, pci].filter((name) => name !== undefined);
  if (given.length === 1) {
    return { ...(netdev ? { netdev } : {}), ...(ibdev ? { ibdev } : {}), ...(pci ? { pci } : {}) };
  }
  const message = `${port}: ${given.length === 0 ? "no device is named" : `${given.join(" and ")} are both named`}`;
  const fix = `give one of host-if=, ibdev= and pci=: ${port},host-if=enp3s0f0`;
  throw new PollmodeError(given.length === 0 ? "DEVARGS_MISSING" : "DEVARGS_VALUE", message, fix);
}
