// What is to be done when the process exits, by one listener however many there are.
const works = new Set<() => void>();

/** Calls `work` at the process's exit. Returns what takes that back. */
export function atExit(work: () => void): () => void {
  if (works.size === 0) process.on("exit", runAll);
  works.add(work);
  return () => {
    works.delete(work);
    if (works.size === 0) process.off("exit", runAll);
  };
}

function runAll(): void {
  for (const work of works) work();
}
