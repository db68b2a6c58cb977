// ADDRESS OTHER: resets ADDRESS, which can be reset with its bus alone, where OTHER is too. Prints what became of it.
import { environment, print } from "./environment.ts";
import { Nic } from "./nic.ts";

/** Receive Address Low 0, which a reset gives back its value. */
const RAL0 = 0x5400;

const [address, other] = process.argv.slice(2) as [string, string];
using made = environment({});
const { arena, vfio } = made;
const device = vfio.open(address);
const nic = new Nic(arena, device.mapBar(0).offset, device.device);
const before = nic.read(RAL0);

function reset(): { done: boolean; back: boolean } {
  nic.write(RAL0, 0x1234);
  const done = device.reset();
  return { done, back: nic.read(RAL0) === before };
}

const alone = reset();
const second = vfio.open(other);
const together = reset();
second.close();
const aloneAgain = reset();
print({ alone, together, aloneAgain });
