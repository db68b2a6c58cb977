// net_pcap's control side: arguments, files that cannot be, ports from start to close.
import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { pcapDriver } from "../../../pmd/pcap/device.ts";
import { parseDevargs } from "../../../src/eal/devargs.ts";
import type { PollmodeError } from "../../../src/errors.ts";
import type { EthDevice } from "../../../src/ethdev/driver.ts";
import { Queue } from "../../../src/hot/layout.ts";
import { pcapHeader } from "../../../src/pcap/pcap.ts";
import { PacketReader } from "../../../src/pcap/reader.ts";
import { Pollmode } from "../../../src/pollmode.ts";
import { flavours } from "../../pcap/captures.ts";
import { makeFrame, onEngines, type Rig } from "../../support/engines.ts";
import { contextOf, folder, newPath, save } from "./queues.ts";

t.setTimeout(60_000);

const packets = Array.from({ length: 100 }, (_, k) => ({
  stampNs: BigInt(k) * 1000n,
  data: makeFrame(k, 60 + k),
}));
const input = save(flavours[0]!.write(packets));

interface Probed {
  device: EthDevice;
  errors: PollmodeError[];
  ends: number;
}

async function probe(rig: Rig, args: string): Promise<Probed> {
  const probed = { errors: [] as PollmodeError[], ends: 0 } as unknown as Probed;
  const events = {
    link: () => {},
    error: (error: Error) => void probed.errors.push(error as PollmodeError),
    end: () => void probed.ends++,
  };
  probed.device = await pcapDriver.probe(parseDevargs(`net_pcap0,${args}`), contextOf(rig), events);
  return probed;
}

async function start(rig: Rig, { device }: Probed): Promise<void> {
  const { rxQueuesMax, txQueuesMax } = device.info;
  await device.configure({ rxQueues: rxQueuesMax, txQueues: txQueuesMax });
  for (const queue of [...device.rxQueues, ...device.txQueues]) rig.put(queue + Queue.CACHE, rig.cache);
  await device.start();
}

/** Files of this test that the process has open. */
const openFiles = () =>
  readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  });

onEngines("arguments that cannot be are named", {}, async (t, rig) => {
  const gzip = save(Buffer.from("1f8b0800000000000003aabb", "hex"));
  const cooked = save(pcapHeader({ linkType: 113 }));
  const short = save(pcapHeader().subarray(0, 20));
  const empty = save(Buffer.alloc(0));
  const cases: [args: string, code: string, message: RegExp][] = [
    ["pace=0", "DEVARGS_MISSING", /neither an input nor an output/],
    [`rx_pcap=${folder}/none.pcap`, "ENOENT", /rx 0: open .*none\.pcap/],
    [`rx_pcap=${folder}`, "PCAP_FORMAT", /a directory/],
    [`rx_pcap=${gzip}`, "PCAP_FORMAT", /it begins with 0x88b1f/],
    [`rx_pcap=${cooked}`, "PCAP_LINK_TYPE", /link type 113/],
    [`rx_pcap=${short}`, "PCAP_TRUNCATED", /after 20 bytes/],
    [`rx_pcap=${empty}`, "PCAP_FORMAT", /empty/],
    [`rx_pcap=${input},rx_pcap=${folder}/none`, "ENOENT", /rx 1/],
    [`tx_pcap=${folder}/none/a.pcap`, "ENOENT", /tx 0/],
    [`tx_pcap=${folder}`, "EISDIR", /tx 0/],
    [`rx_pcap=${input},tx_pcap=${input}`, "PCAP_SAME_FILE", /another queue/],
    [`tx_pcap=${folder}/o,tx_pcap=${folder}/o`, "PCAP_SAME_FILE", /another queue/],
    [`rx_pcap=${input},infinite_rx=1,loops=2`, "DEVARGS_CONFLICT", /exclude each other/],
    [`rx_pcap=${input},infinite_rx=2`, "DEVARGS_VALUE", /neither 0 nor 1/],
    [`rx_pcap=${input},rx_iface=lo`, "DEVARGS_CONFLICT", /files and interfaces/],
    [`iface=lo,rx_pcap=${input}`, "DEVARGS_CONFLICT", /iface=/],
    [`tx_pcap=${folder}/o,pace=1`, "DEVARGS_CONFLICT", /belong to files/],
    [`rx_pcap=${input},tx_format=pcapng`, "DEVARGS_CONFLICT", /tx_format/],
    [`rx_pcap=${input},snaplen=64`, "DEVARGS_CONFLICT", /snaplen/],
    [`rx_pcap=${input},phy_mac=1`, "DEVARGS_CONFLICT", /phy_mac/],
    [`tx_pcap=${folder}/o,tx_format=erf`, "DEVARGS_VALUE", /is none of pcap, pcap-us, pcapng/],
    [`rx_pcap=${input},rx_pacp=x`, "DEVARGS_UNKNOWN", /rx_pacp/],
    [`rx_pcap=${input},loops=1,loops=2`, "DEVARGS_REPEATED", /loops/],
    [Array.from({ length: 17 }, () => `rx_pcap=${input}`).join(","), "DEVARGS_CONFLICT", /17 queues/],
  ];
  const before = openFiles().length;
  for (const [args, code, message] of cases) await t.rejects(probe(rig, args), { code, message }, args);
  t.equal(openFiles().length, before);
});

