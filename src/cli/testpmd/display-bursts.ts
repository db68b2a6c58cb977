// --record-burst-stats: how many packets bursts brought, as testpmd sums it up in one line.

/** Bursts by their number of packets. */
export type BurstCounts = ArrayLike<number>;

/** `  RX-bursts : 31944 [0% of 0 pkts + 100% of 32 pkts]`; nothing where there was no burst. */
export function burstLine(way: "RX" | "TX", bursts: BurstCounts): string[] {
  const counts = Array.from(bursts);
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return [];
  // empty bursts always, then the two sizes that came most often
  const often = counts
    .map((count, packets) => ({ count, packets }))
    .slice(1)
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count)
    .slice(0, 2);
  const shown = [{ count: counts[0] ?? 0, packets: 0 }, ...often];
  const parts: string[] = [];
  let sum = 0;
  let percentSum = 0;
  for (const { count, packets } of shown) {
    sum += count;
    if (sum === total) {
      parts.push(`${100 - percentSum}% of ${packets} pkts`);
      return [`  ${way}-bursts : ${total} [${parts.join(" + ")}]`];
    }
    const percent = Math.trunc((count / total) * 100);
    percentSum += percent;
    parts.push(`${percent}% of ${packets} pkts`);
  }
  return [`  ${way}-bursts : ${total} [${parts.join(" + ")} + ${100 - percentSum}% of other]`];
}
