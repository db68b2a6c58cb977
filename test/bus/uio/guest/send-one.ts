// One frame by one legacy descriptor: the smallest DMA there is. That the NIC reports it done shows that it has read
// the descriptor at the address it was given, and written there. 82574 datasheet 7.2.10.1 and 10.2.6; the 82576's
// registers of transmit queue 0 stand at these addresses too (datasheet 8.12.9 to 8.12.15, aliases).
import type { PciFunction } from "../../../../src/bus/pci-function.ts";
import { PAGE_BYTES } from "../../../../src/limits.ts";
import type { Nic } from "../../vfio/guest/nic.ts";
import type { Opened } from "./bus.ts";

const CTRL = 0x0000;
const CTRL_SLU = 1 << 6;
const TCTL = 0x0400;
const TCTL_EN = 1 << 1;
const TDBAL = 0x3800;
const TDBAH = 0x3804;
const TDLEN = 0x3808;
const TDH = 0x3810;
const TDT = 0x3818;
const TXDCTL = 0x3828;
const TXDCTL_ENABLE = 1 << 25;
const EOP_IFCS_RS = 0x0b;
const DD = 1;
const FRAME_BYTES = 64;

export function sendOne({ arena, dma, iova }: Opened, device: PciFunction, nic: Nic): unknown {
  const ring = dma.allocate("ring", PAGE_BYTES, PAGE_BYTES);
  const frame = dma.allocate("frame", PAGE_BYTES, PAGE_BYTES);
  const words = arena.u32.subarray(ring >>> 2, (ring >>> 2) + 4);
  const bytes = new DataView(arena.memory.buffer, ring, 16);
  arena.u8.fill(0xff, frame, frame + 6);
  bytes.setBigUint64(0, iova.of(frame), true);
  words[2] = FRAME_BYTES | (EOP_IFCS_RS << 24);
  words[3] = 0;
  nic.write(CTRL, nic.read(CTRL) | CTRL_SLU);
  nic.write(TDBAL, Number(iova.of(ring) & 0xffff_ffffn));
  nic.write(TDBAH, Number(iova.of(ring) >> 32n));
  nic.write(TDLEN, 128);
  nic.write(TDH, 0);
  nic.write(TDT, 0);
  nic.write(TXDCTL, TXDCTL_ENABLE);
  nic.write(TCTL, TCTL_EN);
  const done = () => (Atomics.load(words, 3) & DD) !== 0;
  const send = () => {
    nic.write(TDT, 1);
    for (const end = performance.now() + 500; !done() && performance.now() < end; );
    return done();
  };
  device.setBusMaster(true);
  return { done: send(), address: `0x${iova.of(ring).toString(16)}` };
}
