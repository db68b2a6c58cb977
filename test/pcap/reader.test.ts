// What was written is read, in every format, byte order and resolution; what is cut short or broken is named.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { pcapHeader } from "../../src/pcap/pcap.ts";
import { type CapturedPacket, PacketReader, readPackets } from "../../src/pcap/reader.ts";
import { makeFrame } from "../support/engines.ts";
import { flavours, motley, type TestPacket } from "./captures.ts";

const packets: TestPacket[] = [60, 14, 61, 62, 63, 1514, 0].map((length, k) => ({
  stampNs: 1_700_000_000_123_456_789n + BigInt(k) * 1_000_000_001n,
  data: makeFrame(k, length),
  length: k === 5 ? 9000 : length,
}));

function readAll(bytes: Buffer, piece = bytes.length): CapturedPacket[] {
  const reader = new PacketReader("test");
  const found: CapturedPacket[] = [];
  for (let at = 0; at < bytes.length; at += piece) {
    for (const packet of reader.push(bytes.subarray(at, at + piece)))
      found.push({ ...packet, data: Buffer.from(packet.data) });
  }
  reader.end();
  return found;
}

for (const { name, grainNs, write } of flavours) {
  t.test(name, async (t) => {
    const bytes = write(packets);
    for (const piece of [1, 5, bytes.length]) {
      const found = readAll(bytes, piece);
      t.equal(found.length, packets.length);
      found.forEach((packet, k) => {
        const { stampNs, data, length } = packets[k]!;
        t.equal(Buffer.compare(packet.data, data), 0, `packet ${k}`);
        t.equal(packet.length, length);
        t.equal(packet.linkType, 1);
        const late = stampNs - packet.stampNs!;
        t.ok(late >= 0n && late < grainNs, `stamped to ${grainNs} ns, ${late} off`);
      });
      if (name.startsWith("pcapng")) t.equal(found[0]?.direction, "in");
    }
  });
}

t.test("sections of both byte orders, several interfaces, old and simple packets", async (t) => {
  const many = packets.slice(0, 5);
  const found = readAll(motley(many));
  const ethernet = found.filter(({ linkType }) => linkType === 1);
  t.equal(ethernet.length, 10);
  t.equal(found.length - ethernet.length, 2);
  ethernet.forEach((packet, k) => {
    const { data, stampNs } = many[k % 5]!;
    t.equal(Buffer.compare(packet.data, data), 0);
    if (k % 5 === 2) t.equal(packet.stampNs, undefined, "a simple packet has no stamp");
    else t.ok(stampNs - packet.stampNs! < 1000n && stampNs >= packet.stampNs!, "if_tsoffset is added");
  });
  t.equal(ethernet[0]?.comment, "c");
});

t.test("cut short at every byte: whole packets, then PCAP_TRUNCATED", async (t) => {
  for (const { name, write } of flavours) {
    const bytes = write(packets.slice(0, 3));
    const ends = readAll(bytes).map(({ offset, data }) => offset + data.length);
    const bad: string[] = [];
    for (let length = 0; length < bytes.length; length++) {
      const reader = new PacketReader("test");
      let count = 0;
      let code = "";
      try {
        for (const _ of reader.push(bytes.subarray(0, length))) count++;
        reader.end();
      } catch (error) {
        code = (error as { code: string }).code;
      }
      const most = ends.filter((end) => end <= length).length;
      if (count > most || !["", "PCAP_TRUNCATED", "PCAP_FORMAT"].includes(code))
        bad.push(`${length}: ${code}`);
      if (length === 0 && code !== "PCAP_FORMAT") bad.push("an empty file");
    }
    t.same(bad, [], name);
  }
});

t.test("other files are named", async (t) => {
  const code = (bytes: Buffer) => {
    try {
      readAll(bytes);
      return undefined;
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  t.equal(code(Buffer.from("1f8b0800000000000003", "hex")), "PCAP_FORMAT", "gzip");
  t.equal(code(pcapHeader()), undefined, "no packet at all");
  const huge = Buffer.concat([pcapHeader(), Buffer.alloc(16, 0x7f), Buffer.alloc(64)]);
  t.equal(code(huge), "PCAP_CORRUPT");
});

t.test("a file, and a stream", async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), "pollmode-pcap-")), "a.pcap");
  writeFileSync(path, flavours[0]!.write(packets));
  const lengths: number[] = [];
  for await (const { data } of readPackets(path)) lengths.push(data.length);
  t.same(
    lengths,
    packets.map(({ data }) => data.length),
  );
  async function* pieces() {
    yield flavours[0]!.write(packets).subarray(0, 101);
  }
  const cut = async () => {
    for await (const _ of readPackets(pieces())) lengths.push(0);
  };
  await t.rejects(cut(), { code: "PCAP_TRUNCATED", message: /^the stream: / });
});
