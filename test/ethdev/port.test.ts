// A port over a device that only remembers what it was told: the order of states, checks, statistics, faults.
import t from "tap";
import type { PollmodeError } from "../../src/errors.ts";
import type { EthDevice } from "../../src/ethdev/driver.ts";
import { Port } from "../../src/ethdev/port.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { Queue, QueueError, QueueKind } from "../../src/hot/layout.ts";
import { MIB } from "../../src/limits.ts";
import { Arena } from "../../src/memory/arena.ts";
import { privateZone } from "../../src/memory/zone.ts";

const arena = new Arena(8 * MIB);
const zone = privateZone(arena, 2 * MIB);
t.teardown(() => arena.close());

function setup(more: Partial<EthDevice> = {}) {
  const told: string[] = [];
  const queues = Array.from({ length: 4 }, (_, k) => new QueueBlock(zone, "fake queue", 0, k));
  const tell = (what: string) => async () => void told.push(what);
  const device: EthDevice = {
    info: { driver: "net_fake", rxQueuesMax: 2, txQueuesMax: 2, frameBytesMax: 1518 },
    mac: Uint8Array.of(2, 0, 0, 0, 0, 9),
    rxQueues: queues.slice(0, 2).map(({ offset }) => offset),
    txQueues: queues.slice(2).map(({ offset }) => offset),
    configure: async ({ rxQueues, txQueues }) => void told.push(`configure ${rxQueues} ${txQueues}`),
    start: tell("start"),
    stop: tell("stop"),
    close: tell("close"),
    link: () => ({ up: true, speed: 10_000, duplex: "full" }),
    ...more,
  };
  return { told, queues, port: new Port(7, "net_fake0", device, arena) };
}

const two = { rxQueues: 2, txQueues: 2 };

t.test("the order of states", async (t) => {
  const { told, port } = setup();
  await t.rejects(port.start(), {
    code: "PORT_STATE",
    message: "port 7 (net_fake0) is new",
    fix: "configure it first",
  });
  await port.stop();
  await port.configure(two);
  t.notOk(port.started);
  await port.configure({ rxQueues: 1, txQueues: 2 });
  await port.start();
  t.ok(port.started);
  await t.rejects(port.start(), { code: "PORT_STATE", message: /is started$/, fix: "stop it first" });
  await t.rejects(port.configure(two), { code: "PORT_STATE" });
  await port.stop();
  await port.stop();
  await port.start();
  await port.close();
  await port.close();
  await t.rejects(port.start(), { code: "PORT_STATE", message: /is closed$/, fix: "attach it again" });
  await t.rejects(port.configure(two), { code: "PORT_STATE" });
  t.same(told, ["configure 2 2", "configure 1 2", "start", "stop", "start", "stop", "close"]);
});

t.test("queue counts are checked before the device hears of them", async (t) => {
  const { told, port } = setup();
  for (const [rxQueues, txQueues] of [
    [0, 1],
    [3, 1],
    [1, 0],
    [1, 3],
    [1.5, 1],
    [Number.NaN, 1],
  ] as const) {
    await t.rejects(port.configure({ rxQueues, txQueues }), {
      code: "QUEUE_COUNT",
      message: /^port 7 \(net_fake0\): [rt]xQueues .*, but net_fake has 1 to 2$/,
    });
  }
  t.same(told, []);
});

t.test("a configure or start that fails leaves the state as it was", async (t) => {
  let fail = true;
  const failing = async () => {
    if (fail) throw new Error("no");
  };
  const { port } = setup({ configure: failing, start: failing });
  await t.rejects(port.configure(two), /no/);
  await t.rejects(port.start(), { message: /is new/ });
  fail = false;
  await port.configure(two);
  fail = true;
  await t.rejects(port.start(), /no/);
  t.notOk(port.started);
  fail = false;
  await port.start();
  t.ok(port.started);
});

t.test("what a device has not is a named error", async (t) => {
  const { port } = setup();
  const calls = [
    () => port.setPromiscuous(true),
    () => port.setAllMulticast(true),
    () => port.setMac(port.mac),
    () => port.setMtu(9000),
  ];
  for (const call of calls) {
    await t.rejects(call(), { code: "NOT_SUPPORTED", message: /^port 7 \(net_fake0\): net_fake has not / });
  }
  const seen: unknown[] = [];
  const { port: able } = setup({ setMtu: async (mtu) => void seen.push(mtu) });
  await able.setMtu(9000);
  t.same(seen, [9000]);
});

t.test("statistics add the queues up", async (t) => {
  const { port, queues } = setup({ xstats: () => ({ fake_resets: 3 }) });
  await port.configure(two);
  for (const queue of queues) t.equal(queue.get(Queue.PORT), 7, "each queue knows its port");
  const words = [Queue.PACKETS, Queue.BYTES, Queue.ERRORS, Queue.STALLED];
  queues.forEach((queue, k) => {
    words.forEach((word, j) => {
      arena.f64[(queue.offset + word) >>> 3] = 10 ** k * (j + 1) + (j === 1 ? 2 ** 40 : 0);
    });
  });
  t.same(port.stats(), {
    rxPackets: 11,
    txPackets: 1100,
    rxBytes: 22 + 2 ** 41,
    txBytes: 2200 + 2 ** 41,
    rxErrors: 33,
    txErrors: 3300,
    rxMissed: 0,
    rxNoMbuf: 44,
    txRefused: 4400,
  });
  const xstats = port.xstats();
  t.match(xstats, {
    rx_q0_packets: 1,
    rx_q1_no_mbuf: 40,
    tx_q0_errors: 300,
    tx_q1_refused: 4000,
    fake_resets: 3,
  });
  t.equal(Object.keys(xstats).length, 17);
  t.same(queues[1]!.stats(), { packets: 10, bytes: 20 + 2 ** 40, errors: 30, stalled: 40 });
  port.clearStats();
  t.ok(Object.values(port.stats()).every((value) => value === 0));
  t.equal(queues[0]!.get(Queue.PORT), 7, "and nothing else is cleared");
});

