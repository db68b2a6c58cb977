// [OPTIONS] ADDRESS...: what a VfioDevice does, on each of these NICs, all open at once. Prints its findings.
import { readdirSync, readlinkSync } from "node:fs";
import type { InterruptLine } from "../../../../src/bus/pci-function.ts";
import { unmaskIntx } from "../../../../src/bus/vfio/calls.ts";
import type { VfioDevice } from "../../../../src/bus/vfio/device.ts";
import { POLLIN } from "../../../../src/libc/abi.ts";
import { eventfdDrain, poll } from "../../../../src/libc/libc.ts";
import { attempt, environment, type GuestOptions, print } from "./environment.ts";
import { Nic } from "./nic.ts";

/** How often the line has fired within 2 s, or when nothing is to come, within 100 ms. */
function fired(line: InterruptLine, expected = true): number {
  poll([{ fd: line.fd, events: POLLIN }], expected ? 2000 : 100);
  return Number(eventfdDrain(line.fd));
}

function msix(device: VfioDevice, nic: Nic): unknown {
  nic.quiet();
  const lines = device.enableInterrupts("msix", 2);
  nic.writeAll(nic.msix.setup);
  const found = nic.msix.raise.map(([register, value], at) => {
    nic.write(register, value);
    const own = fired(lines[at]!);
    nic.clearCauses();
    const other = fired(lines[1 - at]!, false);
    fired(lines[at]!, false); // QEMU's e1000e may repeat itself
    return { own, other };
  });
  nic.quiet();
  device.disableInterrupts();
  return found;
}

function one(device: VfioDevice, nic: Nic, kind: "msi" | "intx"): unknown {
  nic.quiet();
  const [line] = device.enableInterrupts(kind, 1);
  nic.allowLinkChange();
  nic.raiseLinkChange();
  const first = fired(line!);
  nic.clearCauses();
  nic.raiseLinkChange();
  const before = fired(line!, kind === "msi");
  nic.clearCauses();
  let after = -1;
  if (line!.rearm) {
    unmaskIntx(line!.rearm.fd);
    nic.raiseLinkChange();
    after = fired(line!);
  }
  nic.quiet();
  device.disableInterrupts();
  return { first, before, after, rearm: line!.rearm?.by };
}

const RAL0 = 0x5400;
const COMMAND = 4;

function reset(device: VfioDevice, nic: Nic): unknown {
  const before = nic.read(RAL0);
  nic.write(RAL0, 0x1234_5678);
  const changed = nic.read(RAL0);
  const done = device.reset();
  return { done, kept: nic.read(RAL0) === changed, back: nic.read(RAL0) === before };
}

function master(device: VfioDevice): unknown {
  const bit = () => (device.readConfig(COMMAND, 2) >> 2) & 1;
  const seen = [bit()];
  for (const on of [true, true, false]) {
    device.setBusMaster(on);
    seen.push(bit());
  }
  return seen;
}

function examine(address: string): unknown {
  const device = vfio.open(address);
  const bar = device.mapBar(0);
  const nic = new Nic(arena, bar.offset, device.device);
  const bits = master(device);
  device.setBusMaster(true); // a message-signalled interrupt is a write to memory
  return {
    vendor: device.vendor,
    device: device.device,
    vectors: device.vectors,
    barBytes: bar.bytes,
    sameBar: device.mapBar(0) === bar,
    status: nic.read(8),
    msix: msix(device, nic),
    msi: one(device, nic, "msi"),
    intx: one(device, nic, "intx"),
    again: msix(device, nic),
    master: bits,
    reset: reset(device, nic),
    errors: {
      ports: attempt(() => device.mapBar(2)),
      none: attempt(() => device.mapBar(5)),
      beyond: attempt(() => device.mapBar(7)),
      config: attempt(() => device.readConfig(4096, 4)),
      crooked: attempt(() => device.readConfig(1, 2)),
      vectors: attempt(() => device.enableInterrupts("msix", 1000)),
      open: attempt(() => vfio.open(address)),
    },
  };
}

function vfioFiles(): string[] {
  const paths = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return paths.filter((path) => path.includes("vfio")).sort();
}

const [first, ...rest] = process.argv.slice(2);
const options = first?.startsWith("{") ? (JSON.parse(first) as GuestOptions) : undefined;
using made = environment(options ?? {});
const { arena, vfio } = made;
const functions = (options ? rest : process.argv.slice(2)).map(examine);
const open = vfioFiles();
vfio.close();
print({ functions, open, left: vfioFiles() });
