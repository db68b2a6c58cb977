// C memory that libc owns, read through ref-napi: strings and structs behind a pointer that a call returned.
import { createRequire } from "node:module";
import koffi from "koffi";
import type Ref from "ref-napi";

/**
 * Loaded at the first failure that wants a name, not before: ref-napi detaches an ArrayBuffer when it is loaded, and V8
 * then checks every typed array of the thread for that at every access (2.05 against 2.69 ns a packet in a MAC swap).
 */
const ref = (): typeof Ref => createRequire(import.meta.url)("ref-napi");

/** Strings of libc are shorter than this; a missing NUL is not chased further. */
const stringBytesMax = 256;

// Declared here and not over native.ts, whose errors need these names.
const names = koffi.load("libc.so.6");
const strerrornameNp = optional("uint64_t strerrorname_np(int)");
const strerrorR = names.func("uint64_t strerror_r(int, void *, size_t)");

/** glibc has strerrorname_np from 2.32 on. */
function optional(prototype: string): ((errno: number) => number | bigint) | undefined {
  try {
    return names.func(prototype);
  } catch {
    return undefined;
  }
}

/** `bytes` bytes at `address`, as a Buffer over that memory: no copy, valid as long as the memory is. */
export function foreignBytes(address: number | bigint, bytes: number): Buffer {
  const pointer = Buffer.alloc(8);
  pointer.writeBigUInt64LE(BigInt(address));
  return ref().readPointer(pointer, 0, bytes);
}

/** The NUL-terminated string at `address`; undefined for a null pointer. */
export function foreignString(address: number | bigint): string | undefined {
  if (BigInt(address) === 0n) return undefined;
  return ref().readCString(foreignBytes(address, stringBytesMax), 0) ?? undefined;
}

/** Reading foreign memory costs up to a millisecond, and a failure may come again and again (a reconnect's). */
const known = new Map<number, { name: string; text: string }>();

function describe(errno: number): { name: string; text: string } {
  let found = known.get(errno);
  if (!found) {
    const buffer = Buffer.alloc(stringBytesMax);
    // strerror_r, because strerror shares one buffer between all threads
    const text = foreignString(strerrorR(errno, buffer, buffer.length)) ?? `error ${errno}`;
    const name = strerrornameNp ? foreignString(strerrornameNp(errno)) : undefined;
    found = { name: name ?? koffiName(errno) ?? `ERRNO_${errno}`, text };
    known.set(errno, found);
  }
  return found;
}

function koffiName(errno: number): string | undefined {
  return Object.entries(koffi.os.errno).find(([, number]) => number === errno)?.[0];
}

/** `EACCES` for 13. An errno that libc does not know is `ERRNO_n`. */
export function errnoName(errno: number): string {
  return describe(errno).name;
}

/** `Permission denied` for 13. */
export function errnoText(errno: number): string {
  return describe(errno).text;
}