/** As the hot side stops a queue. */
function stop(queue: QueueBlock, error: QueueError, argument: number): void {
  queue.set(Queue.ERROR_ARG, argument);
  queue.set(Queue.ERROR, error);
  queue.halt();
}

t.test("faults are reported once each, by name", async (t) => {
  const { port, queues } = setup();
  await port.configure(two);
  const errors: PollmodeError[] = [];
  port.on("error", (error) => errors.push(error));
  t.same(port.faults(), {});
  port.reportFaults();
  stop(queues[1]!, QueueError.BAD_USED_ID, 513);
  stop(queues[2]!, QueueError.NO_HEADER, 4);
  t.match(port.faults(), { "rx 1": { name: "BAD_USED_ID", argument: 513 }, "tx 0": { name: "NO_HEADER" } });
  port.reportFaults();
  port.reportFaults();
  t.same(
    errors.map(({ code }) => code),
    ["QUEUE_BAD_USED_ID", "QUEUE_NO_HEADER"],
  );
  t.match(errors[0]!.message, /^port 7 \(net_fake0\): queue rx 1 stopped: .* \(BAD_USED_ID, 513\)$/);
  t.ok(errors[0]!.fix.length > 0);
  queues[1]!.run(QueueKind.NULL);
  port.reportFaults();
  t.same(Object.keys(port.faults()), ["tx 0"]);
  stop(queues[1]!, QueueError.BAD_USED_ID, 514);
  port.reportFaults();
  t.equal(errors.length, 3, "the same error of a queue that ran in between is a new one");
});

t.test("without a listener a fault is a warning, not the end", async (t) => {
  const { port, queues } = setup();
  await port.configure(two);
  const warned = new Promise<Error & { code?: string }>((resolve) => process.once("warning", resolve));
  stop(queues[0]!, QueueError.USED_INDEX_JUMPED, 9);
  port.reportFaults();
  t.equal((await warned).code, "QUEUE_USED_INDEX_JUMPED");
});

t.test("every error has a name and a text", async (t) => {
  const [queue] = setup().queues as [QueueBlock];
  const seen = new Set<string>();
  for (let code = 1; code <= QueueError.NO_HEADER; code++) {
    stop(queue, code, code);
    const { fault } = queue;
    t.match(fault, { name: /^(?!ERROR_)[A-Z_]+$/, text: /\w/, argument: code });
    seen.add(fault!.name);
    t.same(queue.takeNewFault(), fault);
    t.equal(queue.takeNewFault(), undefined);
  }
  t.equal(seen.size, QueueError.NO_HEADER);
  stop(queue, 99 as QueueError, 1);
  t.equal(queue.fault?.name, "ERROR_99");
  queue.run(QueueKind.NULL);
  t.equal(queue.fault, undefined);
  t.ok(queue.running);
});

t.test("filters, RSS and interrupts reach a device that has them", async (t) => {
  const told: unknown[][] = [];
  const tell =
    (what: string) =>
    async (...args: unknown[]) =>
      void told.push([what, ...args]);
  const line = { fd: 5, readBytes: 8, rearm: undefined } as const;
  const { port } = setup({
    info: {
      driver: "net_fake",
      rxQueuesMax: 2,
      txQueuesMax: 2,
      frameBytesMax: 1518,
      rss: { keyBytes: 40, tableEntries: 128, types: ["ipv4"] },
    },
    addMac: tell("addMac"),
    removeMac: tell("removeMac"),
    setMulticast: tell("setMulticast"),
    setVlanFilter: tell("setVlanFilter"),
    setVlan: tell("setVlan"),
    setRss: tell("setRss"),
    rxInterrupt: () => line,
  });
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  await port.addMac(mac);
  await port.removeMac(mac);
  await port.setMulticast([mac]);
  await port.setVlanFilter(true);
  await port.setVlan(4095, true);
  await port.setRss({ table: [1] });
  t.same(told, [
    ["addMac", mac],
    ["removeMac", mac],
    ["setMulticast", [mac]],
    ["setVlanFilter", true],
    ["setVlan", 4095, true],
    ["setRss", { table: [1] }],
  ]);
  t.equal(port.rxInterrupt(0), line);
  for (const vlan of [-1, 4096, 1.5]) await t.rejects(port.setVlan(vlan, true), { code: "VLAN_ID" });
  await t.rejects(port.setRss({ table: [2] }), { code: "RSS" });
  t.throws(() => port.rss(), { code: "NOT_SUPPORTED" });
});

t.test("the device's own counters are added", async (t) => {
  let cleared = 0;
  const { port } = setup({
    stats: () => ({ rxMissed: 3, rxErrors: 4, txErrors: 5 }),
    clearStats: () => void cleared++,
  });
  const { rxMissed, rxErrors, txErrors } = port.stats();
  t.same([rxMissed, rxErrors, txErrors], [3, 4, 5]);
  port.clearStats();
  t.equal(cleared, 1);
  t.equal(setup().port.stats().rxMissed, 0);
});
