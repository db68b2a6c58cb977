// The VFIO lab: a Debian kernel in QEMU, with an emulated IOMMU and emulated NICs, that sees the host's files read-only
// (writes stay in the guest's memory) and so runs the host's node on this checkout. The CPU is emulated as well (TCG,
// no /dev/kvm needed). One boot serves many tests; nothing of the guest outlives its `Lab`.
import { readFileSync } from "node:fs";
import { PollmodeError } from "../../../src/errors.ts";
import { type ExitStatus, OwnedProcess } from "../child.ts";
import { bedSource } from "../paths.ts";
import { AgentLink } from "./agent-link.ts";
import { HostSocket } from "./host-socket.ts";
import type { LabProcess } from "./lab-process.ts";
import { Monitor } from "./monitor.ts";
import { type LabNic, type LabOptions, nicId, placeNics, qemuArguments } from "./qemu.ts";
import { labReady, qemuPath } from "./setup.ts";

export type { LabProcess } from "./lab-process.ts";
export type { LabNic, LabOptions, NicModel, NicSpec } from "./qemu.ts";
export { labBed } from "./setup.ts";

export interface StartOptions {
  /** Default: this process's own. */
  cwd?: string;
  /** Added to the guest's environment. */
  env?: Record<string, string>;
  /** A user's number or name; it has no capability then. Default: root. */
  user?: number | string;
  /** RLIMIT_MEMLOCK, soft and hard. Default: the guest kernel's own, 8 MiB; root is not bound by it. */
  memlockBytes?: number;
  /** Runs it on a terminal of its own; its stderr is then in its stdout. */
  terminal?: boolean;
}

export interface ExecOptions extends StartOptions {
  /** For its stdin, which then ends. Default: nothing. */
  input?: string | Buffer;
  /** The longest it may take; then it is killed, and the call fails. Default 60 s. */
  timeoutMs?: number;
}

export interface ExecResult extends ExitStatus {
  readonly stdout: string;
  readonly stderr: string;
}

interface RunningGuest {
  readonly qemu: OwnedProcess;
  readonly agent: AgentLink;
  readonly monitor: Monitor;
}

/** Words, or one line for bash. */
type Command = readonly string[] | string;

/**
 * The longest that each attempt to boot may take. A boot takes 4 s, and 20 s when the machine is busy; now and then a
 * guest's second CPU gets no timer interrupts from the emulator, and the boot hangs.
 */
const bootLimitsMs = [25_000, 45_000, 60_000];
/** The longest that a boot may take, all attempts together. */
export const bootMsMax = bootLimitsMs.reduce((sum, limit) => sum + limit);
const execTimeoutMs = 60_000;

class BootHang extends PollmodeError {
  constructor({ message, fix }: PollmodeError) {
    super("BED_CRASHED", message, fix);
  }
}

export class Lab implements AsyncDisposable {
  readonly nics: readonly LabNic[];
  /** From the start of QEMU until the guest could be used. */
  readonly bootMs: number;
  readonly #qemu: OwnedProcess;
  readonly #agent: AgentLink;
  readonly #monitor: Monitor;

  private constructor(guest: RunningGuest, nics: readonly LabNic[], bootMs: number) {
    this.nics = nics;
    this.bootMs = bootMs;
    this.#qemu = guest.qemu;
    this.#agent = guest.agent;
    this.#monitor = guest.monitor;
  }

  /** Boots a guest; the bed must have been set up. Fails with the end of its console when it does not come up. */
  static async boot(options: LabOptions = {}): Promise<Lab> {
    if (!labReady())
      throw new PollmodeError("BED_MISSING", "the VFIO lab is not set up", "await labBed.setup()");
    for (const limitMs of bootLimitsMs.slice(0, -1)) {
      try {
        return await Lab.#bootOnce(options, limitMs);
      } catch (error) {
        if (!(error instanceof BootHang)) throw error;
      }
    }
    return Lab.#bootOnce(options, bootLimitsMs.at(-1)!);
  }

