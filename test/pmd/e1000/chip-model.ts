// A model of a physical function's registers: what is cleared by reading, set by writing, granted by semaphores or done
// by the chip after a while. It throws where a driver does what the datasheets forbid, and has faults to switch on.
import type { Chip } from "../../../pmd/e1000/chips.ts";
import {
  Ctrl,
  Dctl,
  Eecd,
  Eerd,
  ExtcnfCtrl,
  Mdic,
  PHY_SYNC_BITS,
  Phy,
  Rctl,
  Reg,
  RingReg,
  STATISTICS,
  STATISTICS_64,
  STATISTICS_82574,
  STATISTICS_IGB,
  STATISTICS_IGB_64,
  Status,
  Swsm,
} from "../../../pmd/e1000/registers.ts";
import { ALL_ONES, type Registers } from "../../../pmd/e1000/registers-io.ts";

export interface Faults {
  /** It was pulled out. */
  gone: boolean;
  resetNeverEnds: boolean;
  masterNeverStops: boolean;
  nvmSilent: boolean;
  phySilent: boolean;
  phyError: boolean;
  /** Firmware keeps SWSM.SWESMBI, or the PHY's bit of SW_FW_SYNC. */
  firmwareKeepsSemaphore: boolean;
  queuesNeverEnable: boolean;
}

/** Reads that find the chip still at work. One: a test that is held up must not run out of time. */
const SLOWNESS = 1;
const NVM_WORDS = 64;
const MAC = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56] as const;

const highHalves = new Set<number>();
const lowHalves = new Set<number>();
for (const low of Object.values({ ...STATISTICS_64, ...STATISTICS_IGB_64 })) {
  lowHalves.add(low);
  highHalves.add(low + 4);
}

export class ChipModel implements Registers {
  readonly faults: Faults = {
    gone: false,
    resetNeverEnds: false,
    masterNeverStops: false,
    nvmSilent: false,
    phySilent: false,
    phyError: false,
    firmwareKeepsSemaphore: false,
    queuesNeverEnable: false,
  };
  readonly chip: Chip;
  readonly values = new Map<number, number>();
  readonly nvm = new Uint16Array(NVM_WORDS);
  readonly phy = new Map<number, number>([[Phy.CONTROL, Phy.POWER_DOWN | Phy.ISOLATE]]);
  /** Each write, in order. */
  readonly writes: { readonly offset: number; readonly value: number }[] = [];
  resets = 0;
  /** Reads that a reset, a halted master, the EEPROM or the PHY still need. */
  private readonly busy = { reset: 0, master: 0, nvm: 0, mdic: 0 };
  private readonly cleared: Set<number>;

  constructor(chip: Chip) {
    this.chip = chip;
    const own = chip.family === "igb" ? STATISTICS_IGB : STATISTICS_82574;
    this.cleared = new Set<number>([...Object.values(STATISTICS), ...Object.values(own)]);
    this.cleared.add(Reg.ICR).add(Reg.EICR);
    for (let queue = 0; queue < chip.queues; queue++) this.cleared.add(this.rx(queue, RingReg.RQDPC));
    Buffer.from(this.nvm.buffer).set(MAC);
    this.nvm[3] = 0x1234;
    this.correctChecksum();
    this.reset();
  }

  rx(queue: number, register: RingReg): number {
    return this.chip.rings.rx + queue * this.chip.rings.stride + register;
  }
  tx(queue: number, register: RingReg): number {
    return this.chip.rings.tx + queue * this.chip.rings.stride + register;
  }

  get(offset: number): number {
    return this.values.get(offset) ?? 0;
  }
  set(offset: number, value: number): void {
    this.values.set(offset, value >>> 0);
  }

  correctChecksum(): void {
    this.nvm[NVM_WORDS - 1] = 0;
    this.nvm[NVM_WORDS - 1] = 0xbaba - this.nvm.reduce((sum, word) => sum + word, 0);
  }

  linkUp(bits = Status.FD | Status.SPEED_1000): void {
    this.set(Reg.STATUS, this.get(Reg.STATUS) | Status.LU | bits);
  }
  linkDown(): void {
    this.set(Reg.STATUS, this.get(Reg.STATUS) & ~(Status.LU | Status.FD | Status.SPEED_1000));
  }

  /** Values that were written to a register, in order. */
  written(offset: number): number[] {
    return this.writes.filter((write) => write.offset === offset).map(({ value }) => value);
  }

  read(offset: number): number {
    if (this.faults.gone) return ALL_ONES;
    if (this.busy.reset > 0 && offset !== Reg.CTRL && offset !== Reg.EECD) {
      throw new Error(`register ${offset.toString(16)} is read during a reset`);
    }
    const special = this.special(offset);
    if (special !== undefined) return special;
    const value = this.get(offset);
    if (this.cleared.has(offset)) this.set(offset, 0);
    if (highHalves.has(offset)) {
      this.set(offset, 0);
      this.set(offset - 4, 0);
    }
    return value;
  }

  private special(offset: number): number | undefined {
    if (offset === Reg.CTRL) return this.get(offset) | (this.waits("reset") ? Ctrl.RST : 0);
    if (offset === Reg.EECD) return this.busy.reset > 0 ? 0 : Eecd.AUTO_RD;
    if (offset === Reg.STATUS) return this.readStatus();
    if (offset === Reg.EERD) return this.get(offset) | (this.waits("nvm") ? 0 : Eerd.DONE);
    if (offset === Reg.MDIC) return this.get(offset) | (this.waits("mdic") ? 0 : Mdic.READY);
    if (offset !== Reg.SWSM) return undefined;
    const before = this.get(offset);
    this.set(offset, before | Swsm.SMBI);
    return before;
  }

