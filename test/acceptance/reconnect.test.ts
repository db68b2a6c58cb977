// The process at the other end of a vhost-user socket is killed in full flight, and another takes its place: ours
// goes on.
import { join } from "node:path";
import t from "tap";
import { startScript } from "./children.ts";
import { pause, temporaryFolder, until } from "./support.ts";
import { peerCpu, Survivor } from "./survivor.ts";

t.setTimeout(120_000);
const folder = temporaryFolder(t);
const rounds = 3;
let sockets = 0;

for (const engine of ["wasm", "ts"] as const) {
  for (const ring of ["split", "packed"] as const) {
    const packed = ring === "packed" ? 1 : 0;

    t.test(`our backend is killed; engine ${engine}, ${ring} ring`, async (t) => {
      const path = join(folder, `${sockets++}.sock`);
      const startBackend = async () => {
        const child = startScript("reconnect-child", [`net_vhost0,iface=${path}`, String(peerCpu)]);
        await child.waitFor(/at work/, 20_000);
        return child;
      };
      let backend = await startBackend();
      await using survivor = await Survivor.start(
        `net_virtio_user0,path=${path},packed_vq=${packed}`,
        engine,
      );
      for (let round = 0; round < rounds; round++) {
        await survivor.traffic();
        const killed = performance.now();
        backend.signal("SIGKILL");
        const down = await survivor.linkDown(killed);
        t.ok(down < 1_000, `the link is down after ${Math.round(down)} ms`);
        await survivor.bystanderGoesOn();
        await pause(50); // also when some attempts to connect have failed
        backend = await startBackend();
        const there = performance.now();
        await survivor.traffic();
        const back = performance.now() - there;
        t.ok(back < 1_000, `traffic is back ${Math.round(back)} ms after the backend is`);
        // the rings run before the last message of the handshake, with which the link is up
        await until("the link to come up", () => survivor.port.link().up);
      }
      t.equal(survivor.port.xstats().reconnects, rounds);
      t.same(survivor.failures, []);
      t.same(await survivor.stop(), [], "no mbuf is lost");
      await backend.kill();
    });

    t.test(`our frontend is killed; engine ${engine}, ${ring} ring`, async (t) => {
      const path = join(folder, `${sockets++}.sock`);
      const vdev = `net_virtio_user0,path=${path},packed_vq=${packed}`;
      await using survivor = await Survivor.start(`net_vhost0,iface=${path}`, engine);
      for (let round = 0; round < rounds; round++) {
        await using frontend = startScript("reconnect-child", [vdev, String(peerCpu)]);
        await frontend.waitFor(/at work/, 20_000);
        const there = performance.now();
        await survivor.traffic();
        const back = performance.now() - there;
        t.ok(back < 1_000, `traffic ${Math.round(back)} ms after the frontend is there`);
        const killed = performance.now();
        frontend.signal("SIGKILL");
        const down = await survivor.linkDown(killed);
        t.ok(down < 1_000, `the link is down after ${Math.round(down)} ms`);
        await survivor.bystanderGoesOn();
      }
      t.equal(survivor.port.xstats().peers, rounds);
      t.same(survivor.failures, []);
      t.same(await survivor.stop(), [], "no mbuf is lost");
    });
  }
}
