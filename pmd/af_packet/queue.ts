// A queue of net_af_packet: its block, and from start to stop a socket with a ring laid over the arena.
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import { MAP_SHARED } from "../../src/libc/abi.ts";
import { PAGE_BYTES } from "../../src/limits.ts";
import type { Arena } from "../../src/memory/arena.ts";
import type { Range } from "../../src/memory/ranges.ts";
import type { Zone } from "../../src/memory/zone.ts";
import type { RingShape } from "./arguments.ts";
import { AfPacket } from "./layout.ts";
import { PacketSocket } from "./socket.ts";

/** Words at SEGMENTS: the longest frame in the smallest segments (limits.ts: 64 KiB, 128 bytes). */
const SEGMENT_WORDS = 520;

export class AfPacketQueue {
  readonly block: QueueBlock;
  private readonly arena: Arena;
  private readonly zone: Zone;
  private readonly what: string;
  private readonly segments: number;
  private socket: PacketSocket | undefined;
  private range: Range | undefined;
  private drops = 0;

  /** `what` is named in messages: port, way, index. */
  constructor(zone: Zone, what: string, index: number) {
    this.zone = zone;
    this.arena = zone.arena;
    this.what = what;
    this.block = new QueueBlock(zone, what, 0, index);
    this.segments = zone.allocate(`segments of ${what}`, 4 * SEGMENT_WORDS);
    this.block.set(AfPacket.SEGMENTS, this.segments);
  }

  /** Makes the receive socket and its ring, bound to the interface `index`. */
  openReceive(shape: RingShape, index: number, outgoing: boolean): PacketSocket {
    this.block.set(AfPacket.OUTGOING, outgoing ? 1 : 0);
    return this.open(
      shape,
      (socket) => socket.receiveRing(shape, outgoing),
      (socket) => socket.listen(index),
    );
  }

  openTransmit(shape: RingShape, index: number, qdiscBypass: boolean): PacketSocket {
    const ring = (socket: PacketSocket) => socket.transmitRing(shape, qdiscBypass);
    return this.open(shape, ring, (socket) => socket.bindForSending(index));
  }

  private open(
    shape: RingShape,
    ring: (socket: PacketSocket) => void,
    attach: (socket: PacketSocket) => void,
  ): PacketSocket {
    const socket = new PacketSocket(this.what);
    this.socket = socket;
    ring(socket);
    const bytes = shape.blocks * shape.blockBytes;
    this.range = this.arena.reserve(`ring of ${this.what}`, bytes, PAGE_BYTES);
    this.arena.overlay(this.range, socket.fd, 0, MAP_SHARED);
    layRing(this.block, this.range.start, shape);
    this.block.set(AfPacket.FD, socket.fd);
    this.block.set(AfPacket.PENDING, 0);
    attach(socket);
    return socket;
  }

  run(): void {
    this.block.run(QueueKind.AF_PACKET);
  }

  /** Frames that found the receive ring full. */
  dropped(): number {
    this.drops += this.socket?.takeDrops() ?? 0;
    return this.drops;
  }

  /** No lcore is within a burst any more. */
  close(): void {
    if (this.socket) this.dropped();
    if (this.range) this.arena.release(this.range);
    this.socket?.close();
    this.range = undefined;
    this.socket = undefined;
  }

  free(): void {
    this.close();
    this.zone.free(this.segments);
    this.block.free();
  }
}

/** Has the queue begin at the first slot of a ring at `start`. */
export function layRing(block: QueueBlock, start: number, shape: RingShape): void {
  const each = Math.floor(shape.blockBytes / shape.frameBytes);
  block.set(AfPacket.RING, start);
  block.set(AfPacket.FRAME_BYTES, shape.frameBytes);
  block.set(AfPacket.BLOCK_BYTES, shape.blockBytes);
  block.set(AfPacket.BLOCK_FRAMES, each);
  block.set(AfPacket.BLOCKS, shape.blocks);
  block.set(AfPacket.SLOT, start);
  block.set(AfPacket.BLOCK, 0);
  block.set(AfPacket.LEFT, each);
}
