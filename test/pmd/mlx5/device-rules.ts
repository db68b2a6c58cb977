// Which queue a frame comes to: receive-side scaling and flow rules of a port of pmd/mlx5, changed while frames come.
// It runs on the software ConnectX, which is loaded beneath it: device.bed.test.ts starts it, once for each mode.
import t from "tap";
import type { RssConfig, RssType } from "../../../src/ethdev/driver.ts";
import type { FlowAction, FlowItem } from "../../../src/ethdev/flow.ts";
import { ToeplitzHash } from "../../../src/packet/toeplitz.ts";
import { arp, ethernet, ipv4, ipv6, tcp, udp } from "../../support/frames.ts";
import { BROADCAST, datagram, IBDEV, mode, numbers, OTHER, plain, TAG, withPort } from "./loop-frames.ts";
import { LoopPort } from "./loop-port.ts";

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
      const packet = datagram(own, 3);
      const segment = ipv4(6, tcp(Buffer.alloc(20, 4)), { destination: own });
      const queues = () =>
        port.pass(packet, segment, arp(1)).map(({ queue, frame }) => [frame.readUInt8(23), queue]);
      const at = (frame: Buffer) => queues().find(([protocol]) => protocol === frame[23])?.[1];
      const toQueue = flow.create(
        rule([...IPV4, { item: "udp", dst: { spec: 53 } }], { action: "queue", index: 2 }),
      );
      t.equal(at(packet), 2);
      const dropped = flow.create(rule(IPV4, { action: "drop" }, 1));
      t.equal(at(packet), 2, "the rule of priority 0 comes first");
      t.equal(at(segment), undefined, "dropped");
      flow.destroy(toQueue);
      t.equal(at(packet), undefined, "dropped, too");
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

t.test("two ports of a device: no address is received by both", async (t) => {
  await withPort(t, async (port, own) => {
    await using other = await LoopPort.open(IBDEV);
    const name = Buffer.from(own)
      .toString("hex")
      .replace(/..(?!$)/g, "$&:");
    const taken = { code: "MAC_TAKEN", message: new RegExp(`: ${name} is received by .*, mlx5_0$`) };
    await t.rejects(other.start(), taken);
    await other.device.setMac!(OTHER); // as mac=
    await other.start();
    await t.rejects(other.device.setMac!(own), taken);
    await t.rejects(other.device.addMac!(own), taken);
    t.same(other.device.mac, OTHER);
    t.same(numbers(port.pass(plain(own, 1), plain(OTHER, 2))), [1], "each frame comes to one of them");
    await t.rejects(port.device.addMac!(OTHER), { code: "MAC_TAKEN" });
    other.device.flow!.isolate!(true);
    await port.device.addMac!(OTHER); // which by its rules alone the other one does not receive
    t.throws(() => other.device.flow!.isolate!(false), { code: "MAC_TAKEN" });
    t.same(numbers(port.pass(plain(own, 3), plain(OTHER, 4))), [3, 4]);
    await port.device.removeMac!(OTHER);
    other.device.flow!.isolate!(false);
    await other.device.stop();
    await port.device.addMac!(OTHER); // of a port that has stopped
    await t.rejects(other.device.start(), { code: "MAC_TAKEN" });
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
