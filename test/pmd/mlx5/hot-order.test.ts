// In which order, and how wide, the driver's stores reach what the device reads: send WQEs before the doorbell record,
// that before the BlueFlame register; receive WQEs and the CQ's consumer index before the receive record. A device
// model that looks between the bursts cannot see it, so here each store of the TypeScript engine, which has the same
// sources, is written down.
import t from "tap";
import type { HotImports } from "../../../src/hot/engine.ts";
import { attach } from "../../../src/hot/mem.ts";
import { makeFrame, Rig } from "../../support/engines.ts";
import { FakeEvents } from "./fake-events.ts";
import { Mlx5Pair, type PairOptions } from "./rings.ts";

/** A store, or a fence: an atomic exchange. */
interface Access {
  readonly at: number;
  readonly bytes: number;
  readonly fence: boolean;
}

/** The engine's typed arrays, whose stores are written to `log`; `run` is what the engine does meanwhile. */
function recorded(memory: WebAssembly.Memory, log: Access[], run: () => void): void {
  const real = { Uint8Array, Uint16Array, Uint32Array, Float64Array, BigUint64Array };
  const arrays = new WeakMap<object, Uint32Array>();
  const exchange = Atomics.exchange;
  const load = Atomics.load;
  const compareExchange = Atomics.compareExchange;
  const note = (at: number, bytes: number, fence = false) => void log.push({ at, bytes, fence });
  const engine = () =>
    attach(
      memory,
      () => 0,
      () => {},
      { verbsEvents: () => 1 } as unknown as HotImports,
    );
  for (const [name, Kind] of Object.entries(real)) {
    class Recording {
      constructor(...given: [ArrayBuffer, number, number]) {
        const array = new Kind(...given);
        // biome-ignore lint/correctness/noConstructorReturn: an array over other memory
        if ((given[0] as unknown) !== memory.buffer) return array;
        const proxy = new Proxy(array, {
          get: (target, key) => {
            const value = Reflect.get(target, key, target);
            return typeof value === "function" ? copying(value, target, array, note) : value;
          },
          set: (target, key, value) => {
            note(Number(key) * array.BYTES_PER_ELEMENT, array.BYTES_PER_ELEMENT);
            return Reflect.set(target, key, value, target);
          },
        });
        arrays.set(proxy, array as Uint32Array);
        // biome-ignore lint/correctness/noConstructorReturn: a stand-in for the array it is asked for
        return proxy;
      }
    }
    Object.assign(globalThis, { [name]: Recording });
  }
  Atomics.load = ((array: Uint32Array, index: number) =>
    load(arrays.get(array) ?? array, index)) as typeof load;
  Atomics.compareExchange = ((array: Uint32Array, index: number, expected: number, value: number) =>
    compareExchange(arrays.get(array) ?? array, index, expected, value)) as typeof compareExchange;
  Atomics.exchange = ((array: Int32Array, index: number, value: number) => {
    note(4 * index, 4, true);
    return exchange(array, index, value);
  }) as typeof exchange;
  try {
    engine();
    run();
  } finally {
    Object.assign(globalThis, real);
    Atomics.load = load;
    Atomics.compareExchange = compareExchange;
    Atomics.exchange = exchange;
    engine();
  }
}

/** copyWithin and fill, as one wide store. */
function copying(
  call: (...given: number[]) => unknown,
  target: object,
  array: { BYTES_PER_ELEMENT: number },
  note: (at: number, bytes: number) => void,
): (...given: number[]) => unknown {
  return (...given) => {
    note(given[call.name === "fill" ? 1 : 0]! * array.BYTES_PER_ELEMENT, 0);
    return call.apply(target, given);
  };
}

const within = (from: number, bytes: number) => (one: Access) => one.at >= from && one.at < from + bytes;
const places = (log: Access[], fits: (one: Access) => boolean) =>
  log.flatMap((one, k) => (fits(one) ? [k] : []));

async function withPair(options: PairOptions, body: (pair: Mlx5Pair) => void): Promise<void> {
  const rig = await Rig.make("ts", { mbufs: 400, dataRoom: 1024 });
  const pair = new Mlx5Pair(rig, { size: 64, ...options });
  try {
    body(pair);
  } finally {
    pair.stop();
    pair.free();
    rig.close();
  }
}

