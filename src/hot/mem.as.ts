// The memory intrinsics as WebAssembly instructions. The list is that of mem.ts, where each is explained.
// x86-64 alone: `publish` is a plain store because x86 keeps stores in order.

// @ts-ignore: decorator
@inline export function r8(p: u32): u32 { return load<u8>(p); }
// @ts-ignore: decorator
@inline export function r16(p: u32): u32 { return load<u16>(p); }
// @ts-ignore: decorator
@inline export function r32(p: u32): u32 { return load<u32>(p); }
// @ts-ignore: decorator
@inline export function r32u(p: u32): u32 { return load<u32>(p, 0, 1); }
// @ts-ignore: decorator
@inline export function w32u(p: u32, v: u32): void { store<u32>(p, v, 0, 1); }
// @ts-ignore: decorator
@inline export function rf64(p: u32): f64 { return load<f64>(p); }
// @ts-ignore: decorator
@inline export function w8(p: u32, v: u32): void { store<u8>(p, <u8>v); }
// @ts-ignore: decorator
@inline export function w16(p: u32, v: u32): void { store<u16>(p, <u16>v); }
// @ts-ignore: decorator
@inline export function w32(p: u32, v: u32): void { store<u32>(p, v); }
// @ts-ignore: decorator
@inline export function wf64(p: u32, v: f64): void { store<f64>(p, v); }
// @ts-ignore: decorator
@inline export function w64(p: u32, low: u32, high: u32): void { store<u64>(p, <u64>low | (<u64>high << 32)); }
// @ts-ignore: decorator
@inline export function acquire32(p: u32): u32 { return atomic.load<u32>(p); }
// @ts-ignore: decorator
@inline export function publish32(p: u32, v: u32): void { store<u32>(p, v); }
// @ts-ignore: decorator
@inline export function publish16(p: u32, v: u32): void { store<u16>(p, <u16>v); }
// @ts-ignore: decorator
@inline export function cas32(p: u32, expected: u32, v: u32): u32 { return atomic.cmpxchg<u32>(p, expected, v); }
// asc 0.28 -O3 emits an invalid atomic.fence; an exchange is as strong.
// @ts-ignore: decorator
@inline export function fence(p: u32): void { atomic.xchg<u32>(p, 0); }
// @ts-ignore: decorator
@inline export function copyBytes(to: u32, from: u32, n: u32): void { memory.copy(to, from, n); }
// @ts-ignore: decorator
@inline export function fillBytes(p: u32, v: u32, n: u32): void { memory.fill(p, <u8>v, n); }
// @ts-ignore: decorator
@inline export function trap(): void { unreachable(); }
// @ts-ignore: decorator
@inline export function clz32(v: u32): u32 { return clz<u32>(v); }
// @ts-ignore: decorator
@inline export function min32(a: u32, b: u32): u32 { return a < b ? a : b; }
// @ts-ignore: decorator
@inline export function swap16(v: u32): u32 { return ((v << 8) | ((v >> 8) & 0xff)) & 0xffff; }
// @ts-ignore: decorator
@inline export function swap32(v: u32): u32 { return bswap<u32>(v); }
// @ts-ignore: decorator
@inline export function mul32(a: u32, b: u32): u32 { return a * b; }
// @ts-ignore: decorator
@inline export function toF64(v: u32): f64 { return <f64>v; }
// @ts-ignore: decorator
@inline export function toU32(v: f64): u32 { return <u32>v; }
// @ts-ignore: decorator
@external("env", "now") export declare function now(): f64;
// @ts-ignore: decorator
@external("env", "notify") export declare function notify(fd: u32): void;
// @ts-ignore: decorator
@external("env", "fdRead") export declare function fdRead(fd: u32, p: u32, n: u32): u32;
// @ts-ignore: decorator
@external("env", "fdWrite") export declare function fdWrite(fd: u32, p: u32, n: u32): u32;
// @ts-ignore: decorator
@external("env", "fdReadv") export declare function fdReadv(fd: u32, p: u32, n: u32): u32;
// @ts-ignore: decorator
@external("env", "fdWritev") export declare function fdWritev(fd: u32, p: u32, n: u32): u32;
// @ts-ignore: decorator
@external("env", "fdSend") export declare function fdSend(fd: u32): u32;
// @ts-ignore: decorator
@external("env", "fdRewind") export declare function fdRewind(fd: u32): u32;
// @ts-ignore: decorator
@external("env", "verbsPoll") export declare function verbsPoll(call: u32, n: u32, wcs: u32): u32;
// @ts-ignore: decorator
@external("env", "verbsPost") export declare function verbsPost(call: u32, wrs: u32): u32;
// @ts-ignore: decorator
@external("env", "verbsEvents") export declare function verbsEvents(events: u32): u32;
// @ts-ignore: decorator
@external("env", "verbsNotify") export declare function verbsNotify(call: u32): u32;
