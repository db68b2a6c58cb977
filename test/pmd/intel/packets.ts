// Frames with IP, TCP and UDP headers, for checksum offloads.
import { makeFrame } from "../../support/engines.ts";
import { sum16 } from "./nic-model.ts";

export interface Shape {
  ip: 4 | 6;
  l4: "tcp" | "udp";
  /** Bytes of the Ethernet header, and of the IP header. */
  l2: number;
  l3: number;
}

const PROTOCOL = { tcp: 6, udp: 17 };
/** Offset of the checksum in the header. */
const FIELD = { tcp: 16, udp: 6 };

/** The sum of the pseudo header (RFC 793; RFC 8200, 8.1), not inverted. */
function pseudoSum(frame: Uint8Array, shape: Shape): number {
  const { ip, l4, l2, l3 } = shape;
  const length = frame.length - l2 - l3;
  const addresses = ip === 4 ? frame.subarray(l2 + 12, l2 + 20) : frame.subarray(l2 + 8, l2 + 40);
  const rest = new Uint8Array([length >>> 8, length & 255, 0, PROTOCOL[l4]]);
  return sum16(Buffer.concat([addresses, rest]));
}

/**
 * A frame whose L4 checksum field holds the pseudo header's sum and whose IPv4 checksum is 0, as an application does.
 */
export function ipFrame(tag: number, length: number, shape: Shape): Buffer {
  const { ip, l4, l2, l3 } = shape;
  const frame = Buffer.from(makeFrame(tag, length));
  frame.writeUInt16BE(ip === 4 ? 0x0800 : 0x86dd, l2 - 2);
  if (ip === 4) {
    frame[l2] = 0x40 | (l3 / 4);
    frame.writeUInt16BE(length - l2, l2 + 2);
    frame[l2 + 9] = PROTOCOL[l4];
    frame.writeUInt16BE(0, l2 + 10);
  } else {
    frame[l2] = 0x60;
    frame.writeUInt16BE(length - l2 - 40, l2 + 4);
    frame[l2 + 6] = PROTOCOL[l4];
  }
  frame.writeUInt16BE(pseudoSum(frame, shape), l2 + l3 + FIELD[l4]);
  return frame;
}

/** What is wrong with the checksums of a frame on the wire: `ip`, `l4`, both, nothing. */
export function checksumFaults(frame: Buffer, shape: Shape): string[] {
  const { ip, l4, l2, l3 } = shape;
  const faults: string[] = [];
  if (ip === 4 && sum16(frame.subarray(l2, l2 + l3)) !== 0xffff) faults.push("ip");
  const body = sum16(frame.subarray(l2 + l3));
  const sum = body + pseudoSum(frame, shape);
  if ((sum & 0xffff) + (sum >>> 16) !== 0xffff) faults.push("l4");
  if (l4 === "udp" && frame.readUInt16BE(l2 + l3 + 6) === 0) faults.push("a UDP checksum of 0 means none");
  return faults;
}

/** `frame` with its checksum fields emptied, to compare what else is in it. */
export function withoutChecksums(frame: Buffer, shape: Shape): Buffer {
  const copy = Buffer.from(frame);
  if (shape.ip === 4) copy.writeUInt16BE(0, shape.l2 + 10);
  copy.writeUInt16BE(0, shape.l2 + shape.l3 + FIELD[shape.l4]);
  return copy;
}
