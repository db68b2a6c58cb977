// Sends UDP packets at a rate: a token bucket filled by the clock.
//
//   node dist/examples/generator.js net_af_packet0,iface=eth0 10000 512 10     # as root: 10000 a second of 512 bytes
//   node dist/examples/generator.js net_ring0 1000000 64 2                     # anywhere: into a ring
import { setTimeout } from "node:timers/promises";
import { isMainThread } from "node:worker_threads";
import {
  type AppContext,
  type AppPoll,
  describeError,
  Ethernet,
  EtherType,
  Ipv4,
  macOf,
  Pollmode,
  PollmodeError,
  Udp,
} from "pollmode";

const BURST = 32;

interface Job {
  readonly perSecond: number;
  readonly bytes: number;
  /** Shared: packets sent. */
  readonly sent: Float64Array;
}

/** A frame to be copied: RFC 2544's addresses and the discard port. */
function template(bytes: number, mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(bytes);
  const [ethernet, ip, udp] = [new Ethernet(frame), new Ipv4(frame), new Udp(frame)];
  ethernet.move(0, bytes);
  ethernet.destination = 0xffff_ffff_ffff;
  ethernet.source = macOf(mac);
  ethernet.etherType = EtherType.IPV4;
  frame.set([0x45, 0, (bytes - 14) >>> 8, bytes - 14, 0, 0, 0, 0, 64, 17], 14);
  ip.move(14, bytes);
  ip.source = 0xc612_0001;
  ip.destination = 0xc612_0002;
  ip.fillChecksum();
  frame.set([0, 9, 0, 9, (bytes - 34) >>> 8, bytes - 34], 34);
  udp.move(34, bytes);
  udp.fillChecksum(ip);
  return frame;
}

export default function generator(context: AppContext): AppPoll {
  const { queues, options, pkts, u8, alloc, data, setLength, rxBurst, txBurst, free } = context;
  const { perSecond, bytes, sent } = options as Job;
  const queue = queues[0]!;
  const frame = template(bytes, queue.mac);
  let tokens = 0;
  let lastMs = performance.now();
  return () => {
    const nowMs = performance.now();
    // what was missed for more than a burst or a millisecond is not made up for
    tokens = Math.min(tokens + ((nowMs - lastMs) * perSecond) / 1000, Math.max(BURST, perSecond / 1000));
    lastMs = nowMs;
    const wanted = Math.min(BURST, Math.floor(tokens));
    if (wanted === 0 || alloc(wanted) === 0) {
      free(rxBurst(queue, BURST)); // what comes back is of no interest
      return 0;
    }
    for (let k = 0; k < wanted; k++) {
      u8.set(frame, data(pkts[k]!));
      setLength(pkts[k]!, bytes);
    }
    const n = txBurst(queue, wanted);
    free(wanted - n, n);
    tokens -= n;
    sent[0]! += n;
    return n;
  };
}

async function main([vdev, perSecond = 1000, bytes = 64, seconds = 1]: (string | number)[]): Promise<void> {
  if (!vdev || ![perSecond, bytes, seconds].every((word) => Number(word) > 0)) {
    const fix = "node dist/examples/generator.js net_ring0 1000000 64 2";
    throw new PollmodeError("USAGE", "name a port; then packets a second, bytes, seconds, all above 0", fix);
  }
  const job: Job = {
    perSecond: Number(perSecond),
    bytes: Math.min(2048, Math.max(60, Number(bytes))),
    sent: new Float64Array(new SharedArrayBuffer(8)),
  };
  await using engine = await Pollmode.start({ lcores: "0", noHuge: true, vdev: [String(vdev)] });
  const port = engine.port(0);
  await port.configure();
  await port.start();
  await engine.run({ lcore: 0, app: import.meta.url, queues: [port], options: job });
  const start = performance.now();
  await setTimeout(Number(seconds) * 1000);
  await engine.stop(0);
  const took = (performance.now() - start) / 1000;
  console.log(`${job.sent[0]} packets in ${took.toFixed(2)} s: ${Math.round(job.sent[0]! / took)} a second`);
}

if (isMainThread) {
  await main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(describeError(error));
    process.exitCode = 1;
  });
}
