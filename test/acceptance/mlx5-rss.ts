// Sends Microsoft's published flows and thousands of drawn ones to a port with four receive queues, and compares queue
// and hash of each with the hash made bit by bit. Then once more with another key and another redirection table.
import { PollmodeError } from "../../src/errors.ts";
import type { RssConfig } from "../../src/ethdev/driver.ts";
import type { Port } from "../../src/ethdev/port.ts";
import { OlFlag } from "../../src/index.ts";
import { Pollmode } from "../../src/pollmode.ts";
import {
  addressBytes,
  type HashVector,
  hashInput,
  ipv4Vectors,
  ipv6Vectors,
  microsoftKey,
  toeplitz,
} from "../pmd/e1000/toeplitz.ts";
import { Random } from "../support/random.ts";
import type { Mode } from "./mlx5.ts";
import { notesOf, type Told } from "./mlx5-notes.ts";

export interface RssJob {
  mode: Mode;
  /** The sender's and the receiver's. */
  ibdevs: string[];
  /** Drawn flows. */
  frames: number;
}

export interface RssReport {
  /** Published hashes that frames were sent for. */
  vectors: number;
  wrong: string[];
  /** Drawn frames by receive queue, under the first table. */
  byQueue: number[];
  audit: string[];
}

const QUEUES = 4;
const UDP = 17;
const TCP = 6;
const GRE = 47;

interface Case extends HashVector {
  protocol: number;
  /** As published, else as made here. */
  expected: number;
}

function published(): Case[] {
  return [...ipv4Vectors, ...ipv6Vectors].flatMap((vector, k) => [
    { ...vector, protocol: k % 2 === 0 ? TCP : UDP, expected: vector.hashWithPorts },
    { ...vector, protocol: GRE, expected: vector.hash },
  ]);
}

function drawn(random: Random): HashVector & { protocol: number } {
  const port = () => random.below(65536);
  const v4 = () => [10, ...[0, 0, 0].map(() => random.below(256))].join(".");
  const v6 = () => ["2001:db8", ...[0, 0, 0, 0, 0, 0].map(() => port().toString(16))].join(":");
  const address = random.chance(50) ? v4 : v6;
  const ends = { source: address(), destination: address(), sourcePort: port(), destinationPort: port() };
  return { ...ends, hash: 0, hashWithPorts: 0, protocol: random.pick([TCP, UDP, GRE]) };
}

/** A frame without checksums behind IP: the NIC hashes it all the same. */
function frameOf(flow: Case, destination: Uint8Array, number: number): Uint8Array {
  const from = addressBytes(flow.source);
  const to = addressBytes(flow.destination);
  const isV4 = from.length === 4;
  const body = Buffer.alloc(32); // no shorter than the NIC pads frames to, whose last bytes these are
  body.writeUInt16BE(flow.sourcePort, 0);
  body.writeUInt16BE(flow.destinationPort, 2);
  if (flow.protocol === UDP) body.writeUInt16BE(body.length, 4);
  if (flow.protocol === TCP) body[12] = 0x50;
  body.writeUInt32LE(number, body.length - 4);
  const ip = Buffer.alloc(isV4 ? 12 : 8);
  if (isV4) {
    ip.set([0x45, 0, 0, 20 + body.length]);
    ip.set([64, flow.protocol], 8);
    ip.writeUInt16BE(ipChecksum([...ip, ...from, ...to]), 10);
  } else {
    ip.set([0x60, 0, 0, 0, 0, body.length, flow.protocol, 64]);
  }
  const ethernet = [...destination, 2, 0, 0, 0, 0, 9, ...(isV4 ? [0x08, 0x00] : [0x86, 0xdd])];
  return Buffer.concat([Buffer.from(ethernet), ip, Buffer.from([...from, ...to]), body]);
}

function ipChecksum(header: readonly number[]): number {
  let sum = 0;
  for (let k = 0; k < header.length; k += 2) sum += header[k]! * 256 + header[k + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Sends a frame of each case; what is told of each that came. */
function exchange(
  pm: Pollmode,
  [sender, receiver]: readonly Port[],
  cases: readonly Case[],
): Promise<Told[]> {
  const frames = cases.map((flow, number) => ({ bytes: frameOf(flow, receiver!.mac, number) }));
  return notesOf(pm, [{ port: sender!, queue: 0 }, receiver!], frames);
}

/** What of it is not as the table and the hashes want it; the first few. Verbs alone tell no hash. */
function compare(
  cases: readonly Case[],
  told: readonly Told[],
  table: readonly number[],
  mode: Mode,
): string[] {
  return cases
    .flatMap((flow, k) => {
      const { count, queue, hash, flags } = told[k]!;
      const wanted = table[flow.expected % table.length]!;
      const isHashed = (flags & OlFlag.RX_RSS_HASH) !== 0;
      const isRight = isHashed ? hash === flow.expected : mode === "ibv";
      if (count === 1 && queue === wanted && isRight) return [];
      const hex = (value: number) => `0x${value.toString(16)}`;
      const ends = `${flow.source}:${flow.sourcePort} > ${flow.destination}:${flow.destinationPort}`;
      const found = `came ${count} times, queue ${queue}, hash ${isHashed ? hex(hash) : "none"}`;
      return [`${ends}/${flow.protocol}: ${found}; not queue ${wanted}, hash ${hex(flow.expected)}`];
    })
    .slice(0, 8);
}

/** Throws when the port does not say that this is how it spreads. */
function checkStands(port: Port, { key, table }: Required<Pick<RssConfig, "key" | "table">>): void {
  const stands = port.rss();
  const repeated = stands.table.every((queue, k) => queue === table[k % table.length]);
  if (repeated && Buffer.compare(stands.key, key) === 0) return;
  throw new PollmodeError(
    "RSS_STANDS",
    `the port has ${JSON.stringify(stands)}`,
    "compare with what was set",
  );
}

async function run(job: RssJob): Promise<RssReport> {
  await using pm = await Pollmode.start({ lcores: "0@1", noHuge: true });
  const ports = await Promise.all(
    job.ibdevs.map((ibdev, k) => pm.attach(`net_rdma${k},ibdev=${ibdev},mode=${job.mode}`)),
  );
  const [sender, receiver] = ports as [Port, Port];
  await sender.configure({ rxQueues: 1, txQueues: 1 });
  await receiver.configure({ rxQueues: QUEUES, txQueues: 1, rss: { key: microsoftKey } });
  for (const port of ports) await port.start();
  const random = new Random(5);
  const flows = Array.from({ length: job.frames }, () => drawn(random));
  const casesOf = (key: Uint8Array) =>
    flows.map((flow) => ({ ...flow, expected: toeplitz(key, hashInput(flow, flow.protocol !== GRE)) }));

  const known = published();
  const cases = [...known, ...casesOf(microsoftKey)];
  const told = await exchange(pm, ports, cases);
  const inTurn = Array.from({ length: QUEUES }, (_, queue) => queue);
  const wrong = compare(cases, told, inTurn, job.mode);
  const byQueue = inTurn.map((queue) => told.filter((note) => note.queue === queue).length);

  const other = { key: Uint8Array.from(microsoftKey).reverse(), table: [3, 1, 1, 0, 3, 2, 0, 1] };
  await receiver.setRss(other);
  checkStands(receiver, other);
  const again = casesOf(other.key);
  wrong.push(...compare(again, await exchange(pm, ports, again), other.table, job.mode));
  for (const port of ports) await port.stop();
  return { vectors: known.length, wrong, byQueue, audit: pm.pool.audit([]) };
}

console.log(JSON.stringify(await run(JSON.parse(process.argv[2]!) as RssJob)));
