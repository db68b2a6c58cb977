import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import t from "tap";

const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));

function pollmode(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

t.test("help and version", async (t) => {
  const help = pollmode("--help");
  t.match(help, { status: 0, stdout: /^usage: pollmode COMMAND[\s\S]*^ {2}rx-pps /m, stderr: "" });
  t.equal(pollmode("help").stdout, help.stdout);
  t.match(pollmode("--version"), { status: 0, stdout: /^\d+\.\d+\.\d+\S*\n$/, stderr: "" });
  t.match(pollmode(), { status: 2, stdout: "", stderr: /^usage: / });
});

t.test("unknown commands", async (t) => {
  t.match(pollmode("rx-ps"), {
    status: 2,
    stdout: "",
    stderr: /no command "rx-ps"\n {2}fix: did you mean pollmode rx-pps\?/,
  });
  t.match(pollmode("constructor"), { status: 2, stderr: /no command "constructor"\n {2}fix: commands: / });
  t.match(pollmode("--json"), { status: 2, stderr: /unknown option --json/ });
});

t.test("a command gets its arguments", async (t) => {
  t.match(pollmode("rx-pps", "--help"), { status: 0, stdout: /^usage: pollmode rx-pps/ });
});
