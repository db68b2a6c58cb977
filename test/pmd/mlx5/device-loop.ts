// Everything that a port of pmd/mlx5 can be told while it runs, seen by the frames that come back to it. It runs on the
// software ConnectX, which is loaded beneath it: device.bed.test.ts starts it, once for each mode.
import { readdirSync } from "node:fs";
import t, { type Test } from "tap";
import type { RssConfig, RssType } from "../../../src/ethdev/driver.ts";
import type { FlowAction, FlowItem } from "../../../src/ethdev/flow.ts";
import { Mbuf, OlFlag } from "../../../src/hot/layout.ts";
import { ToeplitzHash } from "../../../src/packet/toeplitz.ts";
import { arp, ethernet, ipv4, ipv6, tcp, udp } from "../../support/frames.ts";
import { LoopPort, type Mode, type Received } from "./loop-port.ts";

const mode = process.argv[2] as Mode;
const IBDEV = `ibdev=mlx5_0,mode=${mode},rx-queue-size=256`;
/** A test of what one mode alone has, or has not. */
function testOf(which: Mode, name: string, work: (t: Test) => Promise<void>): void {
  if (mode === which) void t.test(name, work);
}

const OTHER = Buffer.from("020000000077", "hex");
/** The interface's in the emulator's tree. */
const KERNELS = Buffer.from("0215b3000001", "hex");
const GROUP = Buffer.from("01005e000007", "hex");
const GROUP6 = Buffer.from("333300000007", "hex");
const BROADCAST = Buffer.alloc(6, 0xff);
const TAG = 0x8100;

/** A frame of no protocol, told apart by its last byte. */
const plain = (destination: Uint8Array, number: number, tags: [number, number][] = []) =>
  ethernet(0x88b5, Buffer.alloc(50, number), { destination, tags });
const numbers = (received: readonly Received[]) => received.map(({ frame }) => frame.at(-1)).sort();

/** Opened, started, and ended with all mbufs back. */
async function withPort(
  t: Tap,
  work: (port: LoopPort, own: Uint8Array) => Promise<unknown>,
  config: Parameters<LoopPort["start"]>[0] = {},
  args = "",
): Promise<void> {
  const port = await LoopPort.open(`${IBDEV}${args}`);
  try {
    await port.start(config);
    await work(port, port.device.mac);
    t.same(port.errors, []);
  } finally {
    await port[Symbol.asyncDispose]();
  }
  t.same(port.rig.pool.audit([]), [], "every mbuf is back");
}
type Tap = Pick<typeof t, "same" | "equal" | "ok" | "match">;

t.test("addresses", async (t) => {
  await withPort(t, async (port, own) => {
    const { device } = port;
    t.equal(device.link().up, true);
    const all = (k = 0) =>
      numbers(
        port.pass(plain(own, k + 1), plain(OTHER, k + 2), plain(BROADCAST, k + 3), plain(GROUP, k + 4)),
      );
    t.same(all(), [1, 3], "the own one and broadcast");
    await device.addMac!(OTHER);
    t.same(all(10), [11, 12, 13]);
    await device.removeMac!(OTHER);
    t.same(all(20), [21, 23]);
    await device.setMac!(OTHER);
    t.same(device.mac, Uint8Array.from(OTHER));
    t.same(all(30), [32, 33], "the other one is the own one now");
    await device.setMac!(own);
    await device.setMulticast!([GROUP, GROUP6]);
    t.same(all(40), [41, 43, 44]);
    t.same(numbers(port.pass(plain(GROUP6, 7))), [7]);
    await device.setMulticast!([]);
    t.same(all(50), [51, 53]);
    await device.setAllMulticast!(true);
    t.same(all(60), [61, 63, 64], "each once");
    await device.setPromiscuous!(true);
    t.same(all(70), [71, 72, 73, 74], "each once");
    await device.setAllMulticast!(false);
    await device.setPromiscuous!(false);
    t.same(all(80), [81, 83]);
    await t.rejects(device.setMac!(BROADCAST), { code: "MAC_ADDRESS" });
    t.same(all(90), [91, 93], "as before");
  });
});

t.test("settings outlive stop and start", async (t) => {
  await withPort(t, async (port, own) => {
    await port.device.setMac!(OTHER);
    await port.device.setMulticast!([GROUP]);
    await port.device.stop();
    t.same(port.rig.pool.audit([]), [], "a stopped port holds no mbuf");
    await port.restart();
    t.same(numbers(port.pass(plain(own, 1), plain(OTHER, 2), plain(GROUP, 3))), [2, 3]);
  });
  const stays = async (port: LoopPort) => {
    t.same(port.device.mac, Uint8Array.from(OTHER));
    t.same(
      numbers(port.pass(plain(KERNELS, 1), plain(OTHER, 2))),
      [2],
      "the interface's own stays the kernel's",
    );
  };
  await withPort(t, stays, {}, ",mac=02:00:00:00:00:77");
});

