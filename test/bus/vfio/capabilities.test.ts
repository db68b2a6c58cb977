// The parsers of VFIO's capability chains, on answers that are right, and on hostile ones.
import t from "tap";
import * as abi from "../../../src/bus/vfio/abi.ts";
import {
  capabilitiesOf,
  dmaAvailOf,
  iovaRangesOf,
  mappableAreasOf,
} from "../../../src/bus/vfio/capabilities.ts";
import { PollmodeError } from "../../../src/errors.ts";
import { Random } from "../../support/random.ts";

/** An answer of `bytes` with these 16-, 32- and 64-bit numbers in it. */
function answer(bytes: number, fields: [bits: 16 | 32 | 64, at: number, value: number | bigint][]): Buffer {
  const made = Buffer.alloc(bytes);
  for (const [bits, at, value] of fields) {
    if (bits === 64) made.writeBigUInt64LE(BigInt(value), at);
    else if (bits === 32) made.writeUInt32LE(Number(value), at);
    else made.writeUInt16LE(Number(value), at);
  }
  return made;
}

t.test("a chain in any order", async (t) => {
  const bytes = answer(64, [
    [16, 40, 3],
    [32, 44, 20],
    [16, 20, 1],
    [32, 24, 0],
  ]);
  t.same(
    capabilitiesOf(bytes, 40, "x").map(({ id, bytes }) => [id, bytes.length]),
    [
      [3, 24],
      [1, 44],
    ],
  );
  t.same(capabilitiesOf(bytes, 0, "x"), [], "no chain");
});

t.test("chains that lead astray", async (t) => {
  const cases: [string, Buffer, number, RegExp][] = [
    ["beyond the answer", answer(64, []), 60, /device 1: a capability at 60, the answer has 64 bytes/],
    ["far beyond it", answer(64, []), 0xffff_fff0, /the answer has 64 bytes/],
    ["to itself", answer(64, [[32, 24, 20]]), 20, /a loop at 20/],
    [
      "in a circle",
      answer(64, [
        [32, 24, 40],
        [32, 44, 20],
      ]),
      20,
      /a loop at 20/,
    ],
    ["out of it by the second", answer(64, [[32, 24, 57]]), 20, /at 57/],
  ];
  for (const [name, bytes, first, message] of cases) {
    t.throws(() => capabilitiesOf(bytes, first, "device 1"), { code: "VFIO_ANSWER", message }, name);
  }
});

/** One capability at 0 with a count and pairs of numbers, as those of IOVAs and areas are. */
function withPairs(id: number, count: number, pairs: [bigint | number, bigint | number][]): Buffer {
  return answer(16 + pairs.length * 16, [
    [16, 0, id],
    [32, 8, count],
    ...pairs.flatMap(([a, b], k): [64, number, bigint][] => [
      [64, 16 + k * 16, BigInt(a)],
      [64, 24 + k * 16, BigInt(b)],
    ]),
  ]);
}

const chain = (bytes: Buffer) => [{ id: bytes.readUInt16LE(0), bytes }];
const iova = (count: number, ...pairs: [bigint | number, bigint | number][]) =>
  iovaRangesOf(chain(withPairs(abi.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, count, pairs)), "c");
const areas = (count: number, ...pairs: [bigint | number, bigint | number][]) =>
  mappableAreasOf(chain(withPairs(abi.VFIO_REGION_INFO_CAP_SPARSE_MMAP, count, pairs)), 0x8000, "BAR 3");

t.test("IOVA ranges", async (t) => {
  t.same(iova(2, [0, 0xfedf_ffff], [0xfef0_0000, (1n << 57n) - 1n]), [
    { start: 0n, end: 0xfedf_ffffn },
    { start: 0xfef0_0000n, end: (1n << 57n) - 1n },
  ]);
  t.same(iova(0), []);
  t.equal(iovaRangesOf([], "c"), undefined, "a kernel that does not tell");
  t.throws(() => iova(1, [9, 8]), { code: "VFIO_ANSWER", message: /ends at 8, before its start 9/ });
  t.throws(() => iova(0xffff_ffff, [0, 1]), { code: "VFIO_ANSWER", message: /4294967295 elements, 1 fit/ });
  t.throws(() => iovaRangesOf(chain(answer(12, [[16, 0, 1]])), "c"), { code: "VFIO_ANSWER" });
});

t.test("mappings left", async (t) => {
  t.equal(
    dmaAvailOf(
      chain(
        answer(12, [
          [16, 0, 3],
          [32, 8, 65535],
        ]),
      ),
      "c",
    ),
    65535,
  );
  t.equal(dmaAvailOf([], "c"), undefined);
  t.throws(() => dmaAvailOf(chain(answer(8, [[16, 0, 3]])), "c"), { code: "VFIO_ANSWER" });
});

t.test("what can be mapped of a region", async (t) => {
  t.same(mappableAreasOf([], 0x8000, "BAR 3"), [{ offset: 0, bytes: 0x8000 }], "all, if it does not say");
  t.same(
    areas(2, [0x4000, 0x4000], [0, 0x2000]),
    [
      { offset: 0, bytes: 0x2000 },
      { offset: 0x4000, bytes: 0x4000 },
    ],
    "around a hole, in order",
  );
  t.same(areas(1, [0, 0]), [], "nothing");
  t.throws(() => areas(1, [0x7000, 0x2000]), { code: "VFIO_ANSWER", message: /BAR 3: 8192 bytes at 28672/ });
  t.throws(() => areas(1, [(1n << 64n) - 0x1000n, 0x2000]), { code: "VFIO_ANSWER" }, "a sum that wraps");
  t.throws(() => areas(2, [0, 0x3000], [0x2000, 0x1000]), {
    code: "VFIO_ANSWER",
    message: /overlap at 8192/,
  });
  t.throws(() => areas(3, [0, 0x1000]), { code: "VFIO_ANSWER", message: /3 elements, 1 fit/ });
});

t.test("noise is an answer or a named error, never anything else", async (t) => {
  const random = new Random(1);
  let read = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(
      Array.from({ length: 8 + random.below(80) }, () => random.below(random.chance(30) ? 256 : 4)),
    );
    try {
      const chain = capabilitiesOf(bytes, random.below(bytes.length), "noise");
      iovaRangesOf(chain, "noise");
      dmaAvailOf(chain, "noise");
      for (const { offset, bytes } of mappableAreasOf(chain, 0x10000, "noise")) {
        if (offset < 0 || offset + bytes > 0x10000) t.fail(`${bytes} bytes at ${offset}`);
      }
      read++;
    } catch (error) {
      if (!(error instanceof PollmodeError) || error.code !== "VFIO_ANSWER") throw error;
    }
  }
  t.ok(read > 100, `${read} of them could be read`);
});
