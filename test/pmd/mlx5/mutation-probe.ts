// The short suite of the mutation test: a few thousand frames through all that the driver does, on the software
// ConnectX, with an engine whose sources may be wrong on purpose. Each part throws where the driver's
// behaviour is not as it should be; the emulator ends the process where the device would suffer. In a second or two.
//
// Arguments: the RDMA device's name, the engine, then the parts to be run.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import type { DeviceConfig } from "../../../src/ethdev/driver.ts";
import type { Port } from "../../../src/ethdev/port.ts";
import type { EngineName } from "../../../src/hot/engine.ts";
import { OlFlag } from "../../../src/index.ts";
import { Pollmode } from "../../../src/pollmode.ts";
import { addressesOf } from "../../acceptance/mlx5.ts";
import { type NoteFrame, sumOf } from "../../acceptance/mlx5-note-app.ts";
import { notesOf } from "../../acceptance/mlx5-notes.ts";
import { VAIN_MAX, Waker } from "../../acceptance/mlx5-wake.ts";
import { Flow, type FlowOptions, finished, until } from "../../acceptance/support.ts";
import { ethernet, ipv4, udp } from "../../support/frames.ts";
import { hashInput, ipv4Vectors, ipv6Vectors, microsoftKey, toeplitz } from "../e1000/toeplitz.ts";

const [ibdev, engine, ...parts] = process.argv.slice(2);
const IDLE_MS = 700;
/** The parts that need a second lcore, whose thread takes a while to start. */
const withSender = ["wake", "verbsWake"];
const needsSender = parts.length === 0 || parts.some((part) => withSender.includes(part));
const engines = { lcores: needsSender ? "0,1" : "0", noHuge: true, engine: engine as EngineName };
const pm = await Pollmode.start({ ...engines, memoryMib: 96, mbufs: 12288 });

/** Of the emulator that is loaded beneath this process. */
async function control(command: string): Promise<string> {
  const socket = connect(process.env.SOFTMLX5_CONTROL!);
  socket.end(`${command}\n`);
  const answer = await text(socket);
  assert.match(answer, /^ok/, command);
  return answer;
}

async function open(
  args: string,
  config: Partial<DeviceConfig> = {},
  prepare?: (port: Port) => void,
): Promise<Port> {
  const port = await pm.attach(`net_rdma0,ibdev=${ibdev},${args}`);
  prepare?.(port);
  await port.configure({ rxQueues: 1, txQueues: 1, rxDescriptors: 64, txDescriptors: 64, ...config });
  await port.start();
  return port;
}

async function close(port: Port): Promise<void> {
  assert.deepEqual(port.faults(), {});
  const { rxErrors, txErrors } = port.stats();
  assert.deepEqual({ rxErrors, txErrors }, { rxErrors: 0, txErrors: 0 });
  await port.stop();
  assert.deepEqual(pm.pool.audit([]), []);
  await pm.detach(port);
}

/** Numbered frames from each queue of a port to itself. */
async function loop(
  args: string,
  frames: Omit<FlowOptions, "destination" | "window">,
  queues = 1,
): Promise<void> {
  const isolated = (port: Port) => port.flow.isolate(queues > 1);
  const port = await open(args, { rxQueues: queues, txQueues: queues }, isolated);
  if (frames.sizeMax > 1514) {
    await port.stop();
    await port.setMtu(frames.sizeMax - 14);
    await port.start();
  }
  const flows = addressesOf(port).map((destination) => new Flow(pm, { ...frames, window: 48, destination }));
  const streams = flows.flatMap((flow, queue) => [flow.checker(port, queue), flow.sender(port, queue)]);
  await pm.forward(0, streams);
  await finished(flows, IDLE_MS);
  await pm.stop(0);
  for (const flow of flows) {
    assert.deepEqual(flow.result(), flow.perfect);
    flow.free();
  }
  await close(port);
}

