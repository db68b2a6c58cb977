// A virtual function's rings and their registers, in the order of a VF's initialisation (82576 datasheet, chapter 4,
// and chapter 8, "Virtual Function Device Registers").
import type { InterruptLine, PciFunction } from "../../src/bus/pci-function.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { DeviceConfig, DriverContext } from "../../src/ethdev/driver.ts";
import { KIB, RING_SIZE_DEFAULT } from "../../src/limits.ts";
import { IntelRing } from "../intel/queue.ts";
import { Dctl, RingReg, SRRCTL_DROP_EN, Srrctl } from "./registers.ts";
import { type Registers, waitFor } from "./registers-io.ts";
import { VF_RINGS, VfReg, VTIVAR_VALID } from "./vf-registers.ts";
import { VF_FRAME_BYTES_MAX } from "./vf-settings.ts";

/** The chip takes microseconds to finish the descriptors that it has begun with. */
const DISABLE_TIMEOUT_MS = 100;
/** RCTL.BSIZE, which smaller buffers would need, is the PF's. */
const BUFFER_BYTES_MIN = KIB;
/** RXDCTL, TXDCTL. With a write-back threshold of less than 1 the 82576's VF keeps descriptors back. */
const ENABLED = Dctl.ENABLE | (1 << Dctl.WTHRESH_SHIFT);
/** MSI-X vector of receive queue 0. */
const RX_VECTOR = 0;

const rxBase = (queue: number) => VF_RINGS.rx + queue * VF_RINGS.stride;
const txBase = (queue: number) => VF_RINGS.tx + queue * VF_RINGS.stride;

interface VfQueuesOptions {
  readonly context: DriverContext;
  readonly fn: PciFunction;
  readonly registers: Registers;
  /** Arena offset of BAR 0. */
  readonly bar: number;
  /** I350: see ReceiveRingOptions. */
  readonly loopbackVlanSwapped: boolean;
}

export class VfQueues {
  private readonly options: VfQueuesOptions;
  private rx: IntelRing[] = [];
  private tx: IntelRing[] = [];
  private lines: readonly InterruptLine[] = [];
  private tagged = false;

  constructor(options: VfQueuesOptions) {
    this.options = options;
  }

  get rxOffsets(): readonly number[] {
    return this.rx.map(({ block }) => block.offset);
  }
  get txOffsets(): readonly number[] {
    return this.tx.map(({ block }) => block.offset);
  }

  /** Makes the rings. Error: MBUF_ROOM. */
  configure(config: DeviceConfig): void {
    this.free();
    const { context, fn, bar, loopbackVlanSwapped } = this.options;
    const room = this.bufferKib() * KIB;
    const memory = { ...context, iova: fn.iova };
    const { rxDescriptors = RING_SIZE_DEFAULT, txDescriptors = RING_SIZE_DEFAULT } = config;
    const asked = (name: "rxChecksum" | "vlanStrip") => config.offloads?.includes(name) ?? false;
    for (let index = 0; index < config.rxQueues; index++) {
      const tailRegister = bar + rxBase(index) + RingReg.TAIL;
      const found = {
        room,
        checksum: asked("rxChecksum"),
        vlanStrip: asked("vlanStrip"),
        loopbackVlanSwapped,
      };
      this.rx.push(
        IntelRing.receive(memory, { port: 0, index, size: rxDescriptors, tailRegister, ...found }),
      );
    }
    for (let index = 0; index < config.txQueues; index++) {
      const tailRegister = bar + txBase(index) + RingReg.TAIL;
      const format = { format: "advanced", bytesMax: VF_FRAME_BYTES_MAX } as const;
      this.tx.push(
        IntelRing.transmit(memory, { port: 0, index, size: txDescriptors, tailRegister, ...format }),
      );
    }
    if (this.tagged) this.expectTags();
    if (!config.rxInterrupts) return;
    this.lines = fn.enableInterrupts("msix", RX_VECTOR + 1);
    for (const ring of this.rx) ring.armBy(bar + VfReg.VTEIMS, 1 << RX_VECTOR);
  }

  /** Received tags come in VLAN_TCI from now on: igb strips them for a VF that has a VLAN, asked or not. */
  expectTags(): void {
    this.tagged = true;
    for (const ring of this.rx) ring.expectTags();
  }

