import t from "tap";
import type { StreamStats } from "../../../src/cli/testpmd/fwd-stats.ts";
import type { Session } from "../../../src/cli/testpmd/session.ts";
import { holdings } from "../../acceptance/leaks.ts";
import { openSession, pause, until } from "./support.ts";

t.setTimeout(120_000);
const nulls = ["net_null0", "net_null1"];

/** Packets that a port received so far. */
const received = (session: Session, port: number) => session.engine.port(port).stats().rxPackets;

async function forwards(session: Session, port = 0): Promise<void> {
  const before = received(session, port);
  await until(`packets at port ${port}`, () => received(session, port) > before);
}

t.test("ports: stopped, started, closed, attached; ids are stable", async (t) => {
  await using opened = await openSession([...nulls, "net_null2"]);
  const { session } = opened;
  opened.said();
  await session.portStop(1);
  t.equal(opened.said(), "Stopping ports...\nChecking link statuses...\nDone");
  t.equal(session.status(1), "stopped");
  await t.rejects(session.start(), { code: "PORT_STATE", message: "Not all ports were started" });
  await session.portStart("all");
  t.equal(opened.warned(), "Port 0 is now not stopped\nPort 2 is now not stopped");
  t.equal(opened.said(), "Port 1: 02:00:00:00:00:00\nChecking link statuses...\nDone");
  await session.portStop(1);
  await session.portReset(1);
  await session.portDetach(1);
  t.match(
    opened.said(),
    /Removing a device\.\.\.\nPort 1 is closed\nDevice is detached\nNow total ports is 2\nDone$/,
  );
  t.same(
    session.engine.ports.map(({ id }) => id),
    [0, 2],
  );
  t.same(session.config.portlist, [0, 2]);
  t.throws(() => session.ports.get(1), {
    message: "Invalid port 1",
    fix: "The valid ports array is [ 0 2 ]",
  });
  t.equal(await session.portAttach("net_null7,size=100"), 1, "the lowest id that is free");
  t.match(opened.said(), /Port 1 is attached\. Now total ports is 3\nDone$/);
  t.same(session.config.portlist, [0, 2, 1]);
  await session.portStart(1);
  await session.start();
  await session.setPortlist([0, 1]);
  await session.portStop(2);
  await session.portClose(2);
  t.match(
    opened.said(),
    /Closing ports\.\.\.\nPort 2 is closed\nDone$/,
    "a port that is not forwarded may go",
  );
  await forwards(session, 1);
});

t.test("a link taken down and up again", async (t) => {
  await using opened = await openSession(["net_ring0"], ["--no-flush-rx"]);
  const { session } = opened;
  await session.start(1);
  await forwards(session);
  opened.said();
  await session.setLink(0, false);
  t.equal(opened.said(), "\nPort 0: link state change event");
  t.equal(session.engine.port(0).link().up, false);
  const before = received(session, 0);
  await pause(20);
  t.equal(received(session, 0), before, "nothing moves");
  await session.setLink(0, true);
  await forwards(session);
  await session.setLink(0, true);
  t.equal(opened.said(), "\nPort 0: link state change event", "once for each change");
});

t.test("masks name what there is, lists exactly that", async (t) => {
  await using opened = await openSession([...nulls, "net_null2"], ["--portmask=0xf5"]);
  t.same(opened.session.config.portlist, [0, 2]);
  t.match(
    opened.said(),
    /^previous number of forwarding ports 3 - changed to number of configured ports 2\n/,
  );
  await t.rejects(openSession(nulls, ["--portmask=0x30"]), { code: "PORT_UNKNOWN", message: /--portmask/ });
});

t.test("queues of all ports", async (t) => {
  await using opened = await openSession(nulls);
  const { session } = opened;
  await session.portStop("all");
  await t.rejects(session.configPort("all", { rxq: 99 }), { code: "QUEUE_COUNT" });
  await session.configPort("all", { rxq: 2, txq: 2 });
  await session.portStart("all");
  await session.start();
  t.match(opened.said(), /streams=4/);
  await forwards(session);
  const text = await session.stop();
  t.match(text, /------- Forward Stats for RX Port= 0\/Queue= 1 -> TX Port= 1\/Queue= 1 -------/);
});

t.test("counters that are cleared while packets come", async (t) => {
  await using opened = await openSession(nulls);
  const { session } = opened;
  await session.start();
  await until("many packets", () => session.portDelta(0).rxPackets > 1_000_000);
  opened.said();
  session.clearStats(0);
  t.ok(session.portDelta(0).rxPackets < 1_000_000);
  t.ok(session.portDelta(1).rxPackets > 500_000);
  t.equal(opened.said(), "\n  NIC statistics for port 0 cleared");
  await until("more", () => session.portDelta(1).rxPackets > 2_000_000);
  session.clearFwdStats();
  t.ok(session.portDelta(1).rxPackets < 2_000_000);
  await session.stop();
  const [{ counts }] = session.streamStats() as [StreamStats];
  const apart = counts.txPackets - counts.rxPackets;
  t.ok(Math.abs(apart) <= session.config.burst, "the burst that was under way was counted on one side");
});

t.test("a session that cannot be opened gives back everything", async (t) => {
  const wrong: [vdevs: string[], app: string[], code: string][] = [
    [nulls, ["--nb-cores=2"], "OPTION_VALUE"],
    [nulls, ["--coremask=1"], "LCORE_UNKNOWN"],
    [nulls, ["--nb-ports=3"], "OPTION_VALUE"],
    [nulls, ["--portlist=0,5"], "PORT_UNKNOWN"],
    [nulls, ["--enable-rx-cksum"], "NOT_SUPPORTED"],
    [nulls, ["--flow-isolate-all"], "NOT_SUPPORTED"],
    [nulls, ["--rx-interrupt"], "NOT_SUPPORTED"],
    [nulls, ["--max-pkt-len=9000"], "OPTION_VALUE"],
    [nulls, ["--forward-mode=app=/nowhere.js"], "FORWARD_MODE"],
    [nulls, ["--forward-mode=icmpecho", "--rxq=2"], "FORWARD_OPTION"],
    [["net_null0", "net_vhost0,iface=/nonexistent/s"], [], "ENOENT"],
    [["net_null0,size=1"], [], "DEVARGS_VALUE"],
  ];
  const attempt = async ([vdevs, app, code]: (typeof wrong)[number]) => {
    await t.rejects(openSession(vdevs, app), { code }, `${vdevs} ${app}`);
  };
  for (const one of wrong) await attempt(one);
  await pause(50);
  const before = holdings();
  for (const one of wrong) await attempt(one);
  await pause(50);
  const after = holdings();
  t.equal(after.memfds, before.memfds);
  t.equal(after.threads, before.threads);
  t.ok(after.fds <= before.fds, `${before.fds} descriptors before, ${after.fds} after`);
});

t.test("without ports there is nothing to forward, until one is attached", async (t) => {
  await using opened = await openSession([]);
  const { session } = opened;
  t.match(opened.warned(), /No probed ethernet devices/);
  await session.start();
  t.match(opened.said(), /ports=0 - cores=0 - streams=0/);
  await session.stop();
  const id = await session.portAttach("net_null0");
  await session.portStart(id);
  await session.start();
  t.match(opened.warned(), /odd forward ports number/);
  await forwards(session);
  await session.close();
  t.match(
    opened.said(),
    /Stopping port 0\.\.\.\n.*Shutting down port 0\.\.\.\n.*Bye\.\.\.$/s,
    "close stops first",
  );
});
