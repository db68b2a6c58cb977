// Scenarios on the emulated device, in a process that it is preloaded into. Prints what each found, a JSON line each.

import { brokenQueue, events, fatal } from "./events.ts";
import { errorOf, failures } from "./failures.ts";
import { lifecycle } from "./lifecycle.ts";
import { limits } from "./limits.ts";

const scenarios: Record<string, () => unknown> = { limits, lifecycle, failures, events, brokenQueue, fatal };

for (const name of process.argv.slice(2)) {
  let found: unknown;
  try {
    found = await scenarios[name]!();
  } catch (error) {
    found = { failed: errorOf(error), stack: (error as Error).stack };
  }
  console.log(
    JSON.stringify({ name, found }, (_, value) => (typeof value === "bigint" ? `${value}` : value)),
  );
}
