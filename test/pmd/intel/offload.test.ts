// Transmit offloads of pmd/intel: the model NIC does what contexts and descriptors say, the checksums are then checked.
import { IntelQueue, IntelQueueFlag } from "../../../pmd/intel/layout.ts";
import { Mbuf, OlFlag, TxOffload } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig, type Tap } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import type { Format, Sent } from "./nic-model.ts";
import { checksumFaults, ipFrame, type Shape, withoutChecksums } from "./packets.ts";
import { formats, IntelPair, type PairOptions } from "./rings.ts";

const options = { mbufs: 320, dataRoom: 1024 };

const shapes: Shape[] = [
  { ip: 4, l4: "tcp", l2: 14, l3: 20 },
  { ip: 4, l4: "udp", l2: 14, l3: 20 },
  { ip: 4, l4: "tcp", l2: 14, l3: 60 },
  { ip: 4, l4: "udp", l2: 18, l3: 24 },
  { ip: 6, l4: "tcp", l2: 14, l3: 40 },
  { ip: 6, l4: "udp", l2: 18, l3: 40 },
];

interface Wish {
  shape: Shape;
  vlan?: number;
}

function flagsOf({ shape, vlan }: Wish): number {
  const l4 = shape.l4 === "tcp" ? OlFlag.TX_TCP_CKSUM : OlFlag.TX_UDP_CKSUM;
  const ip = shape.ip === 4 ? OlFlag.TX_IP_CKSUM | OlFlag.TX_IPV4 : 0;
  return l4 | ip | (vlan === undefined ? 0 : OlFlag.TX_VLAN);
}

/** A packet that asks for all its checksums, and for a tag. */
function makePacket(rig: Rig, frame: Uint8Array, wish: Wish, room?: number): number {
  const mbuf = rig.packet(frame, room);
  rig.put(mbuf + Mbuf.OL_FLAGS, flagsOf(wish));
  rig.put(mbuf + Mbuf.TX_OFFLOAD, wish.shape.l2 | (wish.shape.l3 << TxOffload.L3_SHIFT));
  rig.arena.u16[(mbuf + Mbuf.VLAN_TCI) >>> 1] = wish.vlan ?? 0x777;
  return mbuf;
}

function onPairs(name: string, pairOptions: PairOptions, body: (t: Tap, rig: Rig, pair: IntelPair) => void) {
  onEngines(name, options, async (t, rig) => {
    for (const format of formats as Format[]) {
      await t.test(format, async (t) => {
        const pair = new IntelPair(rig, format, pairOptions);
        body(t as unknown as Tap, rig, pair);
        t.same(rig.audit(pair.held()), []);
        pair.stop();
        t.same(rig.audit(), []);
        pair.free();
      });
    }
  });
}

function settle(rig: Rig, pair: IntelPair): Sent[] {
  const sent = pair.nic.tx.take();
  pair.nic.tx.report();
  rig.hot.txIdle(pair.txq);
  return sent;
}

onPairs("checksums and tags, of every kind, mixed with packets that want none", {}, (t, rig, pair) => {
  const random = new Random(5);
  let bad = 0;
  for (let round = 0; round < 100; round++) {
    const made = Array.from({ length: 8 }, (_, k) => {
      const plain = random.chance(30);
      const wish: Wish = {
        shape: random.pick(shapes),
        ...(random.chance(30) && { vlan: random.below(65536) }),
      };
      const frame = ipFrame(round * 8 + k, random.between(100, 900), wish.shape);
      const room = random.pick([1024, 100, 33]);
      const mbuf = plain ? rig.packet(frame, room) : makePacket(rig, frame, wish, room);
      return { mbuf, frame, wish, plain };
    });
    const packets = made.map(({ mbuf }) => mbuf);
    let taken = 0;
    while (taken < packets.length) {
      const took = rig.send(pair.txq, packets.slice(taken));
      const sent = settle(rig, pair);
      if (took === 0 || sent.length !== took) {
        t.fail(`${took} taken, ${sent.length} sent`);
        return;
      }
      sent.forEach(({ frame, vlan }, k) => {
        const { frame: given, wish, plain } = made[taken + k]!;
        const same = plain
          ? Buffer.compare(frame, given) === 0 && vlan === undefined
          : vlan === wish.vlan &&
            checksumFaults(frame, wish.shape).length === 0 &&
            Buffer.compare(withoutChecksums(frame, wish.shape), withoutChecksums(given, wish.shape)) === 0;
        if (!same) bad++;
      });
      taken += took;
    }
  }
  t.equal(bad, 0);
  t.equal(rig.stats(pair.txq).errors, 0);
});

const tcp: Wish = { shape: shapes[0]! };
const udp: Wish = { shape: shapes[1]! };
const packetsOf = (rig: Rig, wishes: readonly Wish[]) =>
  wishes.map((wish, k) => makePacket(rig, ipFrame(k, 100, wish.shape), wish));

