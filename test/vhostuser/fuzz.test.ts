// Thousands of random and half-right control messages, from a seed: the back-end never throws, hangs or leaks.
import t from "tap";
import { close, eventfd, sendmsg } from "../../src/libc/libc.ts";
import {
  encodeHeader,
  encodeRegions,
  encodeSingleRegion,
  encodeU64,
  encodeVringAddress,
  encodeVringState,
  Feature,
  Request,
} from "../../src/vhostuser/protocol.ts";
import {
  addMemory,
  memoryFile,
  newPoller,
  openFds,
  pause,
  type RawPeer,
  rawPair,
  region,
  startRing,
  until,
} from "./peers.ts";

const messages = 6000;
const seed = Number(process.env.FUZZ_SEED ?? 20220815);

/** mulberry32: the same numbers on every machine. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = (below: number) => number;
const requests = Object.values(Request);

function regionOf(next: Random) {
  const at = BigInt(next(6)) << 24n;
  return region({ guestAddress: at, userAddress: at + 0x1000_0000n, size: BigInt(next(3)) << 15n });
}

/** A message as a good front-end may send it, with a ring or a value that need not exist. */
function sensible(next: Random): { request: number; payload: Buffer; fds: number } {
  const request = requests[next(requests.length)]!;
  const index = next(10);
  switch (request) {
    case Request.SET_MEM_TABLE: {
      const regions = Array.from({ length: next(4) }, () => regionOf(next));
      return { request, payload: encodeRegions(regions), fds: regions.length };
    }
    case Request.ADD_MEM_REG:
      return { request, payload: encodeSingleRegion(regionOf(next)), fds: 1 };
    case Request.REM_MEM_REG:
      return { request, payload: encodeSingleRegion(regionOf(next)), fds: 0 };
    case Request.SET_VRING_NUM:
      return { request, payload: encodeVringState({ index, num: 1 << next(17) }), fds: 0 };
    case Request.SET_VRING_BASE:
    case Request.GET_VRING_BASE:
      return { request, payload: encodeVringState({ index, num: next(300) }), fds: 0 };
    case Request.SET_VRING_ENABLE:
      return { request, payload: encodeVringState({ index, num: next(5) ? 1 : 0 }), fds: 0 };
    case Request.SET_VRING_ADDR: {
      const part = () => 0x1000_0000n + BigInt(next(4096) * 16);
      const addresses = { desc: part(), avail: part(), used: part() };
      return { request, payload: encodeVringAddress({ index, flags: 0, ...addresses, log: 0n }), fds: 0 };
    }
    case Request.SET_VRING_KICK:
    case Request.SET_VRING_CALL:
    case Request.SET_VRING_ERR:
      return { request, payload: encodeU64(BigInt(index)), fds: 1 };
    case Request.SET_FEATURES: {
      const packed = next(2) ? Feature.RING_PACKED : 0n;
      return { request, payload: encodeU64(Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | packed), fds: 0 };
    }
    case Request.GET_FEATURES:
    case Request.GET_PROTOCOL_FEATURES:
    case Request.GET_QUEUE_NUM:
    case Request.GET_MAX_MEM_SLOTS:
    case Request.GET_STATUS:
    case Request.SET_OWNER:
    case Request.RESET_OWNER:
    case Request.RESET_DEVICE:
      return { request, payload: Buffer.alloc(0), fds: 0 };
    default:
      return { request, payload: encodeU64(BigInt(next(70_000))), fds: 0 };
  }
}

/** One message; now and then bent out of shape. */
function sendOne(next: Random, peer: RawPeer, memory: number, event: number): void {
  const { request, payload, fds } = sensible(next);
  const isMemory = request === Request.SET_MEM_TABLE || request === Request.ADD_MEM_REG;
  const passed: number[] = new Array(fds).fill(isMemory ? memory : event);
  let flags = next(12) ? 1 | 8 : 1;
  let size = payload.length;
  let kind: number = request;
  switch (next(40)) {
    case 0:
      if (payload.length > 0) payload[next(payload.length)] = next(256);
      break;
    case 1:
      if (payload.length > 0) payload.fill(0xff, next(payload.length));
      break;
    case 2:
      passed.push(...new Array(next(10)).fill(next(2) ? memory : event));
      break;
    case 3:
      passed.length = 0;
      break;
    case 4:
      kind = next(60);
      break;
    case 5:
      if (next(8) === 0) size = next(5000);
      break;
    case 6:
      if (next(8) === 0) flags = next(16);
      break;
  }
  const bytes = Buffer.concat([encodeHeader(kind, flags, size), payload]);
  const cut = next(20) ? bytes.length : 1 + next(bytes.length);
  sendmsg(peer.fd, bytes.subarray(0, cut), passed);
  if (cut < bytes.length) sendmsg(peer.fd, bytes.subarray(cut));
}

/** Most peers begin well: with memory and a few rings. */
async function setUp(next: Random, peer: RawPeer): Promise<void> {
  await peer.ack(Request.SET_FEATURES, encodeU64(Feature.VERSION_1 | Feature.PROTOCOL_FEATURES));
  await addMemory(peer);
  for (let index = next(3); index > 0; index--) await startRing(peer, index);
}

t.test(`a peer that says anything, seed ${seed}`, async (t) => {
  const next = random(seed);
  const before = openFds();
  const poller = newPoller();
  const [memory, event] = [memoryFile(), eventfd()];
  const codes = new Map<string, number>();
  const count = (code: string) => codes.set(code, (codes.get(code) ?? 0) + 1);
  let sent = 0;
  let started = 0;
  while (sent < messages) {
    const { peer, device } = rawPair(poller);
    if (next(4)) await setUp(next, peer);
    const length = 20 + next(200);
    try {
      for (let k = 0; k < length; k++) {
        sendOne(next, peer, memory, event);
        sent++;
        if (k % 8 === 7) await pause(0);
        if (!peer.drain()) break;
      }
    } catch {
      // EPIPE: the back-end has ended it
    }
    if (next(2)) await pause(2);
    peer.close();
    await until(() => device.ended > 0, "the end");
    if (device.ended !== 1 || device.running.size > 0)
      t.fail(`${device.ended} ends, ${device.running.size} rings run`);
    started += device.log.filter((line) => line.startsWith("start")).length;
    for (const { code } of device.refusals) count(code);
    if (device.reason) count(device.reason.code);
  }
  close(memory);
  close(event);
  poller.close();
  await until(() => openFds() <= before, "the last fd's close");
  t.comment(`${sent} messages, ${started} ring starts, ${JSON.stringify(Object.fromEntries(codes))}`);
  t.notOk(codes.has("VHOST_HANDLER"), "no fault of our own");
  t.ok(started > 20, "rings ran");
  t.ok(codes.size >= 8, "many kinds of refusal");
});