const ADDRESS = { v4: { from: [192, 0, 2, 1], to: [192, 0, 2, 2] } };

/** A frame whose last four bytes are its number. */
function numbered(number: number, bytes: number): Buffer {
  const payload = Buffer.alloc(bytes, 0x5a);
  payload.writeUInt32LE(number, bytes - 4);
  return payload;
}

/** Tags put in and taken off by the NIC; checksums made and checked. */
async function offloads(mode: string): Promise<void> {
  const wanted = ["rxChecksum", "txChecksum", "vlanStrip", "vlanInsert"] as const;
  const port = await open(`mode=${mode}`, { offloads: [...wanted] });
  const destination = port.mac;
  const { from, to } = ADDRESS.v4;
  const L4 = OlFlag.TX_UDP_CKSUM | OlFlag.TX_IP_CKSUM | OlFlag.TX_IPV4;
  const plain = (k: number) => ipv4(17, udp(numbered(k, 40), ADDRESS.v4), { from, to, destination });
  const spoilt = (k: number, at: number) => {
    const frame = plain(k);
    frame[at]! ^= 0x40;
    return frame;
  };
  const unsummed = (k: number) => {
    const frame = plain(k);
    frame.fill(0, 24, 26);
    const pseudo = [...from, ...to, 0, 17, frame[38]!, frame[39]!];
    let sum = 0;
    for (let b = 0; b < pseudo.length; b += 2) sum += pseudo[b]! * 256 + pseudo[b + 1]!;
    frame.writeUInt16BE((sum & 0xffff) + (sum >>> 16), 40);
    return frame;
  };
  const good = OlFlag.RX_IP_CKSUM_GOOD | OlFlag.RX_L4_CKSUM_GOOD;
  const cases: (NoteFrame & { comes: Buffer; told: number; tci: number })[] = [];
  const add = (frame: NoteFrame, comes: Buffer, told: number, tci = 0) =>
    cases.push({ ...frame, comes, told, tci });
  for (let round = 0; round < 8; round++) {
    const k = () => cases.length;
    add({ bytes: plain(k()) }, plain(k()), good);
    add({ bytes: spoilt(k(), 40) }, spoilt(k(), 40), OlFlag.RX_IP_CKSUM_GOOD);
    add({ bytes: spoilt(k(), 22) }, spoilt(k(), 22), OlFlag.RX_L4_CKSUM_GOOD);
    add({ bytes: unsummed(k()), flags: L4, offload: 14 | (20 << 7) }, plain(k()), good);
    const vlan = 0x6123 + round;
    add({ bytes: plain(k()), flags: OlFlag.TX_VLAN, vlan }, plain(k()), good | OlFlag.RX_VLAN_STRIPPED, vlan);
    const other = ethernet(0x88b6, numbered(k(), 50), { destination });
    add({ bytes: other }, other, 0);
  }
  const told = await notesOf(pm, [port], cases, cases.length, IDLE_MS);
  const looked = good | OlFlag.RX_IP_CKSUM_BAD | OlFlag.RX_L4_CKSUM_BAD | OlFlag.RX_VLAN_STRIPPED;
  cases.forEach(({ comes, told: flags, tci }, k) => {
    const { count, length, sum } = told[k]!;
    assert.deepEqual(
      { count, length, sum },
      { count: 1, length: comes.length, sum: sumOf(comes) },
      `frame ${k}`,
    );
    assert.equal(told[k]!.flags & looked, flags, `flags of frame ${k}`);
    if (tci !== 0) assert.equal(told[k]!.vlan, tci, `tag of frame ${k}`);
  });
  await close(port);
}

