// Proves the guest bed with a backend that is known to work: DPDK's testpmd, which answers ARP and ICMP echo.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { PollmodeError } from "../../src/errors.ts";
import { dpdkBed, Testpmd } from "./dpdk.ts";
import { Guest, type GuestOptions, guestBed, qemuKnowsInOrder, runGuest, virtioFeature } from "./guest.ts";
import { hugepagesMissing, reserveHugepages } from "./hugepages.ts";

/** 256 MiB for testpmd's heap, and a little for what the EAL keeps for itself. */
const pages = 160;
const missing = guestBed.missing() ?? dpdkBed.missing() ?? hugepagesMissing(pages);
const folder = mkdtempSync(join(tmpdir(), "pollmode-guest-"));
t.teardown(() => rmSync(folder, { recursive: true }));
t.setTimeout(600_000);
if (!missing) {
  await guestBed.setup();
  await dpdkBed.setup();
}

let sockets = 0;
const freshSocket = () => join(folder, `${sockets++}.sock`);

/** testpmd as the vhost-user backend of a guest with these options. */
function startBackend(options: GuestOptions, mode = "icmpecho"): Promise<Testpmd> {
  const { socket, queuePairs = 1, role } = options;
  const client = role === "server" ? 1 : 0; // the other end is the server
  const vdev = `net_vhost0,iface=${socket},queues=${queuePairs},client=${client}`;
  const queues = [`--rxq=${queuePairs}`, `--txq=${queuePairs}`];
  return Testpmd.start({
    eal: ["--lcores", "0@0,1@1", "--no-pci", "-m", "256", `--vdev=${vdev}`],
    app: [
      `--forward-mode=${mode}`,
      "--nb-cores=1",
      "--total-num-mbufs=8192",
      "--disable-link-check",
      ...queues,
    ],
  });
}

const pings = [
  { count: 20 },
  { count: 20, sizeBytes: 1472, intervalSeconds: 0.005 },
  { count: 500, sizeBytes: 1000, flood: true },
];
const bothQueues = [
  { count: 50, flood: true, cpu: 0 },
  { count: 50, flood: true, cpu: 1 },
];
const jumbo = [{ count: 20, sizeBytes: 8000 }, { count: 20 }];
const cases: { title: string; options: Omit<GuestOptions, "socket"> }[] = [
  { title: "split ring", options: { ring: "split", pings } },
  { title: "packed ring", options: { ring: "packed", pings } },
  { title: "split ring, QEMU is the server", options: { ring: "split", role: "server" } },
  { title: "packed ring, QEMU is the server", options: { ring: "packed", role: "server" } },
  { title: "split ring, two queue pairs", options: { ring: "split", queuePairs: 2, pings: bothQueues } },
  { title: "packed ring, two queue pairs", options: { ring: "packed", queuePairs: 2, pings: bothQueues } },
  {
    title: "split ring, one of two queue pairs",
    options: { ring: "split", queuePairs: 2, channels: 1, pings },
  },
  { title: "split ring, no mergeable buffers", options: { ring: "split", mergeableRxBuffers: false, pings } },
  {
    title: "packed ring, no mergeable buffers",
    options: { ring: "packed", mergeableRxBuffers: false, pings },
  },
  { title: "split ring, MTU 9000", options: { ring: "split", mtu: 9000, pings: jumbo } },
  {
    title: "packed ring, MTU 9000, no offloads",
    options: { ring: "packed", mtu: 9000, offloads: false, pings: jumbo },
  },
  {
    title: "split ring, queues of 1024",
    options: { rxQueueSize: 1024, txQueueSize: 1024, memoryMib: 256, pings },
  },
];

