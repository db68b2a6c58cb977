// The real libibverbs and libmlx5 over the emulated ConnectX: opening, objects, failures, events.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { type SoftMlx5, softMlx5, softMlx5Bed } from "../../beds/softmlx5.ts";

const missing = softMlx5Bed.missing();
t.setTimeout(120_000);
if (!missing) await softMlx5Bed.setup();
const skip = missing ?? false;

const main = fileURLToPath(new URL("steps/main.js", import.meta.url));

/** What a scenario found; see steps/. */
type Findings = Record<string, ReturnType<typeof JSON.parse>>;

/** Runs scenarios on a device; `prefix`: words before node. */
async function run(bed: SoftMlx5, scenarios: readonly string[], prefix: readonly string[] = []) {
  const [command, ...args] = [...prefix, process.execPath, main, ...scenarios];
  const options = { env: { ...process.env, NODE_OPTIONS: "", ...bed.env }, timeout: 60_000 };
  const { stdout, stderr } = await promisify(execFile)(command!, args, options);
  const lines = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  return { ...Object.fromEntries(lines.map(({ name, found }) => [name, found])), trace: stderr } as Findings;
}

t.test("limits, and what is refused before the kernel is asked", { skip }, async (t) => {
  await using bed = await softMlx5({ ports: [{}, { netdev: "ens9" }] });
  const { limits: found } = await run(bed, ["limits"]);
  t.same(found.devices, [
    { ibdev: "mlx5_0", pci: "0000:03:00.0", netdevs: ["mlx0"] },
    { ibdev: "mlx5_1", pci: "0000:03:00.1", netdevs: ["ens9"] },
  ]);
  t.match(found.limits, {
    firmware: /^16\./,
    maxQpWr: 32768,
    maxSge: 30,
    rss: { supported: true, fields: 255, tableMax: 2048 },
    raw: { vlanStrip: true, checksum: true },
    tsoMax: 262144,
    ports: 1,
  });
  t.match(found.dv, {
    cqeVersion1: true,
    striding: { logStrideBytesMin: 6, logStrideBytesMax: 13, logStridesMin: 9, logStridesMax: 16 },
    compression: ["hash", "csum"],
    enhancedMpw: true,
    minInline: 0,
  });
  t.same(found.port, { up: true, speed: 100_000, mtu: 1500, linkLayer: "ethernet" });
  const { fields, tag, priority, default: byDefault, allocator, ...others } = found.refusals;
  t.same(new Set(Object.values(others)), new Set(["RDMA_LIMIT"]));
  t.same(
    { fields, tag, priority, byDefault, allocator },
    {
      fields: "RDMA_UNSUPPORTED",
      tag: "RDMA_FLOW",
      priority: "RDMA_FLOW",
      byDefault: "RDMA_FLOW",
      allocator: "RDMA_ALLOCATOR",
    },
  );
  t.match(found.left, { destroyed: { length: 5 }, rings: 0 }, "refused objects do not exist");
  t.equal(found.closed.code, "RDMA_CLOSED");
  t.same(found.stranger, {
    dv: true,
    allocator: "RDMA_NOT_MLX5",
    errors: { place: "RDMA_NOT_MLX5", compression: "RDMA_NOT_MLX5", rule: "RDMA_NOT_MLX5" },
    entries: 127,
    left: ["a CQ of 64 entries"],
  });
  t.match(found.unknown, { code: "RDMA_NO_LIBRARY", message: /port 9, mlx5_9: libibverbs has no provider/ });
});

t.test("a ConnectX-4 Lx wants headers inlined, and lacks what came later", { skip }, async (t) => {
  await using bed = await softMlx5({ chip: "connectx4lx" });
  const { limits: found } = await run(bed, ["limits"]);
  t.match(found.dv, { minInline: 18, enhancedMpw: false });
});

t.test("objects: in the arena, in their order, once", { skip }, async (t) => {
  await using bed = await softMlx5({ trace: 1 });
  const { lifecycle: found, trace } = await run(bed, ["lifecycle"]);
  for (const wanted of [
    /create_qp \S+ SQ of 512 WQEBBs, RQ of 0 WQEs/,
    /modify_qp \S+ state 2 to 3/,
    /create_wq \S+ 512 WQEs of 16 bytes/,
    /create_cq \S+ 1024 entries of 64 bytes, compression 1/,
    /create_cq \S+ 2048 entries of 64 bytes, compression 2/,
    /create_wq \S+ 4 WQEs of 32 bytes, .*striding/,
    /modify_wq \S+ state 0 to 1, VLAN stripping on/,
    /modify_wq \S+ state 1 to 1, VLAN stripping on/,
    /modify_wq \S+ state 0 to 1/,
    /create_qp RSS: 4 entries, fields 0xc3/,
    /don't trap/,
    /, drop/,
    /, default miss/,
  ]) {
    t.match(trace, wanted, "what the kernel was told");
  }
  t.match(found.kinds, {
    cqs: [1024, 2048],
    wqs: [
      { wqes: 4, strideBytes: 32 },
      { wqes: 128, strideBytes: 64 },
    ],
    tso: true,
    left: { destroyed: { length: 6 }, rings: 0 },
  });
  t.same(found.places, {
    inRings: true,
    distinct: true,
    cqs: [256, 512, 512].map((entries) => ({ entries, cqeBytes: 64 })),
    cqns: 3,
    invalid: true,
    sq: { wqebbs: 512, strideBytes: 64, numbered: true },
    bf: { bytes: 256, samePlaceInPage: true },
    wqs: [512, 512].map((wqes) => ({ wqes, strideBytes: 16 })),
    lkey: true,
    receivers: 2,
    calls: true,
    hashed: true,
    mapped: [true, true],
    armedAt: 0x20,
    channelFlags: "2004002", // O_RDWR, O_NONBLOCK, O_CLOEXEC
    unmapped: [false, false],
    left: 0,
  });
  t.same(found.orders, { busy: Array(6).fill("RDMA_BUSY"), left: { destroyed: [], rings: 0 } });
  const { made, destroyed, ...after } = found.leftToClose;
  t.equal(destroyed.length, made + 1, "and the rule's matcher");
  t.match(destroyed[0], /^a flow rule of priority 0 \(default-miss\)$/, "the last first");
  t.equal(destroyed.at(-1), "a protection domain");
  t.same(after, { rings: 0, mapped: false, gone: "RDMA_CLOSED", twice: [] });
  t.same(found.again, { files: 0, callbacks: 0 });
});

