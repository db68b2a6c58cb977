// net_pcap's queues over a rig: a file for a receive queue to read, a file for a transmit queue to write.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InputQueue } from "../../../pmd/pcap/input.ts";
import { type OutputPlan, OutputQueue } from "../../../pmd/pcap/output.ts";
import type { PollmodeError } from "../../../src/errors.ts";
import type { DriverContext } from "../../../src/ethdev/driver.ts";
import { Queue } from "../../../src/hot/layout.ts";
import { PacketReader } from "../../../src/pcap/reader.ts";
import type { Rig } from "../../support/engines.ts";

/** A folder that is gone with the process. */
export const folder = mkdtempSync(join(tmpdir(), "pollmode-pcap-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

let files = 0;
export const newPath = (ending = "pcap") => join(folder, `${files++}.${ending}`);

export function save(bytes: Uint8Array, ending = "pcap", path = newPath(ending)): string {
  writeFileSync(path, bytes);
  return path;
}

/** What a driver uses of its context here. */
export function contextOf(rig: Rig): DriverContext {
  const { arena, private: zone, dma, pool } = rig;
  const context = { arena, private: zone, dma, pool, quiesce: async () => {}, warn: () => {} };
  return context as unknown as DriverContext;
}

export interface InputOptions {
  loops?: number;
  pace?: boolean;
}

/** A receive queue that has been started on the file `path`. */
export function openInput(
  rig: Rig,
  path: string,
  { loops = 1, pace = false }: InputOptions = {},
): InputQueue {
  const queue = new InputQueue(contextOf(rig), { name: "p0, rx 0", index: 0, path, loops, pace });
  queue.block.set(Queue.CACHE, rig.cache);
  queue.start();
  return queue;
}

export function openOutput(rig: Rig, plan: Partial<OutputPlan> & { path: string }): OutputQueue {
  const queue = new OutputQueue(contextOf(rig), {
    name: "p0, tx 0",
    index: 0,
    format: "pcap",
    snaplen: 262_144,
    ...plan,
  });
  queue.block.set(Queue.CACHE, rig.cache);
  queue.start();
  return queue;
}

export function closeInput(queue: InputQueue): void {
  queue.block.halt();
  queue.stop();
  queue.free();
}

export interface Outcome {
  readonly frames: Buffer[];
  readonly code: string | undefined;
  /** Where the fault is. */
  readonly offset: number | undefined;
  readonly message?: string;
}

const offsetOf = (message: string) => Number(/at offset (\d+)$/.exec(message)?.[1]);

/** All frames that the queue gives, in bursts of `n`, until it says that it has ended; `polls` at most. */
export function drain(rig: Rig, queue: InputQueue, n = 32, polls = 100_000): Outcome {
  const frames: Buffer[] = [];
  for (let poll = 0; poll < polls && !queue.ended; poll++) {
    const packets = rig.receive(queue.block.offset, n);
    for (const mbuf of packets) frames.push(rig.frame(mbuf));
    rig.free(packets);
  }
  const fault = queue.takeFault();
  return outcome(frames, fault);
}

function outcome(frames: Buffer[], fault: PollmodeError | undefined): Outcome {
  if (!fault) return { frames, code: undefined, offset: undefined };
  return { frames, code: fault.code, offset: offsetOf(fault.message), message: fault.message };
}

/** What the reader for control code makes of the same file: what the queue is held against. */
export function reference(bytes: Buffer): Outcome {
  const reader = new PacketReader("reference");
  const frames: Buffer[] = [];
  try {
    for (const { linkType, data } of reader.push(bytes))
      if (linkType === 1 && data.length >= 14) frames.push(Buffer.from(data));
    reader.end();
  } catch (error) {
    return outcome(frames, error as PollmodeError);
  }
  return outcome(frames, undefined);
}
