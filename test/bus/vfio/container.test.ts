// How a DMA zone is mapped: as a whole by IOVA, or by its hugepages where they lie.
import t from "tap";
import { mappingsOf } from "../../../src/bus/vfio/container.ts";
import type { IovaMap } from "../../../src/memory/iova.ts";
import type { Zone } from "../../../src/memory/zone.ts";

const PAGE = 0x20_0000;
const START = 0x40_0000;
const ADDRESS = 0x7f00_0000_0000n;

/** A zone of so many hugepages, at START of an arena at ADDRESS. */
function zoneOf(pages: number): Zone {
  return { arena: { address: ADDRESS }, range: { start: START, bytes: pages * PAGE } } as Zone;
}

/** Physical addresses of its hugepages, in units of a hugepage. */
function physical(...pages: number[]): IovaMap {
  const of = (offset: number) => BigInt(pages[(offset - START) / PAGE]!) * BigInt(PAGE);
  return { mode: "pa", of } as IovaMap;
}

const start = ADDRESS + BigInt(START);
const piece = (at: number, physical: number, pages: number) => ({
  address: start + BigInt(at * PAGE),
  iova: BigInt(physical) * BigInt(PAGE),
  bytes: pages * PAGE,
});

t.test("by IOVA: one mapping", async (t) => {
  const iova = { mode: "va", of: (offset: number) => 0x1_0000_0000n + BigInt(offset) } as IovaMap;
  t.same(mappingsOf(zoneOf(5), iova), [{ address: start, iova: 0x1_0040_0000n, bytes: 5 * PAGE }]);
});

t.test("by physical address: one for each run of neighbours", async (t) => {
  t.same(mappingsOf(zoneOf(3), physical(9, 10, 11)), [piece(0, 9, 3)], "all in a row");
  t.same(
    mappingsOf(zoneOf(3), physical(11, 10, 9)),
    [piece(0, 11, 1), piece(1, 10, 1), piece(2, 9, 1)],
    "downwards",
  );
  t.same(mappingsOf(zoneOf(5), physical(4, 5, 7, 8, 6)), [piece(0, 4, 2), piece(2, 7, 2), piece(4, 6, 1)]);
  t.same(mappingsOf(zoneOf(2), physical(1 << 20, (1 << 20) + 1)), [piece(0, 1 << 20, 2)], "above 2 TiB");
});
