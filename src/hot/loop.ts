// The poll loop of an lcore: every stream in turn, for ever; a look at the command word and a heartbeat every 256
// polls.
//
// It returns to its caller now and then, because WebAssembly has no on-stack replacement: a function that never returns
// would stay in the baseline compiler's code.
import { icmpEcho } from "../forward/icmpecho.ts";
import { io } from "../forward/io.ts";
import { macSwap } from "../forward/macswap.ts";
import { Mode } from "../forward/modes.ts";
import { rxOnly } from "../forward/rxonly.ts";
import { sequenceCheck, sequenceSend } from "../forward/sequence.ts";
import { txOnly } from "../forward/txonly.ts";
import { txIdle } from "./dispatch.ts";
import { Histogram, Lcore, LcoreCommand, Stream } from "./layout.ts";
import { acquire32, clz32, now, r32, rf64, toU32, w32, wf64 } from "./mem.ts";
import { bump } from "./queue.ts";

const ROUND_POLLS: u32 = 256;
/** Every so many rounds one is clocked, poll by poll. */
const SAMPLE_EVERY: u32 = 64;

/** A poll of a burst that took so long was not busy: the system ran something else on the lcore's CPU. */
const PUT_OFF_NS: f64 = 1e6;

/** One burst of one stream. Returns the packets it brought. */
function step(s: u32, pkts: u32, burst: u32): u32 {
  switch (r32(s)) {
    case Mode.COUNT:
      return rxOnly(s, pkts, burst, 0);
    case Mode.TOUCH:
      return rxOnly(s, pkts, burst, 1);
    case Mode.IO:
      return io(s, pkts, burst);
    case Mode.MACSWAP:
      return macSwap(s, pkts, burst);
    case Mode.TXONLY:
      return txOnly(s, pkts, burst);
    case Mode.ICMPECHO:
      return icmpEcho(s, pkts, burst);
    case Mode.SEQ_SEND:
      return sequenceSend(s, pkts, burst);
    case Mode.SEQ_CHECK:
      return sequenceCheck(s, pkts, burst);
    default:
      return 0;
  }
}

/** Polls for up to `rounds` rounds; returns early when the command is no longer LcoreCommand.RUN. */
export function runLcore(l: u32, rounds: u32): void {
  const streams: u32 = r32(l + Lcore.STREAMS);
  const first: u32 = r32(l + Lcore.STREAM);
  for (let round: u32 = 0; round < rounds && acquire32(l + Lcore.COMMAND) == <u32>LcoreCommand.RUN; round++) {
    const beat: u32 = r32(l + Lcore.HEARTBEAT);
    if ((beat & (SAMPLE_EVERY - 1)) == 0) clockedRound(l);
    else plainRound(l);
    for (let k: u32 = 0; k < streams; k++) {
      const tx: u32 = r32(first + (k << 7) + Stream.TX_QUEUE);
      if (tx != 0) txIdle(tx);
    }
    w32(l + Lcore.HEARTBEAT, (beat + 1) >>> 0);
    measureRound(l);
  }
}

function plainRound(l: u32): void {
  const streams: u32 = r32(l + Lcore.STREAMS);
  const first: u32 = r32(l + Lcore.STREAM);
  const pkts: u32 = r32(l + Lcore.PKTS);
  const burst: u32 = r32(l + Lcore.BURST);
  const bursts: u32 = r32(l + Lcore.BURST_HISTOGRAM);
  let empty: u32 = 0;
  let packets: u32 = 0;
  let k: u32 = 0;
  for (let poll: u32 = 0; poll < ROUND_POLLS; poll++) {
    const got: u32 = step(first + (k << 7), pkts, burst);
    k++;
    if (k >= streams) k = 0;
    if (got == 0) empty++;
    else {
      packets = packets + got;
      w32(bursts + (got << 2), r32(bursts + (got << 2)) + 1);
    }
  }
  count(l, empty, packets);
}

function count(l: u32, empty: u32, packets: u32): void {
  bump(l + Lcore.POLLS, ROUND_POLLS);
  bump(l + Lcore.EMPTY_POLLS, empty);
  bump(l + Lcore.PACKETS, packets);
}

/** The same with a clock at each poll: poll-to-poll times, and the time of polls that brought packets. */
function clockedRound(l: u32): void {
  const streams: u32 = r32(l + Lcore.STREAMS);
  const first: u32 = r32(l + Lcore.STREAM);
  const pkts: u32 = r32(l + Lcore.PKTS);
  const burst: u32 = r32(l + Lcore.BURST);
  const bursts: u32 = r32(l + Lcore.BURST_HISTOGRAM);
  let empty: u32 = 0;
  let packets: u32 = 0;
  let k: u32 = 0;
  let last: f64 = now();
  for (let poll: u32 = 0; poll < ROUND_POLLS; poll++) {
    const got: u32 = step(first + (k << 7), pkts, burst);
    k++;
    if (k >= streams) k = 0;
    const time: f64 = now();
    const ns: f64 = (time - last) * 1e6;
    record(l, ns);
    last = time;
    if (got == 0) empty++;
    else {
      packets = packets + got;
      w32(bursts + (got << 2), r32(bursts + (got << 2)) + 1);
      if (ns < PUT_OFF_NS) {
        wf64(l + Lcore.BUSY_NS, rf64(l + Lcore.BUSY_NS) + ns);
        bump(l + Lcore.BUSY_POLLS, 1);
        bump(l + Lcore.BUSY_PACKETS, got);
      }
    }
  }
  count(l, empty, packets);
}

/** Adds a time to the log-linear histogram. Exact below 64 ns, then 32 steps each power of two. */
function record(l: u32, ns: f64): void {
  const v: u32 = ns < 1 ? 0 : ns > 4e9 ? 4000000000 : toU32(ns);
  const bits: u32 = 32 - clz32(v | 1);
  const shift: u32 = bits > <u32>Histogram.SUB_BITS ? bits - Histogram.SUB_BITS : 0;
  const bucket: u32 = r32(l + Lcore.POLL_HISTOGRAM) + (((shift << Histogram.SUB_BITS) + (v >>> shift)) << 2);
  w32(bucket, r32(bucket) + 1);
}

/** Keeps the longest time that a whole round took: what sampling may miss, an lcore put off its CPU. */
function measureRound(l: u32): void {
  const time: f64 = now();
  const last: f64 = rf64(l + Lcore.LAST_MS);
  const ns: f64 = (time - last) * 1e6;
  if (last > 0 && ns > rf64(l + Lcore.ROUND_NS_MAX)) wf64(l + Lcore.ROUND_NS_MAX, ns);
  wf64(l + Lcore.LAST_MS, time);
}
