// The far end of a port whose wire is a TAP: frames are sent into it by the kernel's packet sockets (Python's, of the
// standard library) and read by tcpdump; tshark decodes them and judges their checksums.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OwnedProcess } from "../../beds/child.ts";
import { tsharkFields } from "../../beds/wireshark.ts";
import { expect } from "./check.ts";
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
const captureTimeoutMs = 10_000;

export async function sendFrames(host: Host, frames: readonly Uint8Array[], device = wireTap): Promise<void> {
  const input = frames.map((frame) => `${Buffer.from(frame).toString("hex")}\n`).join("");
  await host.netns.exec(python, ["-c", sender, device], { input });
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
