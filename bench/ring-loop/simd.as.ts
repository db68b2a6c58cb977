// Descriptors with wide loads and stores; the contracts stand in simd.ts.
import { Buffer, Mbuf } from "../../src/hot/layout.ts";
import { writeMbuf } from "../../src/hot/simd.ts";
import { Command, Ring, Status } from "./layout.ts";

// @ts-ignore: decorator
@inline export function describe(desc: u32, address: u32, third: u32, fourth: u32): void {
  store<u64>(desc, (<u64>Ring.BUS_HIGH << 32) | <u64>address);
  store<u64>(desc, (<u64>fourth << 32) | <u64>third, 8);
}

// @ts-ignore: decorator
@inline export function takeFour(desc: u32, slot: u32, fresh: u32, out: u32, frames: u32): u32 {
  // Status and length come in one load each, so nothing can be read before its DD.
  const a = load<u64>(desc, 8), b = load<u64>(desc, 24), c = load<u64>(desc, 40), d = load<u64>(desc, 56);
  if ((a & b & c & d & Status.DONE) == 0) return 0;
  v128.store(out, v128.load(slot));
  v128.store(slot, v128.load(fresh));
  const p = take(desc, load<u32>(out), load<u32>(fresh), a);
  const q = take(desc + 16, load<u32>(out, 4), load<u32>(fresh, 4), b);
  const r = take(desc + 32, load<u32>(out, 8), load<u32>(fresh, 8), c);
  const s = take(desc + 48, load<u32>(out, 12), load<u32>(fresh, 12), d);
  if (frames != 0) {
    store<u64>(out + frames, <u64>p | (<u64>q << 32));
    store<u64>(out + frames, <u64>r | (<u64>s << 32), 8);
  }
  return 4;
}

// @ts-ignore: decorator
@inline function take(desc: u32, mbuf: u32, fresh: u32, written: u64): u32 {
  const frame: u32 = load<u32>(mbuf, Mbuf.BUF) + Buffer.HEADROOM;
  writeMbuf(mbuf, frame, <u32>(written >> 32) & 0xffff, 0x10000);
  describe(desc, load<u32>(fresh, Mbuf.BUF) + Buffer.HEADROOM, 0, 0);
  return frame;
}

// @ts-ignore: decorator
@inline export function sendFour(desc: u32, slot: u32, pkts: u32): u32 {
  if ((slot & 15) != 0) return 0;
  const report: u32 = ((slot + 16) & ((Ring.LOT << 2) - 1)) == 0 ? Command.REPORT : 0;
  v128.store(slot, v128.load(pkts));
  send(desc, load<u32>(pkts), Command.FRAME);
  send(desc + 16, load<u32>(pkts, 4), Command.FRAME);
  send(desc + 32, load<u32>(pkts, 8), Command.FRAME);
  send(desc + 48, load<u32>(pkts, 12), Command.FRAME | report);
  return 4;
}

// @ts-ignore: decorator
@inline function send(desc: u32, mbuf: u32, command: u32): void {
  const length: u32 = load<u32>(mbuf, Mbuf.DATA_LEN);
  describe(desc, load<u32>(mbuf, Mbuf.DATA), command | length, length << 14);
}
