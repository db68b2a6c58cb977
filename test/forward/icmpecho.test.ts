// icmpecho: what is answered, how, and what is not.
import { Queue } from "../../src/hot/layout.ts";
import { makeFrame, onEngines } from "../support/engines.ts";
import { arp, ethernet, icmpEcho, ipv4, sum } from "../support/frames.ts";
import { PORT_MAC, StreamRun } from "../support/stream.ts";

const MAC = PORT_MAC.toString("hex");
const PEER = "020304050607";
const spec = { mode: "icmpecho" } as const;
const tag = { tags: [[0x8100, 0x0123]] as const };

onEngines("ARP requests", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const [plain, padded, tagged] = run.frames([arp(1), arp(1, { padding: 18 }), arp(1, tag)]);
  t.equal(plain!.toString("hex", 0, 12), PEER + MAC);
  t.equal(plain!.toString("hex", 12, 22), "08060001080006040002", "a reply");
  t.equal(plain!.toString("hex", 22, 32), `${MAC}0a000002`, "the address asked for is here");
  t.equal(plain!.toString("hex", 32, 42), `${PEER}0a000001`);
  t.equal(plain!.length, 42);
  t.equal(padded!.length, 60);
  t.equal(tagged!.toString("hex", 12, 16), "81000123", "the tag stays");
  t.equal(tagged!.toString("hex", 16), plain!.toString("hex", 12));
  t.same(rig.audit(), []);
});

onEngines("echo requests, with right checksums", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  // payloads that bring the request's checksum to all its edges, f7ff and ffff among them
  const payloads = [0, 1, 2, 10, 56, 1400].map((length) => makeFrame(length, length));
  const edges = [0x0000, 0x07ff, 0x0800, 0xf7fe, 0xf7ff, 0xf800, 0xffff].map((want) => {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE((0xffff * 4 - want - 0x0800 - 0x1234 - 1) % 0xffff, 0);
    return payload;
  });
  const requests = [...payloads, ...edges].map((payload) => ipv4(1, icmpEcho(payload)));
  requests.push(ipv4(1, icmpEcho(Buffer.alloc(8)), { options: 12 }));
  requests.push(ipv4(1, icmpEcho(makeFrame(1, 300)), tag));
  requests.push(
    ipv4(1, icmpEcho(makeFrame(2, 300)), {
      tags: [
        [0x88a8, 1],
        [0x8100, 2],
      ],
    }),
  );
  const replies = run.frames(requests);
  t.equal(replies.length, requests.length);
  replies.forEach((frame, k) => {
    const request = requests[k]!;
    const ip = frame[12] === 0x08 ? 14 : frame.readUInt16BE(12) === 0x8100 ? 18 : 22;
    const ihl = (frame[ip]! & 15) * 4;
    t.equal(frame.toString("hex", 0, 12), PEER + MAC);
    t.equal(frame.toString("hex", 12, ip + 12), request.toString("hex", 12, ip + 12));
    t.same([...frame.subarray(ip + 12, ip + 20)], [10, 0, 0, 2, 10, 0, 0, 1]);
    t.equal(frame[ip + ihl], 0);
    t.equal(sum(frame.subarray(ip, ip + ihl)), 0xffff, "IPv4 checksum");
    t.equal(sum(frame.subarray(ip + ihl)), 0xffff, `ICMP checksum of request ${k}`);
    t.ok(frame.subarray(ip + ihl + 4).equals(request.subarray(ip + ihl + 4)), "payload");
  });
  t.same(rig.audit(), []);
});

onEngines("the answer comes from the MAC address that was asked, or the port's", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const ask = (destination: string) =>
    ipv4(1, icmpEcho(Buffer.alloc(9)), { destination: Buffer.from(destination, "hex") });
  const sources = run.frames([ask("0200000000aa"), ask("ffffffffffff"), ask("01005e000001")]);
  t.same(
    sources.map((frame) => frame.toString("hex", 0, 12)),
    [`${PEER}0200000000aa`, PEER + MAC, PEER + MAC],
  );
});

onEngines("a group cannot answer: an address near the asker's does", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const asks: [from: number[], to: number[], answer: number[]][] = [
    [
      [10, 0, 0, 1],
      [224, 0, 0, 1],
      [10, 0, 0, 2],
    ],
    [
      [10, 0, 0, 2],
      [239, 255, 255, 250],
      [10, 0, 0, 1],
    ],
    [
      [10, 0, 0, 6],
      [255, 255, 255, 255],
      [10, 0, 0, 5],
    ],
    [
      [10, 0, 0, 6],
      [223, 255, 255, 255],
      [223, 255, 255, 255],
    ],
    [
      [10, 0, 0, 6],
      [240, 0, 0, 1],
      [240, 0, 0, 1],
    ],
  ];
  for (const options of [0, 8]) {
    const replies = run.frames(
      asks.map(([from, to]) => ipv4(1, icmpEcho(Buffer.alloc(9)), { from, to, options })),
    );
    replies.forEach((frame, k) => {
      const [from, , answer] = asks[k]!;
      t.same([...frame.subarray(26, 34)], [...answer, ...from]);
      t.equal(sum(frame.subarray(14, 34 + options)), 0xffff);
    });
  }
  t.same(rig.audit(), []);
});

onEngines("everything else is freed and counted", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const broken = (frame: Buffer, change: (frame: Buffer) => void) => {
    change(frame);
    return frame;
  };
  const echo = () => ipv4(1, icmpEcho(Buffer.alloc(20)));
  const others = [
    arp(2),
    arp(1).subarray(0, 41),
    arp(1, tag).subarray(0, 45),
    broken(arp(1), (frame) => frame.writeUInt16BE(6, 14)), // not Ethernet
    broken(arp(1), (frame) => frame.writeUInt16BE(0x86dd, 16)), // not IPv4
    broken(arp(1), (frame) => frame.writeUInt16BE(0x0410, 18)),
    ipv4(1, icmpEcho(Buffer.alloc(20), 0)),
    ipv4(1, icmpEcho(Buffer.alloc(20), 8, 1)),
    ipv4(1, icmpEcho(Buffer.alloc(20)), { fragment: 0x2000 }),
    ipv4(1, icmpEcho(Buffer.alloc(20)), { fragment: 0x0010 }),
    echo().subarray(0, 41),
    broken(echo(), (frame) => frame.writeUInt16BE(0x86dd, 12)),
    broken(echo(), (frame) => frame.writeUInt8(0x65, 14)),
    broken(echo(), (frame) => frame.writeUInt8(0x44, 14)),
    broken(echo(), (frame) => frame.writeUInt8(0x4f, 14)),
    broken(echo(), (frame) => frame.writeUInt8(17, 23)),
    ethernet(0x0800, Buffer.alloc(46)),
    Buffer.from(makeFrame(3, 14)),
    Buffer.from(makeFrame(4, 1500)),
  ];
  const sent = run.frames([...others, echo()]);
  t.equal(sent.length, 1);
  t.match(run.counters, { rxPackets: others.length + 1, rxDropped: others.length, txPackets: 1 });
  t.same(rig.audit(), []);
});

onEngines(
  "an lcore that only drops does not starve the one that draws",
  { mbufs: 4096, dataRoom: 128 },
  (t, rig) => {
    const run = new StreamRun(rig, spec);
    const cache = rig.pool.cacheOf(1);
    for (const end of [run.rx, run.tx]) end.block.set(Queue.CACHE, cache);
    for (let round = 0; round < 60; round++) {
      run.rx.put(rig.alloc(128));
      run.run();
    }
    t.same(rig.audit(), []);
  },
);
