// The causes of drops in words, for people.
import type { PortDrops } from "./rates.ts";

export const dropCauses: Readonly<Record<keyof PortDrops, string>> = {
  rxMissed: "rx missed",
  rxErrors: "rx errors",
  rxNoMbuf: "rx no mbuf",
  byMode: "by mode",
  txErrors: "tx errors",
  txFull: "tx full",
};

/** All causes together. */
export function droppedRate(drops: PortDrops): number {
  return Object.values(drops).reduce((sum: number, rate: number) => sum + rate, 0);
}