t.test("every command fails once", { skip }, async (t) => {
  await using bed = await softMlx5();
  const { failures: found } = await run(bed, ["failures"]);
  const wanted = {
    ENOMEM: "RDMA_NO_MEMORY",
    EPERM: "RDMA_RAW_PERMISSION",
    EIO: "RDMA_DEVICE_LOST",
    EOPNOTSUPP: "RDMA_UNSUPPORTED",
  };
  for (const [errno, code] of Object.entries(wanted)) {
    const { commands, codes, wrong } = found.sweeps[errno];
    t.same(wrong, [], `${errno}: a named error, and all rings given back`);
    t.ok(commands > 30, `${errno}: ${commands} commands`);
    t.ok(codes[code] >= 20, `${errno}: ${JSON.stringify(codes)}`);
  }
  t.equal(found.files, 0, "no file stays open");
  t.match(found.named, {
    "open EACCES": { code: "RDMA_PERMISSION", message: /user \S+ may not open \/dev\/infiniband\/uverbs0/ },
    "open EPERM": { code: "RDMA_PERMISSION", message: /device rules/ },
    "open EIO": { code: "RDMA_DEVICE_LOST" },
    "get_context EIO": { code: "RDMA_DEVICE_LOST" },
    "reg_mr ENOMEM": { code: "RDMA_NO_MEMORY", message: /2097152 bytes of memory at 0x/ },
    "create_qp EPERM": { code: "RDMA_RAW_PERMISSION", message: /^port 0, mlx5_0: a send queue of 256 WQEs/ },
    "create_flow EPERM": { code: "RDMA_RAW_PERMISSION" },
    "create_flow EINVAL": { code: "RDMA_FAILED", message: /flow rule of priority 1 \(eth\): .*EINVAL/ },
    "create_wq EOPNOTSUPP": { code: "RDMA_UNSUPPORTED" },
    "create_comp_channel ENOMEM": { code: "RDMA_NO_MEMORY", message: /a completion channel/ },
  });
  const undone = (name: string): readonly string[] => found.named[name].destroyed;
  t.notOk(undone("modify_qp EINVAL").includes("a send queue of 256 WQEs"), "taken back at once");
  t.notOk(undone("modify_wq EINVAL").includes("a receive queue of 512 WQEs"));
  t.notOk(undone("create_matched_flow EINVAL").includes("a matcher of priority 0"));
  t.match(found.noRoom, { code: "RDMA_NO_MEMORY", message: /there are \d+ bytes left, \d+ are/, left: 0 });
});

t.test("links come and go; a queue breaks; the device goes", { skip }, async (t) => {
  await using bed = await softMlx5();
  const { events, brokenQueue, fatal } = await run(bed, ["events", "brokenQueue", "fatal"]);
  t.same(events.heard, [
    { type: "port-error", port: 1 },
    { type: "port-active", port: 1 },
  ]);
  t.match(events.states, [{ up: true }, { up: false, speed: 0 }, { up: true, speed: 100_000 }]);
  t.equal(events.rings, 0);
  t.same(brokenQueue, { sent: 0, type: "cq-error", object: true, rings: 0 });
  t.match(fatal.heard, [{ type: "device-fatal" }]);
  t.same(fatal.errors, {
    create: "RDMA_DEVICE_LOST",
    register: "RDMA_DEVICE_LOST",
    query: "RDMA_DEVICE_LOST",
    destroy: "none",
  });
  t.equal(fatal.rings, 0, "libmlx5 gives back what it has, though the device is gone");
  t.equal(fatal.opened.code, "RDMA_DEVICE_LOST");
});

const isRoot = process.getuid?.() === 0;

t.test(
  "without rights",
  { skip: missing ?? (!isRoot && "takes capabilities away, so needs root") },
  async (t) => {
    await using bed = await softMlx5();
    const without = (capability: string) => ["setpriv", `--bounding-set=-${capability}`, "--inh-caps=-all"];
    const { lifecycle: raw } = await run(bed, ["lifecycle"], without("net_raw"));
    t.match(raw.failed, {
      code: "RDMA_RAW_PERMISSION",
      message: /a send queue of 64 WQEs: .*this process has no CAP_NET_RAW/,
    });
    const limited = ["prlimit", "--memlock=1048576", ...without("ipc_lock")];
    const { lifecycle: memory } = await run(bed, ["lifecycle"], limited);
    t.match(memory.failed, {
      code: "RDMA_MEMLOCK",
      message: /RLIMIT_MEMLOCK is 1024 KiB, \d+ KiB are needed/,
    });
  },
);
