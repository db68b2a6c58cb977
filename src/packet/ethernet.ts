// Ethernet II (IEEE 802.3): destination, source, EtherType.
import { Header } from "./header.ts";

/** EtherTypes, as numbers: IEEE 802 Numbers. */
export const EtherType = {
  IPV4: 0x0800,
  ARP: 0x0806,
  VLAN: 0x8100,
  IPV6: 0x86dd,
  QINQ: 0x88a8,
} as const;

const BYTES = 14;

/** A view of an Ethernet II header (IEEE 802.3): 14 bytes. */
export class Ethernet extends Header {
  move(at: number, end: number): boolean {
    return this.place(at, end, BYTES);
  }

  /** A number below 2^48. */
  get destination(): number {
    return this.mac(0);
  }
  set destination(mac: number) {
    this.setMac(0, mac);
  }

  /** A number below 2^48. */
  get source(): number {
    return this.mac(6);
  }
  set source(mac: number) {
    this.setMac(6, mac);
  }

  /** EtherType of what follows. */
  get etherType(): number {
    return this.word(12);
  }
  set etherType(type: number) {
    this.setWord(12, type);
  }

  /** Whether the destination is a group, broadcast included. */
  get isMulticast(): boolean {
    return (this.byte(0) & 1) !== 0;
  }

  /** Exchanges source and destination. */
  swapAddresses(): void {
    // 16 bits at a time: a whole address is above what V8 keeps without boxing it
    for (let k = 0; k < 6; k += 2) {
      const before = this.word(k);
      this.setWord(k, this.word(k + 6));
      this.setWord(k + 6, before);
    }
  }
}
