// Frames that are sent and what is told of those that come: the launcher's end of mlx5-note-app.ts.
import type { AppEnds } from "../../src/engine/app-queues.ts";
import type { Pollmode } from "../../src/pollmode.ts";
import { Note, type NoteFrame } from "./mlx5-note-app.ts";
import { pause } from "./support.ts";

/** What was told of a frame. */
export interface Told {
  /** How often it came. */
  count: number;
  queue: number;
  flags: number;
  hash: number;
  vlan: number;
  length: number;
  sum: number;
}

/**
 * Sends each frame once, by the first queue pair of `ends`, on lcore 0, and waits until `expected` of them have come by
 * the others, or none for `idleMs`. The lcore waits again then. With a port alone, frames come back to its queues.
 */
export async function notesOf(
  pm: Pollmode,
  ends: readonly [from: AppEnds, ...to: AppEnds[]],
  frames: NoteFrame[],
  expected = frames.length,
  idleMs = 1_000,
): Promise<Told[]> {
  const notes = new SharedArrayBuffer(4 * (frames.length * Note.WORDS + 1));
  const words = new Uint32Array(notes);
  const came = () => Atomics.load(words, frames.length * Note.WORDS);
  const app = new URL("./mlx5-note-app.js", import.meta.url);
  await pm.run({ lcore: 0, app, queues: ends, options: { frames, notes, isLoop: ends.length === 1 } });
  let before = -1;
  for (
    let moved = performance.now();
    came() < expected && performance.now() - moved < idleMs;
    await pause(1)
  ) {
    if (came() !== before) moved = performance.now();
    before = came();
  }
  await pause(2); // one that comes too much
  await pm.stop(0);
  return frames.map((_, number) => {
    const at = number * Note.WORDS;
    const word = (name: Exclude<keyof typeof Note, "WORDS">) => words[at + Note[name]]!;
    const numbers = { count: word("COUNT"), queue: word("QUEUE"), flags: word("FLAGS"), hash: word("HASH") };
    return { ...numbers, vlan: word("VLAN"), length: word("LENGTH"), sum: word("SUM") };
  });
}
