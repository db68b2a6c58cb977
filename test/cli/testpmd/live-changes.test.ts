// Ports and modes change while others forward: numbered frames go through two ports all the while, and none is lost,
// doubled, late or changed.
//
//   lcore 2, the test's: sends ─▶ port 2 ═ ring ═ port 0 ─▶ lcore 1, testpmd's ─▶ port 1 ═ ring ═ port 3 ─▶ checks
import t, { type Test } from "tap";
import type { ForwardMode } from "../../../src/cli/testpmd/session.ts";
import { Flow, until } from "../../acceptance/support.ts";
import { type Opened, openSession } from "./support.ts";

t.setTimeout(120_000);

/** Fewer than a ring holds: nothing is refused on the way. */
const WINDOW = 512;
const ring = (name: string, what: string) => `nodeaction=${name}:0:${what}`;
const vdevs = [
  `net_ring0,${ring("in", "CREATE")}`,
  `net_ring1,${ring("out", "CREATE")}`,
  `net_ring2,${ring("in", "ATTACH")}`,
  `net_ring3,${ring("out", "ATTACH")}`,
];

/** Ports 0 and 1 forward numbered frames. */
async function openFlow() {
  const opened = await openSession(vdevs, ["--portlist=0,1", "--coremask=2"], 2);
  const { engine } = opened.session;
  const flow = new Flow(engine, { sizeMin: 60, sizeMax: 1500, window: WINDOW, total: 0xffff_ff00 });
  await opened.session.start();
  await engine.forward(2, [flow.sender(engine.port(2), 0), flow.checker(engine.port(3), 0)]);
  /** More frames than were under way: each of them met what is forwarded now. */
  const flows = async (what: string) => {
    const { received } = flow;
    await until(what, () => flow.received > received + 2 * WINDOW);
  };
  /** The test's own lcore first: what fails then is told, not that a queue is busy. */
  const close = async () => {
    await engine.stop(2);
    await opened.session.close();
  };
  return { opened, flow, flows, [Symbol.asyncDispose]: close };
}

/** Lets what is under way arrive; then all that was sent has been received, in order. */
async function judge(t: Test, { session }: Opened, flow: Flow): Promise<void> {
  const { engine } = session;
  await engine.stop(2);
  await engine.forward(2, [flow.checker(engine.port(3), 0)]);
  await until("the last frames", () => flow.received === flow.result().sent);
  const { sent, received, lost, late, changed } = flow.result();
  t.comment(`${sent} frames`);
  t.same({ received, lost, late, changed }, { received: sent, lost: 0, late: 0, changed: 0 });
  await engine.stop(2);
}

const app = `export default ({ queues, options, rxBurst, txBurst, free }) => {
  const outputs = queues.map((_, k) => queues.find(({ port }) => port === options.streams[k].txPort));
  return () => queues.reduce((sum, queue, k) => {
    const got = rxBurst(queue, options.burst);
    const sent = txBurst(outputs[k], got);
    free(got - sent, sent);
    return sum + got;
  }, 0);
};\n`;

t.test("a port is attached, started, taken out, stopped and taken away; modes change", async (t) => {
  const folder = t.testdir({ "app.mjs": app });
  await using run = await openFlow();
  const { opened, flow, flows } = run;
  const { session } = opened;
  const modes: ForwardMode[] = ["macswap", "io", `app=${folder}/app.mjs`, "mac", "csum", "5tswap"];
  for (const [k, mode] of modes.entries()) {
    opened.said();
    const id = await session.portAttach(`net_ring${9 + k}`);
    t.equal(id, 4, "the lowest id that is free");
    await session.setMode(mode);
    await session.setBurst(16 + k);
    await session.setEthPeer(1, Uint8Array.of(2, 0, 0, 0, 1, k));
    t.same(session.plan.ports, [0, 1], "it is stopped, and holds up no change");
    await flows(`frames, mode ${mode}`);
    await session.portStart(id);
    t.match(opened.said(), /Done\nForwarding goes on with ports 0, 1, 4$/);
    t.match(opened.warned(), /the last port will pair with itself/);
    t.same(session.plan.ports, [0, 1, 4]);
    await flows(`frames beside port ${id}`);
    const busy = { code: "PORT_STATE", message: /remove port 4/, fix: "set portlist 0,1, or type `stop`" };
    await t.rejects(session.portStop(id), busy);
    await t.rejects(session.portClose(id), busy);
    await t.rejects(session.portDetach(id), { code: "PORT_STATE", fix: "port stop 4" });
    await session.setPortlist([0, 1]);
    await session.portStop(id);
    await flows("frames beside a stopped port");
    await (k % 2 === 0 ? session.portDetach(id) : session.portClose(id));
    await flows("frames when it is gone");
  }
  t.equal(session.portDelta(1).dropped, 0);
  await judge(t, opened, flow);
});

