// A worker that is a device writing completions while the driver reads them: the entries' fields first, the last word
// last, as a NIC does. The frames themselves are not written: their lengths tell them apart.
import { parentPort, workerData } from "node:worker_threads";

export interface Race {
  memory: WebAssembly.Memory;
  /** Arena offsets: the CQ, its record, the RQ's record. */
  cq: number;
  cqRecord: number;
  rqRecord: number;
  entries: number;
  frames: number;
}

/** The length of the `k`-th frame. */
export const lengthOf = (k: number) => 64 + (Math.imul(k, 37) & 511);

const swap = (v: number) => ((v << 24) | ((v & 0xff00) << 8) | ((v >>> 8) & 0xff00) | (v >>> 24)) >>> 0;

function run({ memory, cq, cqRecord, rqRecord, entries, frames }: Race): void {
  const words = new Uint32Array(memory.buffer);
  for (let k = 0; k < frames; ) {
    const posted = (swap(Atomics.load(words, rqRecord >>> 2)) - k) & 0xffff;
    const used = (k - swap(Atomics.load(words, cqRecord >>> 2))) & 0xffffff;
    const most = Math.min(posted, entries - used, frames - k);
    for (let n = 0; n < most; n++, k++) {
      const at = (cq >>> 2) + 16 * (k % entries);
      words[at + 11] = swap(lengthOf(k));
      const owner = Math.floor(k / entries) & 1;
      Atomics.store(words, at + 15, ((0x20 | owner) << 24) | (swap(k & 0xffff) >>> 16));
    }
  }
}

if (parentPort) {
  run(workerData as Race);
  parentPort.postMessage("done");
}
