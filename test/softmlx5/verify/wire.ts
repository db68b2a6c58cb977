// The far end of a port whose wire is a TAP: frames are sent into it by the kernel's packet sockets (Python's, of the
// standard library) and read by tcpdump; tshark decodes them and judges their checksums.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OwnedProcess } from "../../beds/child.ts";
import type { Netns } from "../../beds/netns.ts";
import { tsharkFields } from "../../beds/wireshark.ts";
import { expect, expectAll } from "./check.ts";
import { type Host, wireTap } from "./host.ts";

/** Debian's Python, which has pyverbs, rather than another in PATH. */
export const python = "/usr/bin/python3";

const sender = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line))
`;
/** The port's side of the wire, whoever answers there, and its far end. */
export const [kernelAddress, peerAddress] = ["10.9.9.1", "10.9.9.2"];
const captureTimeoutMs = 10_000;

export async function sendFrames(host: Host, frames: readonly Uint8Array[], device = wireTap): Promise<void> {
  const input = frames.map((frame) => `${Buffer.from(frame).toString("hex")}\n`).join("");
  await host.netns.exec(python, ["-c", sender, device], { input });
}

/**
 * Requests whose answers' data ping looks at, several under way at a time. The last ones may be late on a busy machine,
 * so that it sends a few more: that none was lost the interfaces' counts say.
 */
export async function ping(netns: Netns, address: string, count: number, bytes: number): Promise<string> {
  const options = ["-n", "-q", "-A", "-l", "16", "-c", `${count}`, "-w", "30", "-s", `${bytes}`, address];
  const said = await netns.exec("ping", options);
  expect(!/errors|duplicates|wrong/.test(said), "ping was not content", said);
  const words = expectAll(said, [/\d+ packets transmitted, \d+ received/]);
  expect(Number(/(\d+) received/.exec(words)![1]) >= count, `not ${count} answers`, said);
  return words;
}

/** What comes out of the port, from now on. */
export class Capture implements AsyncDisposable {
  private readonly folder: string;
  private readonly file: string;
  private readonly tcpdump: OwnedProcess;

  private constructor(host: Host) {
    this.folder = mkdtempSync(join(tmpdir(), "softmlx5-wire-"));
    this.file = join(this.folder, "wire.pcap");
    // "in" is what the interface receives: the port's frames, not ours
    const words = ["-i", wireTap, "-Q", "in", "-U", "-n", "-Z", "root", "-w", this.file];
    this.tcpdump = host.netns.spawn("tcpdump", "tcpdump", words);
  }

  static async start(host: Host): Promise<Capture> {
    const capture = new Capture(host);
    try {
      await capture.tcpdump.waitFor(/listening on/, captureTimeoutMs);
      return capture;
    } catch (cause) {
      await capture[Symbol.asyncDispose]();
      throw cause;
    }
  }

  /** Waits for so many frames; those and any more, as tshark decodes them. */
  async fields(frames: number, names: readonly string[]): Promise<string[][]> {
    const deadline = performance.now() + captureTimeoutMs;
    for (;;) {
      const rows = await tsharkFields(this.file, names).catch(() => []); // a file being written may end in a part
      if (rows.length >= frames) return rows;
      const words = rows.map((row) => row.join(" ")).join("\n");
      expect(performance.now() < deadline, `${frames} frames out of the port, not ${rows.length}`, words);
      await new Promise((done) => setTimeout(done, 100));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tcpdump.stop("SIGINT", captureTimeoutMs);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
