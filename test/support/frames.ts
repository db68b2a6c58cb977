// Frames made byte by byte, with checksums of their own making: nothing here is shared with the code under test.
const MAC = Buffer.from("0a1b2c3d4e5f", "hex");
const PEER = Buffer.from("020304050607", "hex");

export interface FrameOptions {
  /** 802.1Q and 802.1ad tags: type and TCI of each. */
  tags?: readonly (readonly [type: number, tci: number])[];
  destination?: Uint8Array;
  source?: Uint8Array;
  /** Bytes behind the IP packet. */
  padding?: number;
}

export interface Ipv4Options extends FrameOptions {
  from?: readonly number[];
  to?: readonly number[];
  /** Bytes of options, a multiple of 4. */
  options?: number;
  /** Flags and fragment offset. */
  fragment?: number;
}

/** The one's-complement sum of big-endian words (RFC 1071): 0xffff over data with a right checksum. */
export function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let k = 0; k < bytes.length; k += 2) total += (bytes[k]! << 8) | (bytes[k + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

export function ethernet(type: number, body: Uint8Array, options: FrameOptions = {}): Buffer {
  const { tags = [], destination = MAC, source = PEER, padding = 0 } = options;
  const words = [...tags.flat(), type];
  const header = Buffer.alloc(12 + 2 * words.length);
  header.set(destination, 0);
  header.set(source, 6);
  words.forEach((word, k) => {
    header.writeUInt16BE(word, 12 + 2 * k);
  });
  return Buffer.concat([header, body, Buffer.alloc(padding)]);
}

export function ipv4(protocol: number, payload: Uint8Array, options: Ipv4Options = {}): Buffer {
  const { from = [10, 0, 0, 1], to = [10, 0, 0, 2], options: extra = 0, fragment = 0 } = options;
  const header = Buffer.alloc(20 + extra, 1);
  header.set([0x45 + extra / 4, 0], 0);
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt16BE(0x1234, 4);
  header.writeUInt16BE(fragment, 6);
  header.set([64, protocol, 0, 0, ...from, ...to], 8);
  header.writeUInt16BE(~sum(header) & 0xffff, 10);
  return ethernet(0x0800, Buffer.concat([header, payload]), options);
}

const V6_FROM = Buffer.from("20010db8000000000000000000000001", "hex");
const V6_TO = Buffer.from("20010db80000000000000000abcdef02", "hex");

export function ipv6(next: number, payload: Uint8Array, options: FrameOptions = {}): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32BE(0x60000000, 0);
  header.writeUInt16BE(payload.length, 4);
  header.set([next, 64], 6);
  header.set(V6_FROM, 8);
  header.set(V6_TO, 24);
  return ethernet(0x86dd, Buffer.concat([header, payload]), options);
}

function pseudo(addresses: Uint8Array, protocol: number, bytes: number): Buffer {
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(protocol, 0);
  tail.writeUInt16BE(bytes, 2);
  return Buffer.concat([addresses, tail]);
}

interface Flow {
  v6?: boolean;
  from?: readonly number[];
  to?: readonly number[];
  /** Destination of a UDP datagram, by default 53. */
  port?: number;
}

function addressesOf({ v6, from = [10, 0, 0, 1], to = [10, 0, 0, 2] }: Flow): Uint8Array {
  return v6 ? Buffer.concat([V6_FROM, V6_TO]) : Buffer.from([...from, ...to]);
}

/** A UDP datagram from port 4097, its checksum over these addresses. */
export function udp(payload: Uint8Array, flow: Flow = {}): Buffer {
  const datagram = Buffer.alloc(8 + payload.length);
  datagram.writeUInt16BE(4097, 0);
  datagram.writeUInt16BE(flow.port ?? 53, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  datagram.set(payload, 8);
  const found = ~sum(Buffer.concat([pseudo(addressesOf(flow), 17, datagram.length), datagram])) & 0xffff;
  datagram.writeUInt16BE(found === 0 ? 0xffff : found, 6);
  return datagram;
}

/** A TCP segment from port 4097 to 80. */
export function tcp(payload: Uint8Array, flow: Flow = {}): Buffer {
  const segment = Buffer.alloc(20 + payload.length);
  segment.writeUInt16BE(4097, 0);
  segment.writeUInt16BE(80, 2);
  segment.writeUInt32BE(0x01020304, 4);
  segment.writeUInt32BE(0x05060708, 8);
  segment.set([0x50, 0x18, 0x20, 0], 12);
  segment.set(payload, 20);
  segment.writeUInt16BE(
    ~sum(Buffer.concat([pseudo(addressesOf(flow), 6, segment.length), segment])) & 0xffff,
    16,
  );
  return segment;
}

export function icmpEcho(payload: Uint8Array, type = 8, code = 0): Buffer {
  const message = Buffer.concat([Buffer.from([type, code, 0, 0, 0x12, 0x34, 0, 1]), payload]);
  message.writeUInt16BE(~sum(message) & 0xffff, 2);
  return message;
}

/** An ARP request of 10.0.0.1 for 10.0.0.2, or another operation. */
export function arp(operation = 1, options: FrameOptions = {}): Buffer {
  const body = Buffer.from(`0001080006040000${PEER.toString("hex")}0a000001${"00".repeat(6)}0a000002`, "hex");
  body.writeUInt16BE(operation, 6);
  return ethernet(0x0806, body, { destination: Buffer.alloc(6, 0xff), ...options });
}
