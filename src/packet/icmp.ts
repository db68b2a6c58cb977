// ICMP (RFC 792), and ICMPv6 (RFC 4443), whose header is the same.
import { foldChecksum, sumBytes } from "./checksum.ts";
import { Header } from "./header.ts";
import type { PseudoHeader } from "./transport.ts";

/** Icmp.type, of ICMP for IPv4. */
export const IcmpType = { ECHO_REPLY: 0, UNREACHABLE: 3, ECHO_REQUEST: 8, TIME_EXCEEDED: 11 } as const;

const BYTES = 8;

/** A view of an ICMP (RFC 792) or ICMPv6 (RFC 4443) header: 8 bytes. */
export class Icmp extends Header {
  move(at: number, end: number): boolean {
    return this.place(at, end, BYTES);
  }

  /** IcmpType. */
  get type(): number {
    return this.byte(0);
  }
  set type(type: number) {
    this.setByte(0, type);
  }

  /** What its type says closer. */
  get code(): number {
    return this.byte(1);
  }
  set code(code: number) {
    this.setByte(1, code);
  }

  /** Over the whole message. */
  get checksum(): number {
    return this.word(2);
  }
  set checksum(checksum: number) {
    this.setWord(2, checksum);
  }

  /** Of echo requests and replies. */
  get identifier(): number {
    return this.word(4);
  }
  set identifier(id: number) {
    this.setWord(4, id);
  }

  /** Of echo requests and replies. */
  get sequence(): number {
    return this.word(6);
  }
  set sequence(sequence: number) {
    this.setWord(6, sequence);
  }

  /** 0 where the checksum is right. ICMPv6 has a pseudo header. */
  verify(ipv6?: PseudoHeader): number {
    return foldChecksum(sumBytes(this.u8, this.at, this.end, ipv6?.pseudoSum ?? 0));
  }

  /** Writes the checksum of the message as it stands. */
  fillChecksum(ipv6?: PseudoHeader): void {
    this.checksum = 0;
    this.checksum = this.verify(ipv6);
  }
}
