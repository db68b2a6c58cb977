// What the back-end makes of a peer that does not keep to the protocol, or uses its rarer parts.
import { openSync } from "node:fs";
import t, { type Test } from "tap";
import { PollmodeError } from "../../src/errors.ts";
import { close, eventfd, socketpair } from "../../src/libc/libc.ts";
import {
  encodeRegions,
  encodeSingleRegion,
  encodeU64,
  encodeVringAddress,
  encodeVringState,
  Feature,
  MEM_SLOTS_MAX,
  type RegionPayload,
  Request,
} from "../../src/vhostuser/protocol.ts";
import * as peers from "./peers.ts";
import { addMemory, memoryFile, newPoller, openFds, rawPair, region, startRing, until } from "./peers.ts";

const state = (index: number, num: number) => encodeVringState({ index, num });
const address = (over: object) =>
  encodeVringAddress({
    index: 0,
    flags: 0,
    desc: 0x7000_0000n,
    avail: 0x7000_8000n,
    used: 0x7000_9000n,
    log: 0n,
    ...over,
  });
const modern = encodeU64(Feature.VERSION_1 | Feature.PROTOCOL_FEATURES);

/** Runs a test with a raw peer and a recording back-end; nothing may be left open. */
function withPeer(name: string, body: (t: Test, pair: ReturnType<typeof rawPair>) => Promise<void>): void {
  t.test(name, async (t) => {
    const before = openFds();
    const poller = newPoller();
    const pair = rawPair(poller);
    await body(t, pair);
    pair.peer.close();
    await until(() => pair.device.ended === 1, "the end");
    t.equal(pair.device.running.size, 0);
    poller.close();
    await until(() => openFds() <= before, "the last fd's close");
  });
}
const refusals: [string, string, number, Buffer, number][] = [
  ["unknown request", "VHOST_REQUEST", 99, encodeU64(0n), 0],
  ["request 0", "VHOST_REQUEST", 0, encodeU64(0n), 0],
  ["logging", "VHOST_REQUEST", Request.SET_LOG_BASE, encodeU64(0n), 0],
  ["features that were not offered", "VHOST_FEATURES", Request.SET_FEATURES, encodeU64(1n << 63n), 0],
  ["protocol features likewise", "VHOST_FEATURES", Request.SET_PROTOCOL_FEATURES, encodeU64(2n), 0],
  ["short payload", "VHOST_SIZE", Request.SET_FEATURES, Buffer.alloc(7), 0],
  ["long payload", "VHOST_SIZE", Request.SET_VRING_NUM, Buffer.alloc(9), 0],
  ["ring index", "VHOST_INDEX", Request.SET_VRING_NUM, state(8, 256), 0],
  ["ring index, largest", "VHOST_INDEX", Request.SET_VRING_BASE, state(0xffff_ffff, 0), 0],
  ["ring index of an fd", "VHOST_INDEX", Request.SET_VRING_CALL, encodeU64(0xffn), 1],
  ["ring size 0", "VHOST_RING", Request.SET_VRING_NUM, state(0, 0), 0],
  ["ring size 65536", "VHOST_RING", Request.SET_VRING_NUM, state(0, 65536), 0],
  ["ring size 100, split", "VHOST_RING", Request.SET_VRING_NUM, state(0, 100), 0],
  ["enable 2", "VHOST_VALUE", Request.SET_VRING_ENABLE, state(0, 2), 0],
  ["ring flags", "VHOST_VALUE", Request.SET_VRING_ADDR, address({ flags: 1 }), 0],
  ["kick without its fd", "VHOST_FDS", Request.SET_VRING_KICK, encodeU64(0n), 0],
  ["kick with an fd and without", "VHOST_FDS", Request.SET_VRING_KICK, encodeU64(0x100n), 1],
  ["kick with two fds", "VHOST_FDS", Request.SET_VRING_KICK, encodeU64(0n), 2],
  ["kick with unknown bits", "VHOST_VALUE", Request.SET_VRING_KICK, encodeU64(0x200n), 1],
  ["an fd where none belongs", "VHOST_FDS", Request.SET_FEATURES, modern, 1],
  ["more regions than said", "VHOST_FDS", Request.SET_MEM_TABLE, encodeRegions([region()]), 2],
  ["fewer fds than regions", "VHOST_FDS", Request.SET_MEM_TABLE, encodeRegions([region()]), 0],
  ["9 regions", "VHOST_SIZE", Request.SET_MEM_TABLE, encodeRegions(new Array(9).fill(region())), 8],
  ["no such region", "VHOST_REGION", Request.REM_MEM_REG, encodeSingleRegion(region()), 0],
  ["a region without its fd", "VHOST_FDS", Request.ADD_MEM_REG, encodeSingleRegion(region()), 0],
  ["a region in an eventfd", "VHOST_REGION", Request.ADD_MEM_REG, encodeSingleRegion(region()), 1],
  ["MTU", "VHOST_VALUE", Request.NET_SET_MTU, encodeU64(1n << 40n), 0],
  ["status", "VHOST_VALUE", Request.SET_STATUS, encodeU64(256n), 0],
];

