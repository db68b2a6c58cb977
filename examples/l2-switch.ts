// A learning Ethernet switch over as many ports as you name: learns which address is behind which port, forwards,
// floods what it does not know.
//
//   ip netns add a; ip netns add b                                   # two machines to connect, as root
//   node dist/examples/l2-switch.js net_tap0,iface=swa net_tap1,iface=swb &
//   ip link set swa netns a; ip -n a addr add 10.0.0.1/24 dev swa; ip -n a link set swa up
//   ip link set swb netns b; ip -n b addr add 10.0.0.2/24 dev swb; ip -n b link set swb up
//   ip netns exec a ping 10.0.0.2
//
// Between network cards: net_af_packet0,iface=eth1, or a PCI address bound to vfio-pci. In testpmd, reloaded whenever
// this file changes: pollmode testpmd --vdev=… -- --forward-mode=app=examples/l2-switch.ts
import { isMainThread } from "node:worker_threads";
import {
  type AppContext,
  type AppPoll,
  describeError,
  Ethernet,
  Mbuf,
  Pollmode,
  PollmodeError,
} from "pollmode";

const BURST = 32;
const AGE_MS = 300_000; // IEEE 802.1D, 7.9.2
const TABLE_MAX = 16_384;

interface SwitchOptions {
  /** Shared: copies of flooded frames that there was no buffer for. */
  readonly missed: Uint32Array;
}

interface Station {
  queue: number;
  seenMs: number;
}

/** Which station is behind which queue pair. */
class Stations {
  private readonly known: Map<number, Station>;
  nowMs = Date.now();

  constructor(known: Map<number, Station>) {
    this.known = known;
  }

  learn(mac: number, queue: number): void {
    const station = this.known.get(mac);
    if (station) {
      station.queue = queue;
      station.seenMs = this.nowMs;
      return;
    }
    if (this.known.size >= TABLE_MAX) this.known.delete(this.known.keys().next().value!); // the first learned
    this.known.set(mac, { queue, seenMs: this.nowMs });
  }

  find(mac: number): number | undefined {
    const station = this.known.get(mac);
    return station && this.nowMs - station.seenMs < AGE_MS ? station.queue : undefined;
  }
}

/** The same frame in buffers of its own, segment by segment, drawn into pkts[at] …; 0 if there are none just now. */
function copy({ pkts, u8, u16, u32, alloc, data, length }: AppContext, mbuf: number, at: number): number {
  const segments = u16[(mbuf + Mbuf.NB_SEGS) >>> 1]!;
  if (alloc(segments, at) === 0) return 0;
  const first = pkts[at]!;
  let from = mbuf;
  for (let k = 0; k < segments; k++) {
    const to = pkts[at + k]!;
    const bytes = u32[(from + Mbuf.DATA_LEN) >>> 2]!;
    u8.copyWithin(data(to), data(from), data(from) + bytes);
    u32[(to + Mbuf.DATA_LEN) >>> 2] = bytes;
    u32[(to + Mbuf.NEXT) >>> 2] = k + 1 < segments ? pkts[at + k + 1]! : 0;
    from = u32[(from + Mbuf.NEXT) >>> 2]!;
  }
  u32[(first + Mbuf.PKT_LEN) >>> 2] = length(mbuf);
  u16[(first + Mbuf.NB_SEGS) >>> 1] = segments;
  return first;
}

