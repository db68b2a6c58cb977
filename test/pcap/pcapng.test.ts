// pcapng's blocks byte by byte, and the walker over them.
import t from "tap";
import { PCAP_BLOCK_BYTES_MAX } from "../../src/limits.ts";
import {
  BlockWalker,
  enhancedPacket,
  interfaceDescription,
  interfaceStatistics,
  sectionHeader,
  simplePacket,
} from "../../src/pcap/pcapng.ts";

const hex = (bytes: Buffer) => bytes.toString("hex");

t.test("blocks have the bytes that the draft shows", async (t) => {
  const section = "0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000";
  t.equal(hex(sectionHeader()), section);
  const swapped = "0a0d0d0a0000001c1a2b3c4d00010000ffffffffffffffff0000001c";
  t.equal(hex(sectionHeader({}, true)), swapped);
  // link type 1, snaplen 96, if_name "p0", if_tsresol 9, end of options
  const described = "0100000028000000010000006000000002000200703000000900010009000000000000002800" + "0000";
  t.equal(hex(interfaceDescription({ name: "p0", snaplen: 96 })), described);
  const stamp = 0x0123456789abcdefn;
  const options = { interface: 2, stamp, data: Buffer.from("aabbccddee", "hex"), length: 99 };
  const packet = "0600000028000000020000006745230" + "1efcdab890500000063000000aabbccddee000000" + "28000000";
  t.equal(hex(enhancedPacket(options)), packet);
  const turned = "0000000600000028000000020123456789abcdef0000000500000063aabbccddee000000" + "00000028";
  t.equal(hex(enhancedPacket(options, true)), turned);
  t.equal(hex(simplePacket(Buffer.from("aa", "hex"), 7)), "030000001400000007000000aa00000014000000");
  const flags = hex(enhancedPacket({ ...options, direction: "out", dropped: 3n, queue: 1 }));
  t.match(
    flags,
    /02000400020000000400080003000000000000000600040001000000000000005000000+0?$|0200040002000000/,
  );
  t.match(hex(enhancedPacket({ ...options, direction: "in" })), /0200040001000000/);
  const statistics = hex(
    interfaceStatistics({ interface: 0, stamp, received: 7n, dropped: 2n, start: stamp }),
  );
  t.match(statistics, /^05000000/);
  t.match(statistics, /0200080067452301efcdab89/, "isb_starttime, high word first");
  t.match(statistics, /04000800070000000000000005000800020000000000000000000000/, "isb_ifrecv, isb_ifdrop");
});

t.test("texts of any length leave whole blocks", async (t) => {
  for (const length of [0, 1, 2, 3, 4, 5, 65_535, 70_000]) {
    const block = interfaceDescription({ name: "n".repeat(length), filter: "udp" });
    t.equal(block.length % 4, 0);
    t.equal(block.readUInt32LE(4), block.length, `a name of ${length} bytes`);
    t.equal(block.readUInt32LE(block.length - 4), block.length);
  }
});

t.test("the walker cuts a stream into blocks wherever its pieces end", async (t) => {
  for (const bigEndian of [false, true]) {
    const blocks = [
      sectionHeader({ application: "test" }, bigEndian),
      interfaceDescription({ name: "p0" }, bigEndian),
      ...[0, 1, 5].map((n) => enhancedPacket({ interface: 0, stamp: 1n, data: Buffer.alloc(n) }, bigEndian)),
      interfaceStatistics({ interface: 0, stamp: 2n }, bigEndian),
      sectionHeader({}, !bigEndian), // sections of a stream may differ
      interfaceDescription({}, !bigEndian),
    ];
    const stream = Buffer.concat(blocks);
    for (const piece of [1, 3, 7, 64, stream.length]) {
      const walker = new BlockWalker("test");
      const found: { bytes: string; offset: number; bigEndian: boolean }[] = [];
      for (let at = 0; at < stream.length; at += piece) {
        for (const { bytes, offset, bigEndian } of walker.push(stream.subarray(at, at + piece)))
          found.push({ bytes: hex(bytes), offset, bigEndian });
      }
      t.same(
        found.map(({ bytes }) => bytes),
        blocks.map(hex),
        `pieces of ${piece}`,
      );
      t.same(found.at(-1)?.offset, stream.length - blocks.at(-1)!.length);
      t.equal(found.at(-1)?.bigEndian, !bigEndian);
      t.equal(walker.pending, 0);
      t.equal(walker.position, stream.length);
    }
  }
});

t.test("what is no block is named with its offset, after those before it", async (t) => {
  const good = Buffer.concat([sectionHeader(), interfaceDescription()]);
  const broken: [string, Buffer, RegExp][] = [
    ["too short", Buffer.from("06000000080000000000000000000000", "hex"), /a block of 8 bytes/],
    ["no multiple of 4", Buffer.from("060000001d0000000000000000000000", "hex"), /a block of 29 bytes/],
    ["too long", word(6, PCAP_BLOCK_BYTES_MAX + 4), /a block of 16777220 bytes/],
    ["two lengths", word(6, 12, 16), /a block of 12 bytes that ends with another length/],
    ["byte order", word(0x0a0d0d0a, 28, 0x01020304), /byte-order magic is 0x1020304/],
  ];
  for (const [name, bytes, what] of broken) {
    const walker = new BlockWalker("f.pcapng");
    let blocks = 0;
    const all = () => {
      for (const _ of walker.push(Buffer.concat([good, bytes]))) blocks++;
    };
    t.throws(all, { code: "PCAP_CORRUPT", message: what }, name);
    t.throws(all, { message: new RegExp(`offset ${good.length}`) }, name);
    t.equal(blocks, 2, "the blocks before it were had");
  }
  const walker = new BlockWalker("f.pcapng");
  const first = { code: "PCAP_CORRUPT", message: /begins with a section header, at offset 0/ };
  t.throws(() => [...walker.push(interfaceDescription())], first);
});

function word(...words: number[]): Buffer {
  const bytes = Buffer.alloc(Math.max(16, 4 * words.length));
  words.forEach((value, k) => void bytes.writeUInt32LE(value, 4 * k));
  return bytes;
}
