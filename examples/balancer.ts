// A load balancer: packets of the first port go to the others, each flow to one of them; what comes back goes out of
// the first. By the RSS hash that the port gives, else by the same hash in software (Toeplitz).
//
//   node dist/examples/balancer.js net_af_packet0,iface=eth0 net_tap0,iface=a net_tap1,iface=b      # as root
import { isMainThread } from "node:worker_threads";
import * as pm from "pollmode";

const BURST = 32;

/** The same for both directions of a flow? No: as RSS, it takes source and destination for what they are. */
export function flowHash(u8: Uint8Array): (at: number, end: number) => number {
  const toeplitz = new pm.ToeplitzHash();
  const ethernet = new pm.Ethernet(u8);
  const [ipv4, ipv6] = [new pm.Ipv4(u8), new pm.Ipv6(u8)];
  const { TCP, UDP } = pm.IpProtocol;

  const withPorts = (ip: pm.Ipv4 | pm.Ipv6, addresses: number, hash: number) => {
    const ports = (ip.protocol === TCP || ip.protocol === UDP) && !ip.isFragment && ip.payload + 4 <= ip.end;
    return ports ? toeplitz.add(u8, ip.payload, 4, addresses, hash) : hash;
  };

  return (at, end) => {
    if (!ethernet.move(at, end)) return 0;
    const { etherType, payload } = ethernet;
    if (etherType === pm.EtherType.IPV4 && ipv4.move(payload, end))
      return withPorts(ipv4, 8, toeplitz.add(u8, ipv4.at + 12, 8));
    if (etherType === pm.EtherType.IPV6 && ipv6.move(payload, end))
      return withPorts(ipv6, 32, toeplitz.add(u8, ipv6.sourceAt, 32));
    return 0; // ARP and the like: all to the first
  };
}

export default function balancer(context: pm.AppContext): pm.AppPoll {
  const { queues, pkts, u8, u32, rxBurst, txBurst, free, data } = context;
  const [front, ...servers] = queues;
  const hashOf = flowHash(u8);
  const lists = servers.map(() => new Uint32Array(BURST));
  const counts = new Int32Array(servers.length);

  /** The first burst words of pkts are sent; what is not taken is dropped. */
  const send = (queue: pm.AppQueue, n: number) => {
    const sent = txBurst(queue, n);
    free(n - sent, sent);
  };

  return () => {
    const received = rxBurst(front!, BURST);
    for (let k = 0; k < received; k++) {
      const mbuf = pkts[k]!;
      const p = data(mbuf);
      const known = (u32[(mbuf + pm.Mbuf.OL_FLAGS) >>> 2]! & pm.OlFlag.RX_RSS_HASH) !== 0;
      const hash = known
        ? u32[(mbuf + pm.Mbuf.RSS_HASH) >>> 2]!
        : hashOf(p, p + u32[(mbuf + pm.Mbuf.DATA_LEN) >>> 2]!);
      const server = hash % servers.length;
      lists[server]![counts[server]!++] = mbuf;
    }
    let packets = received;
    for (let k = 0; k < servers.length; k++) {
      pkts.set(lists[k]!.subarray(0, counts[k]));
      send(servers[k]!, counts[k]!);
      counts[k] = 0;
      const back = rxBurst(servers[k]!, BURST);
      send(front!, back);
      packets += back;
    }
    return packets;
  };
}

async function main(vdev: string[]): Promise<void> {
  if (vdev.length < 2) {
    const fix = "node dist/examples/balancer.js net_af_packet0,iface=eth0 net_tap0,iface=a net_tap1,iface=b";
    throw new pm.PollmodeError("USAGE", "name a port to balance, and at least one to balance to", fix);
  }
  await using engine = await pm.Pollmode.start({ lcores: "0", noHuge: true, vdev });
  for (const port of engine.ports) {
    port.on("error", (error) => console.error(pm.describeError(error)));
    await port.configure();
    if (port.can("setPromiscuous")) await port.setPromiscuous(true);
    await port.start();
  }
  await engine.run({ lcore: 0, app: import.meta.url, queues: engine.ports });
  console.log(`balancing ${engine.port(0).name} over ${engine.ports.length - 1} ports`);
  await new Promise((done) => process.once("SIGINT", done).once("SIGTERM", done));
}

if (isMainThread) {
  await main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(pm.describeError(error));
    process.exitCode = 1;
  });
}
