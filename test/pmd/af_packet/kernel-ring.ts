// The kernel's side of a TPACKET_V2 ring, in the arena of a test.

import type { RingShape } from "../../../pmd/af_packet/arguments.ts";
import { RxStatus, Slot, TxStatus, VnetHeader } from "../../../pmd/af_packet/layout.ts";
import { AfPacketQueue, layRing } from "../../../pmd/af_packet/queue.ts";
import { Queue } from "../../../src/hot/layout.ts";
import type { Rig } from "../../support/engines.ts";

/** Where af_packet.c puts a frame whose socket has PACKET_VNET_HDR. */
const FRAME_AT = 76;

export interface Shown {
  status?: number;
  mac?: number;
  length?: number;
  snaplen?: number;
  tci?: number;
  tpid?: number;
  packetType?: number;
  /** csum_start and csum_offset of the virtio_net_hdr. */
  checksum?: [start: number, offset: number];
}

export class KernelRing {
  readonly queue: AfPacketQueue;
  readonly shape: RingShape;
  private readonly rig: Rig;
  private readonly view: DataView;
  private readonly start: number;
  private next = 0;

  constructor(rig: Rig, shape: RingShape) {
    this.rig = rig;
    this.shape = shape;
    this.queue = new AfPacketQueue(rig.private, "rx queue 0 of a test", 0);
    this.start = rig.private.allocate("a ring", shape.blocks * shape.blockBytes);
    this.view = new DataView(rig.arena.memory.buffer);
    layRing(this.queue.block, this.start, shape);
    this.queue.block.set(Queue.CACHE, rig.cache);
    this.queue.run();
  }

  get block(): number {
    return this.queue.block.offset;
  }

  slot(k: number): number {
    const each = Math.floor(this.shape.blockBytes / this.shape.frameBytes);
    const inRing = k % this.shape.frames;
    return (
      this.start + Math.floor(inRing / each) * this.shape.blockBytes + (inRing % each) * this.shape.frameBytes
    );
  }

  status(k: number): number {
    return this.view.getUint32(this.slot(k) + Slot.STATUS, true);
  }

  setStatus(k: number, status: number): void {
    this.view.setUint32(this.slot(k) + Slot.STATUS, status, true);
  }

  /** Shows a frame in the next slot; false if that is still the user's. */
  show(frame: Uint8Array, shown: Shown = {}): boolean {
    const at = this.slot(this.next);
    if (this.view.getUint32(at, true) & RxStatus.USER) return false;
    const { mac = FRAME_AT, length = frame.length, snaplen = frame.length, checksum } = shown;
    this.rig.arena.u8.fill(0, at, at + FRAME_AT);
    this.rig.arena.u8.set(frame, at + FRAME_AT);
    this.view.setUint32(at + Slot.LEN, length, true);
    this.view.setUint32(at + Slot.SNAPLEN, snaplen, true);
    this.view.setUint16(at + Slot.MAC, mac, true);
    this.view.setUint16(at + Slot.VLAN_TCI, shown.tci ?? 0, true);
    this.view.setUint16(at + Slot.VLAN_TPID, shown.tpid ?? 0, true);
    this.view.setUint8(at + Slot.PACKET_TYPE, shown.packetType ?? 0);
    if (checksum) {
      const header = at + FRAME_AT - VnetHeader.BYTES;
      this.view.setUint8(header + VnetHeader.FLAGS, VnetHeader.NEEDS_CSUM);
      this.view.setUint16(header + VnetHeader.CSUM_START, checksum[0], true);
      this.view.setUint16(header + VnetHeader.CSUM_OFFSET, checksum[1], true);
    }
    this.view.setUint32(at + Slot.STATUS, shown.status ?? RxStatus.USER, true);
    this.next++;
    return true;
  }

  /** Takes the frame of the next transmit slot away; undefined if it does not wait to be sent. */
  take(): Buffer | undefined {
    const at = this.slot(this.next);
    if (this.view.getUint32(at, true) !== TxStatus.SEND_REQUEST) return undefined;
    const from = at + Slot.TX_DATA;
    const frame = Buffer.from(this.rig.arena.u8.slice(from, from + this.view.getUint32(at + Slot.LEN, true)));
    this.view.setUint32(at, TxStatus.AVAILABLE, true);
    this.next++;
    return frame;
  }

  /** As after a stop and a start: all slots are the kernel's. */
  restart(): void {
    for (let k = 0; k < this.shape.frames; k++) this.setStatus(k, RxStatus.KERNEL);
    layRing(this.queue.block, this.start, this.shape);
    this.next = 0;
    this.queue.run();
  }

  free(): void {
    this.queue.free();
    this.rig.private.free(this.start);
  }
}

/** A packet's bytes, all its segments together. */
export function bytesOf(rig: Rig, packet: number): Buffer {
  const parts = rig.segments(packet).map((mbuf) => {
    const [data, length] = rig.words(mbuf, 2) as [number, number];
    return rig.arena.u8.slice(data, data + length);
  });
  return Buffer.concat(parts);
}