const sending: Record<string, PairOptions> = {
  "a WQE a packet": {},
  "18 bytes inlined": { minInline: 18 },
  "a long header": { minInline: 60 },
  "multi-packet": { enhancedMpw: true },
};
for (const [what, options] of Object.entries(sending)) {
  t.test(`transmit, ${what}`, async (t) => {
    await withPair(options, (pair) => {
      const { rig, at } = pair;
      for (let burst = 0; burst < 20; burst++) {
        const packets = Array.from({ length: 13 }, (_, k) => rig.packet(makeFrame(k, 64 + k)));
        const log: Access[] = [];
        recorded(rig.arena.memory, log, () => t.equal(rig.send(pair.txq, packets), 13));
        const wqes = places(log, within(at.sq, 64 * 64));
        const record = places(log, within(at.records + 192, 8));
        const bell = places(log, within(at.bf, 1024));
        const fences = places(log, ({ fence }) => fence);
        t.same(
          record.map((k) => log[k]),
          [{ at: at.records + 196, bytes: 4, fence: false }],
          "one word",
        );
        const half = burst % 2 === 0 ? 0 : 256;
        t.same(
          bell.map((k) => log[k]),
          [{ at: at.bf + half, bytes: 8, fence: false }],
          "8 bytes at once",
        );
        t.ok(wqes.length > 0 && Math.max(...wqes) < record[0]!, "WQEs before the record");
        t.ok(
          fences.some((k) => k > record[0]! && k < bell[0]!),
          "the record, a fence, the register",
        );
        t.ok(
          fences.some((k) => k > bell[0]!),
          "a fence behind the register",
        );
        t.equal(pair.nic.tx.take().length, 13);
        pair.nic.tx.complete();
        const cleaned: Access[] = [];
        recorded(rig.arena.memory, cleaned, () => rig.hot.txIdle(pair.txq));
        const index = places(cleaned, within(at.records + 64, 8));
        t.same(
          index.map((k) => cleaned[k]),
          [{ at: at.records + 64, bytes: 4, fence: false }],
        );
        t.same(places(cleaned, within(at.scq, 64 * 64)), [], "CQEs are the device's");
      }
    });
  });
}

const receiving: Record<string, PairOptions> = {
  "one buffer": {},
  "several buffers": { segments: 3 },
  striding: { striding: { logStrideBytes: 6, logStrides: 2 } },
  compressed: { compression: "hash" },
};
for (const [what, options] of Object.entries(receiving)) {
  t.test(`receive, ${what}`, async (t) => {
    await withPair(options, (pair) => {
      const { rig, at } = pair;
      pair.fill();
      let given = 0;
      for (let burst = 0; burst < 40; burst++) {
        const frames = Array.from({ length: 12 }, (_, k) => makeFrame(k, 60));
        if (options.compression) t.equal(pair.nic.rx.deliverCompressed(frames, true), 12);
        else for (const frame of frames) t.ok(pair.nic.rx.deliver(frame));
        const log: Access[] = [];
        let packets: number[] = [];
        recorded(rig.arena.memory, log, () => {
          packets = rig.receive(pair.rxq, 32);
        });
        t.equal(packets.length, 12);
        rig.free(packets);
        const index = places(log, within(at.records, 8));
        const record = places(log, within(at.records + 128, 8));
        const wqes = places(log, within(at.rq, at.scq - at.rq));
        const cqes = places(log, within(at.rcq, at.rq - at.rcq));
        t.same(
          index.map((k) => log[k]),
          [{ at: at.records, bytes: 4, fence: false }],
          "one word",
        );
        t.ok(
          cqes.every((k) => k < index[0]!),
          "entries are reset before they are given back",
        );
        t.ok(record.length <= 1);
        if (record.length === 0) continue;
        given++;
        t.same(log[record[0]!], { at: at.records + 128, bytes: 4, fence: false });
        t.ok(index[0]! < record[0]!, "room in the CQ before buffers that may fill it");
        t.ok(
          wqes.every((k) => k < record[0]!),
          "WQEs before the record",
        );
      }
      t.ok(given > 3, `${given} receive records`);
    });
  });
}

t.test("arming: the record, a fence, the register", async (t) => {
  const events = new FakeEvents();
  await withPair({ events: events.attachment }, (pair) => {
    const { rig, at } = pair;
    pair.fill();
    const log: Access[] = [];
    recorded(rig.arena.memory, log, () => rig.hot.rxArm(pair.rxq));
    const record = places(log, within(at.records, 8));
    const register = places(log, within(at.bf, 1024));
    const fences = places(log, ({ fence }) => fence);
    t.same(
      [...record, ...register].map((k) => log[k]),
      [
        { at: at.records + 4, bytes: 4, fence: false },
        { at: pair.armRegister, bytes: 8, fence: false },
      ],
    );
    t.ok(fences.some((k) => k > record[0]! && k < register[0]!));
    t.ok(
      fences.some((k) => k > register[0]!),
      "and a fence behind it",
    );
  });
  events.close();
});
