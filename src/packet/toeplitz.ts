// The hash of receive-side scaling in software, for ports that give none: Microsoft's "RSS hashing functions". A table
// a byte of input, so a flow's hash is one load for each byte of addresses and ports.

/** The key that Microsoft's page verifies by, and most drivers' default. 40 bytes: enough for IPv6 with ports. */
export const TOEPLITZ_KEY: Uint8Array = Uint8Array.from(
  [
    [0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0],
    [0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c],
    [0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa],
  ].flat(),
);

/** The hash of receive-side scaling, for one key. Making it takes a table of 256 words a byte of input. */
export class ToeplitzHash {
  /** By position and byte. */
  private readonly table: Uint32Array;
  /** The longest input, bytes. */
  readonly inputBytes: number;

  /** Throws RangeError for a key of less than 5 bytes. */
  constructor(key: Uint8Array = TOEPLITZ_KEY) {
    this.inputBytes = key.length - 4;
    if (this.inputBytes < 1) throw new RangeError(`a Toeplitz key of ${key.length} bytes: at least 5`);
    this.table = new Uint32Array(this.inputBytes * 256);
    for (let at = 0; at < this.inputBytes; at++) {
      for (let byte = 0; byte < 256; byte++) {
        for (let bit = 0; bit < 8; bit++) {
          if (byte & (128 >>> bit)) this.table[at * 256 + byte]! ^= keyBits(key, at * 8 + bit);
        }
      }
    }
  }

  /**
   * Hash of `n` bytes that stand at `position` of the whole input, added to `hash`: addresses first, at 0, then the two
   * ports behind them. Throws RangeError beyond `inputBytes`.
   */
  add(u8: Uint8Array, from: number, n: number, position = 0, hash = 0): number {
    if (position + n > this.inputBytes) throw new RangeError(`more than ${this.inputBytes} bytes to hash`);
    let sum = hash;
    for (let k = 0; k < n; k++) sum ^= this.table[((position + k) << 8) | u8[from + k]!]!;
    return sum >>> 0;
  }
}

/** The 32 bits of the key from `bit` on. */
function keyBits(key: Uint8Array, bit: number): number {
  let word = 0;
  for (let k = bit; k < bit + 32; k++) word = (word << 1) | ((key[k >>> 3]! >>> (7 - (k & 7))) & 1);
  return word >>> 0;
}
