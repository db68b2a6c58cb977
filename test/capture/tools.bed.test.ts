// What tcpdump and tshark make of captured files and pipes: every packet decoded, checksums right, live in time.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { Pollmode } from "../../src/pollmode.ts";
import { aptInstall, aptMissing, commandPath, run } from "../beds/command.ts";
import { Command, program } from "./command.ts";
import type { FramesOptions } from "./frames-app.ts";

t.setTimeout(300_000); // the packages may have to be fetched first

const tools = ["tcpdump", "tshark", "capinfos"];
const missing = tools.every((tool) => commandPath(tool)) ? undefined : aptMissing();
const app = new URL("./frames-app.js", import.meta.url);
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const checks = ["ip", "udp", "tcp"].flatMap((name) => ["-o", `${name}.check_checksum:TRUE`]);

const u16 = (value: number) => [value >>> 8, value & 255];

/** The internet checksum, RFC 1071. */
function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let k = 0; k < bytes.length; k += 2) sum += (bytes[k]! << 8) | (bytes[k + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const macs = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const [from, to] = [
  [10, 9, 0, 1],
  [10, 9, 0, 2],
];

function ipv4(protocol: number, payload: readonly number[]): number[] {
  const head = [0x45, 0, ...u16(20 + payload.length), 0, 1, 0x40, 0, 64, protocol, 0, 0, ...from, ...to];
  head.splice(10, 2, ...u16(checksum(head)));
  return [8, 0, ...head, ...payload];
}

/** With the checksum at byte `at`, over the pseudo header too. */
function transport(protocol: number, segment: number[], at: number): number[] {
  const pseudo = [...from, ...to, 0, protocol, ...u16(segment.length)];
  segment.splice(at, 2, ...u16(checksum([...pseudo, ...segment])));
  return ipv4(protocol, segment);
}

const text = [...Buffer.from("pollmode capture ".repeat(5))];
const udp = transport(17, [...u16(40_001), ...u16(40_002), ...u16(8 + text.length), 0, 0, ...text], 6);
const tcp = transport(
  6,
  [...u16(40_000), ...u16(80), 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, ...u16(1000), 0, 0, 0, 0, ...text],
  16,
);
const echo = [8, 0, 0, 0, 0, 7, 0, 1, ...text];
echo.splice(2, 2, ...u16(checksum(echo)));
const icmp = ipv4(1, echo);
const arp = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, ...from, 0, 0, 0, 0, 0, 0, ...to];
const vlan = [0x81, 0, 0, 42, ...udp];
const frames = [udp, tcp, icmp, arp, vlan].map((rest) => Uint8Array.from([...macs, ...rest]));

async function setup(t: { teardown(work: () => unknown): void }) {
  await aptInstall(["tcpdump", "tshark"]);
  const prefix = `capture-tools-${process.pid}`;
  const engine = await Pollmode.start({
    filePrefix: prefix,
    noHuge: true,
    memoryMib: 16,
    mbufs: 2048,
    vdev: ["net_ring0"],
  });
  t.teardown(() => engine.close());
  const port = engine.port(0);
  await port.configure();
  await port.start();
  const folder = mkdtempSync(join(tmpdir(), "pollmode-tools-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const send = async (options: Omit<FramesOptions, "frames">) => {
    const before = port.stats().rxPackets;
    await engine.run({
      lcore: 0,
      app,
      queues: [port],
      options: { frames, ...options } satisfies FramesOptions,
    });
    for (let k = 0; k < 4000 && port.stats().rxPackets < before + options.count; k++) await pause(5);
    await engine.stop(0);
  };
  return { engine, prefix, folder, send };
}

const lines = (text: string) => text.split("\n").filter((line) => line !== "");

t.test("files", { skip: missing ?? false }, async (t) => {
  const { prefix, folder, send } = await setup(t);
  const file = join(folder, "all.pcapng");
  const commands = [
    new Command(prefix, "0", "-w", file),
    new Command(prefix, "0", "-w", join(folder, "ring"), "-C", "20k", "-W", "4", "-Q", "in"),
    new Command(prefix, "0", "-w", join(folder, "tcp.pcapng"), "tcp port 80 and src host 10.9.0.1"),
    new Command(prefix, "0", "-w", join(folder, "vlan.pcapng"), "-s", "60", "vlan 42"),
  ];
  await Promise.all(commands.map((one) => one.ready()));
  await send({ count: 1000, everyMs: 0.5 });
  for (const one of commands) t.equal(await one.stop(), 0);

  const tshark = (path: string, ...args: string[]) => run("tshark", ["-r", path, ...checks, ...args]);
  const fields = ["_ws.col.Protocol", "ip.checksum.status", "udp.checksum.status", "tcp.checksum.status"];
  const icmpStatus = ["icmp.checksum.status", "_ws.malformed", "frame.interface_name"];
  const rows = lines(
    await tshark(file, "-T", "fields", ...[...fields, ...icmpStatus].flatMap((one) => ["-e", one])),
  );
  t.equal(rows.length, 2000);
  // a status of 1 is "Good"
  t.same(
    new Set(rows),
    new Set([
      "UDP\t1\t1\t\t\t\tnet_ring0",
      "TCP\t1\t\t1\t\t\tnet_ring0",
      "ICMP\t1\t\t\t1\t\tnet_ring0",
      "ARP\t\t\t\t\t\tnet_ring0",
    ]),
  );
  t.equal(lines(await tshark(file, "-Y", "frame.packet_flags_direction == 1")).length, 1000, "inbound");
  t.equal(lines(await tshark(file, "-Y", "vlan.id == 42")).length, 400);
  const ages = lines(await tshark(file, "-T", "fields", "-e", "frame.time_epoch")).map(Number);
  t.ok(
    ages.every((age) => Math.abs(Date.now() / 1000 - age) < 60),
    "stamps are of now",
  );

  const dumped = lines(await run("tcpdump", ["-nn", "-vv", "-r", file]));
  t.equal(
    dumped.filter((line) => /cksum .*correct|udp sum ok/.test(line)).length,
    1200,
    "UDP and TCP by tcpdump",
  );
  t.notOk(dumped.some((line) => /bad cksum|incorrect|truncated/.test(line)));
  t.equal(lines(await run("tcpdump", ["-nn", "-r", join(folder, "tcp.pcapng")])).length, 400);
  const cut = lines(
    await tshark(join(folder, "vlan.pcapng"), "-T", "fields", "-e", "frame.cap_len", "-e", "frame.len"),
  );
  t.same(new Set(cut), new Set([`60\t${frames[4]!.length}`]));

  const ring = readdirSync(folder).filter((name) => name.startsWith("ring"));
  t.same(ring.sort(), ["ring0", "ring1", "ring2", "ring3"]);
  let inRing = 0;
  for (const name of ring) inRing += lines(await tshark(join(folder, name))).length;
  t.ok(inRing > 300 && inRing < 1000, `${inRing} packets are left in the ring`);
  const info = await run("capinfos", ["-M", file]);
  t.match(info, /Number of packets:\s+2000/);
  t.match(info, /Capture application:\s+pollmode/);
  t.match(info, /Strict time order:\s+True/);
});

t.test("live into tshark", { skip: missing ?? false }, async (t) => {
  const { prefix, send } = await setup(t);
  const pipe = `${process.execPath} ${program} capture --file-prefix ${prefix} 0 -w - -Q in`;
  const child = spawn("bash", ["-c", `${pipe} | tshark -l -n -i - -c 60`], { detached: true });
  t.teardown(() => {
    try {
      process.kill(-child.pid!, "SIGKILL");
    } catch {
      // all have ended
    }
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (text: Buffer) => (out += text.toString()));
  child.stderr.on("data", (text: Buffer) => (err += text.toString()));
  const until = async (what: () => boolean) => {
    for (let k = 0; k < 2000 && !what(); k++) await pause(5);
    return what();
  };
  t.ok(await until(() => err.includes("listening on") && err.includes("Capturing on")), "both listen");
  await send({ count: 20, everyMs: 1 });
  const start = performance.now();
  t.ok(await until(() => lines(out).length === 20), "shown while the capture goes on");
  const ms = performance.now() - start;
  t.ok(ms < 3000, `${ms} ms`);
  await send({ count: 50, everyMs: 1 });
  t.ok(await until(() => lines(out).length === 60 && child.exitCode !== null), "60 packets end it");
  t.match(lines(out)[0], /10\.9\.0\.1 → 10\.9\.0\.2 +UDP/);
  t.match(err, /packets? captured/);
});
