// Views of packets' headers. A view is made once and moved from packet to packet: moving and reading allocate nothing.
//
//   const ethernet = new Ethernet(u8), ip = new Ipv4(u8);           // once
//   if (ethernet.move(p, p + length) && ip.move(ethernet.payload, ethernet.end)) ip.ttl--;
//
// move() says whether the whole header lies before `end` and makes sense; only then are the fields of use. They are in
// network order on the wire and numbers here.

/**
 * What all views of headers have in common. A view is made once and moved from packet to packet: moving and reading
 * allocate nothing. Fields are numbers in host order; they are of use only after a move() that returned true.
 */
export abstract class Header {
  protected readonly u8: Uint8Array;
  /** Where the header begins: an offset into the bytes that the view was made over. */
  at = 0;
  /** Where what the header announces ends: never behind the packet's own end. */
  end = 0;
  /** Where what it carries begins. */
  payload = 0;

  /** `u8`: the arena (AppContext.u8), or the bytes of a frame. */
  constructor(u8: Uint8Array) {
    this.u8 = u8;
  }

  /** Looks at the header at `at` of a packet that ends at `end`. False where there is none, whole and well-formed. */
  abstract move(at: number, end: number): boolean;

  /** Places the view over `bytes` of header, where they are there. */
  protected place(at: number, end: number, bytes: number): boolean {
    if (at < 0 || end > this.u8.length || at + bytes > end) return false;
    this.at = at;
    this.end = end;
    this.payload = at + bytes;
    return true;
  }

  protected byte(field: number): number {
    return this.u8[this.at + field]!;
  }

  protected setByte(field: number, value: number): void {
    this.u8[this.at + field] = value;
  }

  protected word(field: number): number {
    const p = this.at + field;
    return (this.u8[p]! << 8) | this.u8[p + 1]!;
  }

  protected setWord(field: number, value: number): void {
    const p = this.at + field;
    this.u8[p] = value >>> 8;
    this.u8[p + 1] = value;
  }

  protected long(field: number): number {
    return ((this.word(field) << 16) | this.word(field + 2)) >>> 0;
  }

  protected setLong(field: number, value: number): void {
    this.setWord(field, value >>> 16);
    this.setWord(field + 2, value & 0xffff);
  }

  /** A MAC address as a number below 2^48, which a Map takes for a key. */
  protected mac(field: number): number {
    return this.word(field) * 0x1_0000_0000 + this.long(field + 2);
  }

  protected setMac(field: number, value: number): void {
    this.setWord(field, Math.floor(value / 0x1_0000_0000));
    this.setLong(field + 2, value % 0x1_0000_0000);
  }
}
