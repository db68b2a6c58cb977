// The software ConnectX' kernel half, seen by a C program over the real libibverbs and libmlx5 (uverbs/client.c): what
// devices there are, what they say, what is refused, what is told when the link or the device goes. The hardware half
// has tests of its own.
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { OwnedProcess } from "../beds/child.ts";
import { run } from "../beds/command.ts";
import { repositoryRoot } from "../beds/paths.ts";
import { type SoftMlx5, type SoftOptions, softMlx5, softMlx5Bed } from "../beds/softmlx5.ts";

const missing = softMlx5Bed.missing();
const skip = missing ?? false;
const complaintStatus = 86;
const patienceMs = 10_000;
t.setTimeout(60_000);

const folder = mkdtempSync(join(tmpdir(), "pollmode-softmlx5-test-"));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const client = join(folder, "client");

if (!missing) {
  await softMlx5Bed.setup();
  chmodSync(folder, 0o755); // another user runs it too
  const sources = ["client.c", "objects.c"].map((file) =>
    join(repositoryRoot, "test", "softmlx5", "uverbs", file),
  );
  await run("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", client, ...sources, "-libverbs", "-lmlx5"]);
}

function start(bed: SoftMlx5, args: string[], env: Record<string, string> = {}): OwnedProcess {
  return new OwnedProcess("client", client, args, { env: { ...process.env, ...bed.env, ...env } });
}

/** Runs one of the client's tests to its end. */
async function finished(bed: SoftMlx5, args: string[], env?: Record<string, string>) {
  await using child = start(bed, args, env);
  const { code } = await child.exited;
  return { code, output: child.output };
}

async function clientOn(options: SoftOptions, args: string[], env?: Record<string, string>) {
  await using bed = await softMlx5(options);
  return await finished(bed, args, env); // before the bed goes
}

t.test("what each chip says of itself", { skip }, async (t) => {
  const chips = {
    connectx4lx: ["0x1015", "14.32.1010", "width 1", "empw 0", "strides 2^9", "formats 0x3"],
    connectx5: ["0x1017", "16.35.2000", "width 2", "empw 1", "strides 2^9", "formats 0x7"],
    connectx6dx: ["0x101d", "22.35.2000", "width 2", "empw 1", "strides 2^3", "formats 0x7"],
  } as const;
  for (const chip of ["connectx4lx", "connectx5", "connectx6dx"] as const) {
    const { code, output } = await clientOn({ chip }, ["describe"]);
    t.equal(code, 0, output);
    for (const words of ["devices: 1", "state 4 phys 5 layer 2", "speed 32", "cqe v1 1", ...chips[chip]]) {
      t.match(output, words, `${chip}: ${words}`);
    }
    t.match(output, "raw packet caps: 0x7 tso 262144 rss 0xff of 2048");
    t.match(output, "compression: 64, formats");
    t.match(output, "gid: fe80 0001");
  }
});

t.test("two ports are two devices", { skip }, async (t) => {
  await using bed = await softMlx5({ ports: [{}, { netdev: "second", mac: "02:00:00:00:00:99" }] });
  const { code, output } = await finished(bed, ["describe"]);
  t.equal(code, 0, output);
  t.match(output, /devices: 2.*device: mlx5_0.*gid: fe80 0001.*device: mlx5_1.*gid: fe80 0099/s);
  t.match(bed.ports, [
    { address: "0000:03:00.0", netdev: "mlx0" },
    { address: "0000:03:00.1", netdev: "second" },
  ]);
  t.equal(readFileSync(join(bed.sysfs, "class/net/second/address"), "utf8"), "02:00:00:00:00:99\n");
});

t.test("commands that the kernel refuses, and orders that it enforces", { skip }, async (t) => {
  await using bed = await softMlx5();
  for (const test of ["refused", "busy", "flows", "channel", "resize", "fork"]) {
    const { code, output } = await finished(bed, [test]);
    t.same({ code, output }, { code: 0, output: "done\n" }, test);
  }
});

t.test("a complaint ends the process", { skip }, async (t) => {
  const strict = await clientOn({}, ["leak"]);
  t.equal(strict.code, complaintStatus);
  t.match(strict.output, "softmlx5: complaint leaked-object: mlx5_0 was closed with 1 QP, 1 CQ, 1 PD alive");
  const lenient = await clientOn({ strict: false }, ["leak"]);
  t.match(lenient, { code: 0, output: /complaint leaked-object/ });
  const allowed = await clientOn({ allow: ["never-signalled", "leaked-object"] }, ["leak"]);
  t.match(allowed, { code: 0, output: /allowed complaint leaked-object/ });
});