t.test("the port that joined forwards; whoever names one that is stopped is told", async (t) => {
  await using run = await openFlow();
  const { opened, flow, flows } = run;
  const { session } = opened;
  const stopped = await session.portAttach("net_null8");
  await t.rejects(session.setPortlist([0, 1, stopped]), { code: "PORT_STATE", fix: /^port start 4, / });
  await t.rejects(session.setNbPorts(3), { code: "PORT_STATE", message: /port 4 is stopped/ });
  await session.setNbPorts(2);
  await session.portStart(stopped);
  t.same(session.plan.ports, [0, 1], "nbport leaves it out");
  await session.setNbPorts(3);
  t.same(session.plan.ports, [0, 1, stopped]);
  await until("its packets", () => session.portDelta(stopped).txPackets > 1000);
  const other = await session.portAttach("net_null9");
  await t.rejects(session.portAttach("net_null9"), { code: "DEVARGS_REPEATED" });
  await session.portStart("all");
  t.same(session.plan.ports, [0, 1, stopped, other], "by the default it joins");
  opened.said();
  await until("packets from one to the other", () => session.portDelta(other).rxPackets > 1000);
  await flows("frames beside both");
  await session.setPortlist([0, 1]);
  await session.portStop(stopped);
  await session.portStop(other);
  await judge(t, opened, flow);
  await session.portDetach(stopped);
  await session.portDetach(other);
  const sent = session.portDelta(1).txPackets;
  t.equal(sent, flow.received, "counts went on over all changes");
});

t.test("all ports at once: those that are forwarded are passed over", async (t) => {
  await using opened = await openSession(["net_null0", "net_null1"]);
  const { session } = opened;
  await session.start();
  const ids = [await session.portAttach("net_null2"), await session.portAttach("net_null3")];
  await session.portStart("all");
  t.same(session.plan.ports, [0, 1, ...ids]);
  opened.warned();
  await session.setPortlist([0, 1]);
  await session.portStop("all");
  t.match(opened.warned(), /^Please remove port 0 .*\nPlease remove port 1 [^\n]*$/);
  const states = [0, 1, ...ids].map((id) => session.status(id));
  t.same(states, ["started", "started", "stopped", "stopped"]);
  await session.portClose("all");
  const left = session.engine.ports.map(({ id }) => id);
  t.same(left, [0, 1]);
  const { rxPackets } = session.portDelta(0);
  await until("packets", () => session.portDelta(0).rxPackets > rxPackets);
});

t.test("a port that cannot start stays out, and the others go on", async (t) => {
  await using run = await openFlow();
  const { opened, flow, flows } = run;
  const { session } = opened;
  const id = await session.portAttach("net_null8");
  const port = session.engine.port(id);
  port.start = () => Promise.reject(new Error("on purpose"));
  await t.rejects(session.portStart(id), { message: /on purpose/ });
  t.equal(session.status(id), "stopped");
  await session.setMode("macswap");
  t.same(session.plan.ports, [0, 1]);
  await flows("frames");
  await session.portDetach(id);
  await judge(t, opened, flow);
});
