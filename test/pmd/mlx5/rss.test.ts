// Receive-side scaling as rules: each packet meets the queue pair that hashes its kind, and only one.
import t from "tap";
import { branches, completeRss, powerTable, rssLimits, UNSPREAD } from "../../../pmd/mlx5/rss.ts";
import { type FlowSpec, RX_HASH } from "../../../src/bus/rdma/types.ts";
import type { RssType } from "../../../src/ethdev/driver.ts";

const ALL: RssType[] = ["ipv4", "ipv4-tcp", "ipv4-udp", "ipv6", "ipv6-tcp", "ipv6-udp"];
const ETH: FlowSpec = { kind: "eth", value: {} };

/** `ipv4-tcp: eth/ipv4/tcp @0` */
const shown = (specs: FlowSpec[], types: RssType[]) =>
  branches(specs, types).map(
    ({ kind, level, specs }) => `${kind}: ${specs.map((spec) => spec.kind).join("/")} @${level}`,
  );

t.test("all frames, all types", async (t) => {
  t.same(shown([ETH], ALL), [
    "ipv4-tcp: eth/ipv4/tcp @0",
    "ipv4-udp: eth/ipv4/udp @0",
    "ipv6-tcp: eth/ipv6/tcp @0",
    "ipv6-udp: eth/ipv6/udp @0",
    "ipv4: eth/ipv4 @1",
    "ipv6: eth/ipv6 @1",
    "none: eth @2",
  ]);
  t.same(shown([ETH], []), ["none: eth @2"]);
  t.same(shown([ETH], ["ipv4"]), ["ipv4: eth/ipv4 @1", "none: eth @2"]);
});

t.test("headers that a rule names stand there once, and what cannot match is left out", async (t) => {
  const ipv4: FlowSpec = { kind: "ipv4", value: { destination: 0x0a000001 } };
  const udp: FlowSpec = { kind: "udp", value: { destination: 53 } };
  t.same(shown([ETH, ipv4], ALL), [
    "ipv4-tcp: eth/ipv4/tcp @0",
    "ipv4-udp: eth/ipv4/udp @0",
    "ipv4: eth/ipv4 @1",
  ]);
  t.same(shown([ETH, ipv4], ["ipv4-tcp"]), ["ipv4-tcp: eth/ipv4/tcp @0", "none: eth/ipv4 @1"]);
  t.same(shown([ETH, ipv4, udp], ALL), ["ipv4-udp: eth/ipv4/udp @0"]);
  t.same(shown([ETH, ipv4, udp], ["ipv4"]), ["ipv4: eth/ipv4/udp @0"], "addresses are hashed of it, too");
  t.same(shown([ETH, ipv4, udp], ["ipv6"]), ["none: eth/ipv4/udp @0"]);
  t.equal(branches([ETH, ipv4], ALL)[0]!.specs[1], ipv4, "with its fields");
});

t.test("an EtherType goes with its own header alone", async (t) => {
  const type = (etherType: number): FlowSpec => ({ kind: "eth", value: { etherType } });
  t.same(shown([type(0x0806)], ALL), ["none: eth @2"]);
  t.same(shown([type(0x86dd)], ["ipv4", "ipv6"]), ["ipv6: eth/ipv6 @1", "none: eth @2"]);
});

t.test("tables", async (t) => {
  t.same(powerTable([3], 128), [3]);
  t.same(powerTable([0, 1], 128), [0, 1]);
  t.same(powerTable([0, 1, 2], 8), [0, 1, 2, 0, 1, 2, 0, 1], "a power of two, as even as may be");
  t.same(UNSPREAD.table, [0]);
});

t.test("what is left out is filled in, and what the device lacks is not offered", async (t) => {
  const every = Object.values(RX_HASH).reduce((bits, bit) => bits | bit, 0);
  const limits = rssLimits(every, 512)!;
  t.same(limits, { keyBytes: 40, tableEntries: 128, types: ALL });
  t.equal(rssLimits(every, 1), undefined);
  t.equal(rssLimits(0, 512), undefined);
  t.same(rssLimits(RX_HASH.SRC_IPV4 | RX_HASH.DST_IPV4, 100), {
    keyBytes: 40,
    tableEntries: 64,
    types: ["ipv4"],
  });
  const rss = completeRss({ table: [0, 2, 1] }, limits, 3);
  t.same(rss.table.slice(0, 5), [0, 2, 1, 0, 2]);
  t.equal(rss.table.length, 128);
  t.same(rss.types, ALL);
  t.equal(Buffer.from(rss.key).toString("hex").slice(0, 8), "6d5a56da");
  t.same(completeRss({}, limits, 4).table.slice(0, 5), [0, 1, 2, 3, 0]);
});