t.test("link and removal are told by asynchronous events", { skip }, async (t) => {
  await using bed = await softMlx5({ ports: [{}, {}] });
  const state = () => readFileSync(join(bed.sysfs, "class/infiniband/mlx5_1/ports/1/state"), "utf8").trim();
  await using child = start(bed, ["events", "1"]);
  await child.waitFor(/ready/, patienceMs);
  t.equal(await bed.control("link 1 down"), "ok");
  await child.waitFor(/event: port error port 1 state 1/, patienceMs);
  t.equal(state(), "1: DOWN");
  t.equal(await bed.control("link 1 down"), "ok", "which it was already: no event");
  t.equal(await bed.control("link 1 up"), "ok");
  await child.waitFor(/event: port active port 1 state 4/, patienceMs);
  t.equal(state(), "4: ACTIVE");
  await bed.control("link 0 down"); // another device's
  await bed.control("fatal 1");
  await child.waitFor(/gone/, patienceMs);
  t.equal((await child.exited).code, 0, child.output);
  t.equal(child.output.match(/event:/g)?.length, 3, child.output);
});

t.test("a completion queue breaks down", { skip }, async (t) => {
  await using bed = await softMlx5();
  await using child = start(bed, ["cq-error"]);
  await child.waitFor(/ready/, patienceMs);
  t.equal(await bed.control("cq-error 0 tx"), "ok");
  t.equal((await child.exited).code, 0, child.output);
});

t.test("the control socket", { skip }, async (t) => {
  await using bed = await softMlx5();
  await t.rejects(bed.control("counters 0"), { code: "SOFTMLX5_CONTROL" }, "nobody has the device open");
  await using child = start(bed, ["events"]);
  await child.waitFor(/ready/, patienceMs);
  const counters = JSON.parse((await bed.control("counters 0")).slice("ok ".length));
  t.match(counters, { tx_packets: 0, rx_packets: 0, out_of_buffer: 0 });
  for (const wrong of ["counters 1", "link 0 sideways", "rx-error 0 0", "fail 1", "nonsense", ""]) {
    await t.rejects(
      bed.control(wrong),
      { code: "SOFTMLX5_CONTROL", message: /not understood|no answer/ },
      wrong,
    );
  }
  t.equal(await bed.control("fail 9 ENOMEM"), "ok 0");
  t.equal(await bed.control("fail none"), "ok 9", "so many commands were left");
  await child.kill();
});

t.test("failures that a test asks for", { skip }, async (t) => {
  await using bed = await softMlx5({ strict: false });
  const wanted = { open: "EACCES", alloc_pd: "ENOMEM", create_cq: "ENOMEM", create_qp: "EPERM" };
  const prints = { open: "open", alloc_pd: "pd", create_cq: "cq", create_qp: "qp" };
  for (const command of ["open", "alloc_pd", "create_cq", "create_qp"] as const) {
    const { output } = await finished(bed, ["try"], { SOFTMLX5_FAIL: `${command}:${wanted[command]}` });
    t.match(output, `failed: ${prints[command]}, ${wanted[command]}`);
  }
});

t.test(
  "what an ordinary user may",
  { skip: skip || (process.getuid?.() !== 0 && "needs root") },
  async (t) => {
    await using bed = await softMlx5({ strict: false });
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", client, "try"];
    const env = { ...process.env, ...bed.env };
    t.match(await run("env", nobody, { env }), "failed: qp, EPERM", "CAP_NET_RAW is missing");
    const limited = ["--memlock=4096", ...nobody];
    t.match(await run("prlimit", limited, { env }), "failed: cq, ENOMEM", "memory beyond RLIMIT_MEMLOCK");
    chmodSync(join(bed.sysfs, "dev/infiniband/uverbs0"), 0o600);
    t.match(await run("env", nobody, { env }), "failed: open, EACCES");
    rmSync(join(bed.sysfs, "dev/infiniband/uverbs0"));
    t.match((await finished(bed, ["describe"])).output, "devices: 0");
  },
);
