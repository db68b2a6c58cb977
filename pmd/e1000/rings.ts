// A physical function's rings and the registers of its queues, in the order of the datasheets' chapters on receive and
// transmit initialisation (82574, 4.6.5 and 4.6.6; 82576, 4.5.9 and 4.5.10).
import type { InterruptKind, InterruptLine, PciFunction } from "../../src/bus/pci-function.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { DeviceConfig, DriverContext } from "../../src/ethdev/driver.ts";
import type { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { KIB, RING_SIZE_DEFAULT } from "../../src/limits.ts";
import { IntelQueue } from "../intel/layout.ts";
import { IntelRing } from "../intel/queue.ts";
import type { Chip } from "./chips.ts";
import { armRegister, interruptKind, routeInterrupts } from "./interrupts.ts";
import { Dctl, Rctl, RingReg, SRRCTL_DROP_EN, Srrctl } from "./registers.ts";
import { type Registers, waitFor } from "./registers-io.ts";
import type { TransmitPosition } from "./watchdog.ts";

/** The chip takes microseconds to finish the descriptors that it has begun with. */
const DISABLE_TIMEOUT_MS = 100;
/** Prefetch below so many descriptors, when so many are there; write back each at once: what polls waits for it. */
const THRESHOLDS = 8 | (8 << Dctl.HTHRESH_SHIFT) | (1 << Dctl.WTHRESH_SHIFT);

/** RCTL's buffer sizes of the 82574, the largest first. */
const BUFFERS_82574 = [
  [16384, Rctl.BSEX | Rctl.BSIZE_1024],
  [8192, Rctl.BSEX | Rctl.BSIZE_512],
  [4096, Rctl.BSEX | Rctl.BSIZE_256],
  [2048, 0],
  [1024, Rctl.BSIZE_1024],
  [512, Rctl.BSIZE_512],
  [256, Rctl.BSIZE_256],
] as const;

export interface RingsOptions {
  readonly context: DriverContext;
  readonly fn: PciFunction;
  readonly registers: Registers;
  readonly chip: Chip;
  /** Arena offset of BAR 0. */
  readonly bar: number;
}

export class Rings {
  private readonly options: RingsOptions;
  private rx: IntelRing[] = [];
  private tx: IntelRing[] = [];
  private lines: readonly InterruptLine[] = [];
  private kind: InterruptKind = "msix";

  constructor(options: RingsOptions) {
    this.options = options;
  }

  get rxOffsets(): readonly number[] {
    return this.rx.map(({ block }) => block.offset);
  }
  get txOffsets(): readonly number[] {
    return this.tx.map(({ block }) => block.offset);
  }

  /** Bytes of a receive buffer that the chip can be told, at most what an mbuf holds. Error: MBUF_ROOM. */
  get room(): number {
    const { chip, fn, context } = this.options;
    const { dataRoom } = context.pool;
    const least = chip.family === "igb" ? KIB : BUFFERS_82574.at(-1)![0];
    if (dataRoom < least) {
      const message = `${fn.address}: an mbuf holds ${dataRoom} bytes; the ${chip.name} fills ${least} or more`;
      throw new PollmodeError("MBUF_ROOM", message, "start with mbufDataRoom 2048");
    }
    if (chip.family === "igb") return Math.floor(dataRoom / KIB) * KIB;
    return BUFFERS_82574.find(([bytes]) => bytes <= dataRoom)![0];
  }

  /** RCTL's bits for that size; igb has it in SRRCTL. */
  get bufferBits(): number {
    if (this.options.chip.family === "igb") return 0;
    return BUFFERS_82574.find(([bytes]) => bytes === this.room)![1];
  }

  /** Makes the rings. Errors: MBUF_ROOM, INTERRUPT_VECTORS. */
  configure(config: DeviceConfig, frameBytes: number): void {
    this.free();
    const { context, fn, chip, bar } = this.options;
    const {
      rxQueues,
      txQueues,
      rxDescriptors = RING_SIZE_DEFAULT,
      txDescriptors = RING_SIZE_DEFAULT,
    } = config;
    const memory = { ...context, iova: fn.iova };
    const asked = (name: "rxChecksum" | "vlanStrip") => config.offloads?.includes(name) ?? false;
    for (let index = 0; index < rxQueues; index++) {
      const tailRegister = bar + this.register("rx", index, RingReg.TAIL);
      const ring = IntelRing.receive(memory, {
        ...{ port: 0, index, size: rxDescriptors, tailRegister, room: this.room },
        checksum: asked("rxChecksum"),
        vlanStrip: asked("vlanStrip"),
        rss: rxQueues > 1 || config.rss !== undefined,
        loopbackVlanSwapped: chip.loopbackVlanSwapped,
      });
      this.rx.push(ring);
    }
    const format = chip.family === "igb" ? "advanced" : "extended";
    for (let index = 0; index < txQueues; index++) {
      const tailRegister = bar + this.register("tx", index, RingReg.TAIL);
      const ring = IntelRing.transmit(memory, {
        ...{ port: 0, index, size: txDescriptors, tailRegister, format, bytesMax: frameBytes },
        keepsContext: format === "advanced" || txQueues === 1,
      });
      this.tx.push(ring);
    }
    if (config.rxInterrupts) this.enableInterrupts(rxQueues);
  }

  /** A vector for each receive queue. */
  private enableInterrupts(queues: number): void {
    const { fn, chip, bar } = this.options;
    const kind = interruptKind(fn, queues);
    if (!kind) {
      const has = `${fn.vectors.msix} MSI-X vectors by ${fn.access}`;
      const message = `${fn.address}: ${queues} receive queues are to wake lcores, but there are ${has}`;
      const fix = "use fewer queues, or bind the device to vfio-pci";
      throw new PollmodeError("INTERRUPT_VECTORS", message, fix);
    }
    this.kind = kind;
    this.lines = fn.enableInterrupts(kind, queues);
    this.rx.forEach((ring, queue) => {
      const { offset, value, clear } = armRegister(chip, kind, queue);
      ring.armBy(bar + offset, value, clear === undefined ? 0 : bar + clear);
    });
  }

  rxInterrupt(queue: number): InterruptLine {
    const line = this.lines[queue];
    if (line) return line;
    const message = `${this.options.fn.address}: receive queue ${queue} was configured without an interrupt`;
    throw new PollmodeError("NOT_SUPPORTED", message, "configure the port with rxInterrupts");
  }

  private register(way: "rx" | "tx", queue: number, register: RingReg): number {
    const { rings } = this.options.chip;
    return rings[way] + queue * rings.stride + register;
  }

  /** Tells the chip the receive rings. An lcore's first burst gives it the buffers. */
  async startReceive(): Promise<void> {
    const { registers, chip } = this.options;
    for (const [queue, ring] of this.rx.entries()) {
      const at = (register: RingReg) => this.register("rx", queue, register);
      ring.reset();
      registers.write(at(RingReg.BAL), ring.base.low);
      registers.write(at(RingReg.BAH), ring.base.high);
      registers.write(at(RingReg.LEN), ring.bytes);
      if (chip.family === "igb") {
        // one queue that is full must not hold up the others
        const drop = this.rx.length > 1 ? SRRCTL_DROP_EN : 0;
        registers.write(at(RingReg.SRRCTL), ((this.room / KIB) | Srrctl.DESCTYPE_ADVANCED | drop) >>> 0);
      }
      registers.write(at(RingReg.HEAD), 0);
      registers.write(at(RingReg.TAIL), 0);
      registers.write(at(RingReg.DCTL), THRESHOLDS | (chip.family === "igb" ? Dctl.ENABLE : Dctl.GRAN));
    }
    if (this.lines.length > 0) routeInterrupts(registers, chip, this.kind, this.rx.length);
    await this.reach(this.rx.map((_, queue) => this.register("rx", queue, RingReg.DCTL)));
  }

  async startTransmit(): Promise<void> {
    const { registers, chip } = this.options;
    for (const [queue, ring] of this.tx.entries()) {
      const at = (register: RingReg) => this.register("tx", queue, register);
      ring.reset();
      registers.write(at(RingReg.BAL), ring.base.low);
      registers.write(at(RingReg.BAH), ring.base.high);
      registers.write(at(RingReg.LEN), ring.bytes);
      registers.write(at(RingReg.HEAD), 0);
      registers.write(at(RingReg.TAIL), 0);
      const kind = chip.family === "igb" ? Dctl.ENABLE : Dctl.GRAN | Dctl.COUNT_DESC;
      registers.write(at(RingReg.DCTL), THRESHOLDS | kind);
    }
    await this.reach(this.tx.map((_, queue) => this.register("tx", queue, RingReg.DCTL)));
  }

  /** igb: a queue is enabled when it says so. */
  private async reach(controls: readonly number[]): Promise<void> {
    const { registers, chip, fn } = this.options;
    if (chip.family !== "igb") return;
    const enabled = () => controls.every((control) => (registers.read(control) & Dctl.ENABLE) !== 0);
    if (await waitFor(enabled, DISABLE_TIMEOUT_MS)) return;
    const message = `${fn.address}: a queue does not become enabled within ${DISABLE_TIMEOUT_MS} ms`;
    throw new PollmodeError(
      "CHIP_TIMEOUT",
      message,
      "stop and start the port; if it stays so, the chip is broken",
    );
  }

  get blocks(): readonly QueueBlock[] {
    return [...this.rx, ...this.tx].map(({ block }) => block);
  }

  /** Where the chip is in the transmit rings. */
  transmitPositions(): TransmitPosition[] {
    const { registers } = this.options;
    return this.tx.map(({ block }, queue) => {
      const head = registers.read(this.register("tx", queue, RingReg.HEAD));
      return { block, head, tail: registers.read(this.register("tx", queue, RingReg.TAIL)) };
    });
  }

  run(): void {
    for (const ring of [...this.rx, ...this.tx]) ring.run();
  }

  halt(): void {
    for (const ring of [...this.rx, ...this.tx]) ring.halt();
  }

  /** igb: waits until the chip has left the rings. What is stuck is ended by the reset that follows. */
  async disable(): Promise<void> {
    const { registers, chip } = this.options;
    const controls = [
      ...this.rx.map((_, queue) => this.register("rx", queue, RingReg.DCTL)),
      ...this.tx.map((_, queue) => this.register("tx", queue, RingReg.DCTL)),
    ];
    for (const control of controls) registers.write(control, 0);
    if (chip.family !== "igb") return;
    await waitFor(
      () => controls.every((control) => (registers.read(control) & Dctl.ENABLE) === 0),
      DISABLE_TIMEOUT_MS,
    );
  }

  /** Gives all mbufs back. The chip works on no ring. */
  drain(): void {
    for (const ring of [...this.rx, ...this.tx]) ring.drain();
  }

  /** Received tags come in VLAN_TCI from now on: descriptors say which packets had one. */
  expectTags(): void {
    for (const ring of this.rx) ring.expectTags();
  }

  setFrameBytes(bytes: number): void {
    for (const { block } of this.tx) block.set(IntelQueue.BYTES_MAX, bytes);
  }

  free(): void {
    if (this.lines.length > 0) this.options.fn.disableInterrupts();
    this.lines = [];
    for (const ring of [...this.rx, ...this.tx]) ring.free();
    this.rx = [];
    this.tx = [];
  }
}
