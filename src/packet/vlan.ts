// A VLAN tag (IEEE 802.1Q): what follows the EtherType 0x8100 or 0x88a8.
import { Header } from "./header.ts";

const BYTES = 4;

/** A view of a VLAN tag (IEEE 802.1Q), which stands where an EtherType 0x8100 or 0x88a8 ends: 4 bytes. */
export class Vlan extends Header {
  move(at: number, end: number): boolean {
    return this.place(at, end, BYTES);
  }

  /** The VLAN, 0 to 4095. */
  get id(): number {
    return this.word(0) & 0xfff;
  }
  set id(id: number) {
    this.setWord(0, (this.word(0) & 0xf000) | (id & 0xfff));
  }

  /** The priority code point, 0 to 7. */
  get priority(): number {
    return this.byte(0) >>> 5;
  }
  set priority(priority: number) {
    this.setByte(0, (this.byte(0) & 0x1f) | ((priority & 7) << 5));
  }

  /** Dropped before others under congestion (DEI). */
  get dropEligible(): boolean {
    return (this.byte(0) & 0x10) !== 0;
  }

  /** EtherType of what follows the tag. */
  get etherType(): number {
    return this.word(2);
  }
  set etherType(type: number) {
    this.setWord(2, type);
  }
}
