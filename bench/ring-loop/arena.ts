// The bench's arena from the control side: the layout as flags for cc, the state after start, and who holds which mbuf.
import { Buffer, Mbuf } from "../../src/hot/layout.ts";
import { App, At, Buffers, Command, Device, Queue, Register, Ring, RxDesc } from "./layout.ts";

const defines = {
  RING_SIZE: Ring.SIZE,
  RING_LOT: Ring.LOT,
  BUS_HIGH: Ring.BUS_HIGH,
  COMMAND_FRAME: Command.FRAME,
  COMMAND_REPORT: Command.REPORT,
  HEADROOM: Buffer.HEADROOM,
  AT_QUEUE: At.QUEUE,
  AT_REGISTERS: At.REGISTERS,
  AT_DEVICE: At.DEVICE,
  AT_PKTS: At.PKTS,
  AT_RX_RING: At.RX_RING,
  AT_TX_RING: At.TX_RING,
  REGISTER_RX_TAIL: Register.RX_TAIL,
  REGISTER_TX_TAIL: Register.TX_TAIL,
  APP_TOUCH: App.TOUCH,
  APP_MACSWAP: App.MACSWAP,
  // C names these by its structs, and asserts that they lie here
  MBUF_DATA: Mbuf.DATA,
  MBUF_BUF: Mbuf.BUF,
  MBUF_BYTES: Mbuf.BYTES,
  QUEUE_SUM: Queue.SUM,
  QUEUE_BYTES: Queue.BYTES,
  DEVICE_LAST: Device.LAST,
};

/** The layout as flags for cc. */
export const layoutFlags: readonly string[] = Object.entries(defines).map(([name, v]) => `-D${name}=${v}u`);

/** Puts the arena into the state after start: receive ring full of buffers, the rest free, nothing sent. */
export function resetArena(u32: Uint32Array, mbufs: number): void {
  u32.fill(0, 0, At.MBUFS >>> 2);
  const word = (at: number, value: number) => {
    u32[at >>> 2] = value;
  };
  word(At.QUEUE + Queue.RX_RING, At.RX_RING);
  word(At.QUEUE + Queue.RX_MBUFS, At.RX_MBUFS);
  word(At.QUEUE + Queue.TX_RING, At.TX_RING);
  word(At.QUEUE + Queue.TX_MBUFS, At.TX_MBUFS);
  word(At.QUEUE + Queue.FREE, At.FREE);
  word(At.QUEUE + Queue.FREE_COUNT, mbufs - Ring.SIZE);
  word(At.REGISTERS + Register.RX_TAIL, Ring.SIZE - 1);
  for (let k = 0; k < mbufs; k++) {
    const mbuf = At.MBUFS + k * Mbuf.BYTES;
    const buffer = At.BUFFERS + k * Buffers.STRIDE;
    u32.fill(0, mbuf >>> 2, (mbuf + Mbuf.BYTES) >>> 2);
    word(mbuf + Mbuf.BUF, buffer);
    word(mbuf + Mbuf.BUF_LEN, Buffers.STRIDE);
    if (k >= Ring.SIZE) word(At.FREE + (mbufs - 1 - k) * 4, mbuf);
    else {
      word(At.RX_MBUFS + k * 4, mbuf);
      word(At.RX_RING + k * RxDesc.BYTES + RxDesc.ADDRESS, buffer + Buffer.HEADROOM);
      word(At.RX_RING + k * RxDesc.BYTES + RxDesc.ADDRESS_HIGH, Ring.BUS_HIGH);
    }
  }
}

/** Every mbuf that the receive ring, the transmit ring and the free stack hold, in order of their offsets. */
export function heldMbufs(u32: Uint32Array): number[] {
  const word = (at: number) => u32[at >>> 2]!;
  const held: number[] = [];
  for (let k = 0; k < Ring.SIZE; k++) held.push(word(At.RX_MBUFS + k * 4));
  for (let k = 0; k < word(At.QUEUE + Queue.FREE_COUNT); k++) held.push(word(At.FREE + k * 4));
  const end = word(At.QUEUE + Queue.TX_NEXT);
  for (let k = word(At.QUEUE + Queue.TX_CLEAN); k !== end; k = (k + 1) % Ring.SIZE)
    held.push(word(At.TX_MBUFS + k * 4));
  return held.sort((a, b) => a - b);
}
