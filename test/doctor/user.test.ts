// Who is to run it.
import t from "tap";
import { findUser } from "../../src/doctor/user.ts";
import { healthy } from "./made.ts";

t.test("by name and number", async (t) => {
  const machine = healthy(t).machine();
  t.match(findUser(machine, "alice"), {
    name: "alice",
    uid: 1000,
    gids: [1000, 110],
    groups: ["alice", "vfio"],
  });
  t.match(findUser(machine, "1000"), { name: "alice" });
  t.match(findUser(machine, "4711"), { name: "4711", uid: 4711, gids: [] });
  t.throws(() => findUser(machine, "bob"), {
    code: "OPTION_VALUE",
    message: 'there is no user "bob" on this machine',
    fix: "give a number, or a name of /etc/passwd",
  });
  t.match(findUser(machine), { uid: process.geteuid?.(), isSelf: true });
});