for (const { title, options } of cases) {
  t.test(title, { skip: missing ?? false }, async (t) => {
    using _hugepages = reserveHugepages(pages);
    const socket = freshSocket();
    await using backend = await startBackend({ ...options, socket });
    const { ring = "split", mergeableRxBuffers = true, offloads = true, queuePairs = 1, channels } = options;
    const guest = await runGuest({ ...options, socket });
    t.comment(`booted in ${guest.bootSeconds} s, ${Math.round(guest.totalMs)} ms in all`);

    const asked = (options.pings ?? [{}]).reduce((sum, { count = 5 }) => sum + count, 0);
    t.same(guest.pings, { sent: asked, received: asked, lossPercent: 0 });
    for (const run of guest.runs)
      t.match(run, { status: 0, duplicates: 0, errors: 0, corrupted: 0 }, run.output);
    t.equal(guest.features.has(virtioFeature.VIRTIO_F_VERSION_1), true);
    t.equal(guest.features.has(virtioFeature.VIRTIO_F_RING_PACKED), ring === "packed");
    t.equal(guest.features.has(virtioFeature.VIRTIO_NET_F_MRG_RXBUF), mergeableRxBuffers);
    t.equal(guest.features.has(virtioFeature.VIRTIO_NET_F_CSUM), offloads);
    t.equal(guest.features.has(virtioFeature.VIRTIO_NET_F_MQ), queuePairs > 1);
    t.equal(guest.queuePairs, channels ?? queuePairs);
    for (let queue = 0; queue < (channels ?? queuePairs); queue++) {
      t.ok(guest.counters.get(`tx_queue_${queue}_packets`)! >= 5, `queue ${queue} transmits`);
    }

    // Each echo request and at least one for ARP came to the backend, and all it sent came to the guest. The guest
    // counts a frame as sent when it takes its buffer back, which for the last ones may not have come to pass.
    const { all } = await backend.stop();
    t.ok(all.rxPackets > asked, "the backend received them all");
    const late = all.rxPackets - guest.counters.get("tx_packets")!;
    t.ok(late >= 0 && late <= 2, "received by the backend: sent by the guest");
    t.equal(all.txPackets, guest.counters.get("rx_packets"), "sent by the backend: received by the guest");
  });
}

t.test("in-order", { skip: missing ?? false }, async (t) => {
  if (!(await qemuKnowsInOrder())) {
    await t.rejects(runGuest({ socket: freshSocket(), inOrder: true }), { code: "BED_UNSUPPORTED" });
    return;
  }
  using _hugepages = reserveHugepages(pages);
  const options = { socket: freshSocket(), inOrder: true };
  await using _backend = await startBackend(options);
  const guest = await runGuest(options);
  t.equal(guest.pings.lossPercent, 0);
  t.comment(
    `in-order ${guest.features.has(virtioFeature.VIRTIO_F_IN_ORDER) ? "accepted" : "refused"} by the guest`,
  );
});

t.test("a backend that answers nothing", { skip: missing ?? false }, async (t) => {
  using _hugepages = reserveHugepages(pages);
  const options = { socket: freshSocket(), pings: [{ count: 3 }] };
  await using _backend = await startBackend(options, "rxonly");
  const guest = await runGuest(options);
  t.same(guest.pings, { sent: 3, received: 0, lossPercent: 100 });
  t.match(guest.runs, [{ status: 1 }]);
});

t.test("no backend: fails at once with QEMU's reason", { skip: guestBed.missing() ?? false }, async (t) => {
  await guestBed.setup();
  const error = await runGuest({ socket: freshSocket() }).then(t.fail, (error: unknown) => error);
  t.type(error, PollmodeError);
  t.match(error, { message: /No such file or directory/ });
});

t.test("a deadline leaves no QEMU behind", { skip: missing ?? false }, async (t) => {
  using _hugepages = reserveHugepages(pages);
  const options = { socket: freshSocket(), deadlineMs: 300 };
  await using _backend = await startBackend(options);
  await using guest = await Guest.start(options);
  const { pid } = guest;
  await t.rejects(guest.result(), { code: "BED_PROCESS_FAILED", message: /ran for 300 ms/ });
  t.throws(() => process.kill(pid!, 0), { code: "ESRCH" });
});
