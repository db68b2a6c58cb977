// The memory intrinsics of the TypeScript engine: what hot code does to the arena, as functions over typed arrays.
// `mem.as.ts` beside it is the same list for AssemblyScript, where each becomes one instruction; the build puts it
// in this file's place. Hot code imports nothing else that differs between the two engines but `simd.ts`.
//
// An access outside the arena traps in WebAssembly. Here it throws ArenaTrap, so that both engines stop alike.
import type { FileCalls, VerbsCalls } from "./engine.ts";

let U8: Uint8Array = new Uint8Array(0);
let U16: Uint16Array = new Uint16Array(0);
let U32: Uint32Array = new Uint32Array(0);
let I32: Int32Array = new Int32Array(0);
let F64: Float64Array = new Float64Array(0);
let U64: BigUint64Array = new BigUint64Array(0);
/** `w64` puts its halves together here. */
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);
let clock: () => number = () => performance.now();
let signal: (fd: number) => void = () => {};
let files: (FileCalls & VerbsCalls) | undefined;

/** What an access outside the arena throws in the TypeScript engine: the counterpart of a WebAssembly trap. */
export class ArenaTrap extends Error {
  override name = "ArenaTrap";
}

/** Binds this thread's TypeScript engine to an arena. Explicit view lengths: see docs/decisions.md, "views". */
export function attach(
  memory: WebAssembly.Memory,
  now: () => number,
  notifyFd: (fd: number) => void,
  fileCalls?: FileCalls & VerbsCalls,
): void {
  const { buffer } = memory;
  const bytes = buffer.byteLength;
  U8 = new Uint8Array(buffer, 0, bytes);
  U16 = new Uint16Array(buffer, 0, bytes >>> 1);
  U32 = new Uint32Array(buffer, 0, bytes >>> 2);
  I32 = new Int32Array(buffer, 0, bytes >>> 2);
  F64 = new Float64Array(buffer, 0, bytes >>> 3);
  U64 = new BigUint64Array(buffer, 0, bytes >>> 3);
  clock = now;
  signal = notifyFd;
  files = fileCalls;
}

function outside(p: u32): never {
  throw new ArenaTrap(`access outside the arena at 0x${p.toString(16)}`);
}

export function r8(p: u32): u32 {
  return U8[p] ?? outside(p);
}
/** Loads and stores wider than a byte fall on their natural alignment; unaligned ones have their own names. */
export function r16(p: u32): u32 {
  return U16[p >>> 1] ?? outside(p);
}
export function r32(p: u32): u32 {
  return U32[p >>> 2] ?? outside(p);
}
export function rf64(p: u32): f64 {
  return F64[p >>> 3] ?? outside(p);
}
/** Little-endian load at any address. */
export function r32u(p: u32): u32 {
  return (r8(p) | (r8(p + 1) << 8) | (r8(p + 2) << 16) | (r8(p + 3) << 24)) >>> 0;
}
/** Little-endian store at any address. */
export function w32u(p: u32, v: u32): void {
  w8(p, v & 255);
  w8(p + 1, (v >>> 8) & 255);
  w8(p + 2, (v >>> 16) & 255);
  w8(p + 3, v >>> 24);
}
export function w8(p: u32, v: u32): void {
  if (p >= U8.length) outside(p);
  U8[p] = v;
}
export function w16(p: u32, v: u32): void {
  if (p >= U8.length) outside(p);
  U16[p >>> 1] = v;
}
export function w32(p: u32, v: u32): void {
  if (p >= U8.length) outside(p);
  U32[p >>> 2] = v;
}
export function wf64(p: u32, v: f64): void {
  if (p >= U8.length) outside(p);
  F64[p >>> 3] = v;
}
/**
 * ONE store of 8 bytes, the low word first: for a device's register that must not see its halves one by one. `p` is a
 * multiple of 8.
 */
export function w64(p: u32, low: u32, high: u32): void {
  if (p >= U8.length) outside(p);
  halves[0] = low;
  halves[1] = high;
  U64[p >>> 3] = whole[0]!;
}

/** Atomic load: what follows is not read before it. For what another core or a device writes. */
export function acquire32(p: u32): u32 {
  if (p >= U8.length) outside(p);
  return Atomics.load(U32, p >>> 2);
}
/** Store after which what was stored before is visible. x86 keeps stores in order, so it is a plain one. */
export function publish32(p: u32, v: u32): void {
  w32(p, v);
}
export function publish16(p: u32, v: u32): void {
  w16(p, v);
}
/** Compare and exchange; returns the value found. */
export function cas32(p: u32, expected: u32, v: u32): u32 {
  if (p >= U8.length) outside(p);
  return Atomics.compareExchange(U32, p >>> 2, expected, v);
}
/** Full barrier: earlier stores are visible before later loads are made. `p` is a word of the caller's own. */
export function fence(p: u32): void {
  Atomics.exchange(I32, p >>> 2, 0);
}

