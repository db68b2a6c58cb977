// Hot reload at full rate over vhost-user: numbered frames pass an application, in by one virtio port and out by
// another, and it is replaced again and again meanwhile. Counted end to end, none is lost, doubled, late or changed.
//
//   lcore 0: sends ─▶ net_vhost ═ socket ═ net_virtio_user ─▶ lcore 1: the application, reloaded
//            checks ◀ net_vhost ═ socket ═ net_virtio_user ◀─┘
import t, { type Test } from "tap";
import { AppFolder, forwarder, Wire } from "../engine/app-files.ts";
import { connectPair, type PairCase, startEngine } from "./pair.ts";
import { pause, temporaryFolder, until } from "./support.ts";

t.setTimeout(120_000);
const RELOADS = 25;
/** Between two reloads: the new code has become fast by then. */
const RUN_MS = 120;
/** A quarter of what two CPUs that others use besides carry. */
const FRAMES_A_SECOND_MIN = 20_000;

async function reloadUnderLoad(t: Test, kind: PairCase): Promise<void> {
  const folder = new AppFolder(t);
  folder.write("limit.ts", "export const limit: number = 64;\n");
  const sockets = temporaryFolder(t);
  const pm = await startEngine("wasm");
  const to = await connectPair(pm, sockets, kind);
  const from = await connectPair(pm, sockets, kind);
  const ends = { sends: to.backend, checks: from.backend, app: [to.frontend, from.frontend] };
  const wire = new Wire(pm, ends);
  t.teardown(() => wire.close());
  await wire.run(folder.write("app.ts", forwarder(0)));
  await until("frames through the first application", () => wire.seen[0]! > 1000);
  const start = performance.now();
  const atStart = wire.flow.received;
  for (let version = 1; version <= RELOADS; version++) {
    folder.write("app.ts", forwarder(version));
    await pm.reload(1);
    await until(`frames through version ${version}`, () => wire.seen[version]! > 0);
    await pause(RUN_MS);
  }
  const seconds = (performance.now() - start) / 1000;
  const rate = (wire.flow.received - atStart) / seconds;
  await wire.drain();
  const { sent, received, lost, late, changed } = wire.flow.result();
  t.comment(
    `${sent} frames, ${Math.round(rate)} a second, over ${RELOADS} reloads in ${seconds.toFixed(1)} s`,
  );
  t.same({ received, lost, late, changed }, { received: sent, lost: 0, late: 0, changed: 0 });
  t.ok(rate > FRAMES_A_SECOND_MIN, "under load");
  const passed = wire.seen.slice(0, RELOADS + 1).reduce((sum, count) => sum + count, 0);
  t.equal(passed, sent, "each passed one version of the application");
  t.ok(
    wire.seen.slice(0, RELOADS + 1).every((count) => count > 0),
    "every version had its share",
  );
  for (const port of pm.ports) t.same(port.faults(), {}, `${port.name}: no queue stopped itself`);
  for (const port of pm.ports) await port.close();
  t.same(pm.pool.audit([]), [], "every mbuf is back");
}

const shape = { mergeable: true, inOrder: true, queues: 1 };
t.test("split rings", (t) => reloadUnderLoad(t, { ...shape, packed: false }));
t.test("packed rings", (t) => reloadUnderLoad(t, { ...shape, packed: true }));
