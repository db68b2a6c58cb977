// A small pcap file (https://www.tcpdump.org/manpages/pcap-savefile.5.html) of frames of known kinds.
import { writeFileSync } from "node:fs";
import { frame } from "./network.ts";

const ipv4 = (protocol: number, bytes: number) => [
  ...[0x08, 0x00, 0x45, 0, 0, 20 + bytes, 0, 0, 0, 0, 64, protocol, 0, 0],
  ...[10, 0, 0, 1, 10, 0, 0, 2],
];
const udp = (source: number, destination: number) => [
  source >> 8,
  source & 255,
  destination >> 8,
  destination & 255,
  0,
  8,
  0,
  0,
];
const tcp = [0, 80, 4, 0, ...new Array(8).fill(0), 0x50, 0x12, 1, 0, 0, 0, 0, 0];
const arp = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
const address = (last: number) => [0x20, 0x01, 0x0d, 0xb8, ...new Array(11).fill(0), last];

const payloads = [
  [...ipv4(17, 8), ...udp(40000, 53)],
  arp,
  [0x81, 0, 0, 5, ...ipv4(6, 20), ...tcp],
  [0x88, 0xb5],
];

function ipv6Frame(): Uint8Array {
  const head = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 17, 64, ...address(1), ...address(2)];
  const datagram = [0, 1, 0, 2, 0, 20, 0, 0, ...new Array(12).fill(7)];
  return Uint8Array.of(...frame(2 * 2 ** 40 + 2, 2 * 2 ** 40 + 1).subarray(0, 12), ...head, ...datagram);
}

/** Writes the file; the frames in it. */
export function captureFile(path: string): Uint8Array[] {
  const frames = payloads.map((payload) => frame(2 * 2 ** 40 + 2, 2 * 2 ** 40 + 1, payload));
  frames.splice(3, 0, ipv6Frame());
  const header = new Uint8Array(new Uint32Array([0xa1b2c3d4, 0x0004_0002, 0, 0, 65535, 1]).buffer);
  const records = frames.map((bytes, k) =>
    Buffer.concat([new Uint8Array(new Uint32Array([k, 0, bytes.length, bytes.length]).buffer), bytes]),
  );
  writeFileSync(path, Buffer.concat([header, ...records]));
  return frames;
}
