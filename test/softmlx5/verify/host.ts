// A machine with software ConnectX NICs: a network namespace with the NICs' netdevs, in which a program of others runs
// on the emulated device. What the emulator complains of ends that program with status 86, and fails the check.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OwnedProcess } from "../../beds/child.ts";
import { run } from "../../beds/command.ts";
import { Netns } from "../../beds/netns.ts";
import { type SoftMlx5, type SoftOptions, type SoftPort, softMlx5 } from "../../beds/softmlx5.ts";

/** The wire's far end, where a port's wire is a TAP. */
export const wireTap = "wire0";
/** The kernel's half of port 0; also the name of its netdev. */
export const kernelTap = "mlx0";

export class Host implements AsyncDisposable {
  readonly netns: Netns;
  readonly nic: SoftMlx5;

  private constructor(netns: Netns, nic: SoftMlx5) {
    this.netns = netns;
    this.nic = nic;
  }

  /** Ports have netdevs mlx0, mlx1; those of a port with a kernel half, and wires, are TAPs made here. */
  static async create(options: SoftOptions = {}): Promise<Host> {
    const ports = (options.ports ?? [{}]).map((port, k) => ({ netdev: `mlx${k}`, ...port }));
    const netns = await Netns.create();
    try {
      const nic = await softMlx5({ ...options, ports });
      const host = new Host(netns, nic);
      for (const [k, port] of ports.entries()) await host.addNetdevs(k, port);
      return host;
    } catch (cause) {
      await netns.close();
      throw cause;
    }
  }

  /** A TAP stays without the program that opens it. Without a kernel half the netdev need only be there, and up. */
  private async addNetdevs(k: number, port: SoftPort): Promise<void> {
    const { netdev, mac } = this.nic.ports[k]!;
    if (port.wire?.startsWith("tap:")) await this.addTap(port.wire.slice(4));
    if (port.kernel) await this.addTap(netdev);
    else await this.netns.ip(`link add ${netdev} type veth peer name ${netdev}far`);
    await this.netns.ip(`link set ${netdev} address ${mac}`);
    await this.netns.ip(`link set ${netdev} up`);
    if (!port.kernel) await this.netns.ip(`link set ${netdev}far up`);
  }

  private async addTap(name: string): Promise<void> {
    await this.netns.ip(`tuntap add dev ${name} mode tap`);
    await this.netns.ip(`link set ${name} up`);
  }

  /** The words before a program that put it into this machine's namespace and onto its NICs. */
  get prefix(): readonly [string, ...string[]] {
    const settings = Object.entries(this.nic.env).map(([name, value]) => `${name}=${value}`);
    return ["ip", "netns", "exec", this.netns.name, "env", ...settings];
  }

  /** Runs a program to its end; its stdout. */
  run(command: string, args: readonly string[], timeoutMs = 60_000): Promise<string> {
    const [first, ...rest] = this.prefix;
    return run(first, [...rest, command, ...args], { timeoutMs });
  }

  /** A program that the caller ends. */
  start(name: string, command: string, args: readonly string[]): OwnedProcess {
    const [first, ...rest] = this.prefix;
    return new OwnedProcess(name, first, [...rest, "stdbuf", "-oL", command, ...args]);
  }

  /** What the hardware counted; only while a program has the port open. */
  async counters(port = 0): Promise<Record<string, number>> {
    const answer = await this.nic.control(`counters ${port}`);
    return JSON.parse(answer.replace(/^ok /, ""));
  }

  async close(): Promise<void> {
    await this.nic[Symbol.asyncDispose]();
    await this.netns.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** A cable that loses nothing, between two ports of one or of two machines. */
export class Cable implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), "softmlx5-cable-"));
  /** The wires of the ports at its ends. */
  readonly ends: readonly [string, string];

  constructor() {
    const file = join(this.folder, "cable");
    this.ends = [`link:${file},0`, `link:${file},1`];
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
