// What TCP, UDP and ICMPv6 have in common: a checksum over themselves and a pseudo header.
import { foldChecksum, sumBytes } from "./checksum.ts";
import { Header } from "./header.ts";

/** What gives the pseudo header's sum: Ipv4, Ipv6. */
export interface PseudoHeader {
  /** The sum, not folded. */
  readonly pseudoSum: number;
}

/** TCP's and UDP's part in common: a checksum over pseudo header, header and payload. */
export abstract class Transport extends Header {
  /** As it stands there. */
  abstract checksum: number;

  /** 0 where the checksum is right. `ip` is the view of the header before this one. */
  verify(ip: PseudoHeader): number {
    return foldChecksum(sumBytes(this.u8, this.at, this.end, ip.pseudoSum));
  }

  /** Writes the checksum of the packet as it stands. */
  fillChecksum(ip: PseudoHeader): void {
    this.checksum = 0;
    this.checksum = this.verify(ip);
  }
}
