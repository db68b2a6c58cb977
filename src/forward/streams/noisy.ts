// noisy: the FIFO and the memory of a noisy stream.
import { PollmodeError } from "../../errors.ts";
import { Ring } from "../../hot/ring.ts";
import { KIB, MBUF_COUNT_MAX, MIB } from "../../limits.ts";
import type { Arena } from "../../memory/arena.ts";
import type { MbufPool } from "../../memory/pool.ts";
import { Noisy } from "../noisy.ts";
import type { StreamBlock } from "./block.ts";
import { bound, type StreamOptions } from "./spec.ts";

const LINE_BYTES = 64;
const LOOKUPS_MAX = 1_000_000;
const FLUSH_MS_MAX = 3_600_000;

function readNoisy({ noisy = {} }: StreamOptions) {
  const { bufferPackets = 0, flushMs = 0, memoryMib = 0, writes = 0, reads = 0, readWrites = 0 } = noisy;
  return { bufferPackets, flushMs, memoryMib, writes, reads, readWrites };
}

export function checkNoisy(options: StreamOptions): void {
  const { bufferPackets, flushMs, memoryMib, writes, reads, readWrites } = readNoisy(options);
  bound("noisy: packets in the FIFO", bufferPackets, 0, MBUF_COUNT_MAX);
  bound("noisy: flush time in ms", flushMs, 0, FLUSH_MS_MAX);
  bound("noisy: memory in MiB", memoryMib, 0, 4 * KIB);
  bound("noisy: writes", writes, 0, LOOKUPS_MAX);
  bound("noisy: reads", reads, 0, LOOKUPS_MAX);
  bound("noisy: reads and writes", readWrites, 0, LOOKUPS_MAX);
  if (writes + reads + readWrites > 0 && memoryMib === 0) {
    const message = "noisy: reads or writes, but no memory to read and write";
    throw new PollmodeError("FORWARD_OPTION", message, "give memoryMib (--noisy-lkup-memory), 1 or more");
  }
}

export function prepareNoisy(block: StreamBlock, options: StreamOptions): void {
  const { bufferPackets, flushMs, memoryMib, writes, reads, readWrites } = readNoisy(options);
  if (bufferPackets > 0) {
    const slots = 2 ** Math.ceil(Math.log2(bufferPackets));
    const fifo = block.memory.allocate("noisy FIFO", Ring.BYTES + 4 * slots);
    const { u32 } = block.memory.zone.arena;
    u32[(fifo + Ring.MASK) >>> 2] = slots - 1;
    u32[(fifo + Ring.WORDS) >>> 2] = fifo + Ring.BYTES;
    block.memory.fifos.push(fifo);
    block.set(Noisy.FIFO, fifo);
    block.set(Noisy.SIZE, bufferPackets);
    block.setFloat(Noisy.FLUSH_MS, flushMs);
  }
  if (memoryMib > 0) {
    block.set(Noisy.MEMORY, block.memory.reserve("noisy memory", memoryMib * MIB));
    block.set(Noisy.LINES, (memoryMib * MIB) / LINE_BYTES);
  }
  block.set(Noisy.WRITES, writes);
  block.set(Noisy.READS, reads);
  block.set(Noisy.READ_WRITES, readWrites);
  block.set(Noisy.RANDOM, (block.at * 2654435761 + 1) >>> 0 || 1);
}

/** Gives the packets that wait in a FIFO back to their pool. Its lcore does not run. */
export function emptyFifo({ u32 }: Arena, pool: MbufPool, fifo: number): void {
  const at = (word: number) => u32[(fifo + word) >>> 2]!;
  const waiting: number[] = [];
  for (let k = at(Ring.HEAD); k !== at(Ring.TAIL); k = (k + 1) >>> 0) {
    waiting.push(u32[(at(Ring.WORDS) >>> 2) + (k & at(Ring.MASK))]!);
  }
  u32[(fifo + Ring.HEAD) >>> 2] = at(Ring.TAIL);
  pool.give(waiting);
}
