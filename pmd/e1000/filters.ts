// Which frames the chip receives (82574 datasheet, 7.1.1; 82576 datasheet, 7.1.1): by destination, by group, by VLAN.
// What is asked for is kept here and written again after each reset.
import { PollmodeError } from "../../src/errors.ts";
import { requireStation } from "../../src/ethdev/station.ts";
import type { Chip } from "./chips.ts";
import { RAH_AV, Rctl, Reg } from "./registers.ts";
import type { Registers } from "./registers-io.ts";

const TABLE_WORDS = 128;
/** Addresses in the first block of RAL and RAH. */
const FIRST_MACS = 16;

export class Filters {
  /** The station's own, then further ones. */
  private readonly macs: Uint8Array[];
  private groups: readonly Uint8Array[] = [];
  private readonly vlans = new Set<number>();
  private promiscuous = false;
  private allMulticast = false;
  private filtersVlans = false;
  private readonly registers: Registers;
  private readonly chip: Chip;
  private readonly address: string;

  constructor(registers: Registers, chip: Chip, address: string, mac: Uint8Array) {
    this.registers = registers;
    this.chip = chip;
    this.address = address;
    this.macs = [mac];
  }

  get mac(): Uint8Array {
    return this.macs[0]!;
  }

  /** Writes everything, after a reset. */
  restore(): void {
    this.writeMacs();
    this.writeGroups();
    this.writeVlans();
    this.writeModes();
  }

  setMac(mac: Uint8Array): void {
    requireStation(this.address, mac);
    this.macs[0] = mac.slice();
    this.writeMacs();
  }

  addMac(mac: Uint8Array): void {
    requireStation(this.address, mac);
    if (this.macs.some((one) => same(one, mac))) return;
    if (this.macs.length >= this.chip.macs) {
      const message = `${this.address}: the ${this.chip.name} compares ${this.chip.macs} unicast addresses`;
      throw new PollmodeError("MAC_COUNT", message, "remove one, or turn promiscuous mode on");
    }
    this.macs.push(mac.slice());
    this.writeMacs();
  }

  removeMac(mac: Uint8Array): void {
    const at = this.macs.findIndex((one) => same(one, mac));
    if (at === 0) {
      const message = `${this.address}: ${Buffer.from(mac).toString("hex")} is the port's own address`;
      throw new PollmodeError("MAC_OWN", message, "change it by setMac()");
    }
    if (at > 0) this.macs.splice(at, 1);
    this.writeMacs();
  }

  setMulticast(macs: readonly Uint8Array[]): void {
    this.groups = macs.map((mac) => mac.slice());
    this.writeGroups();
  }

  setPromiscuous(on: boolean): void {
    this.promiscuous = on;
    this.writeModes();
  }

  setAllMulticast(on: boolean): void {
    this.allMulticast = on;
    this.writeModes();
  }

  setVlanFilter(on: boolean): void {
    this.filtersVlans = on;
    this.writeModes();
  }

  setVlan(vlan: number, on: boolean): void {
    if (on) this.vlans.add(vlan);
    else this.vlans.delete(vlan);
    this.writeVlans();
  }

  private writeMacs(): void {
    for (let k = 0; k < this.chip.macs; k++) {
      const low = k < FIRST_MACS ? Reg.RAL + 8 * k : Reg.RAL_HIGH + 8 * (k - FIRST_MACS);
      const mac = this.macs[k];
      const bytes = Buffer.from(mac ?? [0, 0, 0, 0, 0, 0]);
      const words = [bytes.readUInt32LE(0), mac ? (bytes.readUInt16LE(4) | RAH_AV) >>> 0 : 0] as const;
      const { registers } = this;
      if (registers.read(low) === words[0] && registers.read(low + 4) === words[1]) continue; // no frame is missed
      registers.write(low + 4, 0); // no half an address is ever valid
      registers.write(low, words[0]);
      registers.write(low + 4, words[1]);
    }
  }

  /** RCTL.MO 0: bits 47 to 36 of the address are the hash. */
  private writeGroups(): void {
    const table = new Uint32Array(TABLE_WORDS);
    for (const mac of this.groups) {
      const hash = (mac[4]! >>> 4) | (mac[5]! << 4);
      table[hash >>> 5]! |= 1 << (hash & 31);
    }
    for (const [k, word] of table.entries()) this.registers.write(Reg.MTA + 4 * k, word);
  }

  private writeVlans(): void {
    const table = new Uint32Array(TABLE_WORDS);
    for (const vlan of this.vlans) table[vlan >>> 5]! |= 1 << (vlan & 31);
    for (const [k, word] of table.entries()) this.registers.write(Reg.VFTA + 4 * k, word);
  }

  private writeModes(): void {
    // a station that hears everything hears every VLAN
    const vlans = this.filtersVlans && !this.promiscuous ? Rctl.VFE : 0;
    const on = (this.promiscuous ? Rctl.UPE | Rctl.MPE : 0) | (this.allMulticast ? Rctl.MPE : 0) | vlans;
    const others = this.registers.read(Reg.RCTL) & ~(Rctl.UPE | Rctl.MPE | Rctl.VFE);
    this.registers.write(Reg.RCTL, (others | on) >>> 0);
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
