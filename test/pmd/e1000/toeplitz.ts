// Microsoft's hash for receive-side scaling, bit by bit as its page "RSS hashing functions" has it, and the addresses,
// ports and hashes of "Verifying the RSS hash calculation".

/** Of each bit of the input that is set, the 32 bits of the key that begin there are added, without carry. */
export function toeplitz(key: Uint8Array, input: Uint8Array): number {
  let hash = 0;
  for (let bit = 0; bit < input.length * 8; bit++) {
    if (((input[bit >>> 3]! >>> (7 - (bit & 7))) & 1) !== 0) hash ^= window(key, bit);
  }
  return hash >>> 0;
}

function window(key: Uint8Array, bit: number): number {
  let word = 0;
  for (let k = bit; k < bit + 32; k++) word = (word << 1) | ((key[k >>> 3]! >>> (7 - (k & 7))) & 1);
  return word;
}

export interface HashVector {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Over the addresses alone, and with the ports. */
  readonly hash: number;
  readonly hashWithPorts: number;
}

export const microsoftKey = Uint8Array.from(
  [
    [0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0],
    [0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c],
    [0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa],
  ].flat(),
);

const v4 = (
  destination: string,
  destinationPort: number,
  source: string,
  sourcePort: number,
  hash: number,
  hashWithPorts: number,
): HashVector => ({ source, destination, sourcePort, destinationPort, hash, hashWithPorts });

export const ipv4Vectors = [
  v4("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178),
  v4("65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea),
  v4("12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a),
  v4("209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f),
  v4("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2),
];

export const ipv6Vectors = [
  v4("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d),
  v4("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf),
  v4("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985, 0x02d1feef),
];

export function addressBytes(address: string): number[] {
  if (address.includes(".")) return address.split(".").map(Number);
  const [head = "", tail] = address.split("::");
  const words = (text: string) =>
    text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16));
  const first = words(head);
  const last = tail === undefined ? [] : words(tail);
  const zeros = new Array<number>(8 - first.length - last.length).fill(0);
  return [...first, ...zeros, ...last].flatMap((word) => [word >>> 8, word & 0xff]);
}

/** What is hashed of a vector: source, destination, then the ports. */
export function hashInput(vector: HashVector, withPorts: boolean): Uint8Array {
  const { source, destination, sourcePort, destinationPort } = vector;
  const ports = withPorts ? [sourcePort, destinationPort].flatMap((port) => [port >>> 8, port & 0xff]) : [];
  return Uint8Array.from([...addressBytes(source), ...addressBytes(destination), ...ports]);
}