/** Published hashes, and a redirection table and a key that are changed while the port runs. */
async function spread(args: string): Promise<void> {
  const port = await open(args, { rxQueues: 4, rss: { key: microsoftKey } });
  // several of each, one behind another: what is alike the NIC tells in one compressed completion
  const flows = [...ipv4Vectors, ...ipv6Vectors].flatMap((vector) =>
    [6, 6, 6, 6, 17, 17, 17, 17].map((protocol) => ({ vector, protocol })),
  );
  const frames = flows.map(({ vector, protocol }, number) => {
    const input = hashInput(vector, true);
    const isV4 = input.length === 12;
    const ports = [...input.subarray(-4)];
    const body = Buffer.concat([
      Buffer.from([...ports, 0, 28, 0, 0]),
      Buffer.from([0, 0, 0, 0, 0x50, 0, 0, 0]),
    ]);
    const payload = Buffer.concat([body, numbered(number, 12)]);
    const [from, to] = isV4
      ? [input.subarray(0, 4), input.subarray(4, 8)]
      : [input.subarray(0, 16), input.subarray(16, 32)];
    if (isV4)
      return { bytes: ipv4(protocol, payload, { from: [...from], to: [...to], destination: port.mac }) };
    const header = Buffer.from([0x60, 0, 0, 0, 0, payload.length, protocol, 64, ...from, ...to]);
    return { bytes: ethernet(0x86dd, Buffer.concat([header, payload]), { destination: port.mac }) };
  });
  const look = async (key: Uint8Array, table: readonly number[]) => {
    const told = await notesOf(pm, [port], frames, frames.length, IDLE_MS);
    flows.forEach(({ vector }, k) => {
      const hash = toeplitz(key, hashInput(vector, true));
      const found = { count: told[k]!.count, queue: told[k]!.queue };
      assert.deepEqual(found, { count: 1, queue: table[hash % table.length] }, `flow ${k}`);
      const isHashed = (told[k]!.flags & OlFlag.RX_RSS_HASH) !== 0;
      if (isHashed || args.startsWith("mode=dv")) assert.equal(told[k]!.hash, hash, `hash of flow ${k}`);
    });
  };
  await look(microsoftKey, [0, 1, 2, 3]);
  const other = { key: Uint8Array.from(microsoftKey).reverse(), table: [2, 2, 0, 3, 1, 0, 2, 1] };
  await port.setRss(other);
  await look(other.key, other.table);
  await close(port);
}

/** Which addresses come to us, and which of those to the kernel as well: it wants its own address and all groups. */
async function steering(): Promise<void> {
  const port = await open("mode=dv");
  const extra = Uint8Array.of(2, 0, 0x5e, 1, 2, 3);
  const group = Uint8Array.of(1, 0, 0x5e, 1, 2, 3);
  const broadcast = Buffer.alloc(6, 0xff);
  const send = async (what: string, destination: Uint8Array, us: number, kernel: number) => {
    const frames = [0, 1, 2, 3].map((k) => ({ bytes: ethernet(0x88b6, numbered(k, 50), { destination }) }));
    await control("reset-counters 0");
    const told = await notesOf(pm, [port], frames, frames.length + 1, 40);
    const { kernel_rx } = JSON.parse((await control("counters 0")).replace(/^ok /, ""));
    const found = { us: told.filter(({ count }) => count === 1).length, kernel: kernel_rx as number };
    assert.deepEqual(found, { us, kernel }, what);
  };
  await send("its own address", port.mac, 4, 0);
  await send("broadcast", broadcast, 4, 4);
  await send("an address that is not added yet", extra, 0, 0);
  await port.addMac(extra);
  await send("an added address", extra, 4, 0);
  await port.removeMac(extra);
  await send("an address that was removed", extra, 0, 0);
  await send("a group that is not asked for", group, 0, 4);
  await port.setMulticast([group]);
  await send("a group", group, 4, 4);
  await port.setPromiscuous(true);
  await send("promiscuous", extra, 4, 0);
  await port.setPromiscuous(false);
  await send("no longer promiscuous", extra, 0, 0);
  await close(port);
}

