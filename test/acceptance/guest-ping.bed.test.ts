// A Linux guest's own virtio-net driver on our net_vhost, whose lcore answers ARP and ICMP echo. The guest sleeps
// until it is interrupted: replies that come show that the call eventfds work.
import { join } from "node:path";
import t from "tap";
import { Pollmode } from "../../src/index.ts";
import { type GuestOptions, guestBed, runGuest, virtioFeature } from "../beds/guest.ts";
import { temporaryFolder } from "./support.ts";

const missing = guestBed.missing();
t.setTimeout(290_000);
const folder = temporaryFolder(t);
if (!missing) await guestBed.setup();

const pings = [{ count: 20 }, { count: 20, sizeBytes: 1400 }, { count: 300, sizeBytes: 700, flood: true }];
const bothQueues = [...pings, { count: 20, cpu: 1 }, { count: 20, sizeBytes: 1400, cpu: 1 }];

/** `sleeps`: the lcore, too, sleeps until the guest kicks it. */
const cases: { title: string; options: Omit<GuestOptions, "socket">; sleeps?: boolean }[] = [
  { title: "split ring", options: { ring: "split", pings } },
  { title: "packed ring", options: { ring: "packed", pings } },
  { title: "split ring, no mergeable buffers", options: { ring: "split", mergeableRxBuffers: false, pings } },
  {
    title: "split ring, two queue pairs, the lcore sleeps",
    options: { ring: "split", queuePairs: 2, pings: bothQueues },
    sleeps: true,
  },
  { title: "packed ring, two queue pairs", options: { ring: "packed", queuePairs: 2, pings: bothQueues } },
  { title: "split ring, MTU 9000", options: { ring: "split", mtu: 9000, pings: [{ sizeBytes: 1400 }] } },
  {
    title: "packed ring, QEMU is the server, the lcore sleeps",
    options: { ring: "packed", role: "server", pings },
    sleeps: true,
  },
];

let sockets = 0;
for (const { title, options, sleeps = false } of cases) {
  t.test(title, { skip: missing ?? false }, async (t) => {
    const socket = join(folder, `${sockets++}.sock`);
    const { queuePairs = 1, role } = options;
    const problems: string[] = [];
    await using pm = await Pollmode.start({ lcores: "1", noHuge: true, warn: () => {} });
    const client = role === "server" ? 1 : 0; // the other end is the server
    const port = await pm.attach(`net_vhost0,iface=${socket},queues=${queuePairs},client=${client}`);
    const links: boolean[] = [];
    port.on("link", ({ up }) => links.push(up));
    port.on("error", ({ message }) => problems.push(message));
    await port.configure({ rxQueues: queuePairs, txQueues: queuePairs, rxInterrupts: sleeps });
    await port.start();
    await pm.forward(
      1,
      port.rxQueues.map((_, queue) => ({ mode: "icmpecho", rx: { port, queue }, tx: { port, queue } })),
      { rxInterrupt: sleeps },
    );
    const guest = await runGuest({ ...options, socket });
    for (const [k, run] of guest.runs.entries()) {
      const { sent, received, corrupted, errors } = run;
      t.ok(sent > 0);
      t.same([received, corrupted, errors], [sent, 0, 0], `ping ${k}: ${received} of ${sent}`);
    }
    t.equal(guest.pings.lossPercent, 0);
    t.equal(guest.queuePairs, queuePairs);
    t.equal(guest.features.has(virtioFeature.VIRTIO_F_RING_PACKED), options.ring === "packed");
    t.equal(guest.features.has(virtioFeature.VIRTIO_NET_F_MRG_RXBUF), options.mergeableRxBuffers ?? true);
    t.same(problems, []);
    t.same(port.faults(), {});
    const { rxPackets, txPackets, txErrors } = port.stats();
    t.ok(rxPackets >= guest.pings.sent && txPackets >= guest.pings.received);
    t.equal(txErrors, 0);
    t.same([links[0], links.at(-1), port.link().up], [true, false, false], "the link went up and down");
    const perQueue = port.rxQueues.map((_, queue) => port.xstats()[`rx_q${queue}_packets`]!);
    if (queuePairs > 1) t.ok(Math.min(...perQueue) >= 40, `received by queue: ${perQueue.join(", ")}`);
    if (sleeps) t.ok(pm.lcores.byId(1).status().sleeps >= 10, "the lcore slept between pings");
    await pm.stop(1);
    await port.stop();
    t.same(pm.pool.audit([]), [], "every mbuf is back");
    t.comment(`${rxPackets} received, ${txPackets} sent in ${Math.round(guest.totalMs)} ms`);
  });
}