testOf("dv", "VLAN filter", async (t) => {
  await withPort(t, async (port, own) => {
    const { device } = port;
    const all = () =>
      numbers(
        port.pass(
          plain(own, 1),
          plain(own, 2, [[TAG, 7]]),
          plain(own, 3, [[TAG, 0xe008]]),
          plain(own, 4, [[TAG, 0x1009]]),
          plain(BROADCAST, 5, [[TAG, 7]]),
          plain(BROADCAST, 6, [[TAG, 8]]),
          plain(BROADCAST, 7),
        ),
      );
    t.same(all(), [1, 2, 3, 4, 5, 6, 7], "off: all VLANs");
    await device.setVlanFilter!(true);
    t.same(all(), [1, 7]);
    await device.setVlan!(8, true);
    t.same(all(), [1, 3, 6, 7]);
    await device.setVlan!(7, true);
    t.same(all(), [1, 2, 3, 5, 6, 7]);
    await device.setVlan!(8, false);
    t.same(all(), [1, 2, 5, 7]);
    await device.setVlanFilter!(false);
    t.same(all(), [1, 2, 3, 4, 5, 6, 7]);
  });
});

testOf("ibv", "a VLAN filter and tags of plain verbs are refused", async (t) => {
  await withPort(t, async ({ device }) => {
    await t.rejects(device.setVlanFilter!(true), { code: "NOT_SUPPORTED", fix: /mode=dv/ });
    t.equal(device.setVlanStrip, undefined);
    t.notOk(device.info.offloads?.includes("vlanStrip"));
  });
});

testOf("dv", "tags are stripped and inserted", async (t) => {
  await withPort(t, async (port, own) => {
    const { rig, device } = port;
    const tagged = plain(own, 9, [[TAG, 0x2005]]);
    t.match(port.pass(tagged), [{ vlan: undefined, frame: tagged }]);
    await device.setVlanStrip!(true);
    t.match(port.pass(tagged), [{ vlan: 0x2005, frame: plain(own, 9) }]);
    await device.setVlanStrip!(false);
    t.match(port.pass(tagged), [{ vlan: undefined, frame: tagged }]);
    const mbuf = rig.packet(plain(own, 4));
    rig.put(mbuf + Mbuf.OL_FLAGS, OlFlag.TX_VLAN);
    rig.arena.u16[(mbuf + Mbuf.VLAN_TCI) >>> 1] = 0x4006;
    t.match(port.passMbufs([mbuf]), [{ frame: plain(own, 4, [[TAG, 0x4006]]) }]);
  });
  await withPort(
    t,
    async (port, own) => t.match(port.pass(plain(own, 9, [[TAG, 5]])), [{ vlan: 5, frame: plain(own, 9) }]),
    { offloads: ["vlanStrip", "vlanInsert"] },
  );
});

/** Frames of 64 flows by IPv4, of each kind. */
function flowsTo(destination: Uint8Array): { frame: Buffer; kind: RssType; input: Buffer }[] {
  return Array.from({ length: 64 }, (_, k) => {
    const from = [10, 0, k, 1] as const;
    const to = [10, 1, 0, k] as const;
    const addresses = Buffer.from([...from, ...to]);
    const options = { destination, from, to };
    if (k % 3 === 0) {
      const input = Buffer.concat([addresses, Buffer.from([0x10, 0x01, 0, 53])]);
      return {
        frame: ipv4(17, udp(Buffer.alloc(20, k), { from, to }), options),
        kind: "ipv4-udp" as const,
        input,
      };
    }
    if (k % 3 === 1) {
      const input = Buffer.concat([addresses, Buffer.from([0x10, 0x01, 0, 80])]);
      return {
        frame: ipv4(6, tcp(Buffer.alloc(20, k), { from, to }), options),
        kind: "ipv4-tcp" as const,
        input,
      };
    }
    return { frame: ipv4(89, Buffer.alloc(40, k), options), kind: "ipv4" as const, input: addresses };
  });
}

/** Where each must come, by the definition of the hash. */
function placesOf(flow: ReturnType<typeof flowsTo>[number], { key, types, table }: Required<RssConfig>) {
  const hash = (bytes: number) => new ToeplitzHash(key).add(flow.input, 0, bytes);
  const entry = (value: number) => ({ queue: table[value % table.length]!, hash: value });
  if (types.includes(flow.kind)) return entry(hash(flow.input.length));
  return types.includes("ipv4") ? entry(hash(8)) : { queue: table[0]!, hash: undefined };
}