  /** What SRRCTL.BSIZEPACKET can say of the pool's buffers. */
  private bufferKib(): number {
    const { dataRoom } = this.options.context.pool;
    if (dataRoom >= BUFFER_BYTES_MIN) return Math.floor(dataRoom / KIB);
    const message = `${this.options.fn.address}: an mbuf holds ${dataRoom} bytes of frame; this chip fills whole KiB`;
    throw new PollmodeError("MBUF_ROOM", message, "start with mbufDataRoom 2048");
  }

  rxInterrupt(_queue: number): InterruptLine {
    const line = this.lines[RX_VECTOR];
    if (line) return line;
    const message = `${this.options.fn.address}: was configured without receive interrupts`;
    throw new PollmodeError("NOT_SUPPORTED", message, "configure it with rxInterrupts");
  }

  /** Tells the VF its rings and lets lcores run them. The VF was reset, and the PF lets it send and receive. */
  start(): void {
    for (const [k, ring] of this.rx.entries()) this.enableReceive(ring, rxBase(k));
    for (const [k, ring] of this.tx.entries()) this.enableTransmit(ring, txBase(k));
    if (this.lines.length > 0) this.routeInterrupts();
    this.options.fn.setBusMaster(true);
    for (const ring of [...this.rx, ...this.tx]) ring.run();
  }

  /** DROP_EN: a queue that is full must not hold up the frames of other functions. */
  private enableReceive(ring: IntelRing, at: number): void {
    const { registers } = this.options;
    ring.reset();
    registers.write(at + RingReg.BAL, ring.base.low);
    registers.write(at + RingReg.BAH, ring.base.high);
    registers.write(at + RingReg.LEN, ring.bytes);
    registers.write(at + RingReg.SRRCTL, this.bufferKib() | Srrctl.DESCTYPE_ADVANCED | SRRCTL_DROP_EN);
    registers.write(at + RingReg.DCTL, ENABLED);
    registers.write(at + RingReg.HEAD, 0);
    registers.write(at + RingReg.TAIL, 0);
  }

  private enableTransmit(ring: IntelRing, at: number): void {
    const { registers } = this.options;
    ring.reset();
    registers.write(at + RingReg.BAL, ring.base.low);
    registers.write(at + RingReg.BAH, ring.base.high);
    registers.write(at + RingReg.LEN, ring.bytes);
    registers.write(at + RingReg.HEAD, 0);
    registers.write(at + RingReg.TAIL, 0);
    registers.write(at + RingReg.DCTL, ENABLED);
  }

  /** One vector for receive: cleared and masked when it fires, until an lcore arms it again. */
  private routeInterrupts(): void {
    const { registers } = this.options;
    registers.write(VfReg.VTIVAR, VTIVAR_VALID | RX_VECTOR);
    registers.write(VfReg.VTEIAC, 1 << RX_VECTOR);
    registers.write(VfReg.VTEIAM, 1 << RX_VECTOR);
  }

  halt(): void {
    for (const ring of [...this.rx, ...this.tx]) ring.halt();
  }

  /** Stops the VF's work on the rings; after that it neither reads nor writes memory. */
  async disable(): Promise<void> {
    const bases = [...this.rx.map((_, k) => rxBase(k)), ...this.tx.map((_, k) => txBase(k))];
    const controls = bases.map((base) => base + RingReg.DCTL);
    this.options.registers.write(VfReg.VTEIMC, 1 << RX_VECTOR);
    for (const control of controls) this.options.registers.write(control, 0);
    const off = () => controls.every((control) => (this.options.registers.read(control) & Dctl.ENABLE) === 0);
    await waitFor(off, DISABLE_TIMEOUT_MS);
    this.options.fn.setBusMaster(false); // and so does a VF that is stuck
  }

  drain(): void {
    for (const ring of [...this.rx, ...this.tx]) ring.drain();
  }

  free(): void {
    if (this.lines.length > 0) this.options.fn.disableInterrupts();
    this.lines = [];
    for (const ring of [...this.rx, ...this.tx]) ring.free();
    this.rx = [];
    this.tx = [];
  }
}
