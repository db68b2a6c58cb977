// testpmd's own options, after `--`: those there are, and those that DPDK 22.11 has beyond them.
import type { OptionTable } from "../../eal/option-table.ts";
import { BURST_DEFAULT, BURST_MAX, QUEUES_MAX } from "../../limits.ts";

/** Those of forwarding: what the console can change too, for the most part. */
export const forwardTable = {
  "forward-mode": {
    value: "MODE",
    meaning: "What is done with packets: {modes}, or app=FILE.",
    byDefault: "io",
  },
  "nb-cores": { value: "N", meaning: "Forwarding lcores.", byDefault: "1" },
  coremask: { value: "MASK", meaning: "lcores that forward, hexadecimal; the first lcore of -l cannot." },
  "nb-ports": { value: "N", meaning: "Forwarding ports, the first N.", byDefault: "all" },
  portmask: { value: "MASK", meaning: "Ports that forward, hexadecimal." },
  portlist: { value: "LIST", meaning: "Ports that forward: 0,2-3." },
  "port-topology": {
    value: "WORD",
    meaning: "Where a port's packets go: paired (0 and 1, 2 and 3), chained (the next one) or loop (back).",
    byDefault: "paired",
  },
  rxq: { value: "N", meaning: `Receive queues of each port, 1 to ${QUEUES_MAX}.`, byDefault: "1" },
  txq: { value: "N", meaning: `Transmit queues of each port, 1 to ${QUEUES_MAX}.`, byDefault: "1" },
  rxd: { value: "N", meaning: "Descriptors of a receive ring.", byDefault: "the driver's" },
  txd: { value: "N", meaning: "Descriptors of a transmit ring.", byDefault: "the driver's" },
  burst: { value: "N", meaning: `Packets of a burst, 1 to ${BURST_MAX}.`, byDefault: `${BURST_DEFAULT}` },
  "mbuf-size": {
    value: "BYTES",
    meaning: "Size of an mbuf's buffer, 128 of headroom included.",
    byDefault: "2176",
  },
  "total-num-mbufs": {
    value: "N",
    meaning: "mbufs of the pool, more than 1024.",
    byDefault: "by the queues",
  },
  "max-pkt-len": { value: "BYTES", meaning: "Largest frame, CRC included: the MTU that ports begin with." },
  txpkts: {
    value: "X[,Y]*",
    meaning: "Bytes of each segment that txonly and flowgen send.",
    byDefault: "64",
  },
  "txonly-multi-flow": { meaning: "txonly varies the source address from packet to packet." },
  "flowgen-flows": { value: "N", meaning: "Flows that flowgen makes.", byDefault: "1024" },
  "eth-peer": {
    value: "N,MAC",
    multiple: true,
    meaning: "Destination of the frames that port N sends.",
    byDefault: "02:00:00:00:00:NN, in flowgen 00:01:02:03:04:01",
  },
  "eth-peers-configfile": { value: "FILE", meaning: "Such destinations: line k has port k's." },
  "noisy-tx-sw-buffer-size": { value: "N", meaning: "noisy: packets that wait in a FIFO.", byDefault: "0" },
  "noisy-tx-sw-buffer-flushtime": {
    value: "MS",
    meaning: "noisy: the FIFO is emptied after so long.",
    byDefault: "0",
  },
  "noisy-lkup-memory": {
    value: "MIB",
    meaning: "noisy: memory that is read and written at random.",
    byDefault: "0",
  },
  "noisy-lkup-num-writes": { value: "N", meaning: "noisy: writes per packet.", byDefault: "0" },
  "noisy-lkup-num-reads": { value: "N", meaning: "noisy: reads per packet.", byDefault: "0" },
  "noisy-lkup-num-reads-writes": {
    value: "N",
    meaning: "noisy: reads and writes per packet.",
    byDefault: "0",
  },
  "no-flush-rx": { meaning: "Keep what waits in the receive queues when forwarding starts." },
  "disable-rss": { meaning: "No receive-side scaling: all packets go to queue 0." },
  "rss-ip": { meaning: "Spread over receive queues by IP addresses alone (the default)." },
  "rss-udp": { meaning: "Spread by IP addresses and UDP ports." },
  "enable-rx-cksum": { meaning: "Ports check checksums." },
  "enable-hw-vlan": { meaning: "As --enable-hw-vlan-filter and --enable-hw-vlan-strip." },
  "enable-hw-vlan-filter": { meaning: "Ports let only those VLANs in that `rx_vlan add` names." },
  "enable-hw-vlan-strip": { meaning: "Ports take VLAN tags off." },
  "enable-scatter": { meaning: "Accepted: frames larger than an mbuf always are chains." },
  "flow-isolate-all": { meaning: "Ports receive only what flow rules lead to them." },
  "disable-link-check": { meaning: "Do not say at port start how the links are." },
  "no-lsc-interrupt": { meaning: "Wait for the links, up to 9 s, when ports start." },
  "disable-device-start": { meaning: "Leave the ports stopped." },
} as const satisfies OptionTable;

