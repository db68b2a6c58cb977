// A testpmd session: what its lcores forward, and what changes while they do.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { fwdStats } from "../../../src/cli/testpmd/display-fwd.ts";
import type { ForwardMode, Session } from "../../../src/cli/testpmd/session.ts";
import { openSession, pause, until } from "./support.ts";

t.setTimeout(120_000);
const nulls = ["net_null0", "net_null1"];
const mac = (last: number) => Uint8Array.of(2, 0, 0, 0, 0, last);

/** Packets that a port received so far. */
const received = (session: Session, port: number) => session.engine.port(port).stats().rxPackets;

async function forwards(session: Session, port = 0): Promise<void> {
  const before = received(session, port);
  await until(`packets at port ${port}`, () => received(session, port) > before);
}

/** Notes which lcores are stopped from now on. */
function watchStops(session: Session): number[] {
  const stopped: number[] = [];
  const { engine } = session;
  const stop = engine.stop.bind(engine);
  engine.stop = (lcore) => {
    stopped.push(lcore);
    return stop(lcore);
  };
  return stopped;
}

t.test("start, stop, and what is said", async (t) => {
  await using opened = await openSession(nulls);
  const { session } = opened;
  t.match(opened.said(), /^Configuring Port 0 \(socket 0\)\nPort 0: 02:00:00:00:00:00\n.*\nDone$/s);
  t.equal(session.forwarding, false);
  await t.rejects(session.stop(), { code: "FORWARDING", message: "Packet forwarding not started" });
  await session.start();
  t.match(
    opened.said(),
    /^io packet forwarding - ports=2 - cores=1 - streams=2 - .*\n {2}nb forwarding cores=1/s,
  );
  await t.rejects(session.start(), { code: "FORWARDING", message: "Packet forwarding already started" });
  await forwards(session);
  const text = await session.stop();
  t.match(opened.said(), `Telling cores to stop...\nWaiting for lcores to finish...\n${text}\n\nDone.`);
  const rx = /Forward statistics for port 0 .*?RX-packets: (\d+) +RX-dropped: 0 +RX-total: (\d+)\n/s.exec(
    text,
  )!;
  const tx = /Forward statistics for port 1 .*?TX-packets: (\d+) +TX-dropped: 0 +TX-total: (\d+)\n/s.exec(
    text,
  )!;
  t.ok(Number(rx[1]) > 0);
  t.equal(rx[1], tx[1], "what port 0 received port 1 sent");
  t.equal(fwdStats(session), text, "it can be looked at again");
});

t.test(
  "tx_first sends exactly so many bursts; the ring's packets are dropped or kept at the next start",
  async (t) => {
    for (const keep of [true, false]) {
      await using opened = await openSession(["net_ring0"], keep ? ["--no-flush-rx"] : []);
      const { session } = opened;
      await session.start(3);
      await forwards(session);
      await session.stop();
      const { txPackets, rxPackets, dropped } = session.portDelta(0);
      t.equal(txPackets, rxPackets + 3 * 32 - ringed(session), "sent: the first ones and all that came back");
      t.equal(dropped, 0);
      await session.start();
      await pause(50);
      await session.stop();
      t.equal(session.portDelta(0).rxPackets > 0, keep, keep ? "with --no-flush-rx they go on" : "flushed");
    }
  },
);

/** net_ring holds what was sent and not yet received; nothing else is under way when lcores have stopped. */
function ringed(session: Session): number {
  const { txPackets, rxPackets } = session.engine.port(0).stats();
  return 3 * 32 - (txPackets - rxPackets);
}

t.test("several segments in tx_first", async (t) => {
  await using opened = await openSession(["net_ring0"], ["--txpkts=64,100,36", "--no-flush-rx", "--burst=4"]);
  const { session } = opened;
  await session.start(1);
  await forwards(session);
  await session.stop();
  const { rxPackets, rxBytes } = session.portDelta(0);
  t.equal(rxBytes, 200 * rxPackets);
});

