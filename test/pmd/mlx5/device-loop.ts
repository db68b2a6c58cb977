// What a port of pmd/mlx5 can be told while it runs, seen by the frames that come back to it; which queue they come to
// is in device-rules.ts. It runs on the software ConnectX, which is loaded beneath it: device.bed.test.ts starts it.
import { readdirSync } from "node:fs";
import t from "tap";
import { Mbuf, OlFlag, TxOffload } from "../../../src/hot/layout.ts";
import { ethernet } from "../../support/frames.ts";
import {
  BROADCAST,
  datagram,
  GROUP,
  GROUP6,
  IBDEV,
  IP_CHECKSUM,
  KERNELS,
  mode,
  numbers,
  OTHER,
  plain,
  TAG,
  testOf,
  UDP_CHECKSUM,
  withPort,
} from "./loop-frames.ts";
import { LoopPort } from "./loop-port.ts";

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
    const many = Array.from({ length: 60 }, (_, k) => plain(own, k, k % 5 === 0 ? [] : [[TAG, k >>> 2]]));
    const wanted = many.map((_, k) => ({ vlan: k % 5 === 0 ? undefined : k >>> 2, frame: plain(own, k) }));
    t.same(
      port.pass(...many).map(({ vlan, frame }) => ({ vlan, frame })),
      wanted,
      "each its own",
    );
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

testOf("dv", "checksums are checked, packet by packet", async (t) => {
  const check = async (port: LoopPort, own: Uint8Array) => {
    const wrong = [undefined, IP_CHECKSUM, undefined, undefined, UDP_CHECKSUM];
    const frames = Array.from({ length: 50 }, (_, k) => datagram(own, k, wrong[k % 5]));
    const received = port.pass(...frames);
    const having = (flag: OlFlag) => received.map(({ flags }) => (flags & flag) !== 0);
    const but = (k: number) => frames.map((_, at) => at % 5 !== k);
    t.same(having(OlFlag.RX_IP_CKSUM_GOOD), but(1));
    t.same(having(OlFlag.RX_L4_CKSUM_GOOD), but(4));
  };
  await withPort(t, check, { offloads: ["rxChecksum"] });
});

t.test("checksums are filled in", async (t) => {
  await withPort(t, async (port, own) => {
    const { device, rig } = port;
    t.equal(device.info.offloads?.includes("rxChecksum"), mode === "dv", "plain verbs do not tell");
    const frame = datagram(own, 3);
    frame.writeUInt16BE(0, IP_CHECKSUM);
    const mbuf = rig.packet(frame);
    rig.put(mbuf + Mbuf.OL_FLAGS, OlFlag.TX_IP_CKSUM | OlFlag.TX_IPV4);
    rig.put(mbuf + Mbuf.TX_OFFLOAD, 14 | (20 << TxOffload.L3_SHIFT));
    t.match(port.passMbufs([mbuf]), [{ frame: datagram(own, 3) }]);
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

t.test("the longest rings", async (t) => {
  for (const txDescriptors of [8192, 16384, 32768]) {
    await withPort(t, async (port, own) => t.same(numbers(port.pass(plain(own, 1))), [1]), { txDescriptors });
  }
});

/** Frames of all sizes, each told apart by its bytes: more than a ring of 256, so that it wraps. */
const manyTo = (destination: Uint8Array) =>
  Array.from({ length: 1000 }, (_, k) => {
    const body = Buffer.alloc(46 + ((37 * k) % 1400), k);
    body.writeUInt32LE(k);
    return ethernet(0x88b5, body, { destination });
  });

testOf("dv", "every way of receiving and sending that can be asked for", async (t) => {
  const offloads = ["rxChecksum", "txChecksum"] as const;
  for (const striding of [0, 1]) {
    for (const compression of [0, 1]) {
      for (const send of ["txq_mpw_en=1", "txq_mpw_en=0", "txq_inline_min=18"]) {
        const args = `,mprq_en=${striding},rxq_cqe_comp_en=${compression},${send}`;
        await withPort(
          t,
          async (port, own) => {
            const frames = manyTo(own);
            const received: Buffer[] = [];
            for (let at = 0; at < frames.length; at += 100) {
              received.push(...port.pass(...frames.slice(at, at + 100)).map(({ frame }) => frame));
            }
            const same =
              received.length === frames.length && received.every((one, k) => one.equals(frames[k]!));
            t.ok(same, `${args}: ${received.length} of ${frames.length}, as they were sent`);
          },
          { offloads: striding ? offloads : [] },
          args,
        );
      }
    }
  }
});