t.test("RSS: key, types and table, while frames come", async (t) => {
  const { rss: limits } = (await opened()).info;
  t.same(limits, {
    keyBytes: 40,
    tableEntries: 128,
    types: ["ipv4", "ipv4-tcp", "ipv4-udp", "ipv6", "ipv6-tcp", "ipv6-udp"],
  });
  const rss: RssConfig = { types: ["ipv4-udp", "ipv4"] };
  const check = (port: LoopPort, own: Uint8Array, what: string) => {
    const now = port.device.rss!();
    const flows = flowsTo(own);
    const received = port.pass(...flows.map(({ frame }) => frame));
    t.equal(received.length, flows.length, `${what}: each frame once`);
    const wrong = received.filter(({ frame, queue, rssHash }) => {
      const place = placesOf(flows.find((one) => one.frame.equals(frame))!, now);
      return queue !== place.queue || (mode === "dv" && place.hash !== undefined && rssHash !== place.hash);
    });
    t.same(wrong, [], `${what}: at its queue, with its hash`);
    return new Set(received.map(({ queue }) => queue)).size;
  };
  await withPort(
    t,
    async (port, own) => {
      const { device } = port;
      t.equal(check(port, own, "as configured"), 4);
      await device.setRss!({ types: ["ipv4-tcp"], table: [3, 1] });
      t.same(device.rss!().table.slice(0, 4), [3, 1, 3, 1]);
      t.equal(check(port, own, "two queues"), 2);
      await device.setRss!({ types: [], table: [2, 0] });
      t.equal(check(port, own, "nothing is hashed"), 1);
      await device.setRss!({ key: Uint8Array.from({ length: 40 }, (_, k) => 7 * k + 1) });
      t.equal(check(port, own, "another key, all types"), 4);
      await device.setPromiscuous!(true);
      t.equal(check(port, OTHER, "promiscuous"), 4);
      const six = ipv6(17, udp(Buffer.alloc(20), { v6: true }), { destination: own });
      t.equal(port.pass(six, six).length, 2);
    },
    { rxQueues: 4, txQueues: 2, rss },
  );
});

async function opened() {
  const port = await LoopPort.open(IBDEV);
  await port.start();
  const { device } = port;
  await port[Symbol.asyncDispose]();
  return device;
}

const IPV4: FlowItem[] = [{ item: "eth" }, { item: "ipv4" }];
const rule = (pattern: FlowItem[], action: FlowAction, priority = 0) => ({
  ingress: true,
  pattern,
  actions: [action],
  priority,
});

t.test("flow rules: to a queue, spread, dropped, and in their order", async (t) => {
  await withPort(
    t,
    async (port, own) => {
      const flow = port.device.flow!;
      const datagram = ipv4(17, udp(Buffer.alloc(20, 3)), { destination: own });
      const segment = ipv4(6, tcp(Buffer.alloc(20, 4)), { destination: own });
      const queues = () =>
        port.pass(datagram, segment, arp(1)).map(({ queue, frame }) => [frame.readUInt8(23), queue]);
      const at = (frame: Buffer) => queues().find(([protocol]) => protocol === frame[23])?.[1];
      const toQueue = flow.create(
        rule([...IPV4, { item: "udp", dst: { spec: 53 } }], { action: "queue", index: 2 }),
      );
      t.equal(at(datagram), 2);
      const dropped = flow.create(rule(IPV4, { action: "drop" }, 1));
      t.equal(at(datagram), 2, "the rule of priority 0 comes first");
      t.equal(at(segment), undefined, "dropped");
      flow.destroy(toQueue);
      t.equal(at(datagram), undefined, "dropped, too");
      flow.destroy(dropped);
      t.ok(at(segment) !== undefined, "received again");
      const spread = flow.create(rule(IPV4, { action: "rss", queues: [1, 3] }));
      const used = new Set(port.pass(...flowsTo(OTHER).map(({ frame }) => frame)).map(({ queue }) => queue));
      t.same([...used].sort(), [1, 3], "frames to whatever address");
      flow.destroy(spread);
      const tagged = flow.create(rule([{ item: "eth" }, { item: "vlan" }], { action: "queue", index: 3 }));
      t.match(port.pass(plain(OTHER, 1, [[TAG, 9]]), plain(OTHER, 1, [[TAG, 0x1009]]), plain(OTHER, 1)), [
        { queue: 3 },
        { queue: 3 },
      ]);
      flow.destroy(tagged);
      flow.create(rule([{ item: "eth", type: { spec: 0x0806 } }], { action: "queue", index: 1 }));
      await port.device.stop();
      await port.restart();
      t.match(port.pass(arp(1)), [{ queue: 1 }], "rules outlive stop and start");
    },
    { rxQueues: 4, txQueues: 1 },
  );
});