t.test("a change reaches the lcores that it concerns, and no other", async (t) => {
  const vdevs = ["net_null0", "net_null1", "net_null2", "net_null3"];
  await using opened = await openSession(vdevs, ["--nb-cores=2"], 2);
  const { session } = opened;
  await session.start();
  const stops = watchStops(session);
  const counted = session.portDelta(0).rxPackets;
  await session.setEthPeer(3, mac(9));
  t.same(stops.splice(0), [2], "lcore 2 has ports 2 and 3");
  await session.setMode("macswap");
  t.same(stops.splice(0), [1, 2]);
  t.match(opened.said(), /Set macswap packet forwarding mode$/);
  await session.setBurst(16);
  await session.setNbCores(1);
  t.same(stops.splice(0), [1, 2, 1, 2]);
  await session.setPortlist([3, 1]);
  t.same(session.plan.ports, [3, 1]);
  t.match(opened.said(), /previous number of forwarding ports 4 - changed to number of configured ports 2$/);
  await forwards(session, 3);
  await session.setPortlist([0, 1, 2, 3]);
  await forwards(session, 0);
  t.ok(session.portDelta(0).rxPackets > counted, "counts go on over changes");
  const text = await session.stop();
  for (const id of [0, 1, 2, 3]) t.match(text, new RegExp(`Forward statistics for port ${id}`));
  const sum = (way: "rxPackets" | "txPackets") =>
    [0, 1, 2, 3].reduce((total, id) => total + session.portDelta(id)[way], 0);
  t.equal(sum("rxPackets"), sum("txPackets"), "net_null takes everything");
});

t.test("what cannot be changes nothing", async (t) => {
  await using opened = await openSession(nulls);
  const { session } = opened;
  for (const running of [false, true]) {
    if (running) await session.start();
    const before = structuredClone(session.config);
    const wrong: [Promise<void>, string, RegExp][] = [
      [session.setMode("nonsense" as ForwardMode), "FORWARD_MODE", /nonsense/],
      [session.setMode("app=/nowhere.js"), "FORWARD_MODE", /nowhere/],
      [session.setBurst(0), "FORWARD_OPTION", /burst 0/],
      [session.setBurst(513), "FORWARD_OPTION", /burst 513/],
      [session.setNbCores(2), "FORWARD_OPTION", /nbcore 2/],
      [session.setNbPorts(3), "FORWARD_OPTION", /nbport 3/],
      [session.setCorelist([0]), "LCORE_UNKNOWN", /lcore 0/],
      [session.setCorelist([1, 1]), "LCORE_DUPLICATE", /lcore 1/],
      [session.setPortlist([0, 7]), "PORT_UNKNOWN", /Invalid port 7/],
      [session.setPortlist([0, 0]), "FORWARD_OPTION", /port 0 twice/],
      [session.setPortlist([]), "FORWARD_OPTION", /no port/],
      [session.setEthPeer(9, mac(1)), "PORT_UNKNOWN", /Invalid port 9/],
      [session.setEthPeer(0, Uint8Array.of(1)), "MAC_ADDRESS", /1 bytes/],
      [session.setTxpkts([10]), "OPTION_VALUE", /10 bytes/],
      [session.setTxpkts([4000]), "OPTION_VALUE", /4000/],
      [session.setVerbose(-1), "FORWARD_OPTION", /verbose -1/],
      [session.setPromisc(0, false), "NOT_SUPPORTED", /net_null/],
      [session.configPort(0, { rxq: 2 }), "PORT_STATE", /rxq/],
      [session.configPort("all", { rxq: 2 }), "PORT_STATE", /stop all ports/],
      [session.configPort(0, { rss: ["tcp"] }), "RSS", /tcp/],
      [session.configPort(0, { rss: "all" }), "NOT_SUPPORTED", /receive-side scaling/],
      [session.configPort(0, { mtu: 9000 }), "NOT_SUPPORTED", /MTU/],
      [session.vlanSet("strip", 0, true), "NOT_SUPPORTED", /VLAN/],
      [session.setLink(1, false), "NOT_SUPPORTED", /^port 1 \(net_null1\): net_null has not a link/],
      [session.setRedirection(0, [[0, 0]]), "NOT_SUPPORTED", /receive-side scaling/],
      [session.configPort("all", { maxPktLen: 1518 }), "PORT_STATE", /stop all ports/],
      [session.macAdd(0, mac(1)), "NOT_SUPPORTED", /MAC/],
      [session.rxVlan(0, 5, true), "NOT_SUPPORTED", /VLAN/],
      [session.portReset(0), "PORT_STATE", /stop port/],
      [session.portStart(0), "PORT_STATE", /stop the ports first/],
      [session.portDetach(0), "PORT_STATE", /not stopped/],
      [session.portAttach("net_null1"), "DEVARGS_REPEATED", /net_null1/],
      [
        session.portAttach("net_nothing0") as Promise<unknown> as Promise<void>,
        "DRIVER_UNKNOWN",
        /net_nothing/,
      ],
    ] as [Promise<void>, string, RegExp][];
    for (const [attempt, code, message] of wrong) await t.rejects(attempt, { code, message }, `${message}`);
    t.same(session.config, before);
    t.equal(session.forwarding, running);
  }
  await t.rejects(session.portStop(0), { message: /remove port 0 from forwarding/ }, "while it forwards");
  await t.rejects(session.portClose(1), { message: /remove port 1 from forwarding/ });
  await forwards(session);
});

