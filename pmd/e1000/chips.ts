// The chips of this driver, by PCI id, and in what they differ.
import type { PciId, RssType } from "../../src/ethdev/driver.ts";
import { MRQC_FIELDS, MRQC_FIELDS_82574, Mrqc, RINGS_82574, RINGS_IGB } from "./registers.ts";

export interface Chip {
  readonly name: string;
  /** igb: 82576 and I350, advanced descriptors. 82574: extended ones. */
  readonly family: "82574" | "igb";
  readonly queues: number;
  /** Unicast addresses it compares, its own among them. */
  readonly macs: number;
  readonly rings: { readonly rx: number; readonly tx: number; readonly stride: number };
  /** MRQC: the mode, and the bits by packet type. */
  readonly rssMode: number;
  readonly rssFields: Readonly<Partial<Record<RssType, number>>>;
  /** An entry of the redirection table for queue 1; the next queue's is twice that where there are more. */
  readonly rssQueueShift: number;
  /** Receive queues that share a register IVAR0[k]: queue q has register q % this (82576) or q / 2 (I350). */
  readonly ivar: "82574" | "82576" | "I350";
  readonly loopbackVlanSwapped: boolean;
}

const chip82574: Chip = {
  name: "82574L",
  family: "82574",
  queues: 2,
  macs: 16,
  rings: RINGS_82574,
  rssMode: Mrqc.RSS_82574,
  rssFields: MRQC_FIELDS_82574,
  rssQueueShift: 7,
  ivar: "82574",
  loopbackVlanSwapped: false,
};

const chip82576: Chip = {
  name: "82576",
  family: "igb",
  queues: 16,
  macs: 24,
  rings: RINGS_IGB,
  rssMode: Mrqc.RSS_IGB,
  rssFields: MRQC_FIELDS,
  rssQueueShift: 0,
  ivar: "82576",
  loopbackVlanSwapped: false,
};

const chipI350: Chip = {
  ...chip82576,
  name: "I350",
  queues: 8,
  macs: 32,
  ivar: "I350",
  loopbackVlanSwapped: true,
};

const INTEL = 0x8086;
const devices = new Map<number, Chip>([
  [0x10d3, chip82574],
  [0x10f6, chip82574],
  ...[0x10c9, 0x10e6, 0x10e7, 0x10e8, 0x1526, 0x150a, 0x1518, 0x150d].map((id) => [id, chip82576] as const),
  ...[0x1521, 0x1522, 0x1523, 0x1524, 0x1546].map((id) => [id, chipI350] as const),
]);

/** Physical functions. */
export const chipIds: readonly PciId[] = [...devices].map(([device, { name }]) => ({
  vendor: INTEL,
  device,
  chip: name,
}));

export function chipOf(device: number): Chip | undefined {
  return devices.get(device);
}
