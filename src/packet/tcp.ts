// TCP (RFC 9293).
import { Transport } from "./transport.ts";

const BYTES_MIN = 20;

/** Bits of Tcp.flags. */
export const TcpFlag = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128 } as const;

/** A view of a TCP header (RFC 9293), options included: 20 to 60 bytes. */
export class Tcp extends Transport {
  move(at: number, end: number): boolean {
    if (!this.place(at, end, BYTES_MIN)) return false;
    const { headerBytes } = this;
    this.payload = at + headerBytes;
    return headerBytes >= BYTES_MIN && this.payload <= end;
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

  /** Number of the first byte it carries. */
  get sequence(): number {
    return this.long(4);
  }
  set sequence(sequence: number) {
    this.setLong(4, sequence);
  }

  /** Number of the next byte that its sender expects; meant with the flag ACK. */
  get acknowledgement(): number {
    return this.long(8);
  }
  set acknowledgement(sequence: number) {
    this.setLong(8, sequence);
  }

  /** 20 to 60. */
  get headerBytes(): number {
    return (this.byte(12) >>> 4) << 2;
  }

  /** TcpFlag bits. */
  get flags(): number {
    return this.byte(13);
  }
  set flags(flags: number) {
    this.setByte(13, flags);
  }

  /** As it stands there: not scaled (RFC 7323). */
  get window(): number {
    return this.word(14);
  }
  set window(bytes: number) {
    this.setWord(14, bytes);
  }

  /** Over pseudo header, header and payload. */
  get checksum(): number {
    return this.word(16);
  }
  set checksum(checksum: number) {
    this.setWord(16, checksum);
  }

  /** The urgent pointer; meant with the flag URG. */
  get urgent(): number {
    return this.word(18);
  }
}
