// ARP for IPv4 over Ethernet (RFC 826).
import { EtherType } from "./ethernet.ts";
import { Header } from "./header.ts";

/** Arp.operation. */
export const ArpOperation = { REQUEST: 1, REPLY: 2 } as const;

const BYTES = 28;
const ETHERNET = 1;

/** A view of ARP for IPv4 over Ethernet (RFC 826). */
export class Arp extends Header {
  /** False for other protocols than IPv4 over Ethernet, too. */
  move(at: number, end: number): boolean {
    if (!this.place(at, end, BYTES)) return false;
    return this.word(0) === ETHERNET && this.word(2) === EtherType.IPV4 && this.word(4) === 0x0604;
  }

  /** ArpOperation. */
  get operation(): number {
    return this.word(6);
  }
  set operation(operation: number) {
    this.setWord(6, operation);
  }

  /** A number below 2^48. */
  get senderMac(): number {
    return this.mac(8);
  }
  set senderMac(mac: number) {
    this.setMac(8, mac);
  }

  /** IPv4, as a number. */
  get senderIp(): number {
    return this.long(14);
  }
  set senderIp(address: number) {
    this.setLong(14, address);
  }

  /** A number below 2^48; of no meaning in a request. */
  get targetMac(): number {
    return this.mac(18);
  }
  set targetMac(mac: number) {
    this.setMac(18, mac);
  }

  /** IPv4, as a number. */
  get targetIp(): number {
    return this.long(24);
  }
  set targetIp(address: number) {
    this.setLong(24, address);
  }
}
