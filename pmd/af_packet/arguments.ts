// Arguments of net_af_packet, as DPDK's: doc/guides/nics/af_packet.rst. Sizes are those of packet(7)'s struct
// tpacket_req, checked as packet_set_ring() of the kernel does, so that a wrong one is named before it is tried.
import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import { PollmodeError } from "../../src/errors.ts";
import { KIB, MIB, PAGE_BYTES, QUEUES_MAX } from "../../src/limits.ts";
import { alignUp } from "../../src/memory/ranges.ts";

/** linux/if_packet.h, PACKET_FANOUT_*, in their order. */
export const fanoutModes = ["hash", "lb", "cpu", "rollover", "rnd", "qm"] as const;
export type FanoutMode = (typeof fanoutModes)[number];

/** Bytes of a slot before its frame: tpacket2_hdr, sockaddr_ll, virtio_net_hdr, alignment. Receive needs most. */
export const SLOT_META_BYTES = 80;
/** Ethernet header and a VLAN tag, which the MTU does not count. */
export const FRAME_HEADER_BYTES = 18;
const FRAME_BYTES_DEFAULT = 2048;
const FRAME_BYTES_MAX = 64 * KIB;
const FRAME_COUNT_DEFAULT = 512;
/** TPACKET_ALIGNMENT. */
const ALIGNMENT = 16;

export interface AfPacketArguments {
  readonly iface: string;
  readonly queuePairs: number;
  /** undefined: not given, so as large as the interface's MTU asks for. */
  readonly blockBytes: number | undefined;
  readonly frameBytes: number | undefined;
  readonly frameCount: number;
  readonly qdiscBypass: boolean;
  readonly fanout: FanoutMode;
  readonly rollover: boolean;
  readonly defrag: boolean;
  /** Receive what this machine sends by the interface, too (not in DPDK; net_pcap's rx_iface needs it). */
  readonly outgoing: boolean;
}

export function readArguments(devargs: Devargs): AfPacketArguments {
  const reader = new DevargsReader(devargs);
  const given = (key: string, bounds: { min: number; max: number }) => {
    return devargs.args.has(key) ? reader.integer(key, bounds) : void reader.string(key);
  };
  const values = {
    iface: reader.string("iface", { required: true }),
    queuePairs: reader.integer("qpairs", { default: 1, min: 1, max: QUEUES_MAX }),
    blockBytes: given("blocksz", { min: PAGE_BYTES, max: 4 * MIB }),
    frameBytes: given("framesz", { min: 128, max: FRAME_BYTES_MAX }),
    frameCount: reader.integer("framecnt", { default: FRAME_COUNT_DEFAULT, min: 2, max: 1 << 20 }),
    qdiscBypass: reader.flag01("qdisc_bypass", { default: false }),
    fanout: reader.oneOf("fanout_mode", fanoutModes, { default: "hash" }),
    rollover: reader.flag01("rollover", { default: false }),
    defrag: reader.flag01("defrag", { default: false }),
    outgoing: reader.flag01("outgoing", { default: false }),
  };
  reader.end();
  const { blockBytes, frameBytes } = values;
  const wrong = (text: string, fix: string) => {
    return new PollmodeError("DEVARGS_VALUE", `${devargs.name}: ${text}`, fix);
  };
  if (blockBytes !== undefined && blockBytes % PAGE_BYTES !== 0) {
    const near = alignUp(blockBytes, PAGE_BYTES);
    throw wrong(`blocksz="${blockBytes}" is no multiple of ${PAGE_BYTES}, a page`, `give blocksz=${near}`);
  }
  if (frameBytes !== undefined && frameBytes % ALIGNMENT !== 0) {
    const near = alignUp(frameBytes, ALIGNMENT);
    throw wrong(`framesz="${frameBytes}" is no multiple of ${ALIGNMENT}`, `give framesz=${near}`);
  }
  if (blockBytes !== undefined && (frameBytes ?? 0) > blockBytes) {
    const near = alignUp(frameBytes!, PAGE_BYTES);
    throw wrong(
      `a frame of framesz=${frameBytes} does not fit a block of ${blockBytes}`,
      `give blocksz=${near}`,
    );
  }
  return values;
}

/** struct tpacket_req. */
export interface RingShape {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly frameBytes: number;
  readonly frames: number;
}

/** The rings of a port whose interface has this MTU. */
export function ringShape({ blockBytes, frameBytes, frameCount }: AfPacketArguments, mtu: number): RingShape {
  const needed = alignUp(mtu + FRAME_HEADER_BYTES + SLOT_META_BYTES, ALIGNMENT);
  const roomy = Math.min(Math.max(FRAME_BYTES_DEFAULT, needed), blockBytes ?? FRAME_BYTES_MAX);
  const frame = frameBytes ?? roomy;
  const block = blockBytes ?? alignUp(frame, PAGE_BYTES);
  const each = Math.floor(block / frame);
  const blocks = Math.ceil(frameCount / each);
  return { blockBytes: block, blocks, frameBytes: frame, frames: blocks * each };
}
