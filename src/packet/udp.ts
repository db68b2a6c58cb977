// UDP (RFC 768).
import { type PseudoHeader, Transport } from "./transport.ts";

const BYTES = 8;

/** A view of a UDP header (RFC 768): 8 bytes. */
export class Udp extends Transport {
  /** `end` becomes the datagram's. */
  move(at: number, end: number): boolean {
    if (!this.place(at, end, BYTES)) return false;
    const { length } = this;
    if (length < BYTES || at + length > end) return false;
    this.end = at + length;
    return true;
  }

  /** 0 to 65535. */
  get sourcePort(): number {
    return this.word(0);
  }
  set sourcePort(port: number) {
    this.setWord(0, port);
  }

  /** 0 to 65535. */
  get destinationPort(): number {
    return this.word(2);
  }
  set destinationPort(port: number) {
    this.setWord(2, port);
  }

  /** Bytes of header and payload. */
  get length(): number {
    return this.word(4);
  }
  set length(bytes: number) {
    this.setWord(4, bytes);
  }

  /** 0: the sender made none (IPv4 alone). */
  get checksum(): number {
    return this.word(6);
  }
  set checksum(checksum: number) {
    this.setWord(6, checksum);
  }

  /** 0 where the checksum is right, or where the sender made none. */
  override verify(ip: PseudoHeader): number {
    return this.checksum === 0 ? 0 : super.verify(ip);
  }

  override fillChecksum(ip: PseudoHeader): void {
    this.checksum = 0;
    this.checksum = super.verify(ip) || 0xffff; // a sum of 0 is sent as all ones: 0 means that there is none
  }
}
