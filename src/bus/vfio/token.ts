// VF tokens: whoever has a physical function through vfio-pci can spy on its virtual functions, so both sides have to
// give the same UUID. The physical function's side sets it: vfio_pci_validate_vf_token, drivers/vfio/pci/
// vfio_pci_core.c of the kernel.
import { closeSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import type { PciDevice } from "../pci/scan.ts";
import { VfioContainer } from "./container.ts";
import { findGroup } from "./errors.ts";
import { VfioGroup } from "./group.ts";
import type { System } from "./system.ts";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Throws OPTION_VALUE if it is no UUID. `option` is what it was given to. */
export function checkVfToken(option: string, token: string): void {
  if (UUID.test(token)) return;
  const fix = "uuidgen makes one: 14d63f20-8445-11ea-8900-1f9ce7d5650d";
  throw new PollmodeError("OPTION_VALUE", `${option} ${token}: this is no UUID`, fix);
}

/**
 * Opens a physical function with a token, which resets it, and closes it. The kernel keeps the token: until somebody
 * opens it with another while no virtual function is in use, or it is unbound from vfio-pci. Errors: of Vfio.open.
 */
export function setVfToken(pf: PciDevice, token: string, system: System): void {
  const group = VfioGroup.open(findGroup(pf, system), pf.address, system);
  try {
    const container = VfioContainer.open(group.noIommu, pf.address, system);
    try {
      container.attach(group);
      closeSync(group.openDevice(pf, token));
    } finally {
      container.detach(group);
      container.close();
    }
  } finally {
    group.close();
  }
}
