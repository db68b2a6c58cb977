// A port of two rings with taps on them, over a rig: what a test puts into one end is captured at the other.
import { StampClock } from "../../src/capture/clock.ts";
import { RingReader } from "../../src/capture/reader.ts";
import { PortTaps, type TapContext, type TapOptions } from "../../src/capture/taps.ts";
import type { EthDevice } from "../../src/ethdev/driver.ts";
import { Port } from "../../src/ethdev/port.ts";
import { MIB, PCAP_FRAME_BYTES_MAX } from "../../src/limits.ts";
import { interfaceDescription, sectionHeader } from "../../src/pcap/pcapng.ts";
import { type CapturedPacket, PacketReader } from "../../src/pcap/reader.ts";
import type { Rig } from "../support/engines.ts";
import { makeRing, RingEnd } from "../support/lcore.ts";

export class TapRig {
  readonly rig: Rig;
  readonly rx: RingEnd;
  readonly tx: RingEnd;
  readonly port: Port;
  readonly context: TapContext;
  private readonly buffer = Buffer.alloc(4 * MIB + 2 * PCAP_FRAME_BYTES_MAX);

  /** `entries`: how many packets the transmit ring takes. */
  constructor(rig: Rig, entries = 256) {
    this.rig = rig;
    this.rx = new RingEnd(rig);
    this.tx = new RingEnd(rig, makeRing(rig, entries));
    const { rx, tx } = this;
    const device = {
      info: { driver: "net_test", rxQueuesMax: 2, txQueuesMax: 2, frameBytesMax: 9000 },
      mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
      get rxQueues() {
        return [rx.block.offset];
      },
      get txQueues() {
        return [tx.block.offset];
      },
      link: () => ({ up: true, speed: 10_000, duplex: "full" as const }),
      configure: async () => {},
      start: async () => {},
      stop: async () => {},
      close: async () => {},
    } satisfies EthDevice;
    this.port = new Port(0, "net_test0", device, rig.arena);
    const clock = new StampClock(rig.private, () => performance.now());
    this.context = { zone: rig.private, clock, quiesce: async () => {} };
  }

  taps(options: TapOptions = {}): PortTaps {
    return new PortTaps(this.context, this.port, { ringBytes: MIB, ...options });
  }

  reader({ base, plan }: PortTaps): RingReader {
    const { u8, u32, f64 } = this.rig.arena;
    return new RingReader({ u8, u32, f64, base }, plan);
  }

  /** The packets that a reader finds now, decoded. */
  read(reader: RingReader, limits: { packets?: number; bytes?: number } = {}): CapturedPacket[] {
    const { packets = Number.POSITIVE_INFINITY, bytes = 4 * MIB } = limits;
    const { bytes: length } = reader.read(this.buffer, { packets, bytes });
    return decode(Buffer.from(this.buffer.subarray(0, length)));
  }

  /** Lets packets in at the receive end; they are the caller's afterwards. */
  receive(packets: readonly number[]): number[] {
    this.rx.put(packets);
    return this.rig.receive(this.rx.block.offset, packets.length);
  }

  send(packets: readonly number[]): number {
    return this.rig.send(this.tx.block.offset, packets);
  }
}

/** Enhanced Packet Blocks as packets. */
export function decode(blocks: Buffer): CapturedPacket[] {
  const reader = new PacketReader("test");
  const section = Buffer.concat([sectionHeader(), interfaceDescription()]);
  return [...reader.push(section), ...reader.push(blocks)].map((one) => ({
    ...one,
    data: Buffer.from(one.data),
  }));
}
