// netlink's attributes: type, length, value, each padded to 4 bytes, some of them holding further attributes. Whatever
// is read is checked against its bounds first.
import { PollmodeError } from "../../errors.ts";
import { NLA_F_NESTED, NLA_TYPE_MASK, NLATTR_BYTES } from "./abi.ts";

export const aligned = (bytes: number) => (bytes + 3) & ~3;

/** `what` names the message. */
export function malformed(what: string, why: string): PollmodeError {
  const fix = "report it, with the kernel's version (uname -r): a kernel sends no such message";
  return new PollmodeError("NETLINK_MALFORMED", `netlink, ${what}: ${why}`, fix);
}

export interface Attribute {
  readonly type: number;
  readonly value: Buffer;
  /** Where its header begins. */
  readonly at: number;
}

/** In their order; a type may come several times. Throws NETLINK_MALFORMED at one that does not fit. */
export function* eachAttribute(bytes: Buffer, what: string): Generator<Attribute> {
  for (let at = 0; at + NLATTR_BYTES <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < NLATTR_BYTES || at + length > bytes.length) {
      throw malformed(what, `an attribute of ${length} bytes at byte ${at} of ${bytes.length}`);
    }
    const type = bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK;
    yield { type, value: bytes.subarray(at + NLATTR_BYTES, at + length), at };
    at += aligned(length);
  }
}

/** Attributes by type: of several of one type, the last, as the kernel's own parser has it. */
export class Attributes {
  readonly #values = new Map<number, Buffer>();
  readonly #what: string;

  constructor(bytes: Buffer, what: string) {
    this.#what = what;
    for (const { type, value } of eachAttribute(bytes, what)) this.#values.set(type, value);
  }

  /** Undefined where there is none. All of these throw NETLINK_MALFORMED for one that is too short. */
  bytes(type: number, least = 0): Buffer | undefined {
    const value = this.#values.get(type);
    if (value === undefined || value.length >= least) return value;
    throw malformed(this.#what, `attribute ${type} has ${value.length} bytes, not ${least}`);
  }

  u8(type: number): number | undefined {
    return this.bytes(type, 1)?.readUInt8();
  }

  u32(type: number): number | undefined {
    return this.bytes(type, 4)?.readUInt32LE();
  }

  i32(type: number): number | undefined {
    return this.bytes(type, 4)?.readInt32LE();
  }

  /** Up to its NUL, where it has one. */
  text(type: number): string | undefined {
    const value = this.bytes(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return value.toString("utf8", 0, end < 0 ? value.length : end);
  }

  nested(type: number): Attributes | undefined {
    const value = this.bytes(type);
    return value && new Attributes(value, this.#what);
  }
}

/** An attribute to be sent, with its padding. */
export function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(aligned(NLATTR_BYTES + value.length));
  bytes.writeUInt16LE(NLATTR_BYTES + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, NLATTR_BYTES);
  return bytes;
}

export function nest(type: number, ...inner: readonly Uint8Array[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(inner));
}

/** 32-bit numbers, one after the other. */
export function words(...values: readonly number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer);
}
