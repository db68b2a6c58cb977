// AssemblyScript's runtime for applications: one without a heap. The arena is full of packets, so there is no room for
// objects; making one is a trap, which stops the lcore, where the stub runtime would write over what lies there.

// @ts-ignore: decorator
@unsafe @global export function __alloc(size: usize): usize { unreachable(); return 0; }
// @ts-ignore: decorator
@unsafe @global export function __realloc(ptr: usize, size: usize): usize { unreachable(); return 0; }
// @ts-ignore: decorator
@unsafe @global export function __free(ptr: usize): void {}
// @ts-ignore: decorator
@unsafe @global export function __new(size: usize, id: u32): usize { unreachable(); return 0; }
// @ts-ignore: decorator
@unsafe @global export function __renew(oldPtr: usize, size: usize): usize { unreachable(); return 0; }
// @ts-ignore: decorator
@global export function __link(parentPtr: usize, childPtr: usize, expectMultiple: bool): void {}
// @ts-ignore: decorator
@global export function __pin(ptr: usize): usize { return ptr; }
// @ts-ignore: decorator
@global export function __unpin(ptr: usize): void {}
// @ts-ignore: decorator
@global export function __collect(): void {}
