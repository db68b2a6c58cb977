// A VLAN tag (IEEE 802.1Q): what follows the EtherType 0x8100 or 0x88a8.
import { Header } from "./header.ts";

const BYTES = 4;

export class Vlan extends Header {
  move(at: number, end: number): boolean {
    return this.place(at, end, BYTES);
  }

  /** 0 to 4095. */
  get id(): number {
    return this.word(0) & 0xfff;
  }
  set id(id: number) {
    this.setWord(0, (this.word(0) & 0xf000) | (id & 0xfff));
  }

  /** 0 to 7. */
  get priority(): number {
    return this.byte(0) >>> 5;
  }
  set priority(priority: number) {
    this.setByte(0, (this.byte(0) & 0x1f) | ((priority & 7) << 5));
  }

  get dropEligible(): boolean {
    return (this.byte(0) & 0x10) !== 0;
  }

  /** Of what follows the tag. */
  get etherType(): number {
    return this.word(2);
  }
  set etherType(type: number) {
    this.setWord(2, type);
  }
}
