// The DPDK bed: Debian's own DPDK, whose testpmd stands at the other end of a vhost-user socket, drives the same
// NICs, or runs the same forwarding mode for comparison. It needs hugepages: see hugepages.ts.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PollmodeError } from "../../src/errors.ts";
import { type ExitStatus, OwnedProcess } from "./child.ts";
import { aptInstall, aptMissing, type Bed, commandPath } from "./command.ts";
import { hugetlbfsMount } from "./hugepages.ts";
import { atEnd } from "./lifetime.ts";
import { type FinalStats, type PortSample, parseFinal, parseSamples } from "./testpmd-stats.ts";

const packages = ["dpdk", "dpdk-dev", "librte-meta-net"];
const runtimeFolder = "/var/run/dpdk";
const readyTimeoutMs = 30_000;
const stopGraceMs = 8_000;
/** testpmd forwards, interactive or not, when it has printed this. */
const forwarding = /Press enter to exit|Port statistics =|testpmd> /;

export const dpdkBed: Bed = {
  name: "dpdk",
  missing() {
    // Even an installed DPDK needs root: for hugepages, and for its runtime folder.
    if (process.getuid?.() !== 0) return "DPDK's testpmd needs root";
    return commandPath("dpdk-testpmd") ? undefined : aptMissing();
  },
  async setup() {
    await aptInstall(packages); // also when testpmd is there: it may lack the drivers
  },
};

export interface TestpmdOptions {
  /** EAL arguments: --lcores, -m, --vdev, --no-pci … without --file-prefix, which every instance has of its own. */
  eal: string[];
  /** Application arguments, after the `--`. */
  app: string[];
  /** Words before the program, which run it elsewhere: `ip netns exec NAME`. */
  prefix?: readonly string[];
  /** What it prints when it is ready. */
  ready?: RegExp;
  readyTimeoutMs?: number;
  env?: NodeJS.ProcessEnv;
}

let instances = 0;

export class Testpmd implements AsyncDisposable {
  readonly filePrefix: string;
  #process: OwnedProcess;
  #hugeFolder: string;

  private constructor(options: TestpmdOptions) {
    this.filePrefix = `pollmode-${process.pid}-${instances++}`;
    this.#hugeFolder = hugetlbfsMount();
    this.#removeLeftovers(deadPrefix);
    const args = [...options.eal, `--file-prefix=${this.filePrefix}`, "--", ...options.app];
    const command = commandPath("dpdk-testpmd");
    if (!command) {
      const fix = `apt-get install --no-install-recommends ${packages.join(" ")}`;
      throw new PollmodeError("DPDK_MISSING", "dpdk-testpmd is not installed", fix);
    }
    // Into a pipe, testpmd's stdout would come in blocks of 4 KiB.
    const [first, ...rest] = [...(options.prefix ?? []), "stdbuf", "-oL", command, ...args];
    this.#process = new OwnedProcess("dpdk-testpmd", first!, rest, { env: options.env });
    const own = (prefix: string) => prefix === this.filePrefix;
    const forget = atEnd(() => this.#removeLeftovers(own));
    void this.#process.exited.then(() => {
      forget();
      this.#removeLeftovers(own);
    });
  }

  /** Starts testpmd and waits until it is ready; fails with its output's tail. */
  static async start(options: TestpmdOptions): Promise<Testpmd> {
    const testpmd = new Testpmd(options);
    try {
      await testpmd.waitFor(options.ready ?? forwarding, options.readyTimeoutMs ?? readyTimeoutMs);
      return testpmd;
    } catch (cause) {
      await testpmd.kill();
      throw cause;
    }
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get output(): string {
    return this.#process.output;
  }

  get stdout(): string {
    return this.#process.stdout;
  }

  get stderr(): string {
    return this.#process.stderr;
  }

  /** Settles when testpmd has ended, however that came. */
  get exited(): Promise<ExitStatus> {
    return this.#process.exited;
  }

  /** The blocks of `--stats-period` so far, oldest first: one sample a port. The first block's rates are 0. */
  get samples(): PortSample[][] {
    return parseSamples(this.#process.stdout);
  }

  /** What the forwarding engine counted; undefined until testpmd has stopped forwarding. */
  get final(): FinalStats | undefined {
    return parseFinal(this.#process.stdout);
  }

  waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpMatchArray> {
    return this.#process.waitFor(pattern, timeoutMs);
  }

  /** Types a line at the prompt: only with `-i` among the application arguments. */
  command(line: string): void {
    this.#process.write(`${line}\n`);
  }

  /** Stops it as Ctrl-C does, then with SIGKILL; returns the final statistics, which a killed testpmd has not. */
  async stop(graceMs = stopGraceMs): Promise<FinalStats> {
    const status = await this.#process.stop("SIGINT", graceMs);
    const { final } = this;
    // testpmd ends by the signal it was sent, once it has closed its ports.
    if (final && (status.code === 0 || status.signal === "SIGINT")) return final;
    throw this.#process.error(`did not stop in order within ${graceMs} ms`);
  }

  /** SIGKILL: what a crash looks like from the other end. */
  async kill(): Promise<void> {
    await this.#process.kill();
  }

  /** Ends it if it still runs, and removes its files. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop("SIGINT", stopGraceMs);
  }

  /** DPDK leaves its runtime folder always, and its hugepages as files when it was killed. */
  #removeLeftovers(whose: (filePrefix: string) => boolean): void {
    for (const folder of [runtimeFolder, this.#hugeFolder]) {
      if (!existsSync(folder)) continue;
      for (const name of readdirSync(folder)) {
        const [prefix] = name.split("map_");
        if (whose(prefix!)) rmSync(join(folder, name), { recursive: true, force: true });
      }
    }
  }
}

/** Whether a file prefix is that of a test process that is no more. */
function deadPrefix(filePrefix: string): boolean {
  const pid = /^pollmode-(\d+)-\d+$/.exec(filePrefix)?.[1];
  return pid !== undefined && !existsSync(`/proc/${pid}`);
}