export default function l2Switch(context: AppContext): AppPoll {
  const { queues, pkts, u8, u32, rxBurst, txBurst, free, data } = context;
  // a reloaded switch goes on with what the old one has learned
  const stations = new Stations((context.state ??= new Map()) as Map<number, Station>);
  const ethernet = new Ethernet(u8);
  const { missed = new Uint32Array(1) } = (context.options ?? {}) as Partial<SwitchOptions>;
  // the burst at hand taken apart: a list of packets for each queue pair
  const lists = queues.map(() => new Uint32Array(BURST));
  const counts = new Int32Array(queues.length);
  const add = (queue: number, mbuf: number) => {
    lists[queue]![counts[queue]!++] = mbuf;
  };

  /** To all other ports; the last one has the packet itself. False where there is none. */
  function flood(mbuf: number, from: number): boolean {
    let last = -1;
    for (let queue = 0; queue < queues.length; queue++) {
      if (queues[queue]!.port === queues[from]!.port || queues[queue]!.queue !== 0) continue;
      const twin = last < 0 ? 0 : copy(context, mbuf, BURST);
      if (twin !== 0) add(last, twin);
      else if (last >= 0) missed[0]!++;
      last = queue;
    }
    if (last >= 0) add(last, mbuf);
    return last >= 0;
  }

  /** False: the packet goes nowhere and is to be given back. */
  function forward(mbuf: number, from: number): boolean {
    const p = data(mbuf);
    if (!ethernet.move(p, p + u32[(mbuf + Mbuf.DATA_LEN) >>> 2]!)) return false;
    const { source, destination } = ethernet;
    if (Math.floor(source / 2 ** 40) % 2 === 0) stations.learn(source, from); // no station has a group's address
    const to = ethernet.isMulticast ? undefined : stations.find(destination);
    if (to === undefined || to >= queues.length) return flood(mbuf, from);
    if (queues[to]!.port === queues[from]!.port) return false;
    add(to, mbuf);
    return true;
  }

  /** What an output does not take, a switch drops. */
  function flush(queue: number): void {
    const n = counts[queue]!;
    for (let k = 0; k < n; k++) pkts[k] = lists[queue]![k]!;
    const sent = n === 0 ? 0 : txBurst(queues[queue]!, n);
    if (sent < n) free(n - sent, sent);
    counts[queue] = 0;
  }

  let polls = 0;
  return () => {
    if ((polls++ & 0xfff) === 0) stations.nowMs = Date.now();
    let received = 0;
    for (let from = 0; from < queues.length; from++) {
      const n = rxBurst(queues[from]!, BURST);
      if (n === 0) continue;
      let refused = 0;
      for (let k = 0; k < n; k++) {
        const mbuf = pkts[k]!;
        if (!forward(mbuf, from)) pkts[refused++] = mbuf;
      }
      if (refused > 0) free(refused);
      for (let queue = 0; queue < queues.length; queue++) flush(queue);
      received += n;
    }
    return received;
  };
}

async function main(vdev: string[]): Promise<void> {
  if (vdev.length < 2) {
    const fix = "node dist/examples/l2-switch.js net_tap0,iface=swa net_tap1,iface=swb";
    throw new PollmodeError("USAGE", "name the ports to switch between, two at least", fix);
  }
  await using engine = await Pollmode.start({ lcores: "0", noHuge: true, vdev });
  for (const port of engine.ports) {
    port.on("error", (error) => console.error(describeError(error)));
    await port.configure();
    if (port.can("setPromiscuous")) await port.setPromiscuous(true);
    await port.start();
  }
  const options: SwitchOptions = { missed: new Uint32Array(new SharedArrayBuffer(4)) };
  await engine.run({ lcore: 0, app: import.meta.url, queues: engine.ports, options });
  console.log(`switching between ${engine.ports.map(({ name }) => name).join(", ")}`);
  await new Promise((done) => process.once("SIGINT", done).once("SIGTERM", done));
  await engine.stop(0);
  for (const port of engine.ports) {
    const { rxPackets, txPackets, rxMissed, rxNoMbuf, txRefused } = port.stats();
    const dropped = rxMissed + rxNoMbuf + txRefused; // it drops what an output does not take
    console.log(`${port.name}: ${rxPackets} received, ${txPackets} sent, ${dropped} dropped`);
  }
  console.log(`${options.missed[0]} copies missed`);
}

if (isMainThread) {
  await main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(describeError(error));
    process.exitCode = 1;
  });
}
