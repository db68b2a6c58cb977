// Answers ARP and ICMP echo requests (ping) on a vhost-user port, for whatever address is asked.
// Start it, then a guest:
//
//   node dist/examples/echo.js /tmp/echo.sock
//
//   qemu-system-x86_64 -machine q35,memory-backend=memory -m 512M -accel kvm -nographic -drive file=guest.qcow2 \
//     -object memory-backend-memfd,id=memory,size=512M,share=on \
//     -chardev socket,id=backend,path=/tmp/echo.sock,reconnect=1 \
//     -netdev vhost-user,id=net,chardev=backend -device virtio-net-pci,netdev=net
//
//   guest# ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up; ping 10.0.0.2
//
// Without KVM, write `-accel tcg` and, for QEMU before 10, `vectors=0` behind netdev=net. The mode `icmpecho` of
// engine.forward() does the same wholly in WebAssembly; here it is TypeScript, to show an application that answers.
import { setTimeout } from "node:timers/promises";
import { isMainThread } from "node:worker_threads";
import { type AppFactory, describeError, Pollmode } from "pollmode";

const BURST = 32;
const LENGTH_MIN = 42; // Ethernet and ARP; Ethernet, IPv4 and ICMP

interface Frame {
  readonly u8: Uint8Array;
  /** Ours. */
  readonly mac: Uint8Array;
}

const word = (u8: Uint8Array, p: number) => (u8[p]! << 8) | u8[p + 1]!;

/** To the sender, from us. */
function answerEthernet({ u8, mac }: Frame, p: number): void {
  u8.copyWithin(p, p + 6, p + 12);
  u8.set(mac, p + 6);
}

/** RFC 826: whatever address is asked for is at our MAC address. */
function answerArp(frame: Frame, p: number): boolean {
  const { u8, mac } = frame;
  if (word(u8, p + 20) !== 1) return false; // no request
  answerEthernet(frame, p);
  u8[p + 21] = 2;
  const asked = u8.slice(p + 38, p + 42);
  u8.copyWithin(p + 32, p + 22, p + 32); // target: who asked
  u8.set(mac, p + 22);
  u8.set(asked, p + 28);
  return true;
}

/** RFC 792. The checksum rises by as much as the type falls, 8 in its high byte (RFC 1624). */
function answerEcho(frame: Frame, p: number, length: number): boolean {
  const { u8 } = frame;
  const headerBytes = (u8[p + 14]! & 15) * 4;
  const icmp = p + 14 + headerBytes;
  const fragment = (word(u8, p + 20) & 0x3fff) !== 0;
  if (u8[p + 14]! >> 4 !== 4 || headerBytes < 20 || length < 14 + headerBytes + 8) return false;
  if (u8[p + 23] !== 1 || u8[icmp] !== 8 || fragment) return false;
  answerEthernet(frame, p);
  const source = u8.slice(p + 26, p + 30);
  u8.copyWithin(p + 26, p + 30, p + 34);
  u8.set(source, p + 30);
  u8[icmp] = 0;
  const sum = word(u8, icmp + 2) + 0x800;
  const folded = (sum & 0xffff) + (sum >>> 16);
  u8[icmp + 2] = folded >>> 8;
  u8[icmp + 3] = folded & 255;
  return true;
}

function answer(frame: Frame, p: number, length: number): boolean {
  if (length < LENGTH_MIN) return false;
  const type = word(frame.u8, p + 12);
  if (type === 0x0806) return answerArp(frame, p);
  return type === 0x0800 && answerEcho(frame, p, length);
}

/** Runs on the lcore. Answers move to the burst's front and are sent; all that was not sent is given back. */
const echo: AppFactory = ({ queues, pkts, u8, data, length, rxBurst, txBurst, free }) => {
  const frames = queues.map(({ mac }): Frame => ({ u8, mac }));
  return () => {
    let received = 0;
    for (let q = 0; q < queues.length; q++) {
      const n = rxBurst(queues[q]!, BURST);
      let answers = 0;
      for (let k = 0; k < n; k++) {
        const mbuf = pkts[k]!;
        if (!answer(frames[q]!, data(mbuf), length(mbuf))) continue;
        pkts[k] = pkts[answers]!;
        pkts[answers++] = mbuf;
      }
      const sent = txBurst(queues[q]!, answers);
      free(n - sent, sent);
      received += n;
    }
    return received;
  };
};
export default echo;

async function main(path: string, seconds: number): Promise<void> {
  await using engine = await Pollmode.start({
    lcores: "0",
    noHuge: true,
    vdev: [`net_vhost0,iface=${path}`],
  });
  const port = engine.port(0);
  port.on("link", ({ up }) => console.log(`link ${up ? "up" : "down"}`));
  port.on("error", (error) => console.error(describeError(error)));
  await port.configure({ rxQueues: 1, txQueues: 1 });
  await port.start();
  await engine.run({ lcore: 0, app: import.meta.url, queues: [port] });
  console.log(`listening at ${path}`);
  const stopped = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopped.abort());
  await setTimeout(seconds * 1000, undefined, { signal: stopped.signal }).catch(() => {});
  const { rxPackets, txPackets } = port.stats();
  console.log(`${rxPackets} received, ${txPackets} answered`);
}

if (isMainThread) {
  await main(process.argv[2] ?? "/tmp/echo.sock", Number(process.argv[3] ?? 86400)).catch(
    (error: unknown) => {
      console.error(describeError(error));
      process.exitCode = 1;
    },
  );
}
