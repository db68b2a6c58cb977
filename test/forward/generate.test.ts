// txonly and flowgen: what they send, in segments, in flows, and when the queue is full.
import { udpTemplate } from "../../src/forward/streams.ts";
import { Mbuf } from "../../src/hot/layout.ts";
import { onEngines, type Rig } from "../support/engines.ts";
import { ethernet, sum } from "../support/frames.ts";
import { PORT_MAC, StreamRun } from "../support/stream.ts";

/** The headers of a frame of `bytes` bytes, made here. */
function headers(
  bytes: number,
  to: Uint8Array,
  from: Uint8Array,
  addresses: number[],
  ports: number[],
): Buffer {
  const ip = Buffer.alloc(28);
  ip.set([0x45, 0], 0);
  ip.writeUInt16BE(bytes - 14, 2);
  ip.set([64, 17], 8);
  ip.set(addresses, 12);
  ip.writeUInt16BE(~sum(ip.subarray(0, 20)) & 0xffff, 10);
  ip.writeUInt16BE(ports[0]!, 20);
  ip.writeUInt16BE(ports[1]!, 22);
  ip.writeUInt16BE(bytes - 34, 24);
  return ethernet(0x0800, ip, { destination: to, source: from });
}

const DEFAULT_PEER = Buffer.from("020000000007", "hex");
const ADDRESSES = [198, 18, 0, 1, 198, 18, 0, 2];

const lengthsOf = (rig: Rig, mbuf: number) => rig.segments(mbuf).map((one) => rig.word(one + Mbuf.DATA_LEN));

onEngines("txonly: testpmd's frame, at every size; what is refused is dropped", {}, (t, rig) => {
  for (const frameBytes of [undefined, 60, 61, 1500]) {
    const size = frameBytes ?? 64;
    const run = new StreamRun(rig, { mode: "txonly", frameBytes }, { txEntries: 64 });
    const sent = run.pass([]);
    t.equal(sent.length, 64, "a full ring, and no more");
    const wanted = headers(size, DEFAULT_PEER, PORT_MAC, ADDRESSES, [9, 9]);
    t.ok(sent.every((mbuf) => rig.frame(mbuf).length === size));
    t.ok(sent.every((mbuf) => rig.frame(mbuf).subarray(0, 42).equals(wanted)));
    t.ok(
      sent.every((mbuf) =>
        rig
          .frame(mbuf)
          .subarray(42, 60)
          .every((byte) => byte === 0),
      ),
    );
    t.match(run.counters, { txPackets: 64, txDropped: 256 * 32 - 64, rxPackets: 0 });
    rig.free(sent);
  }
  t.same(rig.audit(), []);
});

onEngines("txonly: segments as txpkts says, headers across them", { dataRoom: 256 }, (t, rig) => {
  const lists = [[42], [64], [10, 32], [1, 1, 1, 61], [14, 20, 8, 100], [256, 256, 88], Array(60).fill(1)];
  for (const txpkts of lists) {
    const ethPeer = Buffer.from("02aabbccddee", "hex");
    const run = new StreamRun(rig, { mode: "txonly", txpkts, ethPeer }, { txEntries: 4, burst: 2 });
    const sent = run.pass([]);
    const total = txpkts.reduce((a, b) => a + b, 0);
    t.equal(sent.length, 4);
    for (const mbuf of sent) {
      t.same(lengthsOf(rig, mbuf), txpkts);
      t.equal(rig.arena.u16[(mbuf + Mbuf.NB_SEGS) >>> 1], txpkts.length);
      t.equal(rig.word(mbuf + Mbuf.PKT_LEN), total);
      t.same(rig.frame(mbuf).subarray(0, 42), headers(total, ethPeer, PORT_MAC, ADDRESSES, [9, 9]));
    }
    rig.free(sent);
    t.same(rig.audit(), [], `${txpkts}`);
  }
});

onEngines(
  "txonly: a frame larger than an mbuf; a pool that runs dry",
  { dataRoom: 256, mbufs: 64 },
  (t, rig) => {
    const run = new StreamRun(rig, { mode: "txonly", frameBytes: 1000 }, { txEntries: 64, burst: 8 });
    const sent = run.pass([]);
    t.equal(sent.length, 16, "all that 64 mbufs give");
    t.ok(sent.every((mbuf) => `${lengthsOf(rig, mbuf)}` === "256,256,256,232"));
    rig.free(sent);
    t.same(rig.audit(), []);
  },
);

