// With a physical function on vfio-pci: opens it by a VF token, has virtual functions made of it, opens one without the
// token, with a wrong one and with the right one, reads its registers, and has them removed. In the lab's guest.
import { randomUUID } from "node:crypto";
import { V2pMailbox, VfReg } from "../../../../pmd/e1000/vf-registers.ts";
import { setNumVfs } from "../../../../src/bus/pci/sriov.ts";
import type { PciFunction } from "../../../../src/bus/pci-function.ts";
import type { PollmodeError } from "../../../../src/errors.ts";
import { Pollmode } from "../../../../src/pollmode.ts";
import { attempt, environment, print } from "../../../bus/vfio/guest/environment.ts";

const pf = process.argv[2]!;
const vfToken = randomUUID();
using ours = environment({ vfToken });
using without = environment({});
using wrong = environment({ vfToken: randomUUID() });

const read = (device: PciFunction, offset: number) =>
  ours.arena.u32[(device.mapBar(0).offset + offset) >>> 2]!;

/** A port of it: of a VF whose PF nobody drives, of a PF that has VFs. */
async function attemptStart(address: string): Promise<{ code: string; fix: string } | undefined> {
  try {
    await using _pm = await Pollmode.start({ allow: [address], vfioVfToken: vfToken, noHuge: true });
    return undefined;
  } catch (error) {
    const { code, fix } = error as PollmodeError;
    return { code, fix };
  }
}

const physical = ours.vfio.open(pf);
physical.setBusMaster(true);
const [vf, second] = await setNumVfs(pf, 2);
const refusals = [without, wrong].map(({ vfio }) => attempt(() => void vfio.open(vf!)));
const virtual = ours.vfio.open(vf!);
const status = read(virtual, VfReg.VTSTATUS);
const isPfAway = (read(virtual, VfReg.V2PMAILBOX) & V2pMailbox.RSTI) !== 0;
let inUse: string | undefined;
try {
  await setNumVfs(pf, 0);
} catch (error) {
  inUse = (error as { code: string }).code;
}
virtual.close();
const unserved = await attemptStart(vf!);
const withVfs = await attemptStart(pf);
const left = await setNumVfs(pf, 0);
print({ vfs: [vf, second], refusals, status, isPfAway, inUse, unserved, withVfs, left });
