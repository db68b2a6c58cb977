// A physical function of the 82574, 82576 or I350: its start reads as the datasheets' chapter on initialisation (82574,
// 4.6; 82576, 4.5). Whatever was asked for is kept here and written again at each start, because a stop resets the
// chip.
import type { InterruptLine, PciFunction } from "../../src/bus/pci-function.ts";
import { PollmodeError } from "../../src/errors.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  DeviceInfo,
  DeviceStats,
  DriverContext,
  EthDevice,
  LinkStatus,
  RssConfig,
} from "../../src/ethdev/driver.ts";
import { Queue, QueueError } from "../../src/hot/layout.ts";
import { QUEUES_MAX } from "../../src/limits.ts";
import type { Chip } from "./chips.ts";
import { Filters } from "./filters.ts";
import { Flows } from "./flows.ts";
import { interruptKind } from "./interrupts.ts";
import { checkNvm, readMac } from "./nvm.ts";
import { negotiateLink, powerDownPhy, requireCopper } from "./phy.ts";
import { Ctrl, CtrlExt, Rctl, Reg, Rfctl, Rxcsum, Status, Tctl } from "./registers.ts";
import { ALL_ONES, clearBits, type Registers, setBits } from "./registers-io.ts";
import { resetChip } from "./reset.ts";
import { Rings } from "./rings.ts";
import { completeRss, RSS_KEY_BYTES, RSS_TABLE_ENTRIES, readRss, rssTypes, writeRss } from "./rss.ts";
import { Statistics } from "./stats.ts";
import { Watchdog } from "./watchdog.ts";

/** How often the link is looked at, and how many looks apart the statistics are. */
const WATCH_INTERVAL_MS = 100;
const LOOKS_A_COUNT = 10;

const MTU_DEFAULT = 1500;
const MTU_MIN = 68;
const MTU_MAX = 9000;
const ETHERTYPE_VLAN = 0x8100;
/** Ethernet header and a VLAN tag; a CRC. */
const HEADER_BYTES = 14 + 4;
const CRC_BYTES = 4;

/** 82574 datasheet, 10.2.6.2: IPGT 8, IPGR1 8, IPGR2 6, for copper. */
const TIPG_82574 = 8 | (8 << 10) | (6 << 20);
/** Retries and distance of collisions, as the datasheets have them. */
const TCTL_COLLISIONS_MASK = (0xff << Tctl.CT_SHIFT) | (0x3ff << Tctl.COLD_SHIFT);
const TCTL_COLLISIONS = (15 << Tctl.CT_SHIFT) | (63 << Tctl.COLD_SHIFT);

export interface ChipParts {
  readonly fn: PciFunction;
  readonly registers: Registers;
  readonly chip: Chip;
  /** Arena offset of BAR 0. */
  readonly bar: number;
  /** `mac=` of the device arguments. */
  readonly mac: Uint8Array | undefined;
}

export class ChipDevice implements EthDevice {
  readonly info: DeviceInfo;
  /** The 82574 has no filters that lead to queues. */
  readonly flow: Flows | undefined;
  private readonly parts: ChipParts;
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly rings: Rings;
  private readonly filters: Filters;
  private readonly counters: Statistics;
  private readonly watchdog: Watchdog;
  private config: DeviceConfig = { rxQueues: 1, txQueues: 1 };
  private rssConfig: Required<RssConfig> | undefined;
  private mtu = MTU_DEFAULT;
  private started = false;
  /** As setLink says. */
  private enabled = true;
  private lost = false;
  private reported: LinkStatus = { up: false, speed: 0, duplex: "full" };
  private watch: NodeJS.Timeout | undefined;
  private looks = 0;
  /** XOFF frames of the link's partner until the look before. */
  private pauses = 0;

