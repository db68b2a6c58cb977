import t from "tap";
import { Pollmode } from "../../src/pollmode.ts";

t.setTimeout(30_000);
const ids = (pm: Pollmode) => pm.ports.map(({ id }) => id);

t.test("ports are detached; ids are stable, and the lowest free one is taken next", async (t) => {
  await using pm = await Pollmode.start({ noHuge: true, vdev: ["net_null0", "net_null1", "net_null2"] });
  const [zero, one] = pm.ports as [Pollmode["ports"][0], Pollmode["ports"][0]];
  const used = pm.private.usedBytes;
  await one.configure();
  await one.start();
  await pm.detach(one);
  t.same(ids(pm), [0, 2]);
  t.ok(pm.private.usedBytes < used, "what it held is given back");
  t.throws(() => pm.port(1), { code: "PORT_UNKNOWN", message: "there is no port 1; there are 0, 2" });
  await t.rejects(pm.detach(one), { code: "PORT_UNKNOWN" });
  await pm.detach(zero);
  t.equal((await pm.attach("net_null3")).id, 0);
  const again = await pm.attach("net_null4");
  t.equal(again.id, 1);
  await t.rejects(pm.detach(one), { code: "PORT_UNKNOWN", message: /another has its id/ });
  t.equal((await pm.attach("net_null5")).id, 3);
  for (const port of pm.ports) await pm.detach(port);
  t.throws(() => pm.port(0), { message: "there is no port 0; there is none" });
});

t.test("a port whose queues are run stays", async (t) => {
  await using pm = await Pollmode.start({ noHuge: true, vdev: ["net_null0"] });
  const port = pm.port(0);
  await port.configure();
  await port.start();
  await pm.forward(0, [{ mode: "io", rx: { port, queue: 0 }, tx: { port, queue: 0 } }]);
  await t.rejects(pm.detach(port), { code: "QUEUE_BUSY" });
  t.same(ids(pm), [0]);
  t.equal(port.started, true);
  await pm.stop(0);
  await pm.detach(port);
  t.same(ids(pm), []);
});

t.test("vfioIntr is checked", async (t) => {
  await t.rejects(Pollmode.start({ noHuge: true, vfioIntr: "intx" as "msi" }), { code: "OPTION_VALUE" });
});
