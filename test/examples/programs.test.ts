// Examples that are run as their headers say: sniffer, generator and replay, with files and rings.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { temporaryFolder } from "../acceptance/support.ts";
import { captureFile } from "./capture-file.ts";

t.setTimeout(60_000);
const folder = temporaryFolder(t);

function example(name: string, ...words: string[]): Promise<{ stdout: string; stderr: string }> {
  const file = fileURLToPath(new URL(`../../examples/${name}.js`, import.meta.url));
  return promisify(execFile)(process.execPath, [file, ...words], { timeout: 30_000 });
}

t.test("the generator keeps its rate", async (t) => {
  const { stdout } = await example("generator", "net_ring0", "20000", "128", "1");
  const [, sent, seconds] = /^(\d+) packets in ([\d.]+) s: \d+ a second\n$/.exec(stdout) ?? [];
  const rate = Number(sent) / Number(seconds);
  t.ok(rate > 10_000 && rate < 20_500, stdout); // a busy machine may make it slower, never faster
});

const input = join(folder, "input.pcap");
const frames = captureFile(input);

t.test("the replayer copies a file", async (t) => {
  const copy = join(folder, "copy.pcap");
  const { stdout } = await example("replay", input, `net_pcap1,tx_pcap=${copy}`);
  t.equal(stdout, `${frames.length} packets read, ${frames.length} sent\n`);
  const bytes = readFileSync(copy);
  t.ok(
    frames.every((frame) => bytes.includes(Buffer.from(frame))),
    "every frame is in it",
  );
});

t.test("the sniffer names what it sees", async (t) => {
  const { stdout, stderr } = await example("sniffer", `net_pcap0,rx_pcap=${input}`);
  t.equal(stderr, "");
  const ends = "02:00:00:00:00:01 > 02:00:00:00:00:02";
  t.same(stdout.trim().split("\n"), [
    `60 bytes, ${ends} 10.0.0.1:40000 > 10.0.0.2:53 UDP`,
    `60 bytes, ${ends} ARP who has 10.0.0.2`,
    `60 bytes, ${ends} vlan 5 10.0.0.1:80 > 10.0.0.2:1024 TCP SYN+ACK`,
    `74 bytes, ${ends} [2001:db8::1]:1 > [2001:db8::2]:2 UDP`,
    `60 bytes, ${ends} type 0x88b5`,
  ]);
});

t.test("without their words they say what is missing, and how they are called", async (t) => {
  for (const name of ["sniffer", "l2-switch", "generator", "replay", "balancer"]) {
    const pattern = new RegExp(`^name [^\n]+\n  fix: node dist/examples/${name}\\.js \\S+[^\n]*\n$`);
    await t.rejects(example(name), { code: 1, stderr: pattern }, name);
  }
  await t.rejects(example("generator", "net_ring0", "fast"), { code: 1, stderr: /packets a second/ });
});
