// The console on a pipe: prompts, faults, files of commands, the end.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import t from "tap";
import { runConsole, runFile } from "../../../../src/cli/testpmd/console/console.ts";
import { History } from "../../../../src/cli/testpmd/console/history.ts";
import type { Session } from "../../../../src/cli/testpmd/session.ts";
import { fakeSession } from "./fake-session.ts";

async function type(text: string, cmdlineFile?: string) {
  const { session, calls } = fakeSession();
  const input = new PassThrough();
  let printed = "";
  const output = new Writable({
    write(chunk, _, done) {
      printed += chunk;
      done();
    },
  });
  input.end(text);
  await runConsole(session, { input, output, ...(cmdlineFile ? { cmdlineFile } : {}) });
  return { printed, calls };
}

t.test("a prompt and the line itself, for each line; a fault is told and the next line read", async (t) => {
  const { printed, calls } = await type("set burst 8\nset promisc 7 on\n\nset burst 9");
  t.same(calls, ["setBurst 8", "setBurst 9"]);
  const fault = [
    "                     ^",
    "there is no port 7; there are 0, 1",
    "  fix: write 0, for instance",
    "",
  ].join("\n");
  const lines = ["set burst 8\r\n", `set promisc 7 on\r\n${fault}`, "\r\n", "set burst 9\r\n", ""];
  t.equal(printed, lines.map((line) => `testpmd> ${line}`).join(""));
});

t.test("quit ends it; what follows is not run", async (t) => {
  const { calls, printed } = await type("quit\nset burst 9\n");
  t.same(calls, []);
  t.equal(printed, "testpmd> quit\r\n");
});

t.test("commands run one after the other, in order", async (t) => {
  const { calls } = await type(Array.from({ length: 50 }, (_, k) => `set burst ${k + 1}`).join("\n"));
  t.same(
    calls,
    Array.from({ length: 50 }, (_, k) => `setBurst ${k + 1}`),
  );
});

t.test("whoever is asked to leave runs no further line", async (t) => {
  const lines = Array.from({ length: 1000 }, (_, k) => `set burst ${(k % 512) + 1}`).join("\n");
  const folder = t.testdir({ "long.txt": lines, "outer.txt": `load ${t.testdirName}/long.txt\n`.repeat(3) });
  const ends: [title: string, run: (session: Session, leave: { asked: boolean }) => Promise<unknown>][] = [
    ["a file", (session, leave) => runFile(session, join(folder, "outer.txt"), () => {}, leave)],
    [
      "a pipe",
      (session, leave) => {
        const input = new PassThrough();
        input.end(`load ${join(folder, "long.txt")}\n${lines}`);
        return runConsole(session, { input, output: new PassThrough().resume(), leave });
      },
    ],
  ];
  for (const [title, run] of ends) {
    const { session, calls } = fakeSession();
    const leave = { asked: false };
    // as a signal's handler: between turns of the event loop
    const look = () => {
      leave.asked = calls.length >= 3;
      if (!leave.asked) setImmediate(look);
    };
    look();
    const result = await run(session, leave);
    t.ok(calls.length >= 3 && calls.length < 1000, `${title}: ${calls.length} lines were run`);
    t.notOk(result, "and nothing comes after it");
  }
});

t.test("files", async (t) => {
  const folder = t.testdir({
    "inner.txt": "set burst 2\n  # a comment\n\nset brst 3\r\nset burst 4\n",
    "quit.txt": "set burst 1\nquit\nset burst 2\n",
  });
  const inner = join(folder, "inner.txt");
  const outer = join(folder, "outer.txt");
  const loop = join(folder, "loop.txt");
  writeFileSync(outer, `set burst 1\nload ${inner}\nset burst 5`);
  writeFileSync(loop, `load ${loop}\n`);

  await t.test("a fault has its file and line, and the file goes on", async (t) => {
    const { session, calls } = fakeSession();
    const said: string[] = [];
    await runFile(session, outer, (text) => said.push(text));
    t.same(calls, ["setBurst 1", "setBurst 2", "setBurst 4", "setBurst 5"]);
    t.equal(
      said.filter((text) => text.startsWith(inner)).join(),
      [
        `${inner}:4: "brst" cannot stand here`,
        "set brst 3",
        "    ^",
        `  fix: did you mean burst? ${said[0]?.split("burst? ")[1]}`,
      ].join("\n"),
    );
    t.same(said.slice(1), [`Read CLI commands from ${inner}`, `Read CLI commands from ${outer}`]);
  });

  await t.test("first of all, by cmdlineFile; quit in it ends all", async (t) => {
    const { calls, printed } = await type("set burst 7\n", join(folder, "quit.txt"));
    t.same(calls, ["setBurst 1"]);
    t.notMatch(printed, "set burst 2");
  });

  await t.test("one that loads itself comes to an end", async (t) => {
    const { session } = fakeSession();
    const said: string[] = [];
    await runFile(session, loop, (text) => said.push(text));
    t.match(said.join("\n"), /files load each other 8 deep/);
  });

  await t.test("one that is not there", async (t) => {
    const { session } = fakeSession();
    const none = join(folder, "none.txt");
    await t.rejects(
      runFile(session, none, () => {}),
      { code: "COMMAND_FILE", message: /none\.txt: ENOENT/ },
    );
    const { printed, calls } = await type(`load ${none}\nset burst 3\n`);
    t.match(printed, /Failed to read the commands in .*none\.txt: ENOENT/);
    t.same(calls, ["setBurst 3"]);
  });
});

t.test("history outlives the session", async (t) => {
  const env = { XDG_STATE_HOME: t.testdir() };
  const first = new History(env);
  t.same(first.recent(), []);
  for (const line of ["start", " start ", "", "stop", "start", "x".repeat(5000)]) first.add(line);
  t.same(new History(env).recent(), ["start", "stop"], "the newest first, each once");
  for (let k = 0; k < 4500; k++) first.add(`set burst ${k}`);
  const second = new History(env).recent();
  t.equal(second.length, 1000);
  t.equal(second[0], "set burst 4499");
  t.equal(new History(env).recent().length, 1000);
  const nowhere = new History({ XDG_STATE_HOME: join(t.testdir({ file: "" }), "file") });
  nowhere.add("start");
  t.same(nowhere.recent(), []);
});
