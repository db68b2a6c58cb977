// Reads what guest-init.sh printed on the guest's console.
import { PollmodeError } from "../../src/errors.ts";

/** The feature bits that tests look at, by their names in the virtio specification. */
export const virtioFeature = {
  VIRTIO_NET_F_CSUM: 0,
  VIRTIO_NET_F_GUEST_CSUM: 1,
  VIRTIO_NET_F_MTU: 3,
  VIRTIO_NET_F_MAC: 5,
  VIRTIO_NET_F_GUEST_TSO4: 7,
  VIRTIO_NET_F_HOST_TSO4: 11,
  VIRTIO_NET_F_MRG_RXBUF: 15,
  VIRTIO_NET_F_STATUS: 16,
  VIRTIO_NET_F_CTRL_VQ: 17,
  VIRTIO_NET_F_MQ: 22,
  VIRTIO_F_INDIRECT_DESC: 28,
  VIRTIO_F_EVENT_IDX: 29,
  VIRTIO_F_VERSION_1: 32,
  VIRTIO_F_RING_PACKED: 34,
  VIRTIO_F_IN_ORDER: 35,
} as const;

export interface PingCounts {
  sent: number;
  /** Replies that reached the guest's ICMP, also those too late for ping, without duplicates. */
  received: number;
  lossPercent: number;
}

export interface PingResult extends PingCounts {
  duplicates: number;
  /** ICMP errors, of which "destination host unreachable" means that nobody answered ARP. */
  errors: number;
  /** Replies with a bad checksum or with other bytes than were sent (a flood does not compare bytes). */
  corrupted: number;
  /** ping's own exit status: 0 when at least one reply came. */
  status: number;
  /** How ping's output ended. */
  output: string;
}

export interface GuestResult {
  /** All pings together. */
  pings: PingCounts;
  /** One for each request, in order. */
  runs: PingResult[];
  /** The bits that the guest's driver accepted; see virtioFeature. */
  features: Set<number>;
  /** Receive queues of the guest's interface. */
  queuePairs: number;
  /** The guest's own counters: rx_packets, tx_dropped …, and rx_queue_0_packets … for each queue. */
  counters: Map<string, number>;
  /** When the guest's init had loaded the driver, on the guest's clock. */
  bootSeconds: number;
  /** From QEMU's start to its end. */
  totalMs: number;
  console: string;
}

export function readConsole(console: string, totalMs: number): GuestResult {
  const runs = readPings(console);
  const sent = runs.reduce((sum, ping) => sum + ping.sent, 0);
  const received = runs.reduce((sum, ping) => sum + ping.received, 0);
  const features = [...line(console, "features")].flatMap((bit, index) => (bit === "1" ? [index] : []));
  const counters = console.matchAll(/^@bed counter (\S+) (\d+)$/gm);
  return {
    pings: { sent, received, lossPercent: sent === 0 ? 0 : (100 * (sent - received)) / sent },
    runs,
    features: new Set(features),
    queuePairs: Number(line(console, "queues")),
    counters: new Map([...counters].map(([, name, value]) => [name!, Number(value)])),
    bootSeconds: Number(line(console, "up")),
    totalMs,
    console,
  };
}

function line(console: string, name: string): string {
  const match = new RegExp(`^@bed ${name} (.*)$`, "m").exec(console);
  if (match) return match[1]!;
  const message = `the guest's console has no line "@bed ${name}":\n${console}`;
  throw new PollmodeError("BED_REPORT", message, "compare guest-init.sh with guest-report.ts");
}

function readPings(console: string): PingResult[] {
  const blocks = console.matchAll(/^@bed ping (\d+) begin\n([\s\S]*?)^@bed ping \1 status (\d+)$/gm);
  return [...blocks].map(([, , output, status]) => readPing(output!, Number(status)));
}

/** "5 packets transmitted, 4 received, +1 duplicates, +2 corrupted, +3 errors, 20% packet loss, time 4005ms" */
function readPing(output: string, status: number): PingResult {
  const number = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? 0);
  const sent = number(/(\d+) packets transmitted/);
  const duplicates = number(/\+(\d+) duplicates/);
  const received = number(/replies: (\d+)/) - duplicates;
  return {
    sent,
    received,
    lossPercent: sent === 0 ? 100 : (100 * (sent - received)) / sent,
    duplicates,
    errors: number(/\+(\d+) errors/),
    corrupted: number(/\+(\d+) corrupted/) + number(/wrong data: (\d+)/),
    status,
    output,
  };
}
