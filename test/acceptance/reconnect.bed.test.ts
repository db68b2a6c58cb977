// DPDK's testpmd at the other end of the socket is killed in full flight, as backend and as frontend, again and again.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { dpdkBed } from "../beds/dpdk.ts";
import { hugepagesMissing, reserveHugepages } from "../beds/hugepages.ts";
import { backendPages, startBackend, startFrontend } from "./backend.ts";
import { pause, temporaryFolder, until } from "./support.ts";
import { peerCpu, Survivor } from "./survivor.ts";

const missing = dpdkBed.missing() ?? hugepagesMissing(backendPages);
t.setTimeout(280_000);
const folder = temporaryFolder(t);
if (!missing) await dpdkBed.setup();
const rounds = 3;
/**
 * DPDK's thread that accepts connections may look at a fresh socket only after so long (a poll's timeout in
 * fd_man.c).
 */
const acceptMs = 1_000;
let sockets = 0;

for (const ring of ["split", "packed"] as const) {
  const packed = ring === "packed" ? 1 : 0;

  t.test(`DPDK's backend is killed; ${ring} ring`, { skip: missing ?? false }, async (t) => {
    using _hugepages = reserveHugepages(backendPages);
    const path = join(folder, `${sockets++}.sock`);
    let backend = await startBackend(path, { cpu: peerCpu });
    await using survivor = await Survivor.start(`net_virtio_user0,path=${path},packed_vq=${packed}`);
    try {
      for (let round = 0; round < rounds; round++) {
        await survivor.traffic();
        const killed = performance.now();
        const ended = backend.kill();
        const down = await survivor.linkDown(killed);
        t.ok(down < 1_000, `the link is down after ${Math.round(down)} ms`);
        await survivor.bystanderGoesOn();
        await ended;
        rmSync(path); // DPDK does not take over the socket of a dead process
        await pause(50);
        const starting = startBackend(path, { cpu: peerCpu });
        await until("the new backend's socket", () => existsSync(path), 20_000);
        const there = performance.now();
        await survivor.traffic();
        const back = performance.now() - there;
        t.ok(
          back < acceptMs + 1_000,
          `traffic is back ${Math.round(back)} ms after the backend's socket is there`,
        );
        backend = await starting;
      }
    } finally {
      await backend.kill();
    }
    t.equal(survivor.port.xstats().reconnects, rounds);
    t.same(survivor.failures, []);
    t.same(survivor.port.faults(), {});
    t.same(await survivor.stop(), [], "no mbuf is lost");
  });

  t.test(`DPDK's frontend is killed; ${ring} ring`, { skip: missing ?? false }, async (t) => {
    using _hugepages = reserveHugepages(backendPages);
    const path = join(folder, `${sockets++}.sock`);
    await using survivor = await Survivor.start(`net_vhost0,iface=${path}`);
    for (let round = 0; round < rounds; round++) {
      await using frontend = await startFrontend(path, { cpu: peerCpu, packed: packed === 1 });
      const there = performance.now();
      await survivor.traffic();
      const back = performance.now() - there;
      t.ok(back < 1_000, `traffic ${Math.round(back)} ms after testpmd forwards`);
      const killed = performance.now();
      const ended = frontend.kill();
      const down = await survivor.linkDown(killed);
      t.ok(down < 1_000, `the link is down after ${Math.round(down)} ms`);
      await survivor.bystanderGoesOn();
      await ended;
    }
    t.equal(survivor.port.xstats().peers, rounds);
    t.same(survivor.failures, []);
    t.same(survivor.port.faults(), {});
    t.same(await survivor.stop(), [], "no mbuf is lost");
  });
}
