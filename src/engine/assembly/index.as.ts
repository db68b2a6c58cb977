// What an application in AssemblyScript imports: `import { rxBurst, … } from "pollmode"`. Every call goes from its own
// module straight into the engine's. Packets, queues and memory are arena offsets. The application exports
//
//   poll(): u32              called for ever; returns the packets it handled in this turn
//   init(): void             once before; optional
//   close(reload: u32): void after the last poll(); gives back the packets it still holds; optional
//
// It keeps to numbers: globals, r32()/w32() and scratch(). Strings, arrays and objects have no memory to lie in.
// @ts-nocheck: AssemblyScript
export * from "./mem.ts";
export { Mbuf, OlFlag, TxOffload } from "./layout.ts";
// compiled in, for a call into another module costs as much as they do:
// copyFrame(to, from, n) copies a frame of `n` bytes; may write up to 15 bytes behind its end
// sumBytes(p, n) is the Internet checksum's sum of `n` bytes, not yet complemented (RFC 1071)
// swapMacs(p) exchanges the MAC addresses of the frame at `p`
export { copyFrame, sumBytes, swapMacs } from "./simd.ts";

/** Receives up to `n` packets from a receive queue into the words at `pkts`; they are the application's then. */
// @ts-ignore: decorator
@external("env", "rxBurst") export declare function rxBurst(queue: u32, pkts: u32, n: u32): u32;
/** Sends the packets at `pkts`. Returns how many the queue took; the others are still the application's. */
// @ts-ignore: decorator
@external("env", "txBurst") export declare function txBurst(queue: u32, pkts: u32, n: u32): u32;
/** Draws `n` empty mbufs from cache() into the words at `pkts`: all or none. Returns how many. */
// @ts-ignore: decorator
@external("env", "mbufAllocBulk") export declare function alloc(cache: u32, pkts: u32, n: u32): u32;
/** Gives the `n` packets at `pkts` back. */
// @ts-ignore: decorator
@external("env", "mbufFreeBulk") export declare function free(cache: u32, pkts: u32, n: u32): void;
/** Puts the time into bytes 42 to 57 of a packet, as AppContext.stamp() does; 0: it did not. By way of JavaScript. */
// @ts-ignore: decorator
@external("env", "stamp") export declare function stamp(mbuf: u32): u32;
// To be asked for once, in init():

// @ts-ignore: decorator
@external("env", "lcoreId") export declare function lcoreId(): u32;
/** Room for the burst at hand: 512 words. */
// @ts-ignore: decorator
@external("env", "burst") export declare function burst(): u32;
/** The lcore's cache of mbufs. */
// @ts-ignore: decorator
@external("env", "cache") export declare function cache(): u32;
/** 64 KiB, zeroed when the lcore is started; after a reload the new application finds what the old one left. */
// @ts-ignore: decorator
@external("env", "scratch") export declare function scratch(): u32;
// @ts-ignore: decorator
@external("env", "queueCount") export declare function queueCount(): u32;
/** The k-th queue pair's receive and transmit queue; 0 where it has none. */
// @ts-ignore: decorator
@external("env", "rxQueue") export declare function rxQueue(k: u32): u32;
// @ts-ignore: decorator
@external("env", "txQueue") export declare function txQueue(k: u32): u32;
// @ts-ignore: decorator
@external("env", "queuePort") export declare function queuePort(k: u32): u32;
/** The port's MAC address as r32() and r16() read it from a frame: its first 4 bytes, its last 2. */
// @ts-ignore: decorator
@external("env", "macLow") export declare function macLow(k: u32): u32;
// @ts-ignore: decorator
@external("env", "macHigh") export declare function macHigh(k: u32): u32;