t.test("an application that does not start: what ran before runs on", async (t) => {
  const folder = t.testdir({ "broken.mjs": "export default () => { throw new Error('on purpose'); };\n" });
  await using opened = await openSession(nulls);
  const { session } = opened;
  await session.start();
  await t.rejects(session.setMode(`app=${folder}/broken.mjs`), { message: /on purpose/ });
  t.equal(session.config.mode, "io");
  t.equal(session.forwarding, true);
  await forwards(session);
  await session.stop();
});

t.test("an application of one's own", async (t) => {
  const app = `export default (context) => {
    const [a, b] = context.queues;
    const move = (from, to) => {
      const got = context.rxBurst(from, context.options.burst);
      const sent = context.txBurst(to, got);
      if (sent < got) context.free(got - sent, sent);
      return got;
    };
    return () => move(a, b) + move(b, a);
  };\n`;
  const folder = t.testdir({ "swap.mjs": app });
  await using opened = await openSession(nulls, [`--forward-mode=app=${folder}/swap.mjs`]);
  const { session } = opened;
  await session.start();
  await forwards(session, 0);
  await forwards(session, 1);
  const text = await session.stop();
  t.match(opened.said(), /^app=.*swap\.mjs packet forwarding - ports=2 - cores=1 - streams=2/m);
  t.match(text, /TX-packets: [1-9]/);
});

t.test("an lcore whose application failed is given other work", async (t) => {
  const app = `const end = performance.now() + 300; // it has been seen to run by then
  export default () => () => {
    if (performance.now() > end) throw new Error("enough");
    return 0;
  };\n`;
  const folder = t.testdir({ "fails.mjs": app });
  await using opened = await openSession(nulls, [`--forward-mode=app=${folder}/fails.mjs`]);
  const { session } = opened;
  await session.start();
  await until("its end", () => /lcore 1 stopped: .*enough/.test(opened.warned()));
  t.equal(session.forwarding, true);
  await session.setMode("io");
  await forwards(session);
  await session.stop();
  await session.start();
  await forwards(session);
});

t.test("an application that changes is reloaded while packets flow", async (t) => {
  const app = (divide: number) => `let turn = 0;
  export default (context) => () => {
    const [queue] = context.queues;
    const got = context.rxBurst(queue, 32);
    const sent = turn++ % ${divide} === 0 ? context.txBurst(queue, got) : 0;
    if (sent < got) context.free(got - sent, sent);
    return got;
  };\n`;
  const file = join(t.testdir({ "part.mjs": app(1) }), "part.mjs");
  await using opened = await openSession(
    ["net_null0"],
    [`--forward-mode=app=${file}`, "--port-topology=loop"],
  );
  const { session } = opened;
  await session.start();
  await forwards(session);
  writeFileSync(file, app(2));
  let text = "";
  await until("the new application", () => {
    text += opened.said();
    return /lcore 1: .*part\.mjs was reloaded/.test(text);
  });
  session.clearFwdStats();
  await until("packets", () => session.portDelta(0).rxPackets > 1_000_000);
  const { rxPackets, txPackets } = session.portDelta(0);
  t.ok(Math.abs(txPackets / rxPackets - 0.5) < 0.05, `half of ${rxPackets} packets is sent: ${txPackets}`);
  opened.warned();
  writeFileSync(file, "export default nonsense nonsense\n");
  await until("what is wrong with it", () => /part\.mjs/.test((text = opened.warned())));
  t.match(text, /fix: /);
  await forwards(session);
});
