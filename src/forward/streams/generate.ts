// What txonly and flowgen send: a template of Ethernet, IPv4 and UDP headers, and how it is cut into segments.
import { PollmodeError } from "../../errors.ts";
import { SEGMENTS_EXTRA } from "../../limits.ts";
import { Generate } from "../generate.ts";
import { Stamp } from "../stamp.ts";
import type { StreamBlock } from "./block.ts";
import { bound, checkPeer, peerOf, type StreamOptions } from "./spec.ts";

const HEADER_BYTES = 42;
const CRC_BYTES = 4;
const FLOWS_DEFAULT = 1024;
const ADDRESSES = [198, 18, 0, 1, 198, 18, 0, 2]; // RFC 2544: for measuring
const DISCARD = 9; // RFC 863
/** flowgen's addresses, as testpmd's: 10.254.0.0 to 10.253.0.0 + flow, ports 1000 to 1001. */
const FLOW_ADDRESSES = [10, 254, 0, 0, 10, 253, 0, 0];
const FLOW_SOURCE = [0x00, 0x01, 0x02, 0x03, 0x04, 0x00];
const FLOW_DESTINATION = [0x00, 0x01, 0x02, 0x03, 0x04, 0x01];

interface Template {
  destination: ArrayLike<number>;
  source: ArrayLike<number>;
  /** IPv4 source and destination. */
  addresses: readonly number[];
  ports: readonly [number, number];
  frameBytes: number;
}

/** testpmd's txonly frame: to `peer` from `mac`, IPv4 198.18.0.1 to 198.18.0.2, UDP 9 to 9, zeros. */
export function udpTemplate(
  mac: Uint8Array,
  frameBytes: number,
  peer: ArrayLike<number> = [2, 0, 0, 0, 0, 0],
): Uint8Array {
  return template({
    destination: peer,
    source: mac,
    addresses: ADDRESSES,
    ports: [DISCARD, DISCARD],
    frameBytes,
  });
}

/** The first TEMPLATE_BYTES bytes. No UDP checksum. */
function template({ destination, source, addresses, ports, frameBytes }: Template): Uint8Array {
  const frame = Buffer.alloc(Generate.TEMPLATE_BYTES);
  frame.set(destination, 0);
  frame.set(source, 6);
  frame.set([8, 0, 0x45, 0], 12);
  frame.writeUInt16BE(frameBytes - 14, 16);
  frame.set([64, 17], 22);
  frame.set(addresses, 26);
  frame.writeUInt16BE(ports[0], 34);
  frame.writeUInt16BE(ports[1], 36);
  frame.writeUInt16BE(frameBytes - 34, 38);
  const sum = sumWords(frame, 14, 34);
  frame.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 24);
  return new Uint8Array(frame);
}

function sumWords(bytes: Buffer, from: number, to: number): number {
  let sum = 0;
  for (let k = from; k < to; k += 2) sum += bytes.readUInt16BE(k);
  return sum;
}

/** Bytes of each segment of a frame: as asked, or as many full mbufs as it takes. */
function segmentsOf(options: StreamOptions, dataRoom: number, isFlowgen: boolean): readonly number[] {
  const { frameBytes, txpkts } = options;
  if (txpkts && !isFlowgen) return txpkts;
  const flowBytes = (txpkts?.reduce((sum, bytes) => sum + bytes, 0) ?? 64) - CRC_BYTES;
  const total = frameBytes ?? (isFlowgen ? flowBytes : 64);
  const count = Math.ceil(total / dataRoom);
  return Array.from({ length: count }, (_, k) => Math.min(dataRoom, total - k * dataRoom));
}

export function checkGenerate(options: StreamOptions, dataRoom: number, isFlowgen: boolean): void {
  const { frameBytes, txpkts, flows, multiFlow, stamp, tx } = options;
  checkPeer(options);
  const most = tx!.port.info.frameBytesMax;
  if (frameBytes !== undefined && txpkts !== undefined) {
    const message = "frameBytes and txpkts both say how long frames are";
    throw new PollmodeError("FORWARD_OPTION", message, "give one of them");
  }
  if (frameBytes !== undefined) bound("frame size", frameBytes, 60, most);
  if (txpkts) {
    bound("txpkts: number of segments", txpkts.length, 1, SEGMENTS_EXTRA);
    for (const bytes of txpkts) bound("txpkts: a segment of", bytes, 1, dataRoom);
  }
  const segments = segmentsOf(options, dataRoom, isFlowgen);
  const total = segments.reduce((sum, bytes) => sum + bytes, 0);
  bound("txpkts: frame size", total, stamp ? Stamp.OFFSET + Stamp.BYTES : HEADER_BYTES, most);
  if (multiFlow && !isFlowgen)
    bound("txonly with many flows: a first segment of", segments[0]!, HEADER_BYTES, dataRoom);
  if (flows !== undefined) bound("number of flows", flows, 1, 0x7fffffff);
}

function fillIn(
  block: StreamBlock,
  options: StreamOptions,
  frame: Uint8Array,
  segments: readonly number[],
): void {
  const lengths = new Uint8Array(Uint32Array.from(segments).buffer);
  block.set(Generate.TEMPLATE, block.keep("frame", frame, Generate.TEMPLATE_BYTES + Stamp.BYTES));
  block.set(Generate.LENGTHS, block.keep("segment lengths", lengths));
  block.set(Generate.SEGMENTS, segments.length);
  block.set(
    Generate.SIZE,
    segments.reduce((sum, bytes) => sum + bytes, 0),
  );
  block.set(Generate.STAMP, options.stamp ? 1 : 0);
}

export function prepareTxOnly(block: StreamBlock, options: StreamOptions): void {
  const { port } = options.tx!;
  const segments = segmentsOf(options, block.dataRoom, false);
  const total = segments.reduce((sum, bytes) => sum + bytes, 0);
  const frame = udpTemplate(port.mac, total, peerOf(options, port));
  fillIn(block, options, frame, segments);
  block.set(Generate.FLOWS, options.multiFlow ? 1 : 0);
  block.set(Generate.IP_SUM, sumWithout(frame, 26));
  block.set(Generate.LCORE, block.lcore.id);
}

export function prepareFlowgen(block: StreamBlock, options: StreamOptions): void {
  const segments = segmentsOf(options, block.dataRoom, true);
  const frame = template({
    destination: options.ethPeer ?? FLOW_DESTINATION,
    source: FLOW_SOURCE,
    addresses: FLOW_ADDRESSES,
    ports: [1000, 1001],
    frameBytes: segments.reduce((sum, bytes) => sum + bytes, 0),
  });
  fillIn(block, options, frame, segments);
  block.set(Generate.FLOWS, options.flows ?? FLOWS_DEFAULT);
  block.set(Generate.IP_SUM, sumWithout(frame, 30));
}

/** The sum of the IPv4 header's words but the checksum and the address at `address`. */
function sumWithout(frame: Uint8Array, address: number): number {
  const bytes = Buffer.from(frame);
  return sumWords(bytes, 14, 34) - bytes.readUInt16BE(24) - sumWords(bytes, address, address + 4);
}
