// What must be undone when this process ends before the test that did it: by exit, or by a signal that ends it.
// (After SIGKILL nothing runs: each bed says how it mends that.)
import { constants } from "node:os";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const undo: (() => void)[] = [];
let handled = false;

/** Runs `work`, which must be synchronous, when the process ends. Returns a function that takes it back. */
export function atEnd(work: () => void): () => void {
  if (undo.length === 0) listen("on");
  undo.push(work);
  return () => {
    const index = undo.lastIndexOf(work);
    if (index < 0) return;
    undo.splice(index, 1);
    if (undo.length === 0) listen("off");
  };
}

/** The last first: programs end before what they use is taken away. */
function undoAll(): void {
  for (const work of undo.splice(0).reverse()) work();
  listen("off");
}

/** From now on those signals go to `handler` and undo nothing: that is then left to this process's exit. */
export function handleSignals(handler: (signal: NodeJS.Signals) => void): void {
  handled = true;
  for (const signal of signals) process.on(signal, handler);
}

/** Undoes, then ends the process: tap by itself would go on with the next test. */
function onSignal(signal: NodeJS.Signals): void {
  if (handled) return;
  undoAll();
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  else process.exit(128 + constants.signals[signal]);
}

function listen(change: "on" | "off"): void {
  process[change]("exit", undoAll);
  for (const signal of signals) process[change](signal, onSignal);
}
