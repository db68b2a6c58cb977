// seq-send and seq-check: what both ends must know alike.
import { PollmodeError } from "../../errors.ts";
import { Sequence } from "../sequence.ts";
import type { StreamBlock } from "./block.ts";
import { bound, macWords, type StreamOptions } from "./spec.ts";

export function checkSequence({ sequence }: StreamOptions): void {
  if (!sequence) {
    throw new PollmodeError("FORWARD_OPTION", "seq-send, seq-check: no sequence is given", "give `sequence`");
  }
  bound("sizeMin", sequence.sizeMin, 60, sequence.sizeMax);
}

export function prepareSequence(block: StreamBlock, { sequence }: StreamOptions): void {
  const { progress, sizeMin, sizeMax, window, total, destination } = sequence!;
  const { low, high } = macWords(destination ?? Uint8Array.of(2, 0, 0, 0, 0, 0));
  block.set(Sequence.PROGRESS, progress);
  block.set(Sequence.SIZE_MIN, sizeMin);
  block.set(Sequence.SIZE_MAX, sizeMax);
  block.set(Sequence.WINDOW, window);
  block.set(Sequence.TOTAL, total);
  block.set(Sequence.MAC_LOW, low);
  block.set(Sequence.MAC_HIGH, high);
}
