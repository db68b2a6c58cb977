// Writes what an lcore is to do into its block: one stream for each pair of queues.
import { PollmodeError } from "../errors.ts";
import type { Port } from "../ethdev/port.ts";
import { Lcore, Stream } from "../hot/layout.ts";
import type { LcoreControl } from "../lcore/lcores.ts";
import { BURST_DEFAULT, BURST_MAX, QUEUES_MAX } from "../limits.ts";
import type { Zone } from "../memory/zone.ts";
import { IcmpEcho } from "./icmpecho.ts";
import { Mode } from "./modes.ts";
import { Sequence } from "./sequence.ts";
import { TxOnly } from "./txonly.ts";

export interface StreamSpec {
  mode: ModeName;
  /** Where it receives; not for the modes that only send. */
  rx?: { port: Port; queue: number };
  /** Where it sends; not for the modes that only receive. */
  tx?: { port: Port; queue: number };
  /** txonly: bytes of the frame, 60 to 9018 (64). */
  frameBytes?: number;
  /** seq-send, seq-check: see sequence.ts. */
  sequence?: SequenceOptions;
}

export interface SequenceOptions {
  /** Arena offset of a Progress block that sender and checker share. */
  progress: number;
  sizeMin: number;
  sizeMax: number;
  window: number;
  total: number;
  /** Destination of the frames, 6 bytes. Default 02:00:00:00:00:00. */
  destination?: Uint8Array;
}

interface ModeNeeds {
  readonly mode: Mode;
  readonly rx: boolean;
  readonly tx: boolean;
}

const MODES = {
  count: { mode: Mode.COUNT, rx: true, tx: false },
  touch: { mode: Mode.TOUCH, rx: true, tx: false },
  io: { mode: Mode.IO, rx: true, tx: true },
  macswap: { mode: Mode.MACSWAP, rx: true, tx: true },
  txonly: { mode: Mode.TXONLY, rx: false, tx: true },
  icmpecho: { mode: Mode.ICMPECHO, rx: true, tx: true },
  "seq-send": { mode: Mode.SEQ_SEND, rx: false, tx: true },
  "seq-check": { mode: Mode.SEQ_CHECK, rx: true, tx: false },
} as const satisfies Record<string, ModeNeeds>;

export type ModeName = keyof typeof MODES;
export const modeNames = Object.keys(MODES) as ModeName[];

/** testpmd's txonly frame: 02:00:00:00:00:00 from `mac`, IPv4 198.18.0.1 to 198.18.0.2, UDP 9 to 9, zeros. */
export function udpTemplate(mac: Uint8Array, frameBytes: number): Uint8Array {
  const frame = new Uint8Array(TxOnly.TEMPLATE_BYTES);
  const view = new DataView(frame.buffer);
  frame.set([2, 0, 0, 0, 0, 0, ...mac, 8, 0, 0x45, 0]);
  view.setUint16(16, frameBytes - 14);
  frame.set([64, 17], 22);
  frame.set([198, 18, 0, 1, 198, 18, 0, 2, 0, 9, 0, 9], 26);
  view.setUint16(38, frameBytes - 34);
  let sum = 0;
  for (let k = 14; k < 34; k += 2) sum += view.getUint16(k);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(24, ~(sum + (sum >>> 16)) & 0xffff);
  return frame;
}

/**
 * Fills in the lcore's streams; an mbuf holds `dataRoom` bytes of frame. Returns the queue blocks that it serves
 * from now on.
 */
export function assignStreams(
  zone: Zone,
  lcore: LcoreControl,
  streams: readonly StreamSpec[],
  dataRoom: number,
  burst = BURST_DEFAULT,
): number[] {
  bound("streams", streams.length, 1, QUEUES_MAX);
  bound("burst", burst, 1, BURST_MAX);
  const owned: number[] = [];
  const first = lcore.get(Lcore.STREAM);
  streams.forEach((spec, k) => {
    const at = first + k * Stream.BLOCK_BYTES;
    const set = (word: number, value: number) => {
      zone.arena.u32[(at + word) >>> 2] = value;
    };
    const needs: ModeNeeds | undefined = MODES[spec.mode];
    if (!needs) {
      const message = `there is no forwarding mode ${spec.mode}`;
      throw new PollmodeError("FORWARD_MODE", message, `modes: ${modeNames.join(", ")}`);
    }
    zone.arena.clear(at, Stream.BLOCK_BYTES);
    const rx = needs.rx ? queueOf(spec, "rx") : 0;
    const tx = needs.tx ? queueOf(spec, "tx") : 0;
    set(Stream.MODE, needs.mode);
    set(Stream.RX_QUEUE, rx);
    set(Stream.TX_QUEUE, tx);
    owned.push(...[rx, tx].filter((queue) => queue !== 0));
    prepareMode(zone, lcore, spec, k, dataRoom, set);
  });
  lcore.set(Lcore.STREAMS, streams.length);
  lcore.set(Lcore.BURST, burst);
  return owned;
}

function prepareMode(
  zone: Zone,
  lcore: LcoreControl,
  spec: StreamSpec,
  k: number,
  dataRoom: number,
  set: (word: number, value: number) => void,
): void {
  if (spec.mode === "txonly") {
    const { frameBytes = 64, tx } = spec;
    bound("frame size", frameBytes, 60, tx!.port.info.frameBytesMax);
    // the second half of the stream blocks holds the templates, one each
    const template = lcore.get(Lcore.STREAM) + (QUEUES_MAX + k) * Stream.BLOCK_BYTES;
    zone.arena.u8.set(udpTemplate(tx!.port.mac, frameBytes), template);
    set(TxOnly.TEMPLATE, template);
    set(TxOnly.SIZE, frameBytes);
    set(TxOnly.SEGMENTS, Math.ceil(frameBytes / dataRoom));
  }
  if (spec.mode === "icmpecho") {
    const mac = Buffer.from(spec.rx!.port.mac);
    set(IcmpEcho.MAC_LOW, mac.readUInt32LE(0));
    set(IcmpEcho.MAC_HIGH, mac.readUInt16LE(4));
  }
  if (spec.mode === "seq-send" || spec.mode === "seq-check") {
    const { progress, sizeMin, sizeMax, window, total, destination } = spec.sequence!;
    const mac = Buffer.from(destination ?? [2, 0, 0, 0, 0, 0]);
    bound("sizeMin", sizeMin, 60, sizeMax);
    set(Sequence.PROGRESS, progress);
    set(Sequence.SIZE_MIN, sizeMin);
    set(Sequence.SIZE_MAX, sizeMax);
    set(Sequence.WINDOW, window);
    set(Sequence.TOTAL, total);
    set(Sequence.MAC_LOW, mac.readUInt32LE(0));
    set(Sequence.MAC_HIGH, mac.readUInt16LE(4));
  }
}

function queueOf(spec: StreamSpec, way: "rx" | "tx"): number {
  const end = spec[way];
  const queue = end?.port[way === "rx" ? "rxQueues" : "txQueues"][end.queue];
  if (queue !== undefined) return queue;
  const message = `${spec.mode}: no ${way} queue${end ? ` ${end.queue} on port ${end.port.id}` : " given"}`;
  throw new PollmodeError(
    "QUEUE_UNKNOWN",
    message,
    "configure the port with enough queues, and name the queue",
  );
}

function bound(what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new PollmodeError(
    "FORWARD_OPTION",
    `${what} ${value} is not between ${min} and ${max}`,
    `choose one in between`,
  );
}