  static async #bootOnce(options: LabOptions, limitMs: number): Promise<Lab> {
    const started = performance.now();
    const nics = placeNics(options.nics ?? []);
    using agentSocket = await HostSocket.listen();
    using monitorSocket = await HostSocket.listen();
    const args = qemuArguments(options, { agent: agentSocket.path, monitor: monitorSocket.path });
    const qemu = new OwnedProcess("the lab's QEMU", qemuPath(), args, { ownSession: true });
    let hangs = false;
    const late = setTimeout(() => {
      hangs = true;
      void qemu.kill();
    }, limitMs);
    try {
      const connected = Promise.all([agentSocket.connected, monitorSocket.connected]);
      const sockets = await Promise.race([connected, qemu.exited]);
      if (Array.isArray(sockets)) {
        const agent = new AgentLink(sockets[0]);
        void qemu.exited.then(() => agent.lost(qemu.error("has ended", "BED_CRASHED")));
        const monitor = new Monitor(sockets[1]);
        if (await agent.ready) return new Lab({ qemu, agent, monitor }, nics, performance.now() - started);
      }
      throw qemu.error("ended before the guest was up");
    } catch (error) {
      await qemu.kill();
      throw hangs ? new BootHang(qemu.error(`was ended: the guest was not up after ${limitMs} ms`)) : error;
    } finally {
      clearTimeout(late);
    }
  }

  /** What the guest's kernel has written to its console. */
  get console(): string {
    return this.#qemu.stdout;
  }

  /** Starts a program and returns at once. */
  start(command: Command, options: StartOptions = {}): LabProcess {
    const { cwd = process.cwd(), env = {}, terminal = false } = options;
    const words = typeof command === "string" ? ["bash", "-c", command] : command;
    const name = typeof command === "string" ? command : command.join(" ");
    return this.#agent.start({ command: [...privileges(options), ...words], cwd, env, terminal }, name);
  }

  /** Runs a program to its end, whatever its exit code is. */
  async exec(command: Command, options: ExecOptions = {}): Promise<ExecResult> {
    const { input = "", timeoutMs = execTimeoutMs } = options;
    const child = this.start(command, options);
    child.write(input);
    child.end();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), timeoutMs);
    });
    const status = await Promise.race([child.exited, late]).finally(() => clearTimeout(timer));
    if (status) return { ...status, stdout: child.stdout, stderr: child.stderr };
    await child.kill();
    throw child.error(`did not end within ${timeoutMs} ms`);
  }

  /** Runs a program to its end and returns its stdout; fails when its exit code is not 0. */
  async run(command: Command, options: ExecOptions = {}): Promise<string> {
    const { code, signal, stdout, stderr } = await this.exec(command, options);
    if (code === 0) return stdout;
    const name = typeof command === "string" ? command : command.join(" ");
    const message = `\`${name}\` failed in the lab's guest (${signal ?? code}): ${(stderr || stdout).slice(-4000)}`;
    throw new PollmodeError("COMMAND_FAILED", message, `npm run lab -- ${name}`);
  }

  /** Runs node on a script, to its end. */
  node(script: string, args: readonly string[] = [], options: ExecOptions = {}): Promise<ExecResult> {
    return this.exec([process.execPath, script, ...args], options);
  }

  /** Starts node on a script. */
  startNode(script: string, args: readonly string[] = [], options: StartOptions = {}): LabProcess {
    return this.start([process.execPath, script, ...args], options);
  }

  /**
   * Binds a PCI function to a kernel driver, after loading it: vfio-pci (in no-IOMMU mode if there is no IOMMU),
   * uio_pci_generic, igb_uio, e1000e, igb, igbvf, virtio-pci (and virtio_net), or none.
   */
  async bind(address: string, driver: string): Promise<void> {
    await this.run(["bash", bedSource("lab/bind.sh"), address, driver]);
  }

  /** Pulls the cable of a NIC, or plugs it in again. The NICs at the other end do not notice. */
  async setLink(nic: LabNic, up: boolean): Promise<void> {
    await this.#monitor.execute("set_link", { name: nicId(this.nics.indexOf(nic)), up });
  }

  async readFile(path: string): Promise<string> {
    const reply = await this.#agent.ask({ op: "read", path });
    return reply.op === "read" ? Buffer.from(reply.bytes, "base64").toString() : "";
  }

  async writeFile(path: string, text: string): Promise<void> {
    await this.#agent.ask({ op: "write", path, bytes: Buffer.from(text).toString("base64") });
  }

  /** The guest kernel's log. */
  dmesg(): Promise<string> {
    return this.run(["dmesg"]);
  }

  /** Ends the guest, and waits until QEMU is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qemu.kill();
  }
}

/** The command that takes on the wanted user and limits, and then becomes what follows it. */
function privileges({ user, memlockBytes }: StartOptions): string[] {
  const words: string[] = [];
  if (memlockBytes !== undefined) words.push("prlimit", `--memlock=${memlockBytes}:${memlockBytes}`, "--");
  if (user === undefined) return words;
  const [uid, gid] = typeof user === "number" ? [user, user] : identity(user);
  return [...words, "setpriv", "--reuid", `${uid}`, "--regid", `${gid}`, "--clear-groups", "--"];
}

/** Of a user by name: the guest's accounts are the host's. */
function identity(user: string): [string, string] {
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  const [, , uid, gid] = lines.find((line) => line.startsWith(`${user}:`))?.split(":") ?? [];
  if (uid && gid) return [uid, gid];
  throw new PollmodeError("BED_UNSUPPORTED", `there is no user ${user}`, "give a user's number");
}
