// Numbers as bytes in a file's own order, which both formats leave to whoever writes.

export function u16(value: number, bigEndian: boolean): Buffer {
  const bytes = Buffer.alloc(2);
  if (bigEndian) bytes.writeUInt16BE(value);
  else bytes.writeUInt16LE(value);
  return bytes;
}

export function u32(value: number, bigEndian: boolean): Buffer {
  const bytes = Buffer.alloc(4);
  if (bigEndian) bytes.writeUInt32BE(value >>> 0);
  else bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

export function u64(value: bigint, bigEndian: boolean): Buffer {
  const bytes = Buffer.alloc(8);
  if (bigEndian) bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
  else bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes;
}

export function readU16(bytes: Buffer, at: number, bigEndian: boolean): number {
  return bigEndian ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at);
}

export function readU32(bytes: Buffer, at: number, bigEndian: boolean): number {
  return bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
}

export function readU64(bytes: Buffer, at: number, bigEndian: boolean): bigint {
  return bigEndian ? bytes.readBigUInt64BE(at) : bytes.readBigUInt64LE(at);
}
