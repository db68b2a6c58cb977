// Objects made, looked at, and destroyed in the right order, in the wrong one, and twice.
import { readFileSync } from "node:fs";
import koffi from "koffi";
import { Bench, build, openFiles } from "./device.ts";
import { errorOf } from "./failures.ts";

export function lifecycle() {
  return { kinds: kinds(), places: places(), orders: orders(), leftToClose: leftToClose(), again: again() };
}

/** Queues of the less usual kinds; the emulator's trace tells what reached the kernel. */
function kinds() {
  const bench = new Bench();
  const { context } = bench;
  const pd = context.allocPd();
  const hash = context.createCq({ entries: 1024, compression: "hash" });
  const csum = context.createCq({ entries: 2048, compression: "csum", cqeBytes: 64 });
  const striding = { logStrideBytes: 8, logStrides: 9, twoByteShift: true };
  const wq = context.createWq({ pd, cq: hash, wrs: 4, sges: 1, striding });
  const strip = context.createWq({ pd, cq: csum, wrs: 128, sges: 3, stripVlan: true });
  const tso = context.createSendQp({ pd, cq: csum, wqes: 64, sges: 4, inlineBytes: 18, tsoHeaderBytes: 192 });
  const found = {
    cqs: [hash, csum].map((cq) => cq.entries),
    wqs: [wq, strip]
      .map((queue) => context.dvWq(queue))
      .map(({ wqes, strideBytes }) => ({ wqes, strideBytes })),
    // 4 blocks a WQE: control and Ethernet segment, 192 bytes of headers, 4 data segments
    tso: context.dvQp(tso).sq.wqebbs >= 4 * 64,
  };
  return { ...found, left: bench.close() };
}

/** Rings, doorbell records and the doorbell registers lie in the arena. */
function places() {
  const bench = new Bench();
  const { context, arena } = bench;
  const { sendCq, sendQp, uar, channel, armPage, receiveCqs, wqs, mr, hashQp } = build(bench);
  const cqs = [sendCq, ...receiveCqs].map((cq) => context.dvCq(cq));
  const qp = context.dvQp(sendQp);
  const queues = wqs.map((wq) => context.dvWq(wq));
  const addresses = [
    ...cqs.flatMap(({ buffer, doorbell }) => [buffer, doorbell]),
    ...[qp.sq.buffer, qp.doorbell],
    ...queues.flatMap(({ buffer, doorbell }) => [buffer, doorbell]),
  ];
  const found = {
    inRings: addresses.every((address) => bench.isInRings(address)),
    distinct: new Set(addresses).size === addresses.length,
    cqs: cqs.map(({ entries, cqeBytes }) => ({ entries, cqeBytes })),
    cqns: new Set(cqs.map(({ cqn }) => cqn)).size,
    // an owner that the hardware has not had: opcode 0xf, invalid (mlx5_ifc cqe64.op_own)
    invalid: cqs.every(({ buffer, entries }) => {
      const first = Number(buffer - arena.address);
      return Array.from({ length: entries }, (_, at) => arena.u8[first + at * 64 + 63]! >> 4).every(
        (op) => op === 15,
      );
    }),
    sq: { wqebbs: qp.sq.wqebbs, strideBytes: qp.sq.strideBytes, numbered: qp.qpn === sendQp.number },
    bf: { bytes: qp.bf.bytes, samePlaceInPage: (uar.offset & 0xfff) === Number(qp.bf.address & 0xfffn) },
    wqs: queues.map(({ wqes, strideBytes }) => ({ wqes, strideBytes })),
    lkey: mr.lkey !== 0,
    receivers: new Set([...wqs.map((wq) => wq.postRecv), 0n]).size,
    calls: Object.values(context.calls).every((address) => address !== 0n),
    hashed: hashQp.handle !== 0n,
    mapped: [uar, armPage].map(({ offset }) => arenaMapping(arena.address + BigInt(offset))),
    armedAt: armPage.offset & 0xfff,
    channelFlags: /flags:\t0(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${channel.fd}`, "utf8"))![1],
  };
  for (const on of [true, false]) context.setStripVlan(wqs[0]!, on);
  for (const page of [uar, uar, armPage, armPage]) page.unmap();
  const unmapped = [uar, armPage].map(({ offset }) => arenaMapping(arena.address + BigInt(offset)));
  return { ...found, unmapped, left: bench.close().rings };
}

/** Whether a file is laid over the page. */
function arenaMapping(address: bigint): boolean {
  const line = readMaps().find(({ from, to }) => address >= from && address < to);
  return line?.isShared === true;
}

function readMaps(): { from: bigint; to: bigint; isShared: boolean }[] {
  return readFileSync("/proc/self/maps", "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => {
      const [, from, to, rights] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line)!;
      return { from: BigInt(`0x${from}`), to: BigInt(`0x${to}`), isShared: rights!.endsWith("s") };
    });
}

/** What others use is busy, and is still there afterwards; the last first works; twice is once. */
function orders() {
  const bench = new Bench();
  const { all, pd, channel, sendCq, wqs, table, hashQp } = build(bench);
  const busy = [pd, channel, sendCq, wqs[0]!, table, hashQp].map(
    (object) => errorOf(() => object.destroy()).code,
  );
  const reverse = [...all].reverse();
  for (const object of reverse) object.destroy();
  for (const object of reverse) object.destroy();
  return { busy, left: bench.close() };
}

/** What nobody has destroyed is named. */
function leftToClose() {
  const bench = new Bench();
  const { all, uar, armPage, sendQp } = build(bench);
  const destroyed = bench.context.close();
  const mapped = [uar, armPage].some(({ offset }) => arenaMapping(bench.arena.address + BigInt(offset)));
  const rings = bench.rings.size;
  const gone = errorOf(() => sendQp.handle).code;
  return { made: all.length, destroyed, rings, mapped, gone, twice: bench.close().destroyed };
}

/** Nothing grows. */
function again() {
  const before = openFiles();
  const { callbacks } = koffi.stats();
  for (let round = 0; round < 20; round++) {
    const bench = new Bench();
    build(bench);
    bench.close();
  }
  return { files: openFiles() - before, callbacks: koffi.stats().callbacks - callbacks };
}
