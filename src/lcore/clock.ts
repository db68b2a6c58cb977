// One clock for all threads. performance.now() begins at 0 in each worker of newer releases of Node.js; both it and
// hrtime read CLOCK_MONOTONIC, which is the same for all threads of the machine, so their difference is a constant.

/** CLOCK_MONOTONIC in milliseconds. */
export function monotonicMs(): number {
  const [seconds, ns] = process.hrtime();
  return seconds * 1e3 + ns / 1e6;
}

const TRIES = 64;

/**
 * performance.now(), counted from `originMs` of the monotonic clock: for all threads alike to within half a
 * microsecond. A small origin keeps an f64's digits for nanoseconds.
 */
export function commonClock(originMs: number): () => number {
  let best = Number.POSITIVE_INFINITY;
  let shift = 0;
  // the shortest try is the one that nothing came between
  for (let k = 0; k < TRIES; k++) {
    const before = performance.now();
    const ms = monotonicMs();
    const after = performance.now();
    if (after - before >= best) continue;
    best = after - before;
    shift = ms - originMs - (before + after) / 2;
  }
  return () => performance.now() + shift;
}