  private constructor(parts: ChipParts, context: DriverContext, events: DeviceEvents, mac: Uint8Array) {
    const { chip, registers, fn } = parts;
    this.parts = parts;
    this.context = context;
    this.events = events;
    this.rings = new Rings({ ...parts, context });
    this.filters = new Filters(registers, chip, fn.address, mac);
    this.flow = chip.family === "igb" ? new Flows(registers, chip, fn.address) : undefined;
    this.counters = new Statistics(registers, chip);
    this.watchdog = new Watchdog(fn);
    const queues = Math.min(chip.queues, QUEUES_MAX);
    this.info = {
      driver: "net_e1000",
      rxQueuesMax: queues,
      txQueuesMax: queues,
      frameBytesMax: MTU_MAX + HEADER_BYTES,
      descriptors: { min: 64, max: 4096, multiple: 8 },
      offloads: ["rxChecksum", "txChecksum", "vlanStrip", "vlanInsert"],
      rss: { keyBytes: RSS_KEY_BYTES, tableEntries: RSS_TABLE_ENTRIES, types: rssTypes(chip) },
      rxInterrupts: interruptKind(fn, 1) !== undefined,
    };
  }

  /** Resets the chip and reads what its EEPROM says. Errors: CHIP_TIMEOUT, NVM_MAC, DEVICE_LOST. */
  static async probe(parts: ChipParts, context: DriverContext, events: DeviceEvents): Promise<ChipDevice> {
    const { registers, chip, fn } = parts;
    if (registers.read(Reg.STATUS) === ALL_ONES) throw lostError(fn.address);
    await resetChip(registers, chip, fn.address);
    requireCopper(registers, chip, fn.address);
    if (!(await checkNvm(registers, fn.address))) {
      context.warn(`${fn.address}: its EEPROM's checksum is wrong: what it says, the address too, may be`);
    }
    const mac = parts.mac ?? (await readMac(registers, fn.address));
    return new ChipDevice(parts, context, events, mac);
  }

  get mac(): Uint8Array {
    return this.filters.mac;
  }
  get rxQueues(): readonly number[] {
    return this.rings.rxOffsets;
  }
  get txQueues(): readonly number[] {
    return this.rings.txOffsets;
  }

  async configure(config: DeviceConfig): Promise<void> {
    const { chip, fn } = this.parts;
    const asked = (name: "vlanStrip" | "vlanInsert") => config.offloads?.includes(name) ?? false;
    if (asked("vlanStrip") !== asked("vlanInsert")) {
      const message = `${fn.address}: the ${chip.name} has one switch (CTRL.VME) for vlanStrip and vlanInsert`;
      throw new PollmodeError("NOT_SUPPORTED", message, "ask for both or for neither");
    }
    this.rings.configure(config, this.mtu + HEADER_BYTES);
    this.config = config;
    const spreads = config.rxQueues > 1 || config.rss !== undefined;
    this.rssConfig = spreads ? completeRss(config.rss ?? {}, chip, config.rxQueues) : undefined;
  }

  async start(): Promise<void> {
    const { registers, chip, fn } = this.parts;
    if (registers.read(Reg.STATUS) === ALL_ONES) throw lostError(fn.address);
    await resetChip(registers, chip, fn.address);
    this.initGeneral();
    await negotiateLink(registers, chip, fn.address);
    this.enabled = true;
    this.counters.discard(this.rings.rxOffsets.length);
    fn.setBusMaster(true);
    try {
      await this.initReceive();
      await this.initTransmit();
    } catch (error) {
      fn.setBusMaster(false);
      throw error;
    }
    setBits(registers, Reg.RCTL, Rctl.EN);
    this.rings.run();
    this.watchdog.begin();
    this.lost = false;
    this.started = true;
    this.watch = setInterval(() => this.look(), WATCH_INTERVAL_MS).unref();
  }

  /** 82574, 4.6.3; 82576, 4.5.6. */
  private initGeneral(): void {
    const { registers } = this.parts;
    setBits(registers, Reg.CTRL_EXT, CtrlExt.DRV_LOAD);
    // igb has the outer tag's type in the upper half
    registers.write(Reg.VET, ((registers.read(Reg.VET) & 0xffff_0000) | ETHERTYPE_VLAN) >>> 0);
    clearBits(registers, Reg.CTRL, Ctrl.FRCSPD | Ctrl.FRCDPLX);
    const tags = this.config.offloads?.includes("vlanStrip") ? Ctrl.VME : 0;
    setBits(registers, Reg.CTRL, Ctrl.SLU | Ctrl.FD | tags);
  }