onPairs("a context is given once, until another is needed", { keepsContext: true }, (t, rig, pair) => {
  const contexts = (wishes: readonly Wish[]) => {
    const before = pair.nic.tx.contexts;
    t.equal(rig.send(pair.txq, packetsOf(rig, wishes)), wishes.length);
    t.equal(settle(rig, pair).length, wishes.length);
    return pair.nic.tx.contexts - before;
  };
  t.equal(contexts([tcp, tcp, tcp]), 1);
  t.equal(contexts([tcp]), 0, "over bursts");
  t.equal(contexts([udp, tcp, udp]), 3);
  t.equal(contexts([{ ...udp, shape: { ...udp.shape, l3: 24 } }]), 1, "another length");
  pair.stop();
  pair.start();
  t.equal(contexts([udp]), 1, "a fresh NIC has none");
});

onPairs("a context that does not hold is given each time", { keepsContext: false }, (t, rig, pair) => {
  for (let k = 0; k < 3; k++) {
    t.equal(rig.send(pair.txq, packetsOf(rig, [tcp, tcp])), 2);
    pair.nic.tx.forgetContext();
    const sent = settle(rig, pair);
    t.same(
      sent.map(({ frame }) => checksumFaults(frame, tcp.shape)),
      [[], []],
    );
  }
  t.equal(pair.nic.tx.contexts, 6);
});

onPairs("a tag alone", {}, (t, rig, pair) => {
  const mbufs = [5, 5, 6].map((vlan, k) => {
    const mbuf = rig.packet(makeFrame(k, 60));
    rig.put(mbuf + Mbuf.OL_FLAGS, OlFlag.TX_VLAN);
    rig.arena.u16[(mbuf + Mbuf.VLAN_TCI) >>> 1] = vlan;
    return mbuf;
  });
  rig.send(pair.txq, mbufs);
  t.same(
    settle(rig, pair).map(({ vlan }) => vlan),
    [5, 5, 6],
  );
});

onPairs("one checksum without the other", {}, (t, rig, pair) => {
  const frame = ipFrame(1, 100, tcp.shape);
  const send = (flags: number) => {
    const mbuf = makePacket(rig, frame, tcp);
    rig.put(mbuf + Mbuf.OL_FLAGS, flags);
    rig.send(pair.txq, [mbuf]);
    return checksumFaults(settle(rig, pair)[0]!.frame, tcp.shape);
  };
  t.same(send(OlFlag.TX_IP_CKSUM | OlFlag.TX_IPV4), ["l4"]);
  t.same(send(OlFlag.TX_TCP_CKSUM | OlFlag.TX_IPV4), ["ip"]);
});

onPairs("header lengths that cannot be are errors", {}, (t, rig, pair) => {
  const spoilt: [l2: number, l3: number, flags: number, bytes: number][] = [
    [0, 20, OlFlag.TX_IP_CKSUM, 100],
    [13, 20, OlFlag.TX_IP_CKSUM, 100],
    [14, 19, OlFlag.TX_TCP_CKSUM, 100],
    [14, 20, OlFlag.TX_TCP_CKSUM | OlFlag.TX_UDP_CKSUM, 100],
    [14, 20, OlFlag.TX_TCP_CKSUM, 51],
    [14, 20, OlFlag.TX_UDP_CKSUM, 41],
    [14, 87, OlFlag.TX_IP_CKSUM, 100],
    [127, 511, OlFlag.TX_UDP_CKSUM, 600],
  ];
  spoilt.forEach(([l2, l3, flags, bytes], k) => {
    const mbuf = rig.packet(makeFrame(k, bytes));
    rig.put(mbuf + Mbuf.OL_FLAGS, flags);
    rig.put(mbuf + Mbuf.TX_OFFLOAD, l2 | (l3 << TxOffload.L3_SHIFT));
    t.equal(rig.send(pair.txq, [mbuf]), 1);
    t.equal(rig.stats(pair.txq).errors, k + 1, `${l2} ${l3} ${bytes}`);
  });
  t.equal(pair.nic.tx.ring.held, 0);
  const far = rig.packet(makeFrame(1, 600));
  rig.put(far + Mbuf.OL_FLAGS, OlFlag.TX_TCP_CKSUM);
  rig.put(far + Mbuf.TX_OFFLOAD, 127 | (120 << TxOffload.L3_SHIFT));
  rig.send(pair.txq, [far]);
  const extended = (pair.tx.block.get(IntelQueue.FLAGS) & IntelQueueFlag.EXTENDED) !== 0;
  t.equal(settle(rig, pair).length, extended ? 0 : 1, "beyond the 8 bits of the 82574's offsets");
});

onPairs("no room for a context: refused whole", { size: 8, keepsContext: true }, (t, rig, pair) => {
  const packets = packetsOf(rig, [tcp, tcp, tcp, tcp, tcp, udp, udp]);
  t.equal(rig.send(pair.txq, packets), 5, "1 context and 5 packets of 7 descriptors");
  t.same(rig.audit([...pair.held(), ...packets.slice(5)]), []);
  t.equal(settle(rig, pair).length, 5);
  t.equal(rig.send(pair.txq, packets.slice(5)), 2);
  t.same(
    settle(rig, pair).map(({ frame }) => checksumFaults(frame, udp.shape)),
    [[], []],
  );
});
