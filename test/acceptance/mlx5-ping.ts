// ICMP echo requests of many sizes out of an mlx5 port, by the embedding API's iterator; each reply is compared with
// what the request makes of it, byte by byte. Job and report are JSON: mlx5-peers.bed.test.ts.
import { Pollmode } from "../../src/pollmode.ts";
import { PacketStream } from "../../src/streams/packets.ts";
import { icmpEcho, ipv4 } from "../support/frames.ts";
import type { Mode } from "./mlx5.ts";
import { pause } from "./support.ts";

export interface PingJob {
  mode: Mode;
  address: string;
  /** Echo requests; whole bursts. */
  pings: number;
}

export interface PingReport {
  /** Right replies. */
  replies: number;
  /** Wrong ones, in hexadecimal; the first few. */
  wrong: string[];
  audit: string[];
}

const BURST = 50;
const BURST_MS_MAX = 2_000;
const SIZES = [18, 56, 200, 511, 1000, 1472];
const HOST = Buffer.from([2, 0, 0, 0, 0, 9]);

/** Echo request or reply `number`: 10.0.0.1 asks 10.0.0.2. */
function echo(number: number, mac: Uint8Array, isReply: boolean): Buffer {
  const payload = Buffer.alloc(SIZES[number % SIZES.length]!);
  payload.writeUInt32LE(number, 0);
  for (let k = 4; k < payload.length; k++) payload[k] = (number + 7 * k) & 0xff;
  const message = icmpEcho(payload, isReply ? 0 : 8);
  const [here, there] = [
    [10, 0, 0, 1],
    [10, 0, 0, 2],
  ] as const;
  if (isReply) return ipv4(1, message, { destination: mac, source: HOST, from: there, to: here });
  return ipv4(1, message, { destination: HOST, source: mac, from: here, to: there });
}

/** The frame without its IP identification and checksum: whether a reply keeps the request's is for the host. */
function comparable(frame: Uint8Array): string {
  const copy = Buffer.from(frame);
  copy.fill(0, 18, 20);
  copy.fill(0, 22, 23); // nor is it told which TTL a reply has
  copy.fill(0, 24, 26);
  return copy.toString("hex");
}

async function run(job: PingJob): Promise<PingReport> {
  await using pm = await Pollmode.start({ lcores: "0@1", noHuge: true });
  const port = await pm.attach(`${job.address},mode=${job.mode}`);
  await port.configure();
  await port.start();
  const mac = Uint8Array.from(port.mac);
  const packets = await PacketStream.open(pm, { lcore: 0, port });
  const expected = new Set<string>();
  const wrong: string[] = [];
  let replies = 0;
  const reader = (async () => {
    for await (const frame of packets) {
      if (expected.delete(comparable(frame))) replies++;
      else if (wrong.length < 5) wrong.push(Buffer.from(frame).toString("hex"));
    }
  })();
  for (let first = 0; first < job.pings; first += BURST) {
    for (let number = first; number < first + BURST; number++) {
      expected.add(comparable(echo(number, mac, true)));
      await packets.send(echo(number, mac, false));
    }
    const start = performance.now();
    while (expected.size > 0 && performance.now() - start < BURST_MS_MAX) await pause(1);
    if (expected.size > 0) break; // lost: the report says how many came
  }
  await packets.close();
  await reader;
  await port.stop();
  return { replies, wrong, audit: pm.pool.audit([]) };
}

console.log(JSON.stringify(await run(JSON.parse(process.argv[2]!) as PingJob)));
