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

export class Ethernet extends Header {
  move(at: number, end: number): boolean {
    return this.place(at, end, BYTES);
  }

  get destination(): number {
    return this.mac(0);
  }
  set destination(mac: number) {
    this.setMac(0, mac);
  }

  get source(): number {
    return this.mac(6);
  }
  set source(mac: number) {
    this.setMac(6, mac);
  }

  get etherType(): number {
    return this.word(12);
  }
  set etherType(type: number) {
    this.setWord(12, type);
  }

  /** Broadcast included. */
  get isMulticast(): boolean {
    return (this.byte(0) & 1) !== 0;
  }

  swapAddresses(): void {
    const { source } = this;
    this.source = this.destination;
    this.destination = source;
  }
}
