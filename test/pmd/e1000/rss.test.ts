// Receive-side scaling: the key's published hashes, and what the chips' registers are given of key, types and table.
import t from "tap";
import { chipOf } from "../../../pmd/e1000/chips.ts";
import { Mrqc, Reg, Rxcsum } from "../../../pmd/e1000/registers.ts";
import { completeRss, readRss, rssTypes, writeRss } from "../../../pmd/e1000/rss.ts";
import { ChipModel } from "./chip-model.ts";
import { hashInput, ipv4Vectors, ipv6Vectors, microsoftKey, toeplitz } from "./toeplitz.ts";

const chip82574 = chipOf(0x10d3)!;
const chip82576 = chipOf(0x10c9)!;

t.test("Microsoft's published hashes, by the default key", async (t) => {
  const { key } = completeRss({}, chip82576, 4);
  t.same(key, microsoftKey);
  for (const vector of [...ipv4Vectors, ...ipv6Vectors]) {
    t.equal(toeplitz(key, hashInput(vector, false)), vector.hash, vector.destination);
    t.equal(toeplitz(key, hashInput(vector, true)), vector.hashWithPorts, `${vector.destination} with ports`);
  }
});

t.test("the key's bytes, the table's entries and the types of an 82576", async (t) => {
  const model = new ChipModel(chip82576);
  const key = Uint8Array.from({ length: 40 }, (_, k) => k + 1);
  writeRss(
    model,
    chip82576,
    completeRss({ key, table: [0, 3, 15], types: ["ipv4", "ipv6-udp"] }, chip82576, 16),
  );
  t.equal(model.get(Reg.RSSRK), 0x04030201, "the first byte is the lowest");
  t.equal(model.get(Reg.RSSRK + 36), 0x28272625);
  t.equal(model.get(Reg.RETA), 0x000f0300, "and the table repeats");
  t.equal(model.get(Reg.RETA + 4), 0x03000f03);
  t.equal(model.get(Reg.MRQC), Mrqc.RSS_IGB | (1 << 17) | (3 << 23));
  t.ok(model.get(Reg.RXCSUM) & Rxcsum.PCSD, "the descriptor has the hash");
  const { table, types, key: read } = readRss(model, chip82576);
  t.same([table.slice(0, 4), table.length, types, read], [[0, 3, 15, 0], 128, ["ipv4", "ipv6-udp"], key]);
});

t.test("the 82574 has its queue in bit 7, and does not hash UDP", async (t) => {
  const model = new ChipModel(chip82574);
  const rss = completeRss({}, chip82574, 2);
  writeRss(model, chip82574, rss);
  t.equal(model.get(Reg.RETA), 0x80008000);
  t.equal(model.get(Reg.MRQC), Mrqc.RSS_82574 | (0x1f << 16));
  t.same(readRss(model, chip82574), rss);
  t.same(
    rssTypes(chip82574).filter((type) => type.endsWith("udp")),
    [],
  );
});

t.test("off", async (t) => {
  const model = new ChipModel(chip82576);
  model.set(Reg.RXCSUM, Rxcsum.PCSD | Rxcsum.TUOFLD);
  model.set(Reg.MRQC, 2);
  writeRss(model, chip82576, undefined);
  t.same([model.get(Reg.MRQC), model.get(Reg.RXCSUM)], [0, Rxcsum.TUOFLD]);
});
