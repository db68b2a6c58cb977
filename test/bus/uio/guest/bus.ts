// What the guest's programs have in common: an arena with a DMA zone of hugepages, and the PCI bus over it. Each prints
// one line of JSON, which the test on the host reads.
import { PciBus } from "../../../../src/bus/open.ts";
import { MIB } from "../../../../src/limits.ts";
import { Arena } from "../../../../src/memory/arena.ts";
import { IovaMap, type IovaMode } from "../../../../src/memory/iova.ts";
import { dmaZone, type Zone } from "../../../../src/memory/zone.ts";

export interface BusOptions {
  memoryMib?: number;
  noHuge?: boolean;
  iova?: IovaMode;
}

export interface Opened extends Disposable {
  readonly arena: Arena;
  readonly dma: Zone;
  readonly iova: IovaMap;
  readonly bus: PciBus;
  readonly warnings: string[];
}

export function openBus({ memoryMib = 8, noHuge = false, iova = "pa" }: BusOptions = {}): Opened {
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const arena = new Arena(256 * MIB);
  const dma = dmaZone(arena, { bytes: memoryMib * MIB, noHuge, warn });
  const map = new IovaMap(iova, dma);
  const bus = new PciBus({ arena, dma, iova: map, warn });
  const close = () => {
    bus.close();
    dma.close();
    arena.close();
  };
  return { arena, dma, iova: map, bus, warnings, [Symbol.dispose]: close };
}