/** Those of the program. */
export const programTable = {
  interactive: { short: "i", meaning: "Read commands: `help` lists them." },
  "auto-start": { short: "a", meaning: "Forward from the beginning, with -i too." },
  "cmdline-file": { value: "FILE", meaning: "Run the commands in FILE first." },
  "tx-first": { meaning: "Each stream sends a burst before it forwards; not with -i." },
  "stats-period": {
    value: "SECONDS",
    meaning: "Print the ports' statistics so often; not with -i.",
    byDefault: "0",
  },
  "display-xstats": {
    value: "NAME[,NAME]*",
    meaning: "Extended statistics to print with the ports' statistics.",
  },
  "record-burst-stats": {
    meaning: "Print how large bursts were with the forward statistics.",
  },
  http: { value: "[HOST:]PORT", meaning: "Serve /metrics and a live page. Not in DPDK." },
  stamp: {
    meaning: "txonly and flowgen send the time, other modes measure how old it is: see --http. Not in DPDK.",
  },
  "rx-interrupt": {
    meaning: "lcores sleep while nothing comes; not with net_null, net_ring, net_pcap. Not in DPDK.",
  },
  engine: {
    value: "wasm|ts",
    meaning: "The hot path in WebAssembly or TypeScript. Not in DPDK.",
    byDefault: "wasm",
  },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

const oneArena = "memory is one arena (-m), its node the lcores' own: remove the option";
const oneProcess = "there is one process: give it more lcores (-l, --nb-cores)";
const oneAllocator = "mbufs lie in the arena, in hugepages where there are any: remove the option";
const noThreshold = "drivers choose their rings' thresholds: remove the option";
const noHairpin = "no driver has hairpin queues: forward with --port-topology=loop";
const noSplit = "buffers are all of one size (--mbuf-size): remove the option";
const noLro = "frames are received as they come: remove the option";
const allEvents = "all events are told: remove the option";
const noOuter = "hashes are of the outer headers: remove the option";
const noTunnel = "tunnels are not looked into: remove the option";

/** What DPDK's testpmd has beside these, with what to do instead. */
export const dpdkOnlyTable: Readonly<Record<string, string>> = {
  "bitrate-stats": "--stats-period shows Rx-bps and Tx-bps",
  "disable-crc-strip": "CRCs are always taken off: remove the option",
  "enable-drop-en": "a full ring never holds up the others: remove the option",
  "enable-hw-qinq-strip": "one tag is taken off: --enable-hw-vlan-strip",
  "enable-hw-vlan-extend": "one tag is looked at: --enable-hw-vlan-filter",
  "enable-lro": noLro,
  "enable-rx-timestamp": "no driver stamps frames: `pollmode capture` does when it takes them",
  "eth-link-speed": "links negotiate: set the speed at the other end",
  "flowgen-clones": "each packet is made by itself: remove the option",
  "geneve-parsed-port": noTunnel,
  "hairpin-mode": noHairpin,
  hairpinq: noHairpin,
  "hot-plug": "use `port attach` and `port detach`",
  latencystats: "--stamp measures latency, and --http shows it",
  "mask-event": allEvents,
  "max-lro-pkt-size": noLro,
  mbcache: "lcores' caches have a fixed size: remove the option",
  mlockall: "memory that devices see is pinned where it must be: remove the option",
  "mp-alloc": oneAllocator,
  "mp-anon": oneAllocator,
  "multi-rx-mempool": noSplit,
  "no-iova-contig": oneAllocator,
  "no-mlockall": "memory that devices see is pinned where it must be: remove the option",
  "no-numa": oneArena,
  "no-rmv-interrupt": allEvents,
  "num-procs": oneProcess,
  numa: oneArena,
  "port-numa-config": oneArena,
  "print-event": allEvents,
  "proc-id": oneProcess,
  "record-core-cycles": "--http shows each lcore's ns per packet and busy share",
  "ring-numa-config": oneArena,
  "rss-level-inner": noOuter,
  "rss-level-outer": noOuter,
  "rx-mq-mode": "several queues (--rxq) mean RSS: remove the option",
  "rx-offloads": "use --enable-rx-cksum, --enable-hw-vlan-strip, --enable-hw-vlan-filter",
  rxfreet: noThreshold,
  rxhdrs: noSplit,
  rxht: noThreshold,
  rxoffs: noSplit,
  rxpkts: noSplit,
  rxpt: noThreshold,
  "rxq-share": "queues belong to one port: remove the option",
  rxwt: noThreshold,
  "socket-num": oneArena,
  "tx-ip": "txonly sends from 198.18.0.1 to 198.18.0.2: write an application, app=FILE, for others",
  "tx-offloads": "use the csum mode, which asks ports for what they have",
  "tx-udp": "txonly sends from port 9 to port 9: write an application, app=FILE, for others",
  txfreet: noThreshold,
  txht: noThreshold,
  txpt: noThreshold,
  txrst: noThreshold,
  txwt: noThreshold,
  "vxlan-gpe-port": noTunnel,
};
