// TCP (RFC 9293).
import { Transport } from "./transport.ts";

const BYTES_MIN = 20;

export const TcpFlag = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128 } as const;

export class Tcp extends Transport {
  move(at: number, end: number): boolean {
    if (!this.place(at, end, BYTES_MIN)) return false;
    const { headerBytes } = this;
    this.payload = at + headerBytes;
    return headerBytes >= BYTES_MIN && this.payload <= end;
  }

  get sourcePort(): number {
    return this.word(0);
  }
  set sourcePort(port: number) {
    this.setWord(0, port);
  }

  get destinationPort(): number {
    return this.word(2);
  }
  set destinationPort(port: number) {
    this.setWord(2, port);
  }

  get sequence(): number {
    return this.long(4);
  }
  set sequence(sequence: number) {
    this.setLong(4, sequence);
  }

  get acknowledgement(): number {
    return this.long(8);
  }
  set acknowledgement(sequence: number) {
    this.setLong(8, sequence);
  }

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

  get window(): number {
    return this.word(14);
  }
  set window(bytes: number) {
    this.setWord(14, bytes);
  }

  get checksum(): number {
    return this.word(16);
  }
  set checksum(checksum: number) {
    this.setWord(16, checksum);
  }

  get urgent(): number {
    return this.word(18);
  }
}