withPeer("refused by name, and the connection goes on", async (t, { peer, device }) => {
  const fd = eventfd();
  t.equal(await peer.ack(Request.SET_FEATURES, modern), 0n);
  for (const [name, code, request, payload, fds] of refusals) {
    t.equal(await peer.ack(request, payload, new Array(fds).fill(fd)), 1n, name);
    t.match(device.refusals.pop(), { code, message: /^vhost-user test: /, fix: /./ }, name);
  }
  close(fd);
  t.equal(await peer.ack(Request.SET_FEATURES, modern), 0n, "it still answers");
});

withPeer("memory regions that cannot be", async (t, { peer, device }) => {
  t.equal(await addMemory(peer), 0n);
  const end = 1n << 64n;
  const wrong: [Partial<RegionPayload>, RegExp][] = [
    [{ size: 0n }, /empty/],
    [{ guestAddress: end - 1n, userAddress: 0n }, /guest addresses overflow/],
    [{ guestAddress: 0x100000n, userAddress: end - 4096n }, /user addresses overflow/],
    [{ guestAddress: 0x100000n, userAddress: 0n, mmapOffset: end - 1n }, /file overflow/],
    [{ guestAddress: 0x100000n, userAddress: 0n, mmapOffset: 0x100000n }, /behind its file's 1048576 bytes/],
    [{ guestAddress: 0x10fffn, userAddress: 0n }, /guest addresses overlap/],
    [{ guestAddress: 0x100000n, userAddress: 0x7000_ffffn }, /user addresses overlap/],
  ];
  for (const [over, message] of wrong) {
    t.equal(await addMemory(peer, over), 1n, String(message));
    t.match(device.refusals.pop(), { code: "VHOST_REGION", message });
  }
  const file = openSync("/dev/zero", "r");
  t.equal(await peer.ack(Request.ADD_MEM_REG, encodeSingleRegion(region()), [file]), 1n, "a device");
  close(file);
  const memory = memoryFile();
  const twice = encodeRegions([region(), region()]);
  t.equal(await peer.ack(Request.SET_MEM_TABLE, twice, [memory, memory]), 1n, "overlap within a table");
  for (let k = 1; k < MEM_SLOTS_MAX; k++) {
    const at = BigInt(k) << 32n;
    t.equal(await addMemory(peer, { guestAddress: at, userAddress: at }), 0n);
  }
  t.equal(await addMemory(peer, { guestAddress: 1n << 40n, userAddress: 1n << 40n }), 1n, "too many");
  t.equal(device.refusals.pop()!.code, "VHOST_REGIONS");
  t.equal(await peer.ack(Request.SET_MEM_TABLE, encodeRegions([region()]), [memory]), 0n);
  t.equal(device.regions.length, 1, "a table takes the place of all");
  t.equal(await peer.ack(Request.REM_MEM_REG, encodeSingleRegion(region()), [memory]), 0n);
  t.equal(device.regions.length, 0);
  close(memory);
});

withPeer("rings follow memory, features, reset and status", async (t, { peer, device }) => {
  await peer.ack(Request.SET_FEATURES, modern);
  await startRing(peer, 0);
  await startRing(peer, 3, 512, 9);
  t.equal(device.running.size, 0, "there is no memory yet");
  await addMemory(peer);
  t.same(device.log.slice(-3), ["memory 0x1000", "start 0 size 256 base 0", "start 3 size 512 base 9"]);
  device.log.length = 0;
  await addMemory(peer, { guestAddress: 1n << 32n, userAddress: 1n << 32n });
  t.same(device.log, [
    "stop 0",
    "stop 3",
    "memory 0x1000,0x100000000",
    "start 0 size 256 base 77",
    "start 3 size 512 base 77",
  ]);
  t.equal(await peer.ack(Request.SET_FEATURES, modern), 0n, "the same features again");
  t.equal(await peer.ack(Request.SET_FEATURES, encodeU64(Feature.VERSION_1)), 1n);
  t.equal(await peer.ack(Request.SET_VRING_NUM, state(0, 64)), 1n);
  t.equal(await peer.ack(Request.SET_VRING_BASE, state(0, 0)), 1n);
  t.same(
    device.refusals.splice(0).map(({ code }) => code),
    ["VHOST_RUNNING", "VHOST_RUNNING", "VHOST_RUNNING"],
  );
  t.equal(await peer.ack(Request.SET_VRING_ADDR, address({ desc: 0x7000_0010n })), 0n, "a ring moves");
  t.equal(device.running.get(0)!.desc, 0x7000_0010n);
  t.equal(await peer.ack(Request.RESET_OWNER), 0n);
  t.equal(device.running.size, 0);
  await peer.ack(Request.SET_VRING_ENABLE, state(0, 1));
  t.equal(device.running.size, 1);
  t.equal(await peer.ack(Request.SET_STATUS, encodeU64(0n)), 0n);
  t.equal(device.running.size, 0, "status 0 is a reset");
  await startRing(peer, 0);
  t.equal(device.running.size, 1);
  t.equal(await peer.ack(Request.RESET_DEVICE), 0n);
  t.equal(device.running.size, 0);
  peer.send(Request.GET_STATUS, 1);
  t.equal((await peer.receive()).readBigUInt64LE(), 0n);
});

withPeer("the call fd changes under a running ring", async (t, { peer, device }) => {
  await peer.ack(Request.SET_FEATURES, modern);
  await addMemory(peer);
  await startRing(peer, 0);
  const before = openFds();
  const fd = eventfd();
  t.equal(await peer.ack(Request.SET_VRING_CALL, encodeU64(0n), [fd]), 0n);
  t.equal(await peer.ack(Request.SET_VRING_CALL, encodeU64(0x100n)), 0n);
  t.equal(await peer.ack(Request.SET_VRING_ERR, encodeU64(0n), [fd]), 0n);
  close(fd);
  t.same(device.log.slice(-2), ["call 0 fd", "call 0 none"]);
  t.equal(openFds(), before, "the call fd is gone, the error fd has come");
  const memory = memoryFile();
  t.equal(await peer.ack(Request.SET_VRING_CALL, encodeU64(0n), [memory]), 1n);
  t.match(device.refusals.pop(), { code: "VHOST_FD", message: /memfd.*no eventfd/ });
  close(memory);
  t.equal(device.running.size, 1);
});

withPeer("rings that cannot be", async (t, { peer, device }) => {
  await peer.ack(Request.SET_FEATURES, modern);
  await addMemory(peer);
  await startRing(peer, 0);
  for (const [over, message] of [
    [{ desc: 0x7000_0008n }, /descriptors at 0x70000008, not a multiple of 16/],
    [{ avail: 0x7000_0001n }, /available ring .* not a multiple of 2/],
    [{ used: 0x7000_0002n }, /used ring .* not a multiple of 4/],
    [{ desc: (1n << 64n) - 16n }, /descriptors .* overflow/],
    [{ used: (1n << 64n) - 4n }, /used ring .* overflow/],
  ] as const) {
    t.equal(await peer.ack(Request.SET_VRING_ADDR, address(over)), 1n);
    t.match(device.refusals.pop(), { code: "VHOST_RING", message });
    t.equal(device.running.size, 0);
  }
  t.equal(await peer.ack(Request.SET_VRING_BASE, state(0, 65536)), 0n);
  t.equal(await peer.ack(Request.SET_VRING_ADDR, address({})), 1n);
  t.match(device.refusals.pop(), { message: /base 65536/ });
  await peer.ack(Request.SET_FEATURES, encodeU64(Feature.VERSION_1 | Feature.RING_PACKED | (1n << 30n)));
  t.equal(await peer.ack(Request.SET_VRING_NUM, state(0, 100)), 0n, "a packed ring of 100");
  for (const base of [0x8064, 0x8064_8000]) {
    await peer.ack(Request.SET_VRING_BASE, state(0, base));
    t.equal(await peer.ack(Request.SET_VRING_ADDR, address({})), 1n, `base 0x${base.toString(16)}`);
  }
  await peer.ack(Request.SET_VRING_BASE, state(0, 0x8063_8063));
  t.equal(await peer.ack(Request.SET_VRING_ADDR, address({})), 0n);
  t.match(device.running.get(0), { size: 100, packed: true, base: 0x8063_8063 });
});

withPeer("a handler's refusal is the peer's, and leaves things as they were", async (t, { peer, device }) => {
  await peer.ack(Request.SET_FEATURES, modern);
  await addMemory(peer);
  await startRing(peer, 0);
  const no = new PollmodeError("NO", "not this one", "another one");
  device.failNext = { handler: "memory", error: no };
  t.equal(await addMemory(peer, { guestAddress: 1n << 32n, userAddress: 1n << 32n }), 1n);
  t.equal(device.refusals.pop(), no);
  t.equal(device.regions.length, 1);
  t.equal(device.running.size, 1, "the ring runs on with the old memory");
  device.failNext = { handler: "start", error: new TypeError("oops") };
  t.equal(await peer.ack(Request.SET_VRING_ADDR, address({})), 1n);
  t.match(device.refusals.pop(), { code: "VHOST_HANDLER", message: /SET_VRING_ADDR: oops/ });
  t.equal(device.running.size, 0);
  t.equal(await peer.ack(Request.SET_VRING_ENABLE, state(0, 1)), 0n, "it can be tried again");
  t.equal(device.running.size, 1);
  t.equal(await peer.ack(Request.SEND_RARP, Buffer.from("0102030405060000", "hex")), 0n);
  t.equal(device.log.at(-1), "rarp 010203040506");
});

t.test("without a way to refuse, a fault ends the connection", async (t) => {
  for (const [request, flags, payload] of [
    [Request.SET_VRING_NUM, 1, state(0, 0)],
    [99, 1, Buffer.alloc(0)],
    [Request.GET_VRING_BASE, 1 | 8, state(99, 0)],
    [Request.GET_FEATURES, 1 | 8, Buffer.alloc(3)],
  ] as const) {
    const poller = newPoller();
    const { peer, device } = rawPair(poller);
    peer.send(request, flags, payload);
    await until(() => device.ended === 1, "the end");
    t.match(device.reason, { code: /^VHOST_(RING|REQUEST|INDEX|SIZE)$/ });
    peer.close();
    poller.close();
  }
});

t.test("the end waits for the handler at work, then stops the rings", async (t) => {
  const poller = newPoller();
  const { peer, device } = rawPair(poller);
  await peer.ack(Request.SET_FEATURES, modern);
  await addMemory(peer);
  await startRing(peer, 0);
  await startRing(peer, 1);
  device.delayMs = 20;
  peer.send(Request.SET_VRING_ADDR, 1, address({}));
  await peers.pause(5);
  const closed = device.backend.close();
  t.equal(device.ended, 0);
  await closed;
  t.equal(device.ended, 1);
  t.equal(device.running.size, 0);
  t.same(device.log.slice(-4), ["stop 0", "start 0 size 256 base 77", "stop 0", "stop 1"]);
  peer.close();
  poller.close();
});

t.test("a back-end that was closed before anything came", async (t) => {
  const poller = newPoller();
  const [a, b] = socketpair();
  const device = new peers.TestBackend(b, poller);
  await device.backend.close();
  await device.backend.close();
  t.equal(device.ended, 1);
  close(a);
  poller.close();
});
