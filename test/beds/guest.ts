// The guest bed: a Linux guest under QEMU whose own virtio-net driver is the frontend of our vhost-user backend, and
// pings an address that the backend's application answers. Emulated CPU (TCG), so it needs no /dev/kvm, and the
// times it shows mean nothing. guest-image.ts builds what it boots; guest-init.sh is what runs inside.
import { existsSync, rmSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { PollmodeError } from "../../src/errors.ts";
import { type ExitStatus, OwnedProcess } from "./child.ts";
import { aptMissing, type Bed, commandPath, run } from "./command.ts";
import { buildImage, imageReady, initramfsFile, kernelFile } from "./guest-image.ts";
import { type GuestResult, readConsole } from "./guest-report.ts";

export type { GuestResult, PingResult } from "./guest-report.ts";
export { virtioFeature } from "./guest-report.ts";

export const guestBed: Bed = {
  name: "guest",
  missing() {
    if (imageReady()) return undefined;
    const reason = aptMissing();
    return reason && `the guest bed is not set up: ${reason}`;
  },
  setup: buildImage,
};

export interface PingRequest {
  /** Echo requests to send. Default 5. */
  count?: number;
  /** Bytes of payload: 1472 fill a frame of MTU 1500. Default 56. */
  sizeBytes?: number;
  /** Sends the next as soon as a reply is there, or every 10 ms; payloads are then not compared. */
  flood?: boolean;
  /** Between requests. Default 0.02. */
  intervalSeconds?: number;
  /** The guest's CPU that sends, and so which transmit queue is used. Default 0. */
  cpu?: number;
}

export interface GuestOptions {
  /** Path of the vhost-user socket. */
  socket: string;
  /** Whether QEMU connects to the backend's socket, or listens and the backend connects. Default "client". */
  role?: "client" | "server";
  /** As client: try again this often when the connection is lost. Default: never. */
  reconnectSeconds?: number;
  ring?: "split" | "packed";
  /** Default true: offered to the guest if the backend has it. */
  mergeableRxBuffers?: boolean;
  /** Checksum and segmentation offloads; default true: offered to the guest if the backend has them. */
  offloads?: boolean;
  /** VIRTIO_F_IN_ORDER; only QEMU 10 and later knows it. Default false. */
  inOrder?: boolean;
  /** More than 1 turns multiqueue on. The guest gets as many CPUs. Default 1. */
  queuePairs?: number;
  /** How many of them the guest is to use, set with ethtool -L. Default: all. */
  channels?: number;
  rxQueueSize?: number;
  txQueueSize?: number;
  memoryMib?: number;
  mtu?: number;
  mac?: string;
  /** The guest's address with its prefix length. Default 10.99.0.1/24. */
  address?: string;
  /** The address to ping. Default 10.99.0.2. */
  peer?: string;
  /** Done one after the other. Default: one with its defaults. */
  pings?: PingRequest[];
  deadlineMs?: number;
}

const defaultDeadlineMs = 90_000;
const shutdownMs = 5_000;
const listenMs = 10_000;

/** A guest that has been started. */
export class Guest implements AsyncDisposable {
  readonly #process: OwnedProcess;
  readonly #options: GuestOptions;
  readonly #started = performance.now();

  private constructor(options: GuestOptions, args: string[]) {
    this.#options = options;
    this.#process = new OwnedProcess("the guest's QEMU", commandPath("qemu-system-x86_64")!, args);
  }

  /** Boots the guest and returns at once; the bed must have been set up. As server, waits until QEMU listens. */
  static async start(options: GuestOptions): Promise<Guest> {
    if (!imageReady()) {
      throw new PollmodeError("BED_MISSING", "the guest bed is not set up", "await guestBed.setup()");
    }
    const args = await qemuArguments(options);
    if (options.role === "server") rmSync(options.socket, { force: true }); // an old one would look like ours
    const guest = new Guest(options, args);
    if (options.role === "server") await guest.#listening();
    return guest;
  }

  async #listening(): Promise<void> {
    const deadline = performance.now() + listenMs;
    while (!existsSync(this.#options.socket)) {
      const late = performance.now() > deadline;
      if (late) await this.kill();
      if (this.#process.status) throw this.#process.error("ended, or was ended, before it listened");
      await setTimeout(10);
    }
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get console(): string {
    return this.#process.stdout;
  }

  get exited(): Promise<ExitStatus> {
    return this.#process.exited;
  }

  /** Waits for something on the console, e.g. `/@bed carrier 1/`: the link is up; `/@bed ping 0 begin/`. */
  waitFor(pattern: RegExp, timeoutMs = defaultDeadlineMs): Promise<RegExpMatchArray> {
    return this.#process.waitFor(pattern, timeoutMs);
  }

  /** Waits for the guest to finish and returns what it reports. QEMU has ended when this settles, either way. */
  async result(): Promise<GuestResult> {
    const { deadlineMs = defaultDeadlineMs } = this.#options;
    try {
      const [, outcome] = await this.waitFor(/^@bed end (.*)\n/m, deadlineMs);
      if (outcome !== "ok") throw this.#process.error(`reports: ${outcome}`);
      await this.#process.endWithin(shutdownMs); // it is powering off
    } finally {
      await this.kill();
    }
    return readConsole(this.console, performance.now() - this.#started);
  }

  async kill(): Promise<void> {
    await this.#process.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** Boots a guest, lets it ping, and returns its report. Throws with the console's tail when it fails or time is up. */
export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  await using guest = await Guest.start(options);
  return await guest.result();
}

async function qemuMajor(): Promise<number> {
  const version = await run(commandPath("qemu-system-x86_64")!, ["--version"]);
  return Number(/version (\d+)/.exec(version)?.[1] ?? 0);
}

/** Whether this QEMU can offer VIRTIO_F_IN_ORDER. (Linux must know it too, to accept it.) */
export async function qemuKnowsInOrder(): Promise<boolean> {
  const help = await run(commandPath("qemu-system-x86_64")!, ["-device", "virtio-net-pci,help"]);
  return /^\s*in_order=/m.test(help);
}

async function qemuArguments(options: GuestOptions): Promise<string[]> {
  const { queuePairs = 1, memoryMib = 160, socket, role = "client", reconnectSeconds } = options;
  const chardev = ["socket", "id=backend", `path=${socket}`];
  if (role === "server") chardev.push("server=on");
  else if (reconnectSeconds) chardev.push(`reconnect=${reconnectSeconds}`);
  const netdev = ["vhost-user", "id=net", "chardev=backend", `queues=${queuePairs}`];
  // Without IPv6, nothing is sent but ARP and what is asked for: the counters are then predictable.
  const words = ["console=ttyS0 panic=-1 quiet mitigations=off ipv6.disable=1 no_timer_check tsc=reliable"];
  words.push(...guestWords(options));
  return [
    ...["-machine", "q35,memory-backend=memory", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off"],
    ...["-smp", String(queuePairs), "-m", `${memoryMib}M`],
    ...["-object", `memory-backend-memfd,id=memory,size=${memoryMib}M,share=on`],
    ..."-nodefaults -no-user-config -no-reboot -display none -monitor none -serial stdio".split(" "),
    ...["-kernel", kernelFile, "-initrd", initramfsFile, "-append", words.join(" ")],
    ...["-chardev", chardev.join(","), "-netdev", netdev.join(",")],
    ...["-device", (await deviceProperties(options)).join(",")],
  ];
}

async function deviceProperties(options: GuestOptions): Promise<string[]> {
  const { queuePairs = 1, rxQueueSize = 256, txQueueSize = 256, mac = "52:54:00:99:00:01" } = options;
  const onOff = (value: boolean) => (value ? "on" : "off");
  // No option ROM: iPXE would drive the device before Linux does.
  const device = ["virtio-net-pci", "netdev=net", "romfile=", "disable-legacy=on", `mac=${mac}`];
  device.push(`rx_queue_size=${rxQueueSize}`, `tx_queue_size=${txQueueSize}`);
  device.push(`packed=${onOff(options.ring === "packed")}`);
  device.push(`mrg_rxbuf=${onOff(options.mergeableRxBuffers ?? true)}`);
  if (queuePairs > 1) device.push("mq=on");
  // A vector for each queue, one for the control queue and one for configuration changes. QEMU 7.2, Debian 12's,
  // crashes when vhost-user starts with MSI-X and without KVM (10.0 does not): the guest then gets one INTx.
  device.push(`vectors=${(await qemuMajor()) >= 10 ? 2 * queuePairs + 2 : 0}`);
  if (options.offloads === false) {
    for (const name of ["csum", "guest_csum", "gso"]) device.push(`${name}=off`);
    for (const name of ["tso4", "tso6", "ecn", "ufo"]) device.push(`guest_${name}=off`, `host_${name}=off`);
  }
  if (options.inOrder) {
    if (!(await qemuKnowsInOrder())) {
      throw new PollmodeError(
        "BED_UNSUPPORTED",
        "this QEMU has no in_order property",
        "install QEMU 10 or later",
      );
    }
    device.push("in_order=on");
  }
  return device;
}

/** The parameters of guest-init.sh, as words of the kernel's command line. */
function guestWords(options: GuestOptions): string[] {
  const { address = "10.99.0.1/24", peer = "10.99.0.2", pings = [{}], mtu, channels } = options;
  const words = [`bed.address=${address}`, `bed.peer=${peer}`, `bed.pings=${pings.map(pingWord).join(";")}`];
  if (mtu !== undefined) words.push(`bed.mtu=${mtu}`);
  if (channels !== undefined) words.push(`bed.channels=${channels}`);
  return words;
}

function pingWord(request: PingRequest): string {
  const { count = 5, sizeBytes = 56, flood = false, intervalSeconds = 0.02, cpu = 0 } = request;
  // -M do: a frame too long for the MTU is an error and not two fragments. -W: patience when no reply comes.
  const words = ["-n", "-M", "do", "-W", "1", "-c", String(count), "-s", String(sizeBytes)];
  words.push(...(flood ? ["-f", "-q"] : ["-i", String(intervalSeconds)]));
  return `${cpu}:${words.join(",")}`;
}
