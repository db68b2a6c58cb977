// One stream of an lcore, filled in by control code as an embedding program's is, between rings that a test fills and
// empties. The lcore is its block alone: the test's own thread runs its loop.
import type { DeviceInfo } from "../../src/ethdev/driver.ts";
import type { Port } from "../../src/ethdev/port.ts";
import { readStreams, type StreamCounters } from "../../src/forward/counters.ts";
import { assignStreams, emptyStreams, type StreamSpec } from "../../src/forward/streams.ts";
import { Lcore, LcoreCommand, Queue } from "../../src/hot/layout.ts";
import { LcoreControl } from "../../src/lcore/lcores.ts";
import type { Rig } from "./engines.ts";
import { makeRing, RingEnd } from "./lcore.ts";

export const PORT_MAC = Buffer.from("0a1b2c3d4e5f", "hex");

export interface RunOptions {
  burst?: number;
  /** Entries of the ring that it sends to. */
  txEntries?: number;
  info?: Partial<DeviceInfo>;
  /** Of the port it receives from and sends to: number and MAC address. */
  id?: number;
  mac?: Uint8Array;
}

/** A port with one queue each way, as far as streams look at it. */
export function fakePort(
  id: number,
  rx: RingEnd,
  tx: RingEnd,
  info: Partial<DeviceInfo> = {},
  mac: Uint8Array = PORT_MAC,
): Port {
  const port = {
    id,
    mac,
    info: { driver: "net_fake", rxQueuesMax: 1, txQueuesMax: 1, frameBytesMax: 9018, ...info },
    rxQueues: [rx.block.offset],
    txQueues: [tx.block.offset],
  };
  return port as unknown as Port;
}

export class StreamRun {
  readonly rig: Rig;
  readonly rx: RingEnd;
  readonly tx: RingEnd;
  readonly control: LcoreControl;
  readonly port: Port;

  /** By lcore 3. */
  constructor(rig: Rig, spec: Omit<StreamSpec, "rx" | "tx">, options: RunOptions = {}) {
    const { burst, txEntries = 256, info, id = 7, mac } = options;
    this.rig = rig;
    this.rx = new RingEnd(rig);
    this.tx = new RingEnd(rig, makeRing(rig, txEntries));
    this.control = new LcoreControl(rig.private, 0, { lcore: 3, cpus: [0] });
    this.port = fakePort(id, this.rx, this.tx, info, mac);
    for (const end of [this.rx, this.tx]) end.block.set(Queue.PORT, id);
    this.assign(spec, burst);
    this.control.set(Lcore.COMMAND, LcoreCommand.RUN);
  }

  assign(spec: Omit<StreamSpec, "rx" | "tx">, burst?: number): void {
    const end = { port: this.port, queue: 0 };
    const streams = [{ ...spec, rx: end, tx: end }];
    assignStreams({ zone: this.rig.private, pool: this.rig.pool, lcore: this.control, streams, burst });
  }

  /** Rounds of 256 polls. */
  run(rounds = 1): void {
    this.rig.hot.runLcore(this.control.block, rounds);
  }

  /** Puts packets in, runs, and takes out what was sent. */
  pass(packets: readonly number[]): number[] {
    if (this.rx.put(packets) !== packets.length) throw new Error("the ring is too small");
    this.run();
    return this.tx.take();
  }

  /** The same with frames; the packets are freed. */
  frames(frames: readonly Uint8Array[], room?: number): Buffer[] {
    const sent = this.pass(frames.map((frame) => this.rig.packet(frame, room)));
    const seen = sent.map((mbuf) => this.rig.frame(mbuf));
    this.rig.free(sent);
    return seen;
  }

  get counters(): StreamCounters {
    return readStreams(this.rig.arena, this.control)[0]!;
  }

  /** As Pollmode.stop() does. */
  stop(): void {
    emptyStreams(this.rig.pool, this.control);
  }
}