  /** 82574, 4.6.5; 82576, 4.5.9. */
  private async initReceive(): Promise<void> {
    const { registers, chip } = this.parts;
    const checks = this.config.offloads?.includes("rxChecksum") ? Rxcsum.IPOFLD | Rxcsum.TUOFLD : 0;
    registers.write(Reg.RXCSUM, checks);
    if (chip.family === "82574") setBits(registers, Reg.RFCTL, Rfctl.EXSTEN);
    registers.write(Reg.RCTL, Rctl.BAM | Rctl.SECRC | this.rings.bufferBits);
    this.writeFrameBytes();
    this.filters.restore();
    this.flow?.restore();
    writeRss(registers, chip, this.rssConfig);
    await this.rings.startReceive();
  }

  /** 82574, 4.6.6; 82576, 4.5.10. */
  private async initTransmit(): Promise<void> {
    const { registers, chip } = this.parts;
    if (chip.family === "82574") registers.write(Reg.TIPG, TIPG_82574);
    await this.rings.startTransmit();
    const several = chip.family === "82574" ? Tctl.MULR : 0;
    const reserved = registers.read(Reg.TCTL) & ~TCTL_COLLISIONS_MASK;
    registers.write(Reg.TCTL, (reserved | Tctl.EN | Tctl.PSP | TCTL_COLLISIONS | several) >>> 0);
  }

  private writeFrameBytes(): void {
    const { registers, chip } = this.parts;
    const bytes = this.mtu + HEADER_BYTES;
    this.rings.setFrameBytes(bytes);
    if (chip.family === "igb") registers.write(Reg.RLPML, bytes + CRC_BYTES);
    if (this.mtu > MTU_DEFAULT) setBits(registers, Reg.RCTL, Rctl.LPE);
    else clearBits(registers, Reg.RCTL, Rctl.LPE);
  }

  /** Receive and transmit off, then the chip's own reset: nothing of it touches memory any more. */
  async stop(): Promise<void> {
    const { registers, chip, fn } = this.parts;
    clearInterval(this.watch);
    this.started = false;
    this.rings.halt();
    await this.context.quiesce();
    clearBits(registers, Reg.RCTL, Rctl.EN);
    clearBits(registers, Reg.TCTL, Tctl.EN);
    await this.rings.disable();
    this.counters.update(this.rings.rxOffsets.length);
    try {
      if (!this.lost) await resetChip(registers, chip, fn.address);
    } finally {
      fn.setBusMaster(false);
      this.rings.drain();
      this.reportLink();
    }
  }

  async close(): Promise<void> {
    const { registers, fn } = this.parts;
    try {
      this.rings.free();
      clearBits(registers, Reg.CTRL_EXT, CtrlExt.DRV_LOAD);
    } finally {
      fn.close();
    }
  }

  link(): LinkStatus {
    const status = this.parts.registers.read(Reg.STATUS);
    const up = this.started && this.enabled && status !== ALL_ONES && (status & Status.LU) !== 0;
    const speed = status & Status.SPEED_1000 ? 1000 : status & Status.SPEED_100 ? 100 : 10;
    return { up, speed: up ? speed : 0, duplex: status & Status.FD ? "full" : "half", autoneg: true };
  }

  /**
   * Down: the PHY sleeps, and the MAC neither receives nor sends, for a firmware may keep the PHY awake. What the
   * transmit rings hold goes out when the link is up again. A start brings it up, as DPDK's does.
   */
  async setLink(up: boolean): Promise<void> {
    if (this.enabled === up) return;
    const { registers, chip, fn } = this.parts;
    const change = up ? setBits : clearBits;
    await (up ? negotiateLink : powerDownPhy)(registers, chip, fn.address);
    this.enabled = up;
    if (!this.started) return;
    change(registers, Reg.RCTL, Rctl.EN);
    change(registers, Reg.TCTL, Tctl.EN);
    this.reportLink();
  }

