// Users and groups: numbers, names of the machine's files, names of a directory service.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { accountId } from "../../src/devices/accounts.ts";
import { Machine } from "../../src/devices/machine.ts";

t.test("numbers and names", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "pollmode-accounts-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, "etc"));
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0::/:\nalice:x:1000:7::/:\nbroken\n");
  writeFileSync(join(root, "etc/group"), "vm:x:7:alice\n");
  const machine = new Machine({ root });
  t.equal(accountId(machine, "user", "alice"), 1000);
  t.equal(accountId(machine, "group", "vm"), 7);
  t.equal(accountId(machine, "user", "4294967294"), 0xffff_fffe);
  const fails = (kind: "user" | "group", text: string, fix: RegExp) =>
    t.throws(() => accountId(machine, kind, text), { code: "OPTION_VALUE", fix }, text);
  fails("user", "4294967295", /a number, or a name of \/etc\/passwd/);
  fails("user", "alise", /did you mean alice\?/);
  fails("group", "alice", /\/etc\/group/);
  for (const text of ["broken", "", "-1", "1.5", "a b", "$(id)"]) fails("user", text, /./);
});

t.test("a directory service is asked of getent", async (t) => {
  const asked: string[] = [];
  const run = (command: readonly string[]) => {
    asked.push(command.join(" "));
    if (command[2] !== "no-such-user-x") return "far-away:*:70001:70001::/:/bin/sh\n";
    throw new Error("exit code 2");
  };
  const machine = new Machine({ run });
  t.equal(accountId(machine, "user", "no-such-user-y"), 70001);
  t.throws(() => accountId(machine, "group", "no-such-user-x"), { code: "OPTION_VALUE" });
  t.same(asked, ["getent passwd no-such-user-y", "getent group no-such-user-x"]);
  const dry = new Machine({ run, record: () => {} });
  t.throws(() => accountId(dry, "user", "no-such-user-y"), { code: "OPTION_VALUE" });
  t.equal(asked.length, 2, "a dry run runs nothing");
});