t.test("flow rules: back to the kernel", async (t) => {
  await withPort(t, async (port, own) => {
    const flow = port.device.flow!;
    const toKernel = rule([{ item: "eth", type: { spec: 0x88b5 } }], { action: "passthru" });
    if (mode === "ibv") {
      t.throws(() => flow.create(toKernel), { code: "FLOW_RULE", fix: /mode=dv/ });
      return;
    }
    const made = flow.create(toKernel);
    t.same(
      numbers(port.pass(plain(own, 1), ethernet(0x0801, Buffer.alloc(50, 2), { destination: own }))),
      [2],
    );
    await port.device.setPromiscuous!(true);
    t.same(numbers(port.pass(plain(own, 1), plain(OTHER, 2))), [], "also of a promiscuous port");
    flow.destroy(made);
    t.same(numbers(port.pass(plain(own, 1), plain(OTHER, 2))), [1, 2]);
  });
});

t.test("isolated: nothing but what rules name", async (t) => {
  await withPort(t, async (port, own) => {
    const flow = port.device.flow!;
    flow.create(rule([{ item: "eth", type: { spec: 0x0806 } }], { action: "queue", index: 0 }));
    flow.isolate!(true);
    t.same(port.pass(plain(own, 1), plain(BROADCAST, 2)), []);
    t.equal(port.pass(arp(1)).length, 1);
    await port.device.setPromiscuous!(true);
    t.same(port.pass(plain(own, 1)), []);
    flow.isolate!(false);
    t.same(numbers(port.pass(plain(OTHER, 1))), [1]);
  });
});

t.test("MTU", async (t) => {
  await withPort(t, async (port, own) => {
    const { device } = port;
    const frame = (bytes: number) => ethernet(0x88b5, Buffer.alloc(bytes - 14, 7), { destination: own });
    const lengths = (...sizes: number[]) => port.pass(...sizes.map(frame)).map((one) => one.frame.length);
    t.same(lengths(64, 1514, 1518), [64, 1514, 1518]);
    t.same(lengths(1519), [], "longer than 1500 and a tag");
    await device.setMtu!(1000);
    t.same(lengths(1018, 1019), [1018]);
    await device.setMtu!(2000);
    t.same(lengths(2018, 2019), [2018]);
    await t.rejects(device.setMtu!(4000), { code: "MTU", fix: /stop the port/ });
    await t.rejects(device.setMtu!(20_000), { code: "MTU", fix: /9978/ });
    await device.stop();
    await device.setMtu!(9000);
    await port.restart();
    t.same(lengths(64, 9014, 9018), [64, 9014, 9018], "in several mbufs");
  });
});

t.test("frames that find no buffer are counted", async (t) => {
  await using port = await LoopPort.open(IBDEV);
  await port.start({ rxDescriptors: 64 });
  const { device, rig } = port;
  device.clearStats!();
  const before = device.stats!().rxMissed;
  const frames = Array.from({ length: 200 }, () => rig.packet(plain(device.mac, 1)));
  for (let sent = 0; sent < frames.length; )
    sent += rig.send(device.txQueues[0]!, frames.slice(sent, sent + 32));
  await new Promise((done) => setTimeout(done, 150)); // the counter files are written 20 times a second
  const missed = device.stats!().rxMissed - before;
  t.ok(missed >= 100 && missed <= 136, `${missed} of 200 missed, with a ring of 64`);
  t.equal(device.xstats!().out_of_buffer, missed);
  device.clearStats!();
  t.equal(device.stats!().rxMissed, 0);
});

t.test("a hundred starts and stops leave nothing behind", async (t) => {
  await using port = await LoopPort.open(IBDEV);
  const { rig, device } = port;
  const held = () => [readdirSync("/proc/self/fd").length, rig.dma.usedBytes, rig.private.usedBytes];
  await port.start({ rxQueues: 2, txQueues: 2 });
  t.equal(port.pass(plain(device.mac, 1)).length, 1);
  await device.stop();
  const before = held();
  for (let round = 0; round < 100; round++) {
    await port.restart();
    if (round % 10 === 0) t.equal(port.pass(plain(device.mac, 1)).length, 1);
    await device.stop();
  }
  t.same(held(), before, "descriptors, DMA memory, private memory");
  t.same(rig.pool.audit([]), []);
});

t.test("every way of receiving and sending that can be asked for", async (t) => {
  const again = await LoopPort.open(`${IBDEV},mprq_en=1,rxq_cqe_comp_en=1,txq_mpw_en=0,txq_inline_min=18`);
  await again.start({ rxQueues: 2, txQueues: 1 });
  t.same(numbers(again.pass(...[1, 2, 3].map((k) => plain(again.device.mac, k)))), [1, 2, 3]);
  await again[Symbol.asyncDispose]();
  t.same(again.rig.pool.audit([]), []);
});
