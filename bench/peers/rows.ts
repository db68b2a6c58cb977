// What is compared with DPDK: each row is one kind of work, done by pollmode's and by DPDK's virtio-user frontend
// against the same vhost-user backend.

export interface Row {
  readonly name: string;
  /** As the table shows it. */
  readonly title: string;
  /** What the backend does: it only sends, or it sends and takes back. */
  readonly backend: "txonly" | "flowgen";
  /** The backend's counter that says how fast the frontend works. */
  readonly meter: "txPps" | "rxPps";
  readonly pollmodeApp: "touch" | "count" | "io" | "macswap";
  readonly dpdkMode: "rxonly" | "io" | "macswap";
  /** Arguments of net_virtio_user beside path, queues and queue_size. */
  readonly pollmodeArgs: string;
  readonly dpdkArgs: string;
}

const receive = {
  backend: "txonly",
  meter: "txPps",
  pollmodeApp: "touch",
  dpdkMode: "rxonly",
  pollmodeArgs: "",
  dpdkArgs: "",
} as const;

const swap = {
  backend: "flowgen",
  meter: "rxPps",
  pollmodeApp: "macswap",
  dpdkMode: "macswap",
  pollmodeArgs: "",
  dpdkArgs: "",
} as const;

const forward = { ...swap, pollmodeApp: "io", dpdkMode: "io" } as const;

const packed = { pollmodeArgs: ",packed_vq=1", dpdkArgs: ",packed_vq=1" } as const;
/** DPDK's vectorized path needs these, and reads no frame: so there is a row where pollmode reads none either. */
const vectorized = {
  pollmodeArgs: ",mrg_rxbuf=0",
  dpdkArgs: ",mrg_rxbuf=0,in_order=0,vectorized=1",
} as const;

export const rows: readonly Row[] = [
  { ...receive, name: "split-rx", title: "split ring, rx" },
  { ...receive, ...vectorized, name: "split-rx-vector", title: "split ring, rx; DPDK vectorized" },
  {
    ...receive,
    ...vectorized,
    pollmodeApp: "count",
    name: "split-rx-vector-unread",
    title: "the same, frames not read by pollmode either",
  },
  { ...receive, ...packed, name: "packed-rx", title: "packed ring, rx" },
  { ...forward, name: "split-io", title: "split ring, io" },
  { ...forward, ...packed, name: "packed-io", title: "packed ring, io" },
  { ...swap, name: "split-macswap", title: "split ring, macswap" },
  { ...swap, ...packed, name: "packed-macswap", title: "packed ring, macswap" },
];
