// IPv6 (RFC 8200), with the extension headers before what it carries.
import { sumBytes } from "./checksum.ts";
import { Header } from "./header.ts";

const BYTES = 40;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION = 60;

/** A view of an IPv6 header (RFC 8200): 40 bytes, and the extension headers behind them. */
export class Ipv6 extends Header {
  /** IpProtocol of what stands at `payload`, behind the extension headers. */
  protocol = 0;
  /** Any fragment, the first one included. */
  isFragment = false;
  /** Not the first: no TCP or UDP header follows. */
  isLaterFragment = false;

  /** `payload` is behind hop-by-hop, routing, fragment and destination headers; false where one is cut off. */
  move(at: number, end: number): boolean {
    if (!this.place(at, end, BYTES) || this.byte(0) >>> 4 !== 6) return false;
    const last = at + BYTES + this.payloadLength;
    if (last > end) return false;
    this.end = last;
    this.protocol = this.byte(6);
    this.isFragment = false;
    this.isLaterFragment = false;
    return this.skipExtensions();
  }

  private skipExtensions(): boolean {
    const { u8, end } = this;
    let at = this.payload;
    for (;;) {
      const next = this.protocol;
      const known = next === HOP_BY_HOP || next === ROUTING || next === FRAGMENT || next === DESTINATION;
      if (!known || this.isLaterFragment) break;
      if (at + 8 > end) return false;
      const bytes = next === FRAGMENT ? 8 : 8 * (u8[at + 1]! + 1);
      if (at + bytes > end) return false;
      if (next === FRAGMENT) {
        this.isFragment = true;
        this.isLaterFragment = ((u8[at + 2]! << 8) | (u8[at + 3]! & 0xf8)) !== 0;
      }
      this.protocol = u8[at]!;
      at += bytes;
    }
    this.payload = at;
    return true;
  }

  /** 0 to 255; its upper 6 bits are the DSCP. */
  get trafficClass(): number {
    return (this.word(0) >>> 4) & 255;
  }

  /** 0 to 2^20 - 1. */
  get flowLabel(): number {
    return this.long(0) & 0xfffff;
  }

  /** Bytes behind the fixed header, extension headers included. */
  get payloadLength(): number {
    return this.word(4);
  }
  set payloadLength(bytes: number) {
    this.setWord(4, bytes);
  }

  /** As IPv4's time to live. There is no header checksum. */
  get hopLimit(): number {
    return this.byte(7);
  }
  set hopLimit(hops: number) {
    this.setByte(7, hops);
  }

  /** Where the source address begins: 16 bytes. */
  get sourceAt(): number {
    return this.at + 8;
  }
  /** Where the destination address begins: 16 bytes. */
  get destinationAt(): number {
    return this.at + 24;
  }

  /** The source address's 32-bit word `k`, 0 to 3, the first one first. */
  sourceWord(k: number): number {
    return this.long(8 + 4 * k);
  }
  /** The destination address's 32-bit word `k`, 0 to 3, the first one first. */
  destinationWord(k: number): number {
    return this.long(24 + 4 * k);
  }

  /** Sum over the pseudo header (RFC 8200, 8.1) of what this packet carries. */
  get pseudoSum(): number {
    return sumBytes(this.u8, this.at + 8, this.at + 40, this.protocol + (this.end - this.payload));
  }
}
