// Prints what comes in by a port, a line a packet. On the main thread, by the async iterator: easy, and good for some
// ten thousand packets a second (docs/embedding.md).
//
//   node dist/examples/sniffer.js net_af_packet0,iface=eth0        # as root
//   node dist/examples/sniffer.js net_pcap0,rx_pcap=file.pcap
import * as pm from "pollmode";

const frame = new Uint8Array(16384);
const ethernet = new pm.Ethernet(frame);
const vlan = new pm.Vlan(frame);
const arp = new pm.Arp(frame);
const [ipv4, ipv6] = [new pm.Ipv4(frame), new pm.Ipv6(frame)];
const [tcp, udp, icmp] = [new pm.Tcp(frame), new pm.Udp(frame), new pm.Icmp(frame)];

function describe(bytes: number): string {
  if (!ethernet.move(0, bytes)) return "runt";
  let { etherType, payload } = ethernet;
  let text = `${pm.formatMac(ethernet.source)} > ${pm.formatMac(ethernet.destination)}`;
  if (etherType === pm.EtherType.VLAN && vlan.move(payload, bytes)) {
    text += ` vlan ${vlan.id}`;
    ({ etherType, payload } = vlan);
  }
  if (etherType === pm.EtherType.ARP && arp.move(payload, bytes)) {
    const words = arp.operation === pm.ArpOperation.REQUEST ? "who has" : "reply of";
    return `${text} ARP ${words} ${pm.formatIpv4(words === "who has" ? arp.targetIp : arp.senderIp)}`;
  }
  if (etherType === pm.EtherType.IPV4 && ipv4.move(payload, bytes)) {
    const ends = [pm.formatIpv4(ipv4.source), pm.formatIpv4(ipv4.destination)] as const;
    return `${text} ${describeL4(ends, ipv4.protocol, ipv4.payload, ipv4.end, ipv4.isLaterFragment)}`;
  }
  if (etherType === pm.EtherType.IPV6 && ipv6.move(payload, bytes)) {
    const address = (at: number) => `[${pm.formatIpv6(frame.subarray(at, at + 16))}]`;
    const ends = [address(ipv6.sourceAt), address(ipv6.destinationAt)] as const;
    return `${text} ${describeL4(ends, ipv6.protocol, ipv6.payload, ipv6.end, ipv6.isLaterFragment)}`;
  }
  return `${text} type 0x${etherType.toString(16).padStart(4, "0")}`;
}

function describeL4(
  [source, destination]: readonly [string, string],
  protocol: number,
  at: number,
  end: number,
  fragment: boolean,
): string {
  const { TCP, UDP, ICMP, ICMPV6 } = pm.IpProtocol;
  const between = `${source} > ${destination}`;
  if (fragment) return `${between} fragment`;
  if (protocol === TCP && tcp.move(at, end)) {
    const flags = Object.entries(pm.TcpFlag).flatMap(([name, bit]) => (tcp.flags & bit ? [name] : []));
    return `${source}:${tcp.sourcePort} > ${destination}:${tcp.destinationPort} TCP ${flags.join("+")}`;
  }
  if (protocol === UDP && udp.move(at, end))
    return `${source}:${udp.sourcePort} > ${destination}:${udp.destinationPort} UDP`;
  if ((protocol === ICMP || protocol === ICMPV6) && icmp.move(at, end))
    return `${between} ICMP type ${icmp.type}`;
  return `${between} protocol ${protocol}`;
}

async function main(vdev: string | undefined): Promise<void> {
  if (!vdev) {
    const fix = "node dist/examples/sniffer.js net_af_packet0,iface=eth0";
    throw new pm.PollmodeError("USAGE", "name the port to look at", fix);
  }
  await using engine = await pm.Pollmode.start({ lcores: "0", noHuge: true, vdev: [vdev] });
  const port = engine.port(0);
  await port.configure();
  if (port.can("setPromiscuous")) await port.setPromiscuous(true);
  await using packets = await pm.PacketStream.open(engine, { lcore: 0, port });
  const stop = () => packets.close();
  process.once("SIGINT", stop).once("SIGTERM", stop);
  port.once("end", () => setTimeout(stop, 100)); // a file was read to its end
  await port.start();
  for await (const bytes of packets) {
    frame.set(bytes);
    console.log(`${bytes.length} bytes, ${describe(bytes.length)}`);
  }
  if (packets.dropped.received > 0) console.error(`${packets.dropped.received} packets came too fast`);
}

await main(process.argv[2]).catch((error: unknown) => {
  console.error(pm.describeError(error));
  process.exitCode = 1;
});
