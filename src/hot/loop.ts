// The poll loop of an lcore: every stream in turn, for ever; a look at the command word and a heartbeat every 256
// polls.
//
// It returns to its caller now and then, because WebAssembly has no on-stack replacement: a function that never returns
// would stay in the baseline compiler's code.
import { fiveTupleSwap } from "../forward/5tswap.ts";
import { csum } from "../forward/csum.ts";
import { flowGen } from "../forward/flowgen.ts";
import { icmpEcho } from "../forward/icmpecho.ts";
import { io } from "../forward/io.ts";
import { mac } from "../forward/mac.ts";
import { macSwap } from "../forward/macswap.ts";
import { Mode } from "../forward/modes.ts";
import { noisy } from "../forward/noisy.ts";
import { rxOnly } from "../forward/rxonly.ts";
import { sequenceCheck, sequenceSend } from "../forward/sequence.ts";
import { txOnly } from "../forward/txonly.ts";
import { watchRound } from "../forward/watch.ts";
import { txIdle } from "./dispatch.ts";
import { recordNs } from "./histogram.ts";
import { Lcore, LcoreCommand, Stream } from "./layout.ts";
import { acquire32, now, r32, rf64, w32, wf64 } from "./mem.ts";
import { bump } from "./queue.ts";

/** Stream.BLOCK_BYTES as a power of two. */
const STREAM_SHIFT: u32 = 8;

const ROUND_POLLS: u32 = 256;
/** Every so many rounds one is clocked, poll by poll. */
const SAMPLE_EVERY: u32 = 64;

/** A poll of a burst that took so long was not busy: the system ran something else on the lcore's CPU. */
const PUT_OFF_NS: f64 = 1e6;

/** One burst of one stream. Returns the packets it brought, at most `burst`. */
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
    case Mode.MAC:
      return mac(s, pkts, burst);
    case Mode.CSUM:
      return csum(s, pkts, burst);
    case Mode.FIVE_TUPLE_SWAP:
      return fiveTupleSwap(s, pkts, burst);
    case Mode.NOISY:
      return noisy(s, pkts, burst);
    case Mode.TXONLY:
      return txOnly(s, pkts, burst);
    case Mode.FLOWGEN:
      return flowGen(s, pkts, burst);
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
      const s: u32 = first + (k << STREAM_SHIFT);
      if (r32(s + Stream.TX_QUEUE) != 0) txIdle(r32(s + Stream.TX_QUEUE));
      // a round begins with the first stream, so the first ones may be polled once more than the others
      if (r32(s + Stream.WATCH) != 0) watchRound(s, ((ROUND_POLLS + streams - 1 - k) / streams) >>> 0);
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
    const got: u32 = step(first + (k << STREAM_SHIFT), pkts, burst);
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
    const got: u32 = step(first + (k << STREAM_SHIFT), pkts, burst);
    k++;
    if (k >= streams) k = 0;
    const time: f64 = now();
    const ns: f64 = (time - last) * 1e6;
    recordNs(r32(l + Lcore.POLL_HISTOGRAM), ns);
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

/** Keeps the longest time that a whole round took: what sampling may miss, an lcore put off its CPU. */
function measureRound(l: u32): void {
  const time: f64 = now();
  const last: f64 = rf64(l + Lcore.LAST_MS);
  const ns: f64 = (time - last) * 1e6;
  if (last > 0 && ns > rf64(l + Lcore.ROUND_NS_MAX)) wf64(l + Lcore.ROUND_NS_MAX, ns);
  wf64(l + Lcore.LAST_MS, time);
}
