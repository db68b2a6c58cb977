// The order of the checks: one cause, and what follows from it.
import t from "tap";
import { fail, ok } from "../../src/doctor/finding.ts";
import type { Nic, Situation } from "../../src/doctor/situation.ts";
import { type Checks, walk } from "../../src/doctor/walk.ts";

const nicOf = (address: string, way: Nic["way"]) => ({ pci: { address }, way }) as unknown as Nic;
const situation = { nics: [nicOf("a", "vfio"), nicOf("b", "uio")] } as unknown as Situation;

t.test("what follows from a failure is not looked at", async (t) => {
  const looked: string[] = [];
  const checks: Checks = {
    machine: [
      { id: "first", needs: [], look: () => fail("broken", { command: "mend" }) },
      { id: "second", needs: ["first"], look: () => ok("never") },
      { id: "third", needs: ["second"], look: () => ok("never") },
      { id: "free", needs: [], look: () => ok("well") },
      { id: "verbs", needs: [], ways: ["verbs"], look: () => ok("never") },
    ],
    nic: [
      {
        id: "own",
        needs: ["free"],
        look: ({ pci }) => {
          looked.push(pci.address);
          return pci.address === "a" ? fail("broken too") : ok("well");
        },
      },
      { id: "after", needs: ["own"], look: () => ok("well") },
      { id: "vfio", needs: [], ways: ["vfio"], look: () => ok("well") },
      { id: "far", needs: ["third"], look: () => ok("never") },
    ],
  };
  const lines = walk(situation, checks).map(({ id, device, state, because }) =>
    [device, id, state, because].filter(Boolean).join(" "),
  );
  t.same(lines, [
    "first fail",
    "second skipped first",
    "third skipped first",
    "free ok",
    "verbs skipped",
    "a own fail",
    "a after skipped own",
    "a vfio ok",
    "a far skipped first",
    "b own ok",
    "b after ok",
    "b vfio skipped",
    "b far skipped first",
  ]);
  t.same(looked, ["a", "b"], "another NIC's failure is no reason");
});
