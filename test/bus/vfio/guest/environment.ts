// What the guest's programs have in common: an arena with a DMA zone, VFIO over it, and errors as plain data. Each
// prints one line of JSON, which the test on the host reads.
import { Vfio } from "../../../../src/bus/vfio/vfio.ts";
import { PollmodeError } from "../../../../src/errors.ts";
import { MIB } from "../../../../src/limits.ts";
import { Arena } from "../../../../src/memory/arena.ts";
import { IovaMap, type IovaMode } from "../../../../src/memory/iova.ts";
import { dmaZone, type Zone } from "../../../../src/memory/zone.ts";

export interface GuestOptions {
  memoryMib?: number;
  noHuge?: boolean;
  iova?: IovaMode;
  vfToken?: string;
}

export interface Caught {
  code: string;
  message: string;
  fix: string;
}

export interface Environment extends Disposable {
  readonly arena: Arena;
  readonly dma: Zone;
  readonly iova: IovaMap;
  readonly vfio: Vfio;
  readonly warnings: string[];
}

export function environment({
  memoryMib = 8,
  noHuge = true,
  iova = "va",
  vfToken,
}: GuestOptions): Environment {
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const arena = new Arena(256 * MIB);
  const dma = dmaZone(arena, { bytes: memoryMib * MIB, noHuge, warn });
  const map = new IovaMap(iova, dma);
  const vfio = new Vfio({ arena, dma, iova: map, warn, vfToken });
  const close = () => {
    vfio.close();
    dma.close();
    arena.close();
  };
  return { arena, dma, iova: map, vfio, warnings, [Symbol.dispose]: close };
}

/** What `body` returns, or the error that it throws. */
export function attempt<T>(body: () => T): { value: T } | { error: Caught } {
  try {
    return { value: body() };
  } catch (error) {
    if (error instanceof PollmodeError) {
      const { code, message, fix } = error;
      return { error: { code, message, fix } };
    }
    return { error: { code: "NOT_POLLMODE", message: String((error as Error).stack), fix: "" } };
  }
}

export function print(result: unknown): void {
  console.log(JSON.stringify(result));
}