onEngines("txonly: many flows by the source address, in order across drops", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "txonly", multiFlow: true }, { txEntries: 256, burst: 7 });
  let next = 0;
  for (let round = 0; round < 3; round++) {
    const sent = run.pass([]);
    t.equal(sent.length, 256);
    for (const mbuf of sent) {
      const wanted = headers(64, DEFAULT_PEER, PORT_MAC, [198, 18, next, 2 + 3, 198, 18, 0, 2], [9, 9]);
      if (!rig.frame(mbuf).subarray(0, 42).equals(wanted))
        return void t.fail(`flow ${next} of round ${round}`);
      next = (next + 1) & 255;
    }
    rig.free(sent);
  }
  t.same(rig.audit(), []);
});

const FLOW_MACS = [Buffer.from("000102030401", "hex"), Buffer.from("000102030400", "hex")] as const;

function flowHeaders(size: number, flow: number, to: Uint8Array = FLOW_MACS[0]): Buffer {
  const destination = 0x0afd0000 + flow;
  const address = [
    destination >>> 24,
    (destination >>> 16) & 255,
    (destination >>> 8) & 255,
    destination & 255,
  ];
  return headers(size, to, FLOW_MACS[1], [10, 254, 0, 0, ...address], [1000, 1001]);
}

onEngines("flowgen: numbered flows, none left out where the queue is full", {}, (t, rig) => {
  for (const flows of [1, 3, 100, undefined]) {
    const run = new StreamRun(rig, { mode: "flowgen", flows });
    let flow = 0;
    for (let round = 0; round < 6; round++) {
      const sent = run.pass([]);
      t.equal(sent.length, 256);
      const wrong = sent.findIndex((mbuf) => {
        const wanted = flowHeaders(60, flow);
        flow = (flow + 1) % (flows ?? 1024);
        const frame = rig.frame(mbuf);
        return frame.length !== 60 || !frame.subarray(0, 42).equals(wanted);
      });
      t.equal(wrong, -1, `${flows} flows, round ${round}`);
      rig.free(sent);
    }
  }
  t.same(rig.audit(), []);
});

onEngines("flowgen: frees what comes, sizes, peers, large frames", { dataRoom: 256 }, (t, rig) => {
  const ethPeer = Buffer.from("02aabbccddee", "hex");
  const run = new StreamRun(
    rig,
    { mode: "flowgen", txpkts: [200, 250, 250], ethPeer },
    { burst: 4, txEntries: 16 },
  );
  const sent = run.pass(Array.from({ length: 40 }, () => rig.packet(Buffer.alloc(300, 1))));
  t.equal(sent.length, 16);
  sent.forEach((mbuf, flow) => {
    t.same(lengthsOf(rig, mbuf), [256, 256, 184], "696 bytes: without CRC");
    t.same(rig.frame(mbuf).subarray(0, 42), flowHeaders(696, flow, ethPeer));
  });
  t.match(run.counters, { rxPackets: 40, txPackets: 16, txDropped: 256 * 4 - 16 });
  rig.free(sent);
  t.same(rig.audit(), []);
});

onEngines("flowgen: flows beyond 2^16 carry into the address", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "flowgen", flows: 70_000 }, { burst: 250 });
  let flow = 0;
  let wrong = 0;
  for (let round = 0; round < 275; round++) {
    const sent = run.pass([]);
    for (const mbuf of sent) {
      if (flow % 250 === 0 && !rig.frame(mbuf).subarray(0, 42).equals(flowHeaders(60, flow))) wrong++;
      flow = (flow + 1) % 70_000;
    }
    rig.free(sent);
  }
  t.equal(wrong, 0);
  t.ok(flow < 10_000, "it has gone round");
});

onEngines(
  "the template of tx_first",
  {},
  (t) => {
    const wanted = headers(100, Buffer.from("020000000000", "hex"), PORT_MAC, ADDRESSES, [9, 9]);
    t.same(Buffer.from(udpTemplate(PORT_MAC, 100).subarray(0, 42)), wanted);
    const peer = Buffer.from("02aabbccddee", "hex");
    t.same(Buffer.from(udpTemplate(PORT_MAC, 100, peer).subarray(0, 6)), peer);
  },
  ["ts"],
);
