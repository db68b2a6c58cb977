// The netns bed: network namespaces of a test's own, and veth pairs between them. Whatever happens to the test, they
// are removed: at its end, when its process exits or is ended by a signal, and, after a SIGKILL, by the next one.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { OwnedProcess } from "./child.ts";
import { aptInstall, aptMissing, type Bed, type CommandOptions, commandPath, run } from "./command.ts";
import { atEnd } from "./lifetime.ts";

const prefix = "pollmode";
/** Debian packages of what tests run in namespaces. */
const packages = { ip: "iproute2", ping: "iputils-ping", ethtool: "ethtool" };

export const netnsBed: Bed = {
  name: "network namespaces",
  missing() {
    if (process.getuid?.() !== 0) return "network namespaces and veth pairs need root";
    return Object.keys(packages).every(commandPath) ? undefined : aptMissing();
  },
  async setup() {
    const wanted = Object.entries(packages).filter(([command]) => !commandPath(command));
    if (wanted.length > 0) await aptInstall(wanted.map(([, name]) => name));
    removeStale();
  },
};

const upTimeoutMs = 10_000;
let made = 0;

export class Netns implements AsyncDisposable {
  readonly name: string;
  private readonly forget: () => void;
  private gone = false;

  private constructor(name: string) {
    this.name = name;
    this.forget = atEnd(() => removeNow(name));
  }

  /** A namespace of its own, with lo up and without IPv6, whose unasked frames would disturb counters. */
  static async create(): Promise<Netns> {
    const name = `${prefix}-${process.pid}-${made++}`;
    await run("ip", ["netns", "add", name]);
    const netns = new Netns(name);
    const off =
      "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
    await netns.exec("sh", ["-c", `ip link set lo up; test -d /proc/sys/net/ipv6 || exit 0; ${off}`]);
    return netns;
  }

  /** Runs a command in it to its end; its stdout. */
  exec(command: string, args: string[], options?: CommandOptions): Promise<string> {
    return run("ip", ["netns", "exec", this.name, command, ...args], options);
  }

  /** A program in it, which the caller stops. */
  spawn(name: string, command: string, args: string[]): OwnedProcess {
    return new OwnedProcess(name, "ip", ["netns", "exec", this.name, command, ...args]);
  }

  /** `ip` with these words: `netns.ip("link set pm0 mtu 9000")`. */
  ip(words: string): Promise<string> {
    return this.exec("ip", words.split(" "));
  }

  /** Gives an interface an address (`10.0.0.1/24`) and takes it up. */
  async address(device: string, address: string): Promise<void> {
    await this.ip(`addr add ${address} dev ${device}`);
    await this.ip(`link set ${device} up`);
  }

  async close(): Promise<void> {
    if (this.gone) return;
    this.gone = true;
    this.forget();
    await run("ip", ["netns", "delete", this.name]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

export interface VethEnd {
  name: string;
  /** Default: the namespace of this process. */
  netns?: Netns;
  /** `10.0.0.1/24`. */
  address?: string;
}

export interface VethOptions {
  mtu?: number;
  /** Receive and transmit queues of each end. */
  queues?: number;
}

/** A cable of two interfaces, both up. Deleting one deletes both; so does deleting a namespace that one is in. */
export class Veth implements AsyncDisposable {
  readonly ends: readonly [VethEnd, VethEnd];
  private readonly forget: () => void;
  private gone = false;

  private constructor(ends: readonly [VethEnd, VethEnd]) {
    this.ends = ends;
    this.forget = atEnd(() => this.removeNow());
  }

  static async create(a: VethEnd, b: VethEnd, options: VethOptions = {}): Promise<Veth> {
    const { mtu = 1500, queues = 1 } = options;
    const shape = ["mtu", `${mtu}`, "numtxqueues", `${queues}`, "numrxqueues", `${queues}`];
    const place = ({ netns }: VethEnd) => (netns ? ["netns", netns.name] : []);
    const line = ["link", "add", a.name, ...shape, ...place(a), "type", "veth", "peer", "name", b.name];
    await run("ip", [...line, ...shape, ...place(b)]);
    const veth = new Veth([a, b]);
    for (const end of veth.ends) {
      // else the kernel at the other end gets frames of up to 64 KiB whose checksums are yet to be filled in
      await veth.at(end, "ethtool", ["-K", end.name, "tso", "off", "gso", "off", "tx", "off"]);
      if (end.address) await veth.at(end, "ip", ["addr", "add", end.address, "dev", end.name]);
      // a Netns has no IPv6; here it would look for neighbours by frames that nobody asked for
      if (!end.netns) await run("ip", ["link", "set", end.name, "addrgenmode", "none"]);
      await veth.at(end, "ip", ["link", "set", end.name, "up"]);
    }
    for (const end of veth.ends) await veth.awaitUp(end);
    return veth;
  }

  /** The kernel drops what is sent before a worker of its own has seen the carrier (linkwatch). */
  private async awaitUp(end: VethEnd): Promise<void> {
    const deadline = performance.now() + upTimeoutMs;
    while (!/state UP/.test(await this.at(end, "ip", ["link", "show", end.name]))) {
      if (performance.now() > deadline) throw new Error(`${end.name} was not up within ${upTimeoutMs} ms`);
      await new Promise((done) => setTimeout(done, 5));
    }
  }

  /** Runs a command where that end is. */
  at({ netns }: VethEnd, command: string, args: string[]): Promise<string> {
    return netns ? netns.exec(command, args) : run(command, args);
  }

  private removeNow(): void {
    const end = this.ends.find(({ netns }) => !netns);
    if (end) quietly(["link", "delete", end.name]);
  }

  /** Deletes the pair; no fault if it is gone already. */
  async close(): Promise<void> {
    if (this.gone) return;
    this.gone = true;
    this.forget();
    await this.at(this.ends[0], "ip", ["link", "delete", this.ends[0].name]).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** A name for an interface of this process (15 characters at most), told from others' by the process id. */
export function interfaceName(tag: string): string {
  return `pm${process.pid}${tag}`.slice(0, 15);
}

function quietly(args: string[]): void {
  try {
    execFileSync("ip", args, { stdio: "ignore", timeout: 10_000 });
  } catch {
    // gone already
  }
}

function removeNow(name: string): void {
  quietly(["netns", "delete", name]);
}

/** Those of processes that were killed. Their veth pairs go with them. */
function removeStale(): void {
  for (const name of list("/run/netns")) {
    const pid = new RegExp(`^${prefix}-(\\d+)-\\d+$`).exec(name)?.[1];
    if (pid && !list("/proc").includes(pid)) removeNow(name);
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
