// Capture files for tests: the same packets in every format, byte order and resolution.
import { pcapHeader, pcapRecord } from "../../src/pcap/pcap.ts";
import {
  enhancedPacket,
  interfaceDescription,
  interfaceStatistics,
  sectionHeader,
  simplePacket,
} from "../../src/pcap/pcapng.ts";

export interface TestPacket {
  readonly stampNs: bigint;
  readonly data: Uint8Array;
  readonly length?: number;
}

export interface Flavour {
  readonly name: string;
  /** Nanoseconds that a stamp counts at least. */
  readonly grainNs: bigint;
  write(packets: readonly TestPacket[]): Buffer;
}

const orders = [
  { order: "little-endian", bigEndian: false },
  { order: "big-endian", bigEndian: true },
] as const;

/** Name, if_tsresol, units a second. */
const resolutions = [
  { what: "ns", tsresol: 9, units: 1_000_000_000n },
  { what: "us", tsresol: 6, units: 1_000_000n },
  { what: "s", tsresol: 0, units: 1n },
  { what: "2^-20 s", tsresol: 0x80 | 20, units: 1n << 20n },
  { what: "100 ps", tsresol: 10, units: 10_000_000_000n },
] as const;

/** An option 0x0bad (custom, local), which nobody knows, and a block of type 0x0bad. */
export function unknownBlock(bytes: number, bigEndian: boolean): Buffer {
  const length = 12 + ((bytes + 3) & ~3);
  const block = Buffer.alloc(length, 0x5a);
  const put = (value: number, at: number) =>
    bigEndian ? block.writeUInt32BE(value, at) : block.writeUInt32LE(value, at);
  put(0x0bad, 0);
  put(length, 4);
  put(length, length - 4);
  return block;
}

/** The obsolete Packet Block, which nobody writes any more. */
export function oldPacket(index: number, stamp: bigint, data: Uint8Array, bigEndian: boolean): Buffer {
  const block = enhancedPacket({ interface: 0, stamp, data }, bigEndian);
  if (bigEndian) {
    block.writeUInt32BE(2, 0);
    block.writeUInt16BE(index, 8);
  } else {
    block.writeUInt32LE(2, 0);
    block.writeUInt16LE(index, 8);
  }
  return block;
}

function pcapFlavours(): Flavour[] {
  return orders.flatMap(({ order, bigEndian }) =>
    [false, true].map((micro) => ({
      name: `pcap, ${micro ? "us" : "ns"}, ${order}`,
      grainNs: micro ? 1000n : 1n,
      write: (packets) =>
        Buffer.concat([
          pcapHeader({ micro, bigEndian }),
          ...packets.map(({ stampNs, data, length }) =>
            pcapRecord(stampNs, data, { micro, bigEndian, length }),
          ),
        ]),
    })),
  );
}

function pcapngFlavours(): Flavour[] {
  return orders.flatMap(({ order, bigEndian }) =>
    resolutions.map(({ what, tsresol, units }) => ({
      name: `pcapng, ${what}, ${order}`,
      grainNs: units > 1_000_000_000n ? 1n : (1_000_000_000n + units - 1n) / units,
      write: (packets) =>
        Buffer.concat([
          sectionHeader({ application: "test" }, bigEndian),
          interfaceDescription({ name: "p0", tsresol }, bigEndian),
          ...packets.map(({ stampNs, data, length }) => {
            const stamp = (stampNs * units) / 1_000_000_000n;
            return enhancedPacket({ interface: 0, stamp, data, length, direction: "in" }, bigEndian);
          }),
          interfaceStatistics({ interface: 0, stamp: 0n }, bigEndian),
        ]),
    })),
  );
}

/** Both formats, both byte orders, every resolution. */
export const flavours: readonly Flavour[] = [...pcapFlavours(), ...pcapngFlavours()];

/** Two sections of different byte orders, several interfaces, one of them no Ethernet, blocks of all kinds. */
export function motley(packets: readonly TestPacket[]): Buffer {
  const sections = [false, true].map((bigEndian) => {
    const parts = [
      sectionHeader({ comment: "motley" }, bigEndian),
      unknownBlock(13, bigEndian),
      interfaceDescription({ name: "e0", tsresol: 9, tsoffset: -5n }, bigEndian),
      interfaceDescription({ name: "raw", linkType: 101 }, bigEndian),
      interfaceDescription({ name: "e1", tsresol: 6, tsoffset: 10n }, bigEndian),
    ];
    packets.forEach(({ stampNs, data }, k) => {
      const late = stampNs + 5_000_000_000n;
      const micro = (stampNs - 10_000_000_000n) / 1000n;
      if (k % 4 === 0)
        parts.push(enhancedPacket({ interface: 0, stamp: late, data, comment: "c" }, bigEndian));
      if (k % 4 === 1) parts.push(enhancedPacket({ interface: 2, stamp: micro, data }, bigEndian));
      if (k % 4 === 2) parts.push(simplePacket(data, data.length, bigEndian));
      if (k % 4 === 3) parts.push(oldPacket(2, micro, data, bigEndian));
      if (k % 5 === 0)
        parts.push(enhancedPacket({ interface: 1, stamp: late, data: data.subarray(14) }, bigEndian));
      if (k % 3 === 0)
        parts.push(unknownBlock(k, bigEndian), interfaceStatistics({ interface: 0, stamp: late }, bigEndian));
    });
    return Buffer.concat(parts);
  });
  return Buffer.concat(sections);
}
