// The software ConnectX' hardware half, seen by a C program over the real libibverbs and libmlx5 (client.c, client-*.c)
// that writes WQEs and reads CQEs itself: one process a test.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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
const readyMs = 10_000;
t.setTimeout(120_000);

const folder = mkdtempSync(join(tmpdir(), "pollmode-softmlx5-client-"));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const client = join(folder, "client");

if (!missing) {
  await softMlx5Bed.setup();
  const cwd = join(repositoryRoot, "test", "softmlx5");
  const sources = readdirSync(cwd).filter((file) => /^client.*\.c$/.test(file));
  const flags = ["-O2", "-Wall", "-Wextra", "-Werror"];
  await run("gcc", [...flags, "-o", client, ...sources, "-libverbs", "-lmlx5"], { cwd });
}

function start(bed: SoftMlx5, words: string[]): OwnedProcess {
  return new OwnedProcess(`client ${words.join(" ")}`, client, words, {
    env: { ...process.env, ...bed.env },
  });
}

async function clientOn(options: SoftOptions, ...words: string[]) {
  await using bed = await softMlx5(options);
  await using child = start(bed, words);
  child.endInput();
  const { code } = await child.exited;
  return { code, output: child.output };
}

const tests: Record<string, SoftOptions> = {
  cyclic: {},
  striding: {},
  "compressed-hash": {},
  "compressed-checksum": {},
  "compressed-hash-values": {},
  "compressed-checksum-values": {},
  "compressed-striding": {},
  "compressed-striding-index": { chip: "connectx6dx" },
  errors: {},
  lossless: { lossless: true },
  events: {},
  mpsw: {},
  tso: {},
  vlan: {},
  checksums: {},
  chip: { chip: "connectx4lx" },
  rss: {},
  rules: {},
  counters: {},
  loopback: { ports: [{ wire: "null" }] },
};

for (const [name, options] of Object.entries(tests)) {
  t.test(name, { skip }, async (t) => {
    const { code, output } = await clientOn(options, name);
    t.equal(code, 0, output);
    t.match(output, `ok ${name}`);
  });
}

t.test("a link between two processes loses nothing", { skip }, async (t) => {
  const cable = join(folder, "cable");
  writeFileSync(cable, "");
  await using far = await softMlx5({ ports: [{ wire: `link:${cable},1` }] });
  await using near = await softMlx5({ ports: [{ wire: `link:${cable},0` }] });
  await using receiver = start(far, ["link-receive"]);
  await receiver.waitFor(/ready/, readyMs);
  await using sender = start(near, ["link-send"]);
  t.equal((await sender.exited).code, 0, sender.output);
  t.equal((await receiver.exited).code, 0, receiver.output);
});

const lints: Record<string, SoftOptions> = {
  "never-signalled": {},
  "sq-overwritten": {},
  "doorbell-beyond-ring": {},
  "doorbell-backwards": {},
  "doorbell-before-record": {},
  "doorbell-in-reset": {},
  "torn-doorbell": {},
  "missing-cq-index": {},
  "cq-overrun": {},
  "cq-doorbell-ahead": {},
  "bad-opcode": {},
  "bad-ds": {},
  "inline-too-short": { chip: "connectx4lx" },
  "bf-mismatch": {},
  "wrong-qpn": {},
  "wrong-wqe-index": {},
  "reserved-nonzero": {},
  "rq-doorbell-beyond": {},
  "arm-unknown-cq": {},
  "arm-before-record": {},
  "arm-wrong-sequence": {},
  "arm-index-ahead": {},
  "arm-stale-index": {},
  "arm-foreign-page": {},
  "leaked-object": {},
};

for (const [name, options] of Object.entries(lints)) {
  t.test(`complaint ${name}`, { skip }, async (t) => {
    await using bed = await softMlx5({ ...options, strict: false });
    await using child = start(bed, ["lint", name]);
    await child.waitFor(new RegExp(`softmlx5: complaint ${name}: `), readyMs);
    child.endInput();
    t.equal((await child.exited).code, 0, child.output);
  });
}

t.test("strict: a complaint ends the process, unless it is allowed", { skip }, async (t) => {
  const strict = await clientOn({}, "lint", "bad-opcode");
  t.equal(strict.code, complaintStatus, strict.output);
  const allowed = await clientOn({ allow: ["bad-opcode"] }, "lint", "bad-opcode");
  t.equal(allowed.code, 0, allowed.output);
});
