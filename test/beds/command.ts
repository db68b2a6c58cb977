// What every bed needs to set itself up: run a command to its end, install Debian packages, hold a lock.
import { execFile, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { PollmodeError } from "../../src/errors.ts";

/** A test bed as a test sees it: why it cannot be had here, and how to get it ready. */
export interface Bed {
  readonly name: string;
  /** Why the bed can neither run nor be set up on this machine; undefined when it can. Cheap. */
  missing(): string | undefined;
  /** Installs and builds what the bed needs. Quick when that was done before. */
  setup(): Promise<void>;
}

export interface CommandOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  input?: string | Buffer;
  timeoutMs?: number;
}

const commandTimeoutMs = 120_000;
const aptTimeoutMs = 900_000;
const outputBytesMax = 64 * 2 ** 20;
const sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** Runs a command to its end and returns its stdout; throws COMMAND_FAILED with the tail of its stderr. */
export function run(command: string, args: string[], options: CommandOptions = {}): Promise<string> {
  const { input, timeoutMs = commandTimeoutMs, cwd, env } = options;
  return new Promise((resolve, reject) => {
    const settings = { cwd, env: env ?? process.env, timeout: timeoutMs, maxBuffer: outputBytesMax };
    const child = execFile(command, args, { ...settings, killSignal: "SIGKILL" }, (cause, stdout, stderr) => {
      if (!cause) return resolve(stdout);
      const line = [command, ...args].join(" ");
      const why = cause.killed
        ? `did not end within ${timeoutMs} ms`
        : `failed (${cause.code ?? cause.signal})`;
      const tail = (stderr || stdout).trim().split("\n").slice(-8).join("\n");
      const message = `\`${line}\` ${why}: ${tail}`;
      reject(new PollmodeError("COMMAND_FAILED", message, `run \`${line}\` by hand`, { cause }));
    });
    child.stdin?.on("error", () => {}); // a child that does not read its input
    child.stdin?.end(input);
  });
}

/** The path of a command, also when it is in an sbin folder that is not in PATH. */
export function commandPath(name: string): string | undefined {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), ...sbin]) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not there: try the next folder
    }
  }
  return undefined;
}

/** Why Debian packages cannot be installed here; undefined when they can. */
export function aptMissing(): string | undefined {
  if (process.getuid?.() !== 0) return "installing packages needs root";
  if (!commandPath("apt-get")) return "there is no apt-get";
  return undefined;
}

/** Runs apt-get, without questions, while no other apt-get of ours runs. */
export async function aptGet(args: string[], cwd?: string): Promise<void> {
  const quiet = ["-qq", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Sandbox::User=root"];
  const patient = ["-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=3"];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const command = ["apt-get", ...quiet, ...patient, ...args];
  // apt waits for dpkg's lock but not for that of its package lists: one apt-get of ours at a time.
  await run("flock", ["/tmp/pollmode-apt.lock", ...command], { cwd, env, timeoutMs: aptTimeoutMs });
}

/** Runs apt-get; when that fails, once more with fresh package lists (a new container has none at all). */
async function aptFresh(args: string[], cwd?: string): Promise<void> {
  try {
    await aptGet(args, cwd);
  } catch {
    await aptGet(["update"]);
    await aptGet(args, cwd);
  }
}

/** Installs those packages that are not there yet, without what they merely recommend. */
export async function aptInstall(packages: readonly string[]): Promise<void> {
  const selections = await run("dpkg", ["--get-selections"]); // lines of: name[:architecture] state
  const installed = new Set(
    [...selections.matchAll(/^([^\s:]+)\S*\s+(?:install|hold)$/gm)].map(([, name]) => name),
  );
  const wanted = packages.filter((name) => !installed.has(name));
  if (wanted.length > 0) await aptFresh(["install", "--no-install-recommends", ...wanted]);
}

/** Downloads packages as .deb files into a folder, without installing them. */
export async function aptDownload(packages: string[], folder: string): Promise<void> {
  await aptFresh(["download", ...packages], folder);
}

/** Does `work` while holding a lock that other processes honour and that the kernel drops if this one dies. */
export async function withLock<T>(lockFile: string, work: () => Promise<T>): Promise<T> {
  const holder = spawn("flock", [lockFile, "sh", "-c", "echo held; cat"], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  try {
    await new Promise<void>((resolve, reject) => {
      holder.once("error", reject);
      holder.once("exit", () => reject(new Error(`flock ${lockFile} failed`)));
      holder.stdout.once("data", () => resolve());
    });
    return await work();
  } finally {
    holder.stdin.end(); // cat ends, and the lock with it
  }
}