onEngines("queues: as many as files; the side that is not named idles", {}, async (t, rig) => {
  const before = rig.private.usedBytes;
  const output = newPath("pcapng");
  const several = await probe(rig, `rx_pcap=${input},rx_pcap=${input},tx_pcap=${output}`);
  t.match(several.device.info, { rxQueuesMax: 2, txQueuesMax: 1, driver: "net_pcap" });
  await start(rig, several);
  t.equal(several.device.link().up, true);
  const [first, second] = several.device.rxQueues;
  t.equal(rig.receive(first!, 32).map((mbuf) => rig.free([mbuf])).length, 32);
  const taken = rig.receive(second!, 64);
  t.equal(taken.length, 64, "each queue has its own place in the file");
  t.equal(rig.send(several.device.txQueues[0]!, taken), 64);
  await several.device.stop();
  t.equal(several.device.link().up, false);
  t.same(openFiles(), []);
  const reader = new PacketReader("output");
  t.equal([...reader.push(readFileSync(output))].length, 64);
  await several.device.close();

  const idle = await probe(rig, `rx_pcap=${input}`);
  await start(rig, idle);
  const frames = rig.receive(idle.device.rxQueues[0]!, 32);
  t.equal(rig.send(idle.device.txQueues[0]!, frames), 32, "dropped, as DPDK does");
  await idle.device.stop();
  await idle.device.close();
  const writer = await probe(rig, `tx_pcap=${output}`);
  await start(rig, writer);
  t.same(rig.receive(writer.device.rxQueues[0]!, 32), []);
  await writer.device.stop();
  await writer.device.close();
  t.equal(rig.private.usedBytes, before, "all memory is given back");
  t.same(rig.audit(), []);
});

onEngines("the end of all files is told once; a stopped port starts them anew", {}, async (t, rig) => {
  const port = await probe(rig, `rx_pcap=${input},loops=2`);
  for (let run = 1; run <= 2; run++) {
    await start(rig, port);
    let count = 0;
    for (let k = 0; k < 20; k++) {
      const got = rig.receive(port.device.rxQueues[0]!, 32);
      count += got.length;
      rig.free(got);
    }
    t.equal(count, 200);
    await pause(120);
    t.equal(port.ends, run);
    t.same(port.errors, []);
    t.match(port.device.xstats?.(), { rx_q0_passes: 2, rx_q0_file_ended: 1 });
    await port.device.stop();
  }
  await port.device.close();
});

onEngines("a broken file: what is before the fault, and the fault once", {}, async (t, rig) => {
  const path = save(readFileSync(input));
  truncateSync(path, 24 + 16 + 60 + 16 + 61 + 20);
  const port = await probe(rig, `rx_pcap=${path}`);
  await start(rig, port);
  const got = rig.receive(port.device.rxQueues[0]!, 32);
  t.equal(got.length, 2);
  rig.free(got);
  await pause(120);
  const message = `net_pcap0, rx 0: ${path}: the file ends after 20 bytes of a record, at offset 177`;
  t.match(port.errors, [{ code: "PCAP_TRUNCATED", message }]);
  t.equal(port.errors.length, 1);
  await port.device.stop();
  await port.device.close();
  t.equal(port.errors.length, 1);
});

onEngines("a failed start takes nothing", {}, async (t, rig) => {
  const path = save(readFileSync(input));
  const inner = join(folder, `gone-${rig.kind}`);
  mkdirSync(inner);
  const port = await probe(rig, `rx_pcap=${path},tx_pcap=${inner}/o.pcap`);
  await port.device.configure({ rxQueues: 1, txQueues: 1 });
  symlinkSync("/proc/none/none", join(inner, "o.pcap"));
  const used = rig.private.usedBytes;
  await t.rejects(port.device.start(), { code: "ENOENT", message: /write .*o\.pcap/ });
  t.same(openFiles(), []);
  t.equal(rig.private.usedBytes, used);
  t.equal(port.device.link().up, false);
  await port.device.close();
});

t.test("pace=1 on an lcore takes the time that the stamps say", async (t) => {
  const list = [0n, 100n, 250n].map((ms, k) => ({ stampNs: ms * 1_000_000n, data: makeFrame(k, 60) }));
  const path = save(flavours[4]!.write(list));
  await using pm = await Pollmode.start({ noHuge: true, vdev: [`net_pcap0,rx_pcap=${path},pace=1`] });
  const [port] = pm.ports;
  await port!.configure();
  const begin = performance.now(); // the stamps' time runs from the port's start
  await port!.start();
  const ended = new Promise<void>((resolve) => port!.once("end", resolve));
  await pm.forward(0, [{ mode: "io", rx: { port: port!, queue: 0 }, tx: { port: port!, queue: 0 } }]);
  await ended;
  const ms = performance.now() - begin;
  t.ok(ms >= 249 && ms < 5000, `${ms} ms`);
  t.equal(port!.stats().rxPackets, 3);
});

t.test("two ports of an engine: file to file", async (t) => {
  for (const engine of ["wasm", "ts"] as const) {
    const output = newPath("pcapng");
    await using pm = await Pollmode.start({
      engine,
      noHuge: true,
      vdev: [`net_pcap0,rx_pcap=${input},loops=50`, `net_pcap1,tx_pcap=${output}`],
    });
    const [from, to] = pm.ports as [(typeof pm.ports)[0], (typeof pm.ports)[0]];
    for (const port of pm.ports) {
      await port.configure();
      await port.start();
    }
    const ended = new Promise<void>((resolve) => from.once("end", resolve));
    await pm.forward(0, [{ mode: "io", rx: { port: from, queue: 0 }, tx: { port: to, queue: 0 } }]);
    await ended;
    await pm.stop(0);
    t.equal(to.stats().txPackets, 5000);
    await to.stop();
    const reader = new PacketReader("output");
    let k = 0;
    for (const { data } of reader.push(readFileSync(output))) {
      if (Buffer.compare(data, packets[k % 100]!.data) !== 0) t.fail(`packet ${k}`);
      k++;
    }
    reader.end();
    t.equal(k, 5000, engine);
  }
});
