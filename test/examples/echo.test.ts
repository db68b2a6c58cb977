// examples/echo.ts, as a guest meets it: a net_virtio_user port asks by ARP, pings, and sends what deserves no answer.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import t from "tap";
import { Pollmode } from "../../src/pollmode.ts";
import type { PingOptions } from "./ping-app.ts";

const folder = mkdtempSync(join(tmpdir(), "pollmode-echo-"));
const socket = join(folder, "echo.sock");
t.teardown(() => rmSync(folder, { recursive: true }));

const backendMac = [0x56, 0x48, 0x4f, 0x53, 0x54, 0x00];
const ourMac = [0x02, 0, 0, 0, 0, 0x07];
const [ours, theirs] = [
  [10, 0, 0, 1],
  [10, 0, 0, 2],
];
const broadcast = new Array(6).fill(0xff);

function arp(
  operation: number,
  to: number[],
  from: number[],
  sender: number[],
  target: number[],
): Uint8Array {
  return Uint8Array.of(...to, ...from, 8, 6, 0, 1, 8, 0, 6, 4, 0, operation, ...sender, ...target);
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number[] {
  let sum = 0;
  for (let k = 0; k < bytes.length; k += 2) sum += (bytes[k]! << 8) | (bytes[k + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return [(~sum >>> 8) & 255, ~sum & 255];
}

/** An echo request (type 8) or reply (0) with 56 bytes of payload. */
function echo(
  type: number,
  to: number[],
  from: number[],
  source: number[],
  destination: number[],
): Uint8Array {
  const payload = Array.from({ length: 56 }, (_, k) => k);
  const icmp = Uint8Array.of(type, 0, 0, 0, 0x12, 0x34, 0, 1, ...payload);
  icmp.set(checksum(icmp), 2);
  const fixed = [0x45, 0, 0, 20 + icmp.length, 0, 0, 0x40, 0, 64, 1, 0, 0];
  const header = Uint8Array.of(...fixed, ...source, ...destination);
  header.set(checksum(header), 10);
  return Uint8Array.of(...to, ...from, 8, 0, ...header, ...icmp);
}

async function startEcho(): Promise<ChildProcess> {
  const file = fileURLToPath(new URL("../../examples/echo.js", import.meta.url));
  const child = spawn(process.execPath, [file, socket], { stdio: ["ignore", "pipe", "inherit"] });
  child.stdout!.setEncoding("utf8");
  const [line] = await once(child.stdout!, "data");
  t.match(line, /^listening at /);
  return child;
}

/** Sends `request` until an answer comes; undefined if none comes in `waitMs`. */
async function ask(engine: Pollmode, request: Uint8Array, waitMs: number): Promise<Uint8Array | undefined> {
  const answerBytes = new Int32Array(new SharedArrayBuffer(4));
  const answer = new Uint8Array(new SharedArrayBuffer(2048));
  const options: PingOptions = { request, answerBytes, answer };
  await engine.run({
    lcore: 0,
    app: new URL("./ping-app.js", import.meta.url),
    queues: [engine.port(0)],
    options,
  });
  const deadline = performance.now() + waitMs;
  while (Atomics.load(answerBytes, 0) === 0 && performance.now() < deadline) await setTimeout(2);
  await engine.stop(0);
  const bytes = Atomics.load(answerBytes, 0);
  return bytes === 0 ? undefined : answer.slice(0, bytes);
}

t.test("the echo example", async (t) => {
  const child = await startEcho();
  t.teardown(() => child.kill("SIGKILL"));
  let output = "";
  child.stdout!.on("data", (text: string) => {
    output += text;
  });
  const mac = "02:00:00:00:00:07";
  const vdev = [`net_virtio_user0,path=${socket},mac=${mac}`];
  // the example has CPU 0 to itself, where there is another
  const cpus = Array.from({ length: availableParallelism() }, (_, cpu) => cpu);
  await using engine = await Pollmode.start({ lcores: [{ lcore: 0, cpus }], noHuge: true, vdev });
  await engine.port(0).configure({ rxQueues: 1, txQueues: 1 });
  await engine.port(0).start();

  const asked = arp(1, broadcast, ourMac, [...ourMac, ...ours], [0, 0, 0, 0, 0, 0, ...theirs]);
  const told = arp(2, ourMac, backendMac, [...backendMac, ...theirs], [...ourMac, ...ours]);
  t.same(await ask(engine, asked, 10_000), told, "ARP");
  const request = echo(8, backendMac, ourMac, ours, theirs);
  t.same(await ask(engine, request, 10_000), echo(0, ourMac, backendMac, theirs, ours), "ICMP echo");
  const fragment = request.slice();
  fragment[20] = 0x20; // more fragments
  t.equal(await ask(engine, fragment, 100), undefined, "a fragment has no answer");
  t.equal(await ask(engine, told, 100), undefined, "nor has an ARP reply");
  await engine.close();

  const exited = once(child, "exit");
  child.kill("SIGTERM");
  t.same(await exited, [0, null], "it ends on SIGTERM");
  t.match(output, /^link up\nlink down\n\d+ received, \d+ answered\n$/);
});