  private look(): void {
    if (this.parts.registers.read(Reg.STATUS) === ALL_ONES) this.lose();
    this.reportLink();
    if (++this.looks % LOOKS_A_COUNT !== 0 || this.lost) return;
    this.counters.update(this.rings.rxOffsets.length);
    const pauses = this.counters.total("XOFFRXC");
    const mayStand = !this.reported.up || pauses !== this.pauses;
    this.pauses = pauses;
    this.watchdog.look(this.rings.blocks, this.rings.transmitPositions(), mayStand);
  }

  private reportLink(): void {
    const now = this.link();
    if (now.up === this.reported.up && now.speed === this.reported.speed) return;
    this.reported = now;
    this.events.link(now);
  }

  /** It was pulled out, or lost its power: its queues stop, which says so once. */
  private lose(): void {
    if (this.lost) return;
    this.lost = true;
    const { u32 } = this.context.arena;
    this.rings.halt();
    for (const queue of [...this.rxQueues, ...this.txQueues]) {
      u32[(queue + Queue.ERROR) >>> 2] = QueueError.DEVICE_LOST;
    }
    this.events.error(lostError(this.parts.fn.address));
  }

  stats(): DeviceStats {
    this.count();
    return this.counters.summary;
  }
  xstats(): Record<string, number> {
    this.count();
    return this.counters.values;
  }
  clearStats(): void {
    this.counters.clear(this.rings.rxOffsets.length);
  }
  private count(): void {
    if (this.started) this.counters.update(this.rings.rxOffsets.length);
  }

  async setMac(mac: Uint8Array): Promise<void> {
    this.filters.setMac(mac);
  }
  async addMac(mac: Uint8Array): Promise<void> {
    this.filters.addMac(mac);
  }
  async removeMac(mac: Uint8Array): Promise<void> {
    this.filters.removeMac(mac);
  }
  async setMulticast(macs: readonly Uint8Array[]): Promise<void> {
    this.filters.setMulticast(macs);
  }
  async setPromiscuous(on: boolean): Promise<void> {
    this.filters.setPromiscuous(on);
  }
  async setAllMulticast(on: boolean): Promise<void> {
    this.filters.setAllMulticast(on);
  }
  async setVlanFilter(on: boolean): Promise<void> {
    this.filters.setVlanFilter(on);
  }
  async setVlan(vlan: number, on: boolean): Promise<void> {
    this.filters.setVlan(vlan, on);
  }

  /** CTRL.VME: insertion goes with it. Tags are looked for even when it is off again: frames may wait in the rings. */
  async setVlanStrip(on: boolean): Promise<void> {
    const { registers } = this.parts;
    const others =
      this.config.offloads?.filter((name) => name !== "vlanStrip" && name !== "vlanInsert") ?? [];
    this.config = { ...this.config, offloads: on ? [...others, "vlanStrip", "vlanInsert"] : others };
    if (on) this.rings.expectTags();
    if (this.started) (on ? setBits : clearBits)(registers, Reg.CTRL, Ctrl.VME);
  }

  async setMtu(mtu: number): Promise<void> {
    if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > MTU_MAX) {
      const message = `${this.parts.fn.address}: MTU ${mtu}`;
      throw new PollmodeError("MTU", message, `choose one between ${MTU_MIN} and ${MTU_MAX}`);
    }
    this.mtu = mtu;
    this.writeFrameBytes();
  }

  async setRss(rss: RssConfig): Promise<void> {
    const { registers, chip, fn } = this.parts;
    if (!this.rssConfig) {
      const message = `${fn.address}: the port was configured without RSS`;
      throw new PollmodeError(
        "NOT_SUPPORTED",
        message,
        "configure it with several receive queues, or with rss",
      );
    }
    this.rssConfig = completeRss(rss, chip, this.config.rxQueues);
    writeRss(registers, chip, this.rssConfig);
  }

  rss(): Required<RssConfig> {
    return readRss(this.parts.registers, this.parts.chip);
  }

  rxInterrupt(queue: number): InterruptLine {
    return this.rings.rxInterrupt(queue);
  }
}

function lostError(address: string): PollmodeError {
  const message = `${address}: its registers read all ones: it is gone, or has no power`;
  return new PollmodeError("DEVICE_LOST", message, "look at dmesg and at the slot's power; attach it again");
}
