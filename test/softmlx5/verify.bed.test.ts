// The fidelity gate in CI: every check of `npm run softmlx5:verify`, with fewer frames.
import t from "tap";
import { verdict } from "./verify/check.ts";
import { checks, loads, verifyBed } from "./verify/gate.ts";

const missing = verifyBed.missing();
t.setTimeout(300_000);
if (!missing) await verifyBed.setup();

for (const check of checks) {
  t.test(`${check.program}: ${check.name}`, { skip: missing ?? false }, async (t) => {
    const { ok, words } = await verdict(check, loads.short);
    t.ok(ok, words);
  });
}
