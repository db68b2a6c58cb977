// DPDK's testpmd at its prompt, with the mlx5 PMD on a Host's ports.

import { Testpmd } from "../../beds/dpdk.ts";
import { type FinalStats, parseFinal } from "../../beds/testpmd-stats.ts";
import { expect, numberBehind } from "./check.ts";
import type { Host } from "./host.ts";

/** Rules by verbs, and no compression of CQEs, unless a check asks for it. */
const devargs = "dv_flow_en=0,rxq_cqe_comp_en=0";
const memoryMib = 512;
const mbufs = 16384;
/** Descriptors of every ring. */
export const ring = 512;
const commandTimeoutMs = 15_000;
const trafficTimeoutMs = 20_000;
const pollMs = 50;
const errorsMs = 5;

export interface ConsoleOptions {
  /** Device arguments of every port; the last of a name counts. */
  devargs?: string;
  /** Application arguments. */
  app?: readonly string[];
}

export class Console implements AsyncDisposable {
  readonly host: Host;
  private readonly testpmd: Testpmd;

  private constructor(host: Host, testpmd: Testpmd) {
    this.host = host;
    this.testpmd = testpmd;
  }

  static async open(host: Host, options: ConsoleOptions = {}): Promise<Console> {
    const all = withArguments(devargs, options.devargs);
    const ports = host.nic.ports.flatMap(({ address }) => ["-a", `${address},${all}`]);
    const cores = ["--lcores", "0@0,1@1", "--nb-cores=1"] as const;
    const testpmd = await Testpmd.start({
      prefix: host.prefix,
      eal: [cores[0], cores[1], "--no-huge", "-m", `${memoryMib}`, "--iova-mode=va", ...ports],
      app: [
        "-i",
        cores[2],
        `--total-num-mbufs=${mbufs}`,
        `--rxd=${ring}`,
        `--txd=${ring}`,
        ...(options.app ?? []),
      ],
    });
    return new Console(host, testpmd);
  }

  /** Types a line; what testpmd printed until its next prompt. */
  async do(line: string, timeoutMs = commandTimeoutMs): Promise<string> {
    const from = { stdout: this.testpmd.stdout.length, stderr: this.testpmd.stderr.length };
    // What stderr says may come in the midst of the prompt.
    const since = () => ({
      stdout: this.testpmd.stdout.slice(from.stdout),
      stderr: this.testpmd.stderr.slice(from.stderr),
    });
    this.testpmd.command(line);
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      if (/\ntestpmd> /.test(since().stdout)) {
        await pause(errorsMs); // on stderr, which comes by another pipe
        const { stdout, stderr } = since();
        return `${stdout.replace("\ntestpmd> ", "\n")}${stderr}`;
      }
      const ended = await Promise.race([this.testpmd.exited, pause(5)]);
      const late = performance.now() > deadline;
      expect(
        !ended && !late,
        `testpmd ${ended ? "ended at" : "has not done"} \`${line}\``,
        lastLines(since()),
      );
    }
  }

  /** Several lines, the port at rest meanwhile. */
  async configure(...lines: string[]): Promise<void> {
    await this.do("port stop all");
    for (const line of lines) {
      const said = await this.do(line);
      expect(
        !/error|fail|invalid|bad arguments|not supported/i.test(said),
        `testpmd refused \`${line}\``,
        said,
      );
    }
    const said = await this.do("port start all");
    expect(/Done/.test(said) && !/fail/i.test(said), "the port did not start again", said);
  }

  /** Waits until a port has received so many frames, however long, while more and more come. */
  async received(frames: number, port = 0): Promise<void> {
    for (let last = -1; ; ) {
      await this.until(`port ${port} to receive ${frames} frames`, async () => {
        const said = await this.do(`show port stats ${port}`);
        const count = numberBehind(said, "RX-packets");
        if (count === last) return said;
        last = count;
        return undefined;
      });
      if (last >= frames) return;
      await pause(pollMs);
    }
  }

  /** `look` returns undefined once all is well, until then what it saw. */
  async until(
    what: string,
    look: () => Promise<string | undefined>,
    timeoutMs = trafficTimeoutMs,
  ): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const saw = await look();
      if (saw === undefined) return;
      expect(performance.now() < deadline, `waited ${timeoutMs} ms for ${what}`, saw);
      await pause(pollMs);
    }
  }

  /** Ends forwarding; what the forwarding engine counted, and its words. */
  async stop(): Promise<FinalStats & { words: string }> {
    const words = await this.do("stop");
    const final = parseFinal(words);
    expect(final !== undefined, "no statistics", words);
    return { ...final!, words };
  }

  /** All that testpmd printed so far; its log and the emulator's are on stderr. */
  get output(): string {
    return this.testpmd.stdout;
  }

  /** Leaves in order: whatever is left open, or was done wrongly until then, the emulator complains of. */
  async quit(): Promise<void> {
    this.testpmd.command("quit");
    const status = await Promise.race([this.testpmd.exited, pause(commandTimeoutMs)]);
    expect(status?.code === 0, `testpmd ended with ${JSON.stringify(status)}`, lastLines(this.testpmd));
    const { stderr } = this.testpmd;
    expect(!/softmlx5: complaint/.test(stderr), "the emulator complained", lastLines(this.testpmd));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.testpmd[Symbol.asyncDispose]();
  }
}

/** Opens a console, uses it and leaves it in order. */
export async function withTestpmd<T>(
  host: Host,
  options: ConsoleOptions,
  use: (console: Console) => Promise<T>,
): Promise<T> {
  await using console = await Console.open(host, options);
  const result = await use(console);
  await console.quit();
  return result;
}

/** Device arguments, the later of equal names. */
function withArguments(base: string, more = ""): string {
  const pairs = [...base.split(","), ...more.split(",")].filter(Boolean).map((pair) => pair.split("="));
  return Object.entries(Object.fromEntries(pairs) as Record<string, string>)
    .map((pair) => pair.join("="))
    .join(",");
}

function lastLines({ stdout, stderr }: { stdout: string; stderr: string }): string {
  return `${stdout}${stderr}`.split("\n").slice(-30).join("\n");
}

const pause = (ms: number) => new Promise<undefined>((done) => setTimeout(done, ms, undefined));
