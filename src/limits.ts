// Every cap and default has its home here.

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** WebAssembly's page: arenas are whole pages. */
export const WASM_PAGE_BYTES = 64 * KIB;
export const PAGE_BYTES = 4 * KIB;
export const HUGEPAGE_BYTES = 2 * MIB;

/** The largest arena: a packet is a 32-bit offset. Address space alone, until it is used. */
export const ARENA_BYTES_MAX = 65536 * WASM_PAGE_BYTES;
/** Private zone (2) + DMA zone (-m) + room for guests' memory: 2 GiB serves guests of up to about 1.8 GiB. */
export const ARENA_BYTES_DEFAULT = 2048 * MIB;
/** Never handed out, so that offset 0 can mean "none". */
export const ARENA_GUARD_BYTES = WASM_PAGE_BYTES;

/** -m: 8192 mbufs of 2176 bytes (17 MiB), rings, and as much again for larger buffers. */
export const MEMORY_MIB_DEFAULT = 64;
/** mbuf metadata, queue blocks, shadows, caches: 64 bytes an mbuf and some 64 KiB a queue and lcore. */
export const PRIVATE_ZONE_BYTES = 32 * MIB;

export const LCORES_MAX = 128;
export const PORTS_MAX = 32;
/** Queues a port and direction. */
export const QUEUES_MAX = 16;

/** RTE_MBUF_DEFAULT_DATAROOM. */
export const MBUF_DATA_ROOM_DEFAULT = 2048;
export const MBUF_DATA_ROOM_MAX = 16384;
export const MBUF_COUNT_DEFAULT = 8192;
export const MBUF_COUNT_MAX = 1 << 20;
/** An lcore's cache gives back to the pool above this: a full ring's worth of completions, once more. */
export const MBUF_CACHE_HIGH = 2048;

/** Control code waits so long for a pool that an lcore holds. */
export const POOL_LOCK_TIMEOUT_MS = 100;

export const BURST_DEFAULT = 32;
export const BURST_MAX = 512;
/** Segments that a mode may draw beyond a burst: a 64 KiB frame of 2 KiB buffers, twice. */
export const SEGMENTS_EXTRA = 64;

export const RING_SIZE_DEFAULT = 1024;
export const RING_SIZE_MIN = 64;
export const RING_SIZE_MAX = 32768;

/** Rounds of 256 polls that a hot loop runs before it returns to its worker: some 10 ms. */
export const LOOP_ROUNDS = 4096;
/** The same for an lcore that may sleep: it looks more often whether there is anything to do. */
export const SLEEPY_ROUNDS = 16;
/** So many turns of SLEEPY_ROUNDS without a packet, about 1 ms, and an lcore with --rx-interrupt sleeps. */
export const IDLE_TURNS = 8;
/** It wakes after this at the latest, so that its heartbeat is seen. */
export const SLEEP_MS_MAX = 200;
/** An lcore whose heartbeat stands still for so long is reported as stalled. */
export const STALL_MS = 1000;
export const MONITOR_INTERVAL_MS = 250;
/** An lcore leaves a queue within a round of 256 polls; one that takes longer than this is stalled. */
export const QUIESCE_TIMEOUT_MS = 2000;
export const LCORE_START_TIMEOUT_MS = 10_000;
/** A lost vhost-user peer is looked for so often. */
export const RECONNECT_INTERVAL_MS = 100;

/** Virtual functions are there when the write that makes them returns, with nearly all drivers. */
export const VF_WAIT_TIMEOUT_MS = 5000;
export const VF_POLL_INTERVAL_MS = 20;
