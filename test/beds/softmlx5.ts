// The software ConnectX bed: NICs of test/softmlx5 beneath the real libibverbs and libmlx5. Programs started with
// `env` find mlx5_0 (and mlx5_1) instead of this machine's RDMA and PCI devices. No privileges are needed but for TAPs.
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PollmodeError } from "../../src/errors.ts";
import { aptInstall, aptMissing, type Bed, commandPath, run } from "./command.ts";
import { atEnd } from "./lifetime.ts";
import { bedState, repositoryRoot } from "./paths.ts";
import { makeTree, type SoftChip, type TreePort } from "./softmlx5-sysfs.ts";

const packages = ["gcc", "libc6-dev", "libibverbs-dev", "ibverbs-providers"];
/** A file of each package. */
const needed = [
  "/usr/include/rdma/mlx5-abi.h",
  "/usr/include/infiniband/mlx5dv.h",
  "/etc/libibverbs.d/mlx5.driver",
];
const compilerArgs = [
  "-O2",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-shared",
  "-fPIC",
  "-fvisibility=hidden",
  "-pthread",
];
const controlTimeoutMs = 5_000;

export const softMlx5Bed: Bed = {
  name: "software ConnectX",
  missing() {
    return isInstalled() ? undefined : aptMissing();
  },
  async setup() {
    if (!isInstalled()) await aptInstall(packages);
    await library();
  },
};

function isInstalled(): boolean {
  return commandPath("gcc") !== undefined && needed.every((file) => existsSync(file));
}

export interface SoftPort {
  /** `loop` (default), `null`, `tap:NAME`, `link:FILE,0` or `link:FILE,1`: test/softmlx5/README.md. */
  wire?: string;
  /** `tap:NAME`: the kernel's half of the port. */
  kernel?: string;
  /** The interface's name in the tree; default: the kernel half's, or mlx0, mlx1. */
  netdev?: string;
  /** Default 02:15:b3:00:00:01, …:02. */
  mac?: string;
}

export interface SoftOptions {
  /** One or two; default one. */
  ports?: readonly SoftPort[];
  chip?: SoftChip;
  /** A loop waits for receive buffers instead of dropping frames. */
  lossless?: boolean;
  /** False: complaints do not end the process. */
  strict?: boolean;
  /** Names of complaints that the test provokes. */
  allow?: readonly string[];
  trace?: number;
}

export interface SoftMlx5 extends AsyncDisposable {
  /** For a child process, beside its own environment. */
  readonly env: Record<string, string>;
  /** The tree that stands for /sys. */
  readonly sysfs: string;
  readonly ports: readonly TreePort[];
  /**
   * A control command (test/softmlx5/README.md) to the process that has opened a device first; its answer, `ok …`.
   * Rejects with SOFTMLX5_CONTROL when no process has, or the command is not understood.
   */
  control(command: string): Promise<string>;
}

/** A machine with these ports: builds the emulator where its sources changed, and makes the tree. */
export async function softMlx5(options: SoftOptions = {}): Promise<SoftMlx5> {
  const { ports: wanted = [{}], chip = "connectx5" } = options;
  const preload = await library();
  const folder = mkdtempSync(join(tmpdir(), "pollmode-softmlx5-"));
  const removed = () => rmSync(folder, { recursive: true, force: true });
  chmodSync(folder, 0o755); // a child may run as another user
  const forget = atEnd(removed);
  const sysfs = join(folder, "sys");
  const socket = join(folder, "control");
  const ports = wanted.map((port, index) => ({
    ibdev: `mlx5_${index}`,
    address: `0000:03:00.${index}`,
    netdev: port.netdev ?? port.kernel?.replace(/^tap:/, "") ?? `mlx${index}`,
    mac: port.mac ?? `02:15:b3:00:00:0${index + 1}`,
  }));
  makeTree(sysfs, chip, ports);
  return {
    env: { LD_PRELOAD: preload, ...environment(options, wanted, sysfs, socket) },
    sysfs,
    ports,
    control: (command) => control(socket, command),
    async [Symbol.asyncDispose]() {
      forget();
      removed();
    },
  };
}

function environment(
  { chip = "connectx5", lossless = false, strict = true, allow = [], trace = 0 }: SoftOptions,
  ports: readonly SoftPort[],
  sysfs: string,
  socket: string,
): Record<string, string> {
  const env: Record<string, string> = {
    SYSFS_PATH: sysfs,
    SOFTMLX5_SYSFS: sysfs,
    SOFTMLX5_CONTROL: socket,
    SOFTMLX5_PORTS: String(ports.length),
    SOFTMLX5_CHIP: chip,
    SOFTMLX5_LOSSLESS: lossless ? "1" : "0",
    SOFTMLX5_STRICT: strict ? "1" : "0",
    SOFTMLX5_ALLOW: allow.join(","),
    SOFTMLX5_TRACE: String(trace),
    // Whom root starts must have the capabilities that the kernel asks for; an ordinary user's tests run without.
    SOFTMLX5_PRIVILEGED: process.getuid?.() === 0 ? "0" : "1",
  };
  for (const [index, { wire = "loop", kernel = "" }] of ports.entries()) {
    env[`SOFTMLX5_WIRE${index}`] = wire;
    env[`SOFTMLX5_KERNEL${index}`] = kernel;
  }
  return env;
}

// ---- the library ----

let built: Promise<string> | undefined;

/** The path of libsoftmlx5.so, of the sources as they are. */
function library(): Promise<string> {
  built ??= build();
  return built;
}

async function build(): Promise<string> {
  const folder = join(repositoryRoot, "test", "softmlx5");
  const files = readdirSync(folder).filter((file) => /\.[ch]$/.test(file) && !/^client/.test(file));
  const hash = createHash("sha256").update(compilerArgs.join(" "));
  for (const file of files.sort()) hash.update(file).update(readFileSync(join(folder, file)));
  const state = bedState("softmlx5");
  const name = `libsoftmlx5-${hash.digest("hex").slice(0, 16)}.so`;
  const path = join(state, name);
  if (existsSync(path)) return path;
  const unfinished = join(state, `${process.pid}-${name}`); // other tests may build the same
  const sources = files.filter((file) => file.endsWith(".c"));
  await run("gcc", [...compilerArgs, "-o", unfinished, ...sources], { cwd: folder });
  renameSync(unfinished, path);
  return path;
}

// ---- the control socket ----

function control(socket: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const connection = connect(socket);
    let answer = "";
    const fail = (why: string, cause?: unknown) => {
      const fix = "run the command while a process has a port of this NIC open; see test/softmlx5/README.md";
      reject(new PollmodeError("SOFTMLX5_CONTROL", `\`${command}\`: ${why}`, fix, { cause }));
    };
    connection.setTimeout(controlTimeoutMs, () => connection.destroy(new Error("no answer")));
    connection.on("error", (cause) => fail(cause.message, cause));
    connection.setEncoding("utf8").on("data", (text: string) => {
      answer += text;
    });
    connection.on("close", () =>
      answer.startsWith("ok") ? resolve(answer.trimEnd()) : fail(answer.trimEnd()),
    );
    connection.end(`${command}\n`);
  });
}