export function copyBytes(to: u32, from: u32, n: u32): void {
  if (from + n > U8.length || to + n > U8.length) outside(from);
  U8.copyWithin(to, from, from + n);
}
export function fillBytes(p: u32, v: u32, n: u32): void {
  if (p + n > U8.length) outside(p);
  U8.fill(v, p, p + n);
}
/** Stops this lcore: the engine's own data contradict themselves. */
export function trap(): void {
  throw new ArenaTrap("the engine's own data contradict themselves");
}
export function clz32(v: u32): u32 {
  return Math.clz32(v);
}
export function min32(a: u32, b: u32): u32 {
  return a < b ? a : b;
}
/** The bytes of a 16-bit and of a 32-bit value in the opposite order: for structures that are big-endian. */
export function swap16(v: u32): u32 {
  return ((v << 8) | ((v >>> 8) & 0xff)) & 0xffff;
}
export function swap32(v: u32): u32 {
  return ((v << 24) | ((v & 0xff00) << 8) | ((v >>> 8) & 0xff00) | (v >>> 24)) >>> 0;
}
/** Product modulo 2^32. */
export function mul32(a: u32, b: u32): u32 {
  return Math.imul(a, b) >>> 0;
}
/** Milliseconds, as performance.now(). Some 25 ns: never once a packet. */
export function now(): f64 {
  return clock();
}
/** Adds one to the eventfd `fd`: a virtqueue's kick or call. A system call, so only where the peer asked for it. */
export function notify(fd: u32): void {
  signal(fd);
}
/**
 * read(2) of up to `n` bytes to `p`. Returns bytes, 0 at a file's end, or minus the errno, modulo 2^32: more than `n`.
 * The fd must not block.
 */
export function fdRead(fd: u32, p: u32, n: u32): u32 {
  if (p + n > U8.length) outside(p);
  return files!.fdRead(fd, p, n) >>> 0;
}
/** write(2) of the `n` bytes at `p`, as fdRead. */
export function fdWrite(fd: u32, p: u32, n: u32): u32 {
  if (p + n > U8.length) outside(p);
  return files!.fdWrite(fd, p, n) >>> 0;
}
/**
 * readv(2) and writev(2), as fdRead and fdWrite: `n` struct iovec at `p`. Those hold addresses of the process, and
 * nothing here checks them: they come from hot code's own words alone.
 */
export function fdReadv(fd: u32, p: u32, n: u32): u32 {
  return files!.fdReadv(fd, p, n) >>> 0;
}
export function fdWritev(fd: u32, p: u32, n: u32): u32 {
  return files!.fdWritev(fd, p, n) >>> 0;
}
/** send(2) of nothing: an AF_PACKET socket sends what its transmit ring holds. 0, or minus the errno, modulo 2^32. */
export function fdSend(fd: u32): u32 {
  return files!.fdSend(fd) >>> 0;
}
/** Back to the file's first byte. Returns 0, or minus the errno, modulo 2^32. */
export function fdRewind(fd: u32): u32 {
  return files!.fdRewind(fd) >>> 0;
}
/**
 * Calls the poll_cq that stands in the VerbsCall at `call`: up to `n` completions into the ibv_wc[] at `wcs`. Returns
 * how many, or a negative number, modulo 2^32: more than `n`.
 */
export function verbsPoll(call: u32, n: u32, wcs: u32): u32 {
  return files!.verbsPoll(call, n, wcs) >>> 0;
}
/** Calls the post_send or post_recv in the VerbsCall at `call` with the chain at `wrs`. 0, or the errno. */
export function verbsPost(call: u32, wrs: u32): u32 {
  return files!.verbsPost(call, wrs) >>> 0;
}
/** Reads and acknowledges the events that wait, by the VerbsEvents at `events`. Returns how many. */
export function verbsEvents(events: u32): u32 {
  return files!.verbsEvents(events) >>> 0;
}
/** Calls the req_notify_cq in the VerbsCall at `call`: the next completion raises an event. 0, or the errno. */
export function verbsNotify(call: u32): u32 {
  return files!.verbsNotify(call) >>> 0;
}
export function toF64(v: u32): f64 {
  return v;
}
/** Truncates; `v` must lie in 0 … 2^32 - 1. */
export function toU32(v: f64): u32 {
  return v >>> 0;
}
