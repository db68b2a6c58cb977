// IPv4 (RFC 791).
import { foldChecksum, sumBytes, updateChecksum } from "./checksum.ts";
import { Header } from "./header.ts";

/** Protocols that IPv4 and IPv6 carry (IANA). */
export const IpProtocol = { ICMP: 1, TCP: 6, UDP: 17, ICMPV6: 58 } as const;

const BYTES_MIN = 20;

/** A view of an IPv4 header (RFC 791), options included: 20 to 60 bytes. */
export class Ipv4 extends Header {
  /** `end` becomes the datagram's, without the padding that Ethernet may have added. */
  move(at: number, end: number): boolean {
    if (!this.place(at, end, BYTES_MIN) || this.byte(0) >>> 4 !== 4) return false;
    const { headerBytes, totalLength } = this;
    if (headerBytes < BYTES_MIN || totalLength < headerBytes || at + totalLength > end) return false;
    this.payload = at + headerBytes;
    this.end = at + totalLength;
    return true;
  }

  /** 20 to 60. */
  get headerBytes(): number {
    return (this.byte(0) & 15) << 2;
  }

  /** Differentiated services code point (RFC 2474), 0 to 63. */
  get dscp(): number {
    return this.byte(1) >>> 2;
  }

  /** Bytes of header and payload. */
  get totalLength(): number {
    return this.word(2);
  }
  set totalLength(bytes: number) {
    this.setWord(2, bytes);
  }

  /** The same in all fragments of a datagram. */
  get identification(): number {
    return this.word(4);
  }
  set identification(id: number) {
    this.setWord(4, id);
  }

  /** The flag DF. */
  get dontFragment(): boolean {
    return (this.byte(6) & 0x40) !== 0;
  }

  /** Any fragment, the first one included. */
  get isFragment(): boolean {
    return (this.word(6) & 0x3fff) !== 0;
  }

  /** Not the first: no TCP or UDP header follows. */
  get isLaterFragment(): boolean {
    return (this.word(6) & 0x1fff) !== 0;
  }

  /** Time to live. Setting it changes the checksum along (RFC 1624). */
  get ttl(): number {
    return this.byte(8);
  }
  set ttl(ttl: number) {
    const before = this.word(8);
    this.setByte(8, ttl);
    this.checksum = updateChecksum(this.checksum, before, this.word(8));
  }

  /** IpProtocol of what it carries. */
  get protocol(): number {
    return this.byte(9);
  }

  /** Over the header. */
  get checksum(): number {
    return this.word(10);
  }
  set checksum(checksum: number) {
    this.setWord(10, checksum);
  }

  /** A number below 2^32: formatIpv4(). */
  get source(): number {
    return this.long(12);
  }
  set source(address: number) {
    this.setLong(12, address);
  }

  /** A number below 2^32. */
  get destination(): number {
    return this.long(16);
  }
  set destination(address: number) {
    this.setLong(16, address);
  }

  /** 0 where the checksum is right. */
  verify(): number {
    return foldChecksum(sumBytes(this.u8, this.at, this.payload));
  }

  /** Writes the checksum of the header as it stands. */
  fillChecksum(): void {
    this.checksum = 0;
    this.checksum = this.verify();
  }

  /** Sum over the pseudo header (RFC 793) of what this datagram carries, for TCP's and UDP's checksums. */
  get pseudoSum(): number {
    return sumBytes(this.u8, this.at + 12, this.at + 20, this.protocol + (this.end - this.payload));
  }
}
