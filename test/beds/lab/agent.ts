// Runs in the lab's guest and does what the host asks for: starts commands, carries their input and output, sends
// them signals, reads and writes files.
//
//   node agent.js /dev/vportNpM
import { type ChildProcess, spawn } from "node:child_process";
import { createReadStream, openSync, writeSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { lineSplitter, type Reply, type Request, type StartRequest } from "./protocol.ts";

const port = openSync(process.argv[2]!, "r+"); // once for both directions: it can be open once only
const children = new Map<number, ChildProcess>();

/** Blocks while the host does not read: output is neither lost nor piled up. */
function send(reply: Reply): void {
  const bytes = Buffer.from(`${JSON.stringify(reply)}\n`);
  for (let done = 0; done < bytes.length; ) done += writeSync(port, bytes, done);
}

function start(request: StartRequest): void {
  const { id, terminal } = request;
  const [file, ...args] = terminal ? inTerminal(request.command) : request.command;
  // A process group of its own (detached), so that a signal can be sent to all that it starts.
  const env = { ...process.env, ...request.env };
  const child = spawn(file!, args, { cwd: request.cwd, env, detached: true });
  children.set(id, child);
  child.once("spawn", () => send({ op: "started", id, pid: child.pid! }));
  child.once("error", (error) => {
    children.delete(id);
    send({ op: "failed", id, message: error.message });
  });
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].on("data", (bytes: Buffer) =>
      send({ op: "output", id, stream, bytes: bytes.toString("base64") }),
    );
  }
  child.stdin.on("error", () => {}); // it does not read its input
  child.once("close", (code, signal) => {
    children.delete(id);
    send({ op: "exit", id, code, signal });
  });
}

/** script(1) makes the terminal. Its arguments are one shell command. */
function inTerminal(command: readonly string[]): string[] {
  const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  return ["script", "--quiet", "--flush", "--return", "--command", quoted, "/dev/null"];
}

function signal(id: number, signal: NodeJS.Signals, group: boolean): void {
  const pid = children.get(id)?.pid;
  if (pid === undefined) return; // it has ended meanwhile
  try {
    process.kill(group ? -pid : pid, signal);
  } catch {
    // ESRCH: it has ended, and is about to be reported
  }
}

/** Reading and writing never block the agent: a write to sysfs may last as long as a device is in use. */
async function handle(request: Request): Promise<void> {
  const { op, id } = request;
  if (op === "start") start(request);
  else if (op === "signal") signal(id, request.signal, request.group);
  else if (op === "input") input(id, Buffer.from(request.bytes, "base64"));
  else if (op === "read") send({ op, id, bytes: (await readFile(request.path)).toString("base64") });
  else {
    await writeFile(request.path, Buffer.from(request.bytes, "base64"));
    send({ op: "written", id });
  }
}

function input(id: number, bytes: Buffer): void {
  const stdin = children.get(id)?.stdin;
  if (bytes.length === 0) stdin?.end();
  else stdin?.write(bytes);
}

const split = lineSplitter((line) => {
  const request = JSON.parse(line) as Request;
  handle(request).catch((error: Error) => send({ op: "failed", id: request.id, message: error.message }));
});
createReadStream("", { fd: port, encoding: "utf8", highWaterMark: 2 ** 16 }).on("data", (text) =>
  split(`${text}`),
);
send({ op: "ready" });
