// What goes wrong on mlx5 ports, on the software ConnectX: completions in error, a completion queue that overruns, a
// device or an interface that goes away, commands that fail, rights that are not there. Each is a named error; other
// ports go on; a restart mends what can be mended; nothing is left behind.
import { chmodSync, existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { PortStats } from "../../src/ethdev/port.ts";
import { Netns, netnsBed } from "../beds/netns.ts";
import { type SoftMlx5, softMlx5, softMlx5Bed } from "../beds/softmlx5.ts";
import type { Holdings } from "./leaks.ts";
import { Lead } from "./mlx5-lead.ts";
import { type FlowResult, pause, until } from "./support.ts";

const missing = softMlx5Bed.missing();
const skip = missing ?? false;
/** Root becomes one whose rights are known. */
const anotherUser = skip || (process.getuid?.() !== 0 && "only root can become another user");
t.setTimeout(120_000);
if (!missing) await softMlx5Bed.setup();
const netnsMissing = netnsBed.missing();
if (!netnsMissing) await netnsBed.setup();

/** Two ports, each with a plug that leads back to it. */
const looped = (ports = 2) =>
  softMlx5({ ports: Array.from({ length: ports }, () => ({ wire: "loop" })), lossless: true });

type Progress = Record<string, FlowResult>;

/** An engine with a running port on each device of the bed; port k in turn dv and ibv, so that both are tried. */
async function running(bed: SoftMlx5, firstMode: "dv" | "ibv", wrapper: string[] = []): Promise<Lead> {
  const lead = new Lead(bed, {}, wrapper);
  const modes = firstMode === "dv" ? ["dv", "ibv"] : ["ibv", "dv"];
  for (const [k, { ibdev }] of bed.ports.entries()) {
    await lead.ask("attach", `net_rdma${k},ibdev=${ibdev},mode=${modes[k]}`);
    await lead.ask("start", k);
  }
  await lead.ask("run", ...bed.ports.keys());
  return lead;
}

/** Frames go on coming at these ports, in order and unchanged. */
async function advances(t: Test, lead: Lead, ports: readonly number[]): Promise<void> {
  const before = await lead.ask<Progress>("progress");
  let now = before;
  const moved = (id: number) => now[id]!.received > before[id]!.received + 100;
  for (const start = performance.now(); !ports.every(moved) && performance.now() - start < 5_000; ) {
    await pause(5);
    now = await lead.ask<Progress>("progress");
  }
  for (const id of ports) {
    t.ok(moved(id), `port ${id} goes on: ${before[id]!.received}, ${now[id]!.received}`);
    t.match(now[id], { lost: 0, late: 0, changed: 0 });
  }
}

/** Stops all; every mbuf is back, and the emulator has nothing to complain of. */
async function ends(t: Test, lead: Lead, ports: readonly number[]): Promise<void> {
  await lead.ask("halt");
  for (const id of ports) await lead.ask("stop", id);
  t.same(await lead.ask("audit"), [], "every mbuf is back");
  t.equal(await lead.end(), 0, lead.child.output);
}

/** What mlx5-node.ts calls a failure that is no PollmodeError. */
const NOT_OURS = "NO_POLLMODE_ERROR";

/** Syndromes as in rdma-core, enum mlx5dv's MLX5_CQE_SYNDROME_…. */
const completions = [
  { title: "receive, local protection", command: "rx-error 0 4", queue: "rx 0" },
  { title: "send, local length", command: "tx-error 0 1", queue: "tx 0" },
  { title: "send, local protection", command: "tx-error 0 4", queue: "tx 0" },
] as const;

for (const mode of ["dv", "ibv"] as const) {
  t.test(`completions in error, ${mode}`, { skip }, async (t) => {
    await using bed = await looped();
    await using lead = await running(bed, mode);
    await advances(t, lead, [0, 1]);
    await t.test("receive, local length: a frame too long for its buffers is counted, no more", async (t) => {
      t.match(await bed.control("rx-error 0 1"), /^ok/);
      const errors = async () => (await lead.ask<PortStats>("stats", 0)).rxErrors;
      for (const start = performance.now(); (await errors()) === 0 && performance.now() - start < 5_000; )
        await pause(5);
      t.equal(await errors(), 1);
      t.match((await lead.ask<Progress>("progress"))[0], { lost: 1, late: 0, changed: 0 });
      t.same(await lead.ask("faults", 0), {});
      await lead.ask("halt");
      await lead.ask("run", 0, 1);
      await advances(t, lead, [0, 1]);
    });
    for (const [round, { title, command, queue }] of completions.entries()) {
      await t.test(title, async (t) => {
        t.match(await bed.control(command), /^ok/);
        await until("the event", () => lead.events.filter(({ event }) => event === "error").length > round);
        const told = lead.events.filter(({ event }) => event === "error")[round]!;
        t.match(told, { port: 0, code: "QUEUE_CQE_ERROR", message: queue, fix: /\w/ });
        t.same(Object.keys(await lead.ask<object>("faults", 0)), [queue]);
        await advances(t, lead, [1]);
        await lead.ask("halt");
        await lead.ask("restart", 0);
        t.same(await lead.ask("faults", 0), {}, "a restart mends it");
        await lead.ask("run", 0, 1);
        await advances(t, lead, [0, 1]);
      });
    }
    await ends(t, lead, [0, 1]);
  });

  t.test(`a completion queue in error, ${mode}`, { skip }, async (t) => {
    await using bed = await looped();
    await using lead = await running(bed, mode);
    for (const way of ["rx", "tx"]) {
      t.match(await bed.control(`cq-error 0 ${way}`), /^ok/);
      const told = await lead.event("the event", ({ event }) => event === "error");
      t.match(told, { port: 0, code: "RDMA_QUEUE_ERROR", fix: /\w/ });
      await advances(t, lead, [1]);
      await lead.ask("halt");
      await lead.ask("restart", 0);
      await lead.ask("run", 0, 1);
      await advances(t, lead, [0, 1]);
    }
    await ends(t, lead, [0, 1]);
  });

  t.test(`the device goes away, ${mode}`, { skip }, async (t) => {
    await using bed = await looped();
    await using lead = await running(bed, mode);
    t.match(await bed.control("fatal 0"), /^ok/);
    const told = await lead.event("the event", ({ event }) => event === "error");
    t.match(told, { port: 0, code: "DEVICE_LOST", fix: /\w/ });
    await advances(t, lead, [1]);
    t.match(await lead.ask("link", 0), { up: false });
    await lead.ask("halt");
    t.match(await lead.try("restart", 0), { error: { code: "DEVICE_LOST" } });
    await lead.ask("detach", 0);
    await lead.ask("run", 1);
    await advances(t, lead, [1]);
    await ends(t, lead, [1]);
  });
}

t.test("the link goes down and up again", { skip }, async (t) => {
  await using bed = await looped();
  await using lead = await running(bed, "dv");
  for (const up of [false, true]) {
    await bed.control(`link 0 ${up ? "up" : "down"}`);
    await lead.event("the event", (event) => event.event === "link" && event.port === 0 && event.up === up);
    t.match(await lead.ask("link", 0), { up });
    await advances(t, lead, up ? [1] : [1]);
  }
  t.match(await lead.ask("link", 1), { up: true });
  t.same(await lead.ask("faults", 0), {});
  await ends(t, lead, [0, 1]);
});

/** The folders of the tree that show a port's interface. */
function interfaceFolders({ sysfs, ports }: SoftMlx5): string[] {
  const folders = ["class/net", `bus/pci/devices/${ports[0]!.address}/net`].map((folder) =>
    join(sysfs, folder),
  );
  return folders.filter((folder) => existsSync(folder));
}

t.test("the interface is renamed, and goes", { skip: netnsMissing ?? skip }, async (t) => {
  await using bed = await looped();
  await using netns = await Netns.create();
  const { netdev, mac } = bed.ports[0]!;
  await netns.ip(`link add ${netdev} address ${mac} type veth peer name peer0`);
  await netns.ip("link set peer0 up");
  await netns.ip(`link set ${netdev} up`);
  await using lead = await running(bed, "dv", ["ip", "netns", "exec", netns.name]);
  await advances(t, lead, [0, 1]);

  await netns.ip(`link set ${netdev} down`);
  await netns.ip(`link set ${netdev} name renamed0`);
  for (const folder of interfaceFolders(bed)) renameSync(join(folder, netdev), join(folder, "renamed0"));
  await netns.ip("link set renamed0 up");
  await advances(t, lead, [0, 1]);
  t.match(await lead.ask("link", 0), { up: true });
  t.type(await lead.ask("stats", 0), "object");
  t.same(
    lead.events.filter(({ event }) => event === "error"),
    [],
    "nothing is wrong",
  );

  await netns.ip("link delete renamed0");
  for (const folder of interfaceFolders(bed)) rmSync(join(folder, "renamed0"), { recursive: true });
  const told = await lead.event("the event", ({ event }) => event === "error");
  t.match(told, { port: 0, code: "INTERFACE_GONE", message: "renamed0", fix: /\w/ });
  await advances(t, lead, [0, 1]);
  await ends(t, lead, [0, 1]);
});

/** Both halves end with the same of the three kinds of port; in the first, V8 settles. */
const ROUNDS = 72;

t.test("nothing is left over by ports that came and went", { skip }, async (t) => {
  await using bed = await looped(1);
  await using lead = new Lead(bed);
  const { address } = bed.ports[0]!;
  const sizes: Holdings[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await lead.ask("attach", `${address},${["mode=dv", "mode=ibv", "mode=dv,mprq_en=1"][round % 3]}`);
    await lead.ask("start", 0, { rxQueues: 4, txQueues: 2, rxInterrupts: true });
    await lead.ask("run", 0);
    await lead.ask("halt");
    await lead.ask("stop", 0);
    await lead.ask("detach", 0);
    sizes.push(await lead.ask<Holdings>("holdings"));
  }
  const [warm, last] = [sizes[ROUNDS / 2 - 1]!, sizes.at(-1)!];
  t.equal(last.fds, warm.fds, "descriptors");
  t.equal(last.threads, warm.threads, "threads");
  t.ok(last.maps - warm.maps < ROUNDS / 2, `mappings, of which V8's come and go: ${warm.maps}, ${last.maps}`);
  t.same(await lead.ask("audit"), []);
  t.equal(await lead.end(), 0, lead.child.output);
});

/** Commands to the device from attach() to the end of start(): more than there are. */
const COMMANDS_MAX = 400;

for (const mode of ["dv", "ibv"] as const) {
  t.test(`whichever command fails, ${mode}`, { skip }, async (t) => {
    await using bed = await looped();
    await using lead = new Lead(bed);
    await lead.ask("attach", bed.ports[1]!.address); // the emulator answers while a device is open
    const device = `${bed.ports[0]!.address},mode=${mode}`;
    const config = { rxQueues: 2, txQueues: 1, rxInterrupts: true };
    const wrong: string[] = [];
    const codes = new Set<string>();
    let failed = 0;
    for (let n = 1; n < COMMANDS_MAX; n++) {
      await bed.control(`fail ${n} ENOMEM`);
      const attached = await lead.try("attach", device);
      const started = attached.error ? attached : await lead.try("start", 1, config);
      if (!attached.error) await lead.ask("detach", 1);
      const { error } = started;
      const away = await bed.control("fail none");
      if (!/^ok 0\b/.test(away)) break; // there are fewer commands than n: all have been tried
      if (!error) continue; // one that may fail, such as the look at an optional feature
      failed++;
      codes.add(error.code);
      if (error.code === NOT_OURS || error.fix === "") wrong.push(`${n}: ${error.code} ${error.message}`);
    }
    t.same(wrong, [], "each failure has a name and says what mends it");
    t.ok(failed > 10, `${failed} commands failed: ${[...codes].join(", ")}`);
    await lead.ask("attach", device);
    await lead.ask("start", 1);
    await lead.ask("run", 1);
    await advances(t, lead, [1]);
    await ends(t, lead, [1]);
  });
}

/** Most systems let a user lock as much; a small engine needs less. */
const LOCKED = 2 ** 23;
const SMALL = { memoryMib: 4, mbufs: 1024 };
const SMALL_RINGS = { rxQueues: 1, txQueues: 1, rxDescriptors: 128, txDescriptors: 128 };

/** An ordinary user, with these capabilities. */
const as = (capabilities: string[], memlockBytes: number) => {
  const words = capabilities.map((name) => `+${name}`).join(",");
  const given = words === "" ? ["--inh-caps", "-all"] : ["--inh-caps", words, "--ambient-caps", words];
  const user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", ...given];
  return ["prlimit", `--memlock=${memlockBytes}`, ...user];
};

const rights = [
  { title: "the device node and CAP_NET_RAW", wrapper: as(["net_raw"], LOCKED), mode: 0o666 },
  {
    title: "the device node is root's",
    wrapper: as(["net_raw"], LOCKED),
    mode: 0o600,
    code: "RDMA_PERMISSION",
  },
  { title: "no CAP_NET_RAW", wrapper: as([], LOCKED), mode: 0o666, code: "RDMA_RAW_PERMISSION" },
  { title: "1 MiB may be locked", wrapper: as(["net_raw"], 2 ** 20), mode: 0o666, code: "RDMA_MEMLOCK" },
  { title: "1 MiB, and CAP_IPC_LOCK", wrapper: as(["net_raw", "ipc_lock"], 2 ** 20), mode: 0o666 },
];

t.test("as an ordinary user", { skip: anotherUser }, async (t) => {
  for (const { title, wrapper, mode, code } of rights) {
    await t.test(title, async (t) => {
      await using bed = await looped(1);
      chmodSync(join(bed.sysfs, "dev/infiniband/uverbs0"), mode);
      await using lead = new Lead(bed, SMALL, wrapper);
      const attached = await lead.try("attach", `${bed.ports[0]!.address}`);
      const started = attached.error ? attached : await lead.try("start", 0, SMALL_RINGS);
      if (code) {
        t.match(started.error, { code, message: /\w/, fix: /\w/ });
        t.comment(`${started.error?.message}\nfix: ${started.error?.fix}`);
        t.equal(await lead.end(), 0, lead.child.output);
      } else {
        t.equal(started.error, undefined);
        await lead.ask("run", 0);
        await advances(t, lead, [0]);
        await ends(t, lead, [0]);
      }
    });
  }
});

t.test("names that lead nowhere", { skip }, async (t) => {
  await using bed = await looped(1);
  await using lead = new Lead(bed);
  for (const name of ["host-if=nosuch0", "ibdev=mlx5_9", "pci=0000:7f:00.0"]) {
    t.match(
      await lead.try("attach", `net_rdma0,${name}`),
      { error: { code: "RDMA_UNKNOWN", fix: /\w/ } },
      name,
    );
  }
  const { ibdev, netdev } = bed.ports[0]!;
  const both = `net_rdma0,ibdev=${ibdev},host-if=${netdev}`;
  t.match(await lead.try("attach", both), { error: { code: "DEVARGS_VALUE" } });
  t.equal(await lead.end(), 0, lead.child.output);
});
