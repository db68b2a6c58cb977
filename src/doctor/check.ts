// What a check is.
import type { Finding } from "./finding.ts";
import type { Nic, Situation, Way } from "./situation.ts";

interface Common {
  /** As it stands in the checklist. */
  readonly id: string;
  /** Checks before it. If one of them failed, this one would fail by it as well, and is not made. */
  readonly needs: readonly string[];
}

export interface MachineCheck extends Common {
  /** It matters to NICs alone that reach memory in one of these ways; absent: always. */
  readonly ways?: readonly Way[];
  look(situation: Situation): Finding;
}

export interface NicCheck extends Common {
  /** It matters to these alone; absent: to all. */
  readonly ways?: readonly Way[];
  /** Why it does not matter to others, where that is not to be seen from their way. */
  readonly otherwise?: string;
  look(nic: Nic, situation: Situation): Finding;
}

/** Ways that go through VFIO. */
export const BY_VFIO = ["vfio", "noiommu"] as const satisfies readonly Way[];
/** All but the one that leaves the NIC with its kernel driver. */
export const BOUND = ["vfio", "noiommu", "uio", "none"] as const satisfies readonly Way[];