  private waits(what: keyof ChipModel["busy"]): boolean {
    if (this.busy[what] === 0) return false;
    this.busy[what]--;
    return true;
  }

  private readStatus(): number {
    if ((this.get(Reg.CTRL) & Ctrl.GIO_MASTER_DISABLE) !== 0 && !this.waits("master")) {
      this.set(Reg.STATUS, this.get(Reg.STATUS) & ~Status.GIO_MASTER_ENABLE);
    }
    return this.get(Reg.STATUS);
  }

  write(offset: number, value: number): void {
    if (value < 0 || value > ALL_ONES) throw new Error(`${value} is no 32-bit value`);
    if (this.faults.gone) return;
    this.writes.push({ offset, value });
    if (lowHalves.has(offset) || highHalves.has(offset)) throw new Error("a statistic is written");
    if (offset === Reg.CTRL) this.writeControl(value);
    else if (offset === Reg.EERD) this.readNvm(value);
    else if (offset === Reg.MDIC) this.accessPhy(value);
    else if (offset === Reg.SWSM) this.writeSemaphore(value);
    else if (offset === Reg.IMC) this.set(Reg.IMS, this.get(Reg.IMS) & ~value);
    else if (offset === Reg.EIMC) this.set(Reg.EIMS, this.get(Reg.EIMS) & ~value);
    else if (this.isQueueControl(offset)) this.writeQueueControl(offset, value);
    else {
      this.checkOrder(offset, value);
      this.set(offset, value);
    }
  }

  private writeControl(value: number): void {
    if ((value & Ctrl.GIO_MASTER_DISABLE) !== 0) {
      this.busy.master = this.faults.masterNeverStops ? Number.POSITIVE_INFINITY : SLOWNESS;
    }
    if ((value & Ctrl.RST) === 0) {
      this.set(Reg.CTRL, value);
      return;
    }
    this.reset();
    this.resets++;
    this.busy.reset = this.faults.resetNeverEnds ? Number.POSITIVE_INFINITY : SLOWNESS;
  }

  /** Registers as after power-on, with the address from the EEPROM in RAL and RAH 0. */
  private reset(): void {
    const link = this.get(Reg.STATUS) & (Status.LU | Status.FD | Status.SPEED_1000);
    this.values.clear();
    this.set(Reg.STATUS, link | Status.GIO_MASTER_ENABLE);
    this.set(Reg.RAL, this.nvm[0]! | (this.nvm[1]! << 16));
    this.set(Reg.RAH, this.nvm[2]! | 0x8000_0000);
    if (this.chip.family === "igb") this.set(this.rx(0, RingReg.DCTL), Dctl.ENABLE);
    if (this.chip.family === "igb") this.set(this.tx(0, RingReg.DCTL), Dctl.ENABLE);
  }

  private readNvm(value: number): void {
    if ((value & Eerd.START) === 0) return;
    const word = this.nvm[value >>> Eerd.ADDR_SHIFT] ?? 0xffff;
    this.set(Reg.EERD, word << Eerd.DATA_SHIFT);
    this.busy.nvm = this.faults.nvmSilent ? Number.POSITIVE_INFINITY : SLOWNESS;
  }

  /** The PHY belongs to who has the semaphore alone. */
  private accessPhy(value: number): void {
    if (!this.ownsPhy()) throw new Error("MDIC is used without the PHY's semaphore");
    const register = (value >>> Mdic.REGADD_SHIFT) & 31;
    this.busy.mdic = this.faults.phySilent ? Number.POSITIVE_INFINITY : SLOWNESS;
    if ((value & Mdic.OP_WRITE) !== 0) this.phy.set(register, value & 0xffff);
    const answer = (value & Mdic.OP_READ) === 0 ? value : (value & ~0xffff) | (this.phy.get(register) ?? 0);
    this.set(Reg.MDIC, this.faults.phyError ? answer | Mdic.ERROR : answer);
  }

  private ownsPhy(): boolean {
    if (this.chip.family === "82574") return (this.get(Reg.EXTCNF_CTRL) & ExtcnfCtrl.MDIO_SW_OWN) !== 0;
    return PHY_SYNC_BITS.some((bit) => (this.get(Reg.SW_FW_SYNC) & bit) !== 0);
  }

  private writeSemaphore(value: number): void {
    this.set(Reg.SWSM, this.faults.firmwareKeepsSemaphore ? value & ~Swsm.SWESMBI : value);
  }

  private isQueueControl(offset: number): boolean {
    const of = (at: "rx" | "tx", k: number) => offset === this[at](k, RingReg.DCTL);
    return Array.from({ length: this.chip.queues }, (_, k) => of("rx", k) || of("tx", k)).includes(true);
  }

  private writeQueueControl(offset: number, value: number): void {
    const on = this.faults.queuesNeverEnable ? value & ~Dctl.ENABLE : value;
    this.set(offset, on);
  }

  /** Rings are told to a queue that is off; RCTL.EN comes when the queues have theirs. */
  private checkOrder(offset: number, value: number): void {
    if (offset === Reg.SW_FW_SYNC && (this.get(Reg.SWSM) & Swsm.SWESMBI) === 0 && value !== 0) {
      throw new Error("SW_FW_SYNC is taken without SWSM.SWESMBI");
    }
    if (offset === Reg.RCTL && (value & Rctl.EN) !== 0 && this.get(this.rx(0, RingReg.LEN)) === 0) {
      throw new Error("RCTL.EN before queue 0 has a ring");
    }
  }
}
