// net_ring, control side. `net_ring0` sends to itself. `nodeaction=NAME:NODE:CREATE` makes named rings, and
// `nodeaction=NAME:NODE:ATTACH` on another port uses the same ones the other way round: what one port sends, the
// other receives. (DPDK attaches to the rings as they are; a pair of ports that talk to each other is of more use.)

import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import { PollmodeError } from "../../src/errors.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  Driver,
  DriverContext,
  EthDevice,
  LinkStatus,
} from "../../src/ethdev/driver.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import { Ring } from "../../src/hot/ring.ts";
import { QUEUES_MAX } from "../../src/limits.ts";
import type { MbufPool } from "../../src/memory/pool.ts";
import type { Zone } from "../../src/memory/zone.ts";
import { RingQueue } from "./hot.ts";

/** Entries of each ring, as DPDK's net_ring. */
const RING_ENTRIES = 1024;

/** The rings of one wire: both directions, a ring a queue. Shared by the ports at its ends. */
class Wire {
  readonly forth: number[];
  readonly back: number[];
  users = 0;
  private readonly zone: Zone;

  constructor(zone: Zone, name: string, loop: boolean) {
    this.zone = zone;
    const rings = (way: string) =>
      Array.from({ length: QUEUES_MAX }, (_, k) => makeRing(zone, `${name} ${way} ${k}`));
    this.forth = rings("forth");
    this.back = loop ? this.forth : rings("back");
  }

  /** Packets that lie in the rings; empties them. Nobody uses them. */
  drain(pool: MbufPool): void {
    const { u32 } = this.zone.arena;
    for (const ring of new Set([...this.forth, ...this.back])) {
      const at = (word: number) => u32[(ring + word) >>> 2]!;
      const mbufs: number[] = [];
      for (let k = at(Ring.HEAD); k !== at(Ring.TAIL); k = (k + 1) >>> 0) {
        mbufs.push(u32[(at(Ring.WORDS) >>> 2) + (k & at(Ring.MASK))]!);
      }
      pool.give(mbufs);
      for (const word of [Ring.HEAD, Ring.TAIL, Ring.SEEN_HEAD, Ring.SEEN_TAIL]) u32[(ring + word) >>> 2] = 0;
    }
  }

  free(): void {
    for (const ring of new Set([...this.forth, ...this.back])) this.zone.free(ring);
  }
}

function makeRing(zone: Zone, name: string): number {
  const ring = zone.allocate(`ring ${name}`, Ring.BYTES + 4 * RING_ENTRIES);
  zone.arena.u32[(ring + Ring.MASK) >>> 2] = RING_ENTRIES - 1;
  zone.arena.u32[(ring + Ring.WORDS) >>> 2] = ring + Ring.BYTES;
  return ring;
}

const wires = new WeakMap<Zone, Map<string, Wire>>();

export const ringDriver: Driver = {
  name: "net_ring",
  usage: "nodeaction=NAME:NODE:CREATE|ATTACH",
  probe: async (devargs, context, events) => new RingDevice(devargs, context, events),
};

class RingDevice implements EthDevice {
  readonly info;
  readonly mac = Uint8Array.of(0x02, 0, 0, 0, 0, 0x01);
  private readonly context: DriverContext;
  private readonly wire: Wire;
  private readonly key: string | undefined;
  private readonly attached: boolean;
  private rx: QueueBlock[] = [];
  private tx: QueueBlock[] = [];
  private started = false;
  /** As setLink() says since the last start. */
  private enabled = true;
  private readonly events: DeviceEvents;

  constructor(devargs: Devargs, context: DriverContext, events: DeviceEvents) {
    this.events = events;
    const reader = new DevargsReader(devargs);
    const action = reader.string("nodeaction");
    reader.end();
    this.context = context;
    const limit = { rxQueuesMax: QUEUES_MAX, txQueuesMax: QUEUES_MAX };
    this.info = { driver: "net_ring", ...limit, frameBytesMax: context.pool.dataRoom };
    const named = action === undefined ? undefined : parseAction(devargs.name, action);
    this.key = named?.key;
    this.attached = named?.attach ?? false;
    this.wire = this.findWire(devargs.name);
    this.wire.users++;
  }

  private findWire(port: string): Wire {
    const zone = this.context.private;
    if (this.key === undefined) return new Wire(zone, port, true);
    const known = wires.get(zone) ?? new Map<string, Wire>();
    wires.set(zone, known);
    const wire = known.get(this.key);
    if (this.attached && wire) return wire;
    if (this.attached || wire) {
      const message = `${port}: nodeaction ring "${this.key}" ${wire ? "exists already" : "does not exist"}`;
      const fix = wire ? "ATTACH to it, or choose another name" : "CREATE it in an earlier --vdev";
      throw new PollmodeError("RING_NAME", message, fix);
    }
    const made = new Wire(zone, this.key, false);
    known.set(this.key, made);
    return made;
  }

  get rxQueues(): number[] {
    return this.rx.map((queue) => queue.offset);
  }
  get txQueues(): number[] {
    return this.tx.map((queue) => queue.offset);
  }

  async configure(config: DeviceConfig): Promise<void> {
    this.release();
    const { forth, back } = this.wire;
    this.rx = this.queues("rx", config.rxQueues, this.attached ? forth : back);
    this.tx = this.queues("tx", config.txQueues, this.attached ? back : forth);
  }

  private queues(way: string, count: number, rings: number[]): QueueBlock[] {
    return Array.from({ length: count }, (_, index) => {
      const queue = new QueueBlock(this.context.private, `${way} queue ${index} of net_ring`, 0, index);
      queue.set(RingQueue.RING, rings[index]!);
      return queue;
    });
  }

  /** As DPDK's it brings the link up. */
  async start(): Promise<void> {
    this.started = true;
    this.enabled = true;
    this.run();
  }

  private run(): void {
    for (const queue of [...this.rx, ...this.tx]) queue.run(QueueKind.RING);
  }

  async stop(): Promise<void> {
    this.started = false;
    await this.halt();
  }

  private async halt(): Promise<void> {
    for (const queue of [...this.rx, ...this.tx]) queue.halt();
    await this.context.quiesce();
  }

  /** Down: neither way moves. What lies in the rings stays there. */
  async setLink(up: boolean): Promise<void> {
    if (this.enabled === up) return;
    this.enabled = up;
    if (!this.started) return;
    if (up) this.run();
    else await this.halt();
    this.events.link(this.link());
  }

  async close(): Promise<void> {
    this.release();
    if (--this.wire.users > 0) return;
    this.wire.drain(this.context.pool);
    this.wire.free();
    if (this.key !== undefined) wires.get(this.context.private)?.delete(this.key);
  }

  private release(): void {
    for (const queue of [...this.rx, ...this.tx]) queue.free();
    this.rx = [];
    this.tx = [];
  }

  link(): LinkStatus {
    return { up: this.started && this.enabled, speed: 10_000, duplex: "full" };
  }
}

function parseAction(port: string, action: string): { key: string; attach: boolean } {
  const [, name, node, what] = /^([\w.-]+):(\d+):(CREATE|ATTACH)$/.exec(action) ?? [];
  if (!name) {
    const message = `${port}: nodeaction "${action}" is not NAME:NODE:CREATE or NAME:NODE:ATTACH`;
    throw new PollmodeError("DEVARGS", message, "write it as in nodeaction=r0:0:CREATE");
  }
  return { key: `${name}:${node}`, attach: what === "ATTACH" };
}
