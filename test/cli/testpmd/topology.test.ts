import t from "tap";
import type { ForwardConfig } from "../../../src/cli/testpmd/config.ts";
import { parseTestpmd } from "../../../src/cli/testpmd/options.ts";
import { leavesOdd, makePlan, workOf } from "../../../src/cli/testpmd/topology.ts";

/** A configuration on `ports` ports and lcores 1 to 8. */
function config(ports: number, edit: Partial<ForwardConfig> = {}): ForwardConfig {
  const parsed = parseTestpmd(["--"]);
  if (parsed.what !== "run") throw new Error("no options");
  const portlist = Array.from({ length: ports }, (_, id) => id);
  const corelist = Array.from({ length: 8 }, (_, k) => k + 1);
  const whole = { ...parsed.options.forward, portlist, nbPorts: ports, corelist, ...edit };
  return { ...whole, nbPorts: edit.nbPorts ?? whole.portlist.length };
}

/** `1: 0/0>1/0 1/0>0/0` for each lcore. */
function written(whole: ForwardConfig): string[] {
  return makePlan(whole).lcores.map(({ lcore, streams }) => {
    const parts = streams.map(
      ({ rxPort, rxQueue, txPort, txQueue }) => `${rxPort}/${rxQueue}>${txPort}/${txQueue}`,
    );
    return `${lcore}: ${parts.join(" ")}`;
  });
}

t.test("topologies", async (t) => {
  t.same(written(config(2)), ["1: 0/0>1/0 1/0>0/0"]);
  t.same(written(config(4)), ["1: 0/0>1/0 1/0>0/0 2/0>3/0 3/0>2/0"]);
  t.same(written(config(3)), ["1: 0/0>1/0 1/0>0/0 2/0>2/0"], "the last of an odd number is its own partner");
  t.same(written(config(3, { topology: "chained" })), ["1: 0/0>1/0 1/0>2/0 2/0>0/0"]);
  t.same(written(config(3, { topology: "loop" })), ["1: 0/0>0/0 1/0>1/0 2/0>2/0"]);
  t.same(written(config(3, { portlist: [2, 0] })), ["1: 2/0>0/0 0/0>2/0"], "the list's order counts");
  t.same(written(config(4, { nbPorts: 2 })), ["1: 0/0>1/0 1/0>0/0"]);
  t.same(written(config(0)), []);
  t.equal(leavesOdd(config(3)), true);
  t.equal(leavesOdd(config(3, { topology: "loop" })), false);
  t.equal(leavesOdd(config(2)), false);
});

t.test("several queues: queue by queue over all ports, as testpmd's RSS set-up", async (t) => {
  t.same(written(config(2, { rxq: 2, txq: 2, nbCores: 2 })), ["1: 0/0>1/0 1/0>0/0", "2: 0/1>1/1 1/1>0/1"]);
  t.same(written(config(2, { rxq: 3, txq: 2 })), ["1: 0/0>1/0 1/0>0/0 0/1>1/1 1/1>0/1"]);
  t.same(written(config(2, { rxq: 3, txq: 1 })), ["1: 0/0>1/0 1/0>0/0"], "one way alone: queue 0 alone");
});

t.test("lcores: as many as streams, what is left over goes to the last ones", async (t) => {
  t.same(written(config(2, { nbCores: 8 })), ["1: 0/0>1/0", "2: 1/0>0/0"]);
  // as dpdk-testpmd --lcores 0,(1-4)@1 -- --nb-cores=4 --rxq=3 --txq=3 --portlist=2,0,1 prints
  t.same(written(config(3, { portlist: [2, 0, 1], rxq: 3, txq: 3, nbCores: 4 })), [
    "1: 2/0>0/0 0/0>2/0",
    "2: 1/0>1/0 2/1>0/1",
    "3: 0/1>2/1 1/1>1/1",
    "4: 2/2>0/2 0/2>2/2 1/2>1/2",
  ]);
  t.same(written(config(2, { corelist: [5, 3], nbCores: 2 })), ["5: 0/0>1/0", "3: 1/0>0/0"]);
});

t.test("icmpecho answers where it was asked, port by port", async (t) => {
  const echo = (edit: Partial<ForwardConfig>) => config(2, { mode: "icmpecho", ...edit });
  t.same(written(echo({})), ["1: 0/0>0/0 1/0>1/0"]);
  t.same(written(echo({ rxq: 2, txq: 2, nbCores: 3 })), ["1: 0/0>0/0", "2: 0/1>0/1", "3: 1/0>1/0 1/1>1/1"]);
  t.throws(() => makePlan(echo({ rxq: 2, txq: 1 })), { code: "FORWARD_OPTION" });
});

t.test("an application's lcore has a queue of every port", async (t) => {
  const app = (edit: Partial<ForwardConfig>) => config(2, { mode: "app=x.ts", ...edit });
  t.same(written(app({ nbCores: 2 })), ["1: 0/0>1/0 1/0>0/0"]);
  t.same(written(app({ nbCores: 2, rxq: 3, txq: 3 })), [
    "1: 0/0>1/0 1/0>0/0 0/2>1/2 1/2>0/2",
    "2: 0/1>1/1 1/1>0/1",
  ]);
});

t.test("an lcore's work is the same only if nothing about it has changed", async (t) => {
  const before = config(4, { nbCores: 2 });
  const works = (whole: ForwardConfig) => makePlan(whole).lcores.map((lcore) => workOf(lcore, whole));
  t.same(works(before), works({ ...before }));
  const peered = { ...before, ethPeers: new Map([[3, Uint8Array.of(2, 0, 0, 0, 0, 9)]]) };
  t.equal(works(peered)[0], works(before)[0], "lcore 1 sends to ports 0 and 1");
  t.not(works(peered)[1], works(before)[1]);
  for (const edit of [{ burst: 7 }, { mode: "macswap" }, { verbose: 1 }, { txpkts: [100] }] as const) {
    t.not(works({ ...before, ...edit })[0], works(before)[0], JSON.stringify(edit));
  }
});