/** A completion in error stops its queue, with the syndrome; so does an event of the link what it should. */
async function faults(mode: string): Promise<void> {
  for (const [way, number] of [
    ["rx", 0xe],
    ["tx", 0xd],
  ] as const) {
    const port = await open(`mode=${mode}`);
    const errors: string[] = [];
    port.on("error", ({ code }) => errors.push(code));
    await control(`${way}-error 0 4`);
    const frame = ethernet(0x88b6, numbered(0, 50), { destination: port.mac });
    await notesOf(pm, [port], [{ bytes: frame }], 1, 100);
    await until("the error", () => errors.length > 0, 1_000);
    assert.deepEqual(errors, ["QUEUE_CQE_ERROR"]);
    const fault = Object.values(port.faults())[0]!;
    assert.match(JSON.stringify(fault), mode === "dv" ? new RegExp(`${(number << 8) | 4}|protection`) : /./);
    await port.stop();
    assert.deepEqual(pm.pool.audit([]), []);
    await pm.detach(port);
  }
}

async function link(): Promise<void> {
  const port = await open("mode=dv");
  const seen: boolean[] = [];
  port.on("link", ({ up }) => seen.push(up));
  for (const state of ["down", "up"]) {
    await control(`link 0 ${state}`);
    await until(`link ${state}`, () => seen.at(-1) === (state === "up"), 1_000);
    assert.equal(port.link().up, state === "up");
  }
  await close(port);
}

/** An lcore sleeps between frames, and is woken by each. */
async function wake(args: string): Promise<void> {
  const waker = await Waker.start(pm, `net_rdma0,ibdev=${ibdev},${args}`, 2);
  const { came, wrong, vain, medianMs, sleeps } = await waker.trickle(16, 8);
  assert.deepEqual({ came, wrong }, { came: 16, wrong: 0 });
  assert.ok(vain <= VAIN_MAX && medianMs < 100, `${vain} frames woke nobody; most took ${medianMs} ms`);
  assert.ok(sleeps >= 4, `${sleeps} sleeps`);
  await waker.stop();
  await close(waker.port);
}

const bare = "mprq_en=0,rxq_cqe_comp_en=0,txq_mpw_en=0";
const all: Record<string, () => Promise<void>> = {
  cyclic: () => loop(`mode=dv,${bare}`, { sizeMin: 64, sizeMax: 80, total: 70_000 }),
  runs: () => loop("mode=dv,txq_mpw_en=1,rxq_cqe_comp_en=1", { sizeMin: 64, sizeMax: 128, total: 12_000 }),
  striding: () => loop("mode=dv,mprq_en=1,rxq_cqe_comp_en=1", { sizeMin: 64, sizeMax: 1500, total: 6_000 }),
  jumbo: () => loop(`mode=dv,${bare}`, { sizeMin: 64, sizeMax: 9000, total: 1_000 }),
  queues: () => loop(`mode=dv,${bare}`, { sizeMin: 64, sizeMax: 300, total: 1_000 }, 4),
  verbs: () => loop("mode=ibv", { sizeMin: 64, sizeMax: 3000, total: 4_000 }),
  offloads: () => offloads("dv"),
  spread: () => spread("mode=dv,rxq_cqe_comp_en=0"),
  spreadCompressed: () => spread("mode=dv,rxq_cqe_comp_en=1"),
  spreadVerbs: () => spread("mode=ibv"),
  steering,
  faults: () => faults("dv"),
  verbsFaults: () => faults("ibv"),
  wake: () => wake("mode=dv"),
  verbsWake: () => wake("mode=ibv"),
  link,
};

for (const part of parts.length > 0 ? parts : Object.keys(all)) {
  const start = performance.now();
  try {
    await all[part]!();
  } catch (error) {
    console.log(`${part}: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
    process.exit(1);
  }
  console.log(`${part}: ${(performance.now() - start).toFixed(0)} ms`);
}
await pm.close();
process.exit(0);
