// The console at a real terminal, which tmux makes: editing, completion, history from one session to the next, a window
// that changes its size, what is printed while a line is being written, Ctrl-C and Ctrl-D.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { aptInstall, aptMissing, commandPath } from "../../../beds/command.ts";
import { lcoreArgs, pause } from "../support.ts";

const missing = commandPath("tmux") ? undefined : aptMissing();
const skip = missing ?? false;
t.setTimeout(120_000);
if (!missing) await aptInstall(["tmux"]);

const program = fileURLToPath(new URL("../../../../src/cli/pollmode.js", import.meta.url));
const socket = `pollmode-console-${process.pid}`;
const WAIT_MS = 10_000;

function tmux(...args: string[]): string {
  return execFileSync("tmux", ["-L", socket, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, SHELL: "/bin/sh" }, // the user's own may be nologin
  });
}

t.teardown(() => {
  try {
    tmux("kill-server");
  } catch {
    // it ended with its last window
  }
});

/** The window's lines, without empty ones at the end. */
function screen(): string {
  return tmux("capture-pane", "-p", "-J", "-t", "console").trimEnd();
}

async function shows(what: RegExp): Promise<string> {
  const end = performance.now() + WAIT_MS;
  for (;;) {
    const text = screen();
    if (what.test(text)) return text;
    if (performance.now() > end) throw new Error(`${what} is not on the screen:\n${text}`);
    await pause(50);
  }
}

/** Keys by tmux's names (`Tab`, `C-c`); text as it is. */
function keys(...names: string[]): void {
  tmux("send-keys", "-t", "console", ...names);
}
function type(text: string): void {
  tmux("send-keys", "-t", "console", "-l", text);
}

/** Starts the console in a window of its own; the shell there says how it ended. */
async function start(state: string, ...app: string[]): Promise<void> {
  const eal = ["--no-huge", "--in-memory", "--no-pci", "-m", "64", ...lcoreArgs()];
  const vdevs = ["--vdev=net_null0", "--vdev=net_null1"];
  const words = [process.execPath, program, "testpmd", ...eal, ...vdevs, "--", "-i", ...app];
  const command = words.map((word) => `'${word}'`).join(" ");
  const line = `XDG_STATE_HOME='${state}' ${command}; echo "ended: $?"; sleep 60`;
  tmux("-f", "/dev/null", "new-session", "-d", "-s", "console", "-x", "100", "-y", "40", line);
  await shows(/^testpmd> $|^testpmd>$/m);
}

function end(): void {
  tmux("kill-session", "-t", "console");
}

// one session after the other: each step goes on from the one before
const state = t.testdir();

t.test("completion, help and faults", { skip }, async (t) => {
  await start(state);
  type("set pro");
  keys("Tab");
  await shows(/testpmd> set promisc *$/);
  keys("Tab", "Tab");
  t.ok(await shows(/0 +1 +all[\s\S]*testpmd> set promisc *$/), "the line is still there");
  type("?");
  t.ok(await shows(/<port_id> +a port: there are 0, 1[\s\S]*testpmd> set promisc *$/), "and here");
  type("7 on");
  keys("Enter");
  const fault =
    /testpmd> set promisc 7 on\n {21}\^\nthere is no port 7; there are 0, 1\n {2}fix: write 0, for instance/;
  t.match(await shows(/fix: write 0, for instance\ntestpmd>$/), fault);
});

t.test("editing: to the line's beginning, a word away, recall", { skip }, async (t) => {
  type("urst 16");
  keys("C-a");
  type("set b");
  keys("Enter");
  await shows(/Number of packets per burst set to 16/);
  keys("Up");
  await shows(/testpmd> set burst 16$/);
  keys("C-w");
  type("24");
  keys("Enter");
  t.ok(await shows(/burst set to 24[\s\S]*testpmd>$/), "and the prompt");
});

t.test("what is printed meanwhile comes above the line", { skip }, async (t) => {
  type("set stats_period 1");
  keys("Enter");
  await pause(200);
  type("show conf");
  const text = await shows(/(NIC statistics for port 1.*){2}testpmd> show conf$/s);
  t.notMatch(text.replace(/testpmd> show conf$/, ""), /show conf/, "no torn line is left above");
  type("ig cores");
  keys("Enter");
  await shows(/List of forwarding lcores/);
  type("set stats_period 0");
  keys("Enter");
});

t.test("a window that becomes narrow, and wide again", { skip }, async (t) => {
  keys("C-l");
  type(`# ${"x".repeat(60)} end`);
  await shows(/x end$/);
  tmux("resize-window", "-t", "console", "-x", "40", "-y", "20");
  await pause(300);
  type("ing");
  await shows(/x ending$/);
  keys("C-a", "C-k");
  type("set burst 7");
  keys("Enter");
  t.ok(await shows(/testpmd> set burst 7\nNumber of packets per burst set to 7\ntestpmd>$/), "once");
  tmux("resize-window", "-t", "console", "-x", "120", "-y", "40");
  await pause(200);
  type("set burst 9");
  keys("Enter");
  await shows(/burst set to 9/);
});

t.test("Ctrl-C while forwarding stops in order", { skip }, async (t) => {
  type("start");
  keys("Enter");
  await shows(/packets\/burst=9/);
  keys("C-c");
  const text = await shows(/ended: \d+/);
  t.match(text, /Bye\.\.\.\nended: 0/);
  t.match(
    tmux("capture-pane", "-p", "-S", "-200", "-t", "console"),
    /Signal 2 received.*Telling cores to stop/s,
  );
  end();
});

t.test("history is there in the next session; Ctrl-D ends it", { skip }, async (t) => {
  const file = join(state, "pollmode/testpmd_history");
  t.match(readFileSync(file, "utf8"), /^set promisc 7 on\nset burst 16\nset burst 24\n/);
  await start(state);
  keys("Up");
  await shows(/testpmd> start$/);
  keys("Up");
  await shows(/testpmd> set burst 9$/);
  keys("C-a", "C-k", "C-d");
  t.match(await shows(/ended: \d+/), /Bye\.\.\.\nended: 0/);
  end();
});
