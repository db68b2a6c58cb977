// IP packets as they are on the wire, complete with checksums; and what a hash is taken over.

import { sum16 } from "../../pmd/intel/nic-model.ts";
import { ipFrame, type Shape } from "../../pmd/intel/packets.ts";

export type PacketKind = "tcp" | "udp" | "other";

export interface PacketSpec {
  readonly ip: 4 | 6;
  readonly kind: PacketKind;
  readonly to: Uint8Array;
  readonly from: Uint8Array;
  /** Addresses, ports and payload differ by it. */
  readonly tag: number;
  readonly bytes?: number;
  /** Bytes of IPv4 options, a multiple of 4. */
  readonly optionBytes?: number;
}

/** A protocol without ports (RFC 3692). */
const EXPERIMENTAL = 253;
const CHECKSUM_AT = { tcp: 16, udp: 6 };
const NO_OPERATION = 1;

export function shapeOf({ ip, kind, optionBytes = 0 }: PacketSpec): Shape {
  return { ip, l4: kind === "udp" ? "udp" : "tcp", l2: 14, l3: ip === 4 ? 20 + optionBytes : 40 };
}

/** As an application gives it to a port with txChecksum: the pseudo header's sum where the checksum will be. */
export function unfinished(spec: PacketSpec): Buffer {
  const shape = shapeOf(spec);
  const frame = ipFrame(spec.tag, spec.bytes ?? 120, shape);
  frame.set([...spec.to, ...spec.from]);
  const l4 = shape.l2 + shape.l3;
  if (spec.ip === 4) {
    frame.writeUInt16BE(0, shape.l2 + 6); // no fragment
    frame.fill(NO_OPERATION, shape.l2 + 20, l4);
  }
  if (spec.kind === "tcp") frame[l4 + 12] = 0x50;
  if (spec.kind === "udp") frame.writeUInt16BE(frame.length - l4, l4 + 4);
  if (spec.kind === "other") frame[shape.l2 + (spec.ip === 4 ? 9 : 6)] = EXPERIMENTAL;
  return frame;
}

/** With its checksums. */
export function finished(spec: PacketSpec): Buffer {
  const frame = unfinished(spec);
  const { l2, l3 } = shapeOf(spec);
  if (spec.ip === 4) frame.writeUInt16BE(~sum16(frame.subarray(l2, l2 + l3)) & 0xffff, l2 + 10);
  if (spec.kind === "other") return frame;
  const sum = ~sum16(frame.subarray(l2 + l3)) & 0xffff;
  frame.writeUInt16BE(sum === 0 ? 0xffff : sum, l2 + l3 + CHECKSUM_AT[spec.kind]);
  return frame;
}

/** Source, destination, and the ports. */
export function hashedBytes(frame: Buffer, spec: PacketSpec, withPorts: boolean): Uint8Array {
  const { l2, l3 } = shapeOf(spec);
  const addresses = spec.ip === 4 ? frame.subarray(l2 + 12, l2 + 20) : frame.subarray(l2 + 8, l2 + 40);
  return Buffer.concat([addresses, frame.subarray(l2 + l3, l2 + l3 + (withPorts ? 4 : 0))]);
}
