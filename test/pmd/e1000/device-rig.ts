// A physical function's control side over a modelled chip, for tests.
import { setTimeout as pause } from "node:timers/promises";
import { chipOf } from "../../../pmd/e1000/chips.ts";
import { ChipDevice } from "../../../pmd/e1000/device.ts";
import type { InterruptKind, InterruptLine, PciFunction } from "../../../src/bus/pci-function.ts";
import type { PollmodeError } from "../../../src/errors.ts";
import type { DeviceConfig, DriverContext, LinkStatus } from "../../../src/ethdev/driver.ts";
import { Rig as Memory } from "../../support/engines.ts";
import { ChipModel } from "./chip-model.ts";

const ids = { "82574": 0x10d3, "82576": 0x10c9, I350: 0x1521 } as const;
export type Name = keyof typeof ids;
export const names = Object.keys(ids) as Name[];
const address = "0000:01:00.0";

export class Rig implements AsyncDisposable {
  readonly model: ChipModel;
  readonly memory: Memory;
  readonly links: LinkStatus[] = [];
  readonly errors: PollmodeError[] = [];
  readonly warnings: string[] = [];
  /** What the function was told; register writes by their place among them: see `at`. */
  readonly calls: string[] = [];
  readonly bar: number;
  pciStatus = 0;
  vectors = { msix: 5, msi: 1, intx: 1 };
  device!: ChipDevice;

  private constructor(name: Name, memory: Memory) {
    this.model = new ChipModel(chipOf(ids[name])!);
    this.memory = memory;
    this.bar = memory.private.allocate("stands for BAR 0", 1 << 17);
  }

  static async make(name: Name, prepare: (rig: Rig) => void = () => {}, mac?: Uint8Array): Promise<Rig> {
    const rig = new Rig(name, await Memory.make("ts", { mbufs: 64 }));
    prepare(rig);
    const { model, memory, bar } = rig;
    const parts = { fn: rig.fn(), registers: model, chip: model.chip, bar, mac };
    const context = {
      ...{ arena: memory.arena, private: memory.private, dma: memory.dma, pool: memory.pool },
      quiesce: async () => void rig.calls.push("quiesce"),
      warn: (text: string) => void rig.warnings.push(text),
    } as unknown as DriverContext;
    const events = {
      link: (status: LinkStatus) => void rig.links.push(status),
      error: (error: Error) => void rig.errors.push(error as PollmodeError),
    };
    rig.device = await ChipDevice.probe(parts, context, events);
    return rig;
  }

  private fn(): PciFunction {
    return {
      ...{ address, access: "vfio", iova: this.memory.iova, vectors: this.vectors },
      setBusMaster: (on: boolean) => void this.calls.push(`master ${on}`),
      enableInterrupts: (kind: InterruptKind, count: number): InterruptLine[] => {
        this.calls.push(`${kind} ${count}`);
        return Array.from({ length: count }, (_, k) => ({ fd: 100 + k, readBytes: 8, rearm: undefined }));
      },
      disableInterrupts: () => void this.calls.push("no interrupts"),
      readConfig: () => this.pciStatus,
      writeConfig: (_offset: number, _bytes: number, value: number) => {
        this.pciStatus &= ~value;
      },
      close: () => void this.calls.push("close"),
    } as unknown as PciFunction;
  }

  async start(config: Partial<DeviceConfig> = {}): Promise<void> {
    await this.device.configure({ rxQueues: 1, txQueues: 1, ...config });
    this.model.writes.length = 0;
    await this.device.start();
  }

  /** Index of the last write of a register. */
  at(offset: number): number {
    return this.model.writes.findLastIndex((write) => write.offset === offset);
  }

  queueWord(queue: number, word: number): number {
    return this.memory.word(queue + word);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.device.stop();
    await this.device.close();
    this.memory.private.free(this.bar);
  }
}

export async function until(what: string, holds: () => boolean): Promise<void> {
  for (let k = 0; k < 600; k++) {
    if (holds()) return;
    await pause(10);
  }
  throw new Error(`not in 6 s: ${what}`);
}
