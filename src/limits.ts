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
/** Streams an lcore: pairs of queues that it forwards between. 256 bytes each. */
export const STREAMS_MAX = 64;

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
/** Segments that a mode may draw beyond a burst, one packet's: RTE_MAX_SEGS_PER_PKT (rte_mbuf.h). */
export const SEGMENTS_EXTRA = 255;

export const RING_SIZE_DEFAULT = 1024;
export const RING_SIZE_MIN = 64;
export const RING_SIZE_MAX = 32768;

/** Rounds of 256 polls that a hot loop runs before it returns to its worker: some 10 ms. */
export const LOOP_ROUNDS = 4096;
/** The same for an lcore that may sleep: it looks more often whether there is anything to do. */
export const SLEEPY_ROUNDS = 16;
/** Completion events that are read of a channel at a time; each arming raises one at most. */
export const COMPLETION_EVENTS_MAX = 16;
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
/** An application's factory has so long, while the one before polls on. */
export const APP_READY_TIMEOUT_MS = 5000;
/** Memory that an application in WebAssembly has for itself. */
export const APP_SCRATCH_BYTES = 64 * KIB;
/** Received frames that wait for the main thread: 10 ms at 3 Gbit/s. */
export const STREAM_RING_BYTES = 4 * MIB;
/** A changed file is read when nothing has changed for so long: editors write in several steps. */
export const APP_SETTLE_MS = 50;
/** A lost vhost-user peer is looked for so often. */
export const RECONNECT_INTERVAL_MS = 100;

/** Virtual functions are there when the write that makes them returns, with nearly all drivers. */
export const VF_WAIT_TIMEOUT_MS = 5000;
export const VF_POLL_INTERVAL_MS = 20;

/** A device's node in /dev is there when the write that binds it returns, unless udev makes it. */
export const NODE_WAIT_TIMEOUT_MS = 5000;
export const NODE_POLL_INTERVAL_MS = 20;
/** Another process that changes drivers is waited for; some drivers take seconds. */
export const BINDINGS_LOCK_TIMEOUT_MS = 10_000;
export const BINDINGS_LOCK_INTERVAL_MS = 50;

/** Regions, and kinds of interrupt, that a device of VFIO can have: PCI's have 9 and 5, and their driver's own. */
export const VFIO_INDEXES_MAX = 256;
/** A mediated device that is open goes as soon as its program lets it go: so long is waited for that. */
export const MDEV_REMOVE_TIMEOUT_MS = 2000;

/** A block of a pcapng file; libpcap and Wireshark take longer ones for corrupt, too. */
export const PCAP_BLOCK_BYTES_MAX = 16 * MIB;
/** Bytes kept of a frame, libpcap's MAXIMUM_SNAPLEN: longer ones are taken for a corrupt file by every reader. */
export const PCAP_FRAME_BYTES_MAX = 256 * KIB;

/** Connections to --http at a time: some pages of six each, and a scraper. */
export const HTTP_CLIENTS_MAX = 64;
/** A client of --http that neither sends nor reads for so long is cut off. */
export const HTTP_TIMEOUT_MS = 10_000;
/** What net_pcap sees of an input file at a time: the longest frame twice. It reads so much at once: some 20 us. */
export const PCAP_WINDOW_BYTES = 512 * KIB;
export const PCAP_READ_BYTES = 128 * KIB;
/** A file that is read several times and is smaller than this stays in memory. */
export const PCAP_KEPT_BYTES_MAX = 64 * MIB;
/** Records that wait to be written. */
export const PCAP_BATCH_BYTES = 512 * KIB;
/** Interfaces of a section of a pcapng file: 32 KiB a queue. */
export const PCAP_INTERFACES_MAX = 1024;
export const PCAP_LOOPS_MAX = 1_000_000_000;
/** So often it is looked whether files have ended. */
export const PCAP_WATCH_INTERVAL_MS = 50;
/** A port that stops waits so long for the reader of a FIFO. */
export const PCAP_DRAIN_MS = 500;

/** A capture filter's length, as Linux' BPF_MAXINSNS. */
export const BPF_INSTRUCTIONS_MAX = 4096;
/**
 * The ring that each captured queue has. The smallest holds two of the longest packets wherever in the ring it stands;
 * the default holds 1 ms at 10 million short packets a second, or 30 ms of 10 Gbit/s in long ones.
 */
export const CAPTURE_RING_BYTES_MIN = MIB;
export const CAPTURE_RING_BYTES_DEFAULT = 4 * MIB;
export const CAPTURE_RING_BYTES_MAX = 256 * MIB;
/** Captures of one engine at a time. */
export const CAPTURES_MAX = 8;
/** Rings are looked at so often when they are nearly empty, and what was read is handed on. */
export const CAPTURE_INTERVAL_MS = 20;
/** The stamps' clock follows the system's. */
export const CAPTURE_CLOCK_INTERVAL_MS = 1000;
/** Programs connected to a control socket at a time; one line of theirs; what waits for one that does not read. */
export const CONTROL_CLIENTS_MAX = 64;
export const CONTROL_LINE_BYTES_MAX = 512 * KIB;
export const CONTROL_OUTPUT_BYTES_MAX = MIB;

/** What QEMU locks beyond the guest's memory, as libvirt reckons it: qemuDomainGetMemLockLimitBytes. */
export const GUEST_IO_BYTES = 1024 * MIB;
