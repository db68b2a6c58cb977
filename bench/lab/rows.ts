// What is compared in the lab: each row is one job on the emulated NICs, done by pollmode and by DPDK in turn.

export interface Row {
  readonly name: string;
  readonly title: string;
  readonly mode: "txonly" | "rxonly" | "io";
  /** Which of the lab's NICs do the job, by their index there. */
  readonly nics: readonly number[];
  /** Which NIC sends to them; it is DPDK's in both cases. */
  readonly generator?: number;
}

/** The lab's NICs, all on one hub. */
export const nicModels = ["e1000e", "igb"] as const;

export const rows: readonly Row[] = [
  { name: "e1000e-txonly", title: "txonly e1000e", mode: "txonly", nics: [0] },
  { name: "igb-txonly", title: "txonly igb", mode: "txonly", nics: [1] },
  { name: "e1000e-rxonly", title: "rxonly e1000e", mode: "rxonly", nics: [0], generator: 1 },
  { name: "igb-rxonly", title: "rxonly igb", mode: "rxonly", nics: [1], generator: 0 },
  { name: "io", title: "io e1000e ↔ igb", mode: "io", nics: [0, 1] },
];

/** Frames that io sets going on each port, as testpmd's --tx-first does; they go round and round. */
export const firstFrames = 32;
export const frameBytes = 64;
export const burst = 32;
export const descriptors = 512;
export const generatorMib = 128;
