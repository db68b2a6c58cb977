import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { runTool, type ToolCommand, toolHelp } from "../../../src/cli/tool/command.ts";
import { shellLine } from "../../../src/cli/tool/dry-run.ts";
import { exitCodeOf } from "../../../src/cli/tool/exit.ts";
import { Output } from "../../../src/cli/tool/output.ts";
import { PollmodeError } from "../../../src/errors.ts";
import { kept } from "./kept.ts";

const touch: ToolCommand = {
  name: "touch",
  usage: ["touch [OPTIONS] FILE", "touch --list"],
  meaning: "Makes a file.",
  sections: [{ title: "Options", table: { list: { short: "l", meaning: "Only look." } } }],
  words: [["FILE", "what to make"]],
  changes: true,
  examples: [["pollmode touch /etc/a", "Make it."]],
  run: ({ words, machine, out }) => {
    for (const word of words) {
      if (word === "used") throw new PollmodeError("DEVICE_IN_USE", "it is in use", "--force");
      machine.writeFile(word, "text");
    }
    out.line("made");
    out.json({ made: words });
    return undefined;
  },
};

t.test("a command: text, JSON, dry run", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "pollmode-tool-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  const file = join(root, "a/b");
  t.same(await kept(() => runTool(touch, [file])), { code: 0, stdout: "made\n", stderr: "" });
  t.equal(readFileSync(file, "utf8"), "text");
  const json = await kept(() => runTool(touch, ["--json", file]));
  t.same(JSON.parse(json.stdout), { made: [file] });
  const dry = await kept(() => runTool(touch, ["--dry-run", join(root, "c")]));
  t.match(dry, { code: 0, stdout: /^mkdir -p \S+ && cat > \S+\/c <<'END'\ntext\nEND\nmade\n$/ });
  t.throws(() => readFileSync(join(root, "c")), { code: "ENOENT" });
  t.match((await kept(() => runTool(touch, ["--dry-run"]))).stdout, "# nothing to change");
  const dryJson = JSON.parse((await kept(() => runTool(touch, ["--dry-run", "--json", "/x"]))).stdout);
  t.match(dryJson, { result: { made: ["/x"] }, changes: [/^mkdir -p \/ && cat > \/x/] });
  const recorded = await kept(() => runTool(touch, ["--root", root, "/c"]));
  t.match(recorded, { code: 0, stdout: /^mkdir / }, "a recorded machine is never changed");
  t.match(recorded.stdout, /^mkdir -p \/ && cat > \/c <</, "its paths are those of the machine itself");
  t.throws(() => readFileSync(join(root, "c")), { code: "ENOENT" });
});

t.test("errors and exit codes", async (t) => {
  const refused = await kept(() => runTool(touch, ["--json", "used"]));
  t.match(refused, { code: 3, stderr: "pollmode touch: it is in use\n  fix: --force\n" });
  t.match(JSON.parse(refused.stdout), { error: { code: "DEVICE_IN_USE", fix: "--force" }, exitCode: 3 });
  t.match(await kept(() => runTool(touch, ["--lst"])), { code: 2, stderr: /did you mean --list/ });
  t.match(await kept(() => runTool(touch, ["--root", "/nowhere"])), { code: 2, stderr: /no such folder/ });
  t.match(await kept(() => runTool({ ...touch, words: undefined } as never, ["x"])), { code: 2 });
  t.equal(exitCodeOf(new PollmodeError("PCI_BIND", "", "")), 1);
  t.equal(exitCodeOf(new Error("a bug")), 1);
  const bug: ToolCommand = { ...touch, run: () => Promise.reject(new TypeError("boom")) };
  const { code, stderr } = await kept(() => runTool(bug, []));
  t.match({ code, stderr }, { code: 1, stderr: /boom/ });
});

t.test("help", async (t) => {
  const text = toolHelp(touch);
  t.match(text, /^usage: pollmode touch \[OPTIONS\] FILE\n {7}pollmode touch --list\n\nMakes a file\.\n/);
  for (const part of ["-l, --list", "--dry-run", "--json", "--root DIR", "Examples:", "Exit codes:"]) {
    t.match(text, part);
  }
  t.notMatch(toolHelp({ ...touch, changes: false }), "--dry-run");
  t.match(await kept(() => runTool(touch, ["--help"])), { code: 0, stdout: text });
});

t.test("changes as shell lines", async (t) => {
  t.equal(shellLine({ kind: "write", path: "/sys/a b", value: "\n" }), "echo  > '/sys/a b'");
  t.equal(shellLine({ kind: "write", path: "/x", value: "it's" }), "echo 'it'\\''s' > /x");
  t.equal(shellLine({ kind: "run", command: ["modprobe", "vfio-pci"] }), "modprobe vfio-pci");
  t.equal(shellLine({ kind: "remove", path: "/x" }), "rm /x");
});

t.test("tables, colours on a terminal alone", async (t) => {
  const say = (isTTY: boolean, env = {}) => {
    let text = "";
    const write = (part: string) => {
      text += part;
    };
    const stream = { isTTY, columns: 80, write };
    const out = new Output(false, { stdout: stream, stderr: stream, env } as never);
    out.table(
      ["Name", "Bytes"],
      [
        ["eth0", "5"],
        ["a", "1500"],
      ],
      { right: ["Bytes"] },
    );
    return text;
  };
  t.equal(say(false), "Name  Bytes\neth0      5\na      1500\n");
  t.match(say(true), "\x1b[1mName\x1b[22m");
  t.notMatch(say(true, { NO_COLOR: "1" }), "\x1b");
});

t.test("progress is for terminals", async (t) => {
  let text = "";
  const write = (part: string) => {
    text += part;
  };
  const stream = { isTTY: true, write };
  const out = new Output(true, { stdout: stream, stderr: stream, env: {} } as never);
  out.progress("1 of 2");
  out.warn("careful");
  t.equal(text, "\r\x1b[K1 of 2\r\x1b[Kcareful\n");
});

const program = fileURLToPath(new URL("../../../src/cli/pollmode.js", import.meta.url));

t.test("a reader that stops early", async (t) => {
  const line = `"$0" "$1" devbind --status-dev all 2>&1 | head -n 0; echo "\${PIPESTATUS[0]}"`;
  const { stdout } = spawnSync("bash", ["-c", line, process.execPath, program], { encoding: "utf8" });
  t.equal(stdout, "0\n");
});

t.test("a disk that is full", async (t) => {
  const line = `"$0" "$1" devbind --status-dev all > /dev/full`;
  const { status, stderr } = spawnSync("bash", ["-c", line, process.execPath, program], { encoding: "utf8" });
  t.match(
    { status, stderr },
    { status: 1, stderr: /^pollmode: the output cannot be written: ENOSPC[^\n]*\n$/ },
  );
});
