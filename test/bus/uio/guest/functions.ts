// ADDRESS...: what a UioDevice does, on each of these NICs, all open at once. Prints its findings.
import { readdirSync, readlinkSync } from "node:fs";
import { drainInterrupt, rearmInterrupt, waitInterrupts } from "../../../../src/bus/interrupt.ts";
import type { InterruptKind, InterruptLine, PciFunction } from "../../../../src/bus/pci-function.ts";
import { eventfd, eventfdWrite } from "../../../../src/libc/libc.ts";
import { attempt, print } from "../../vfio/guest/environment.ts";
import { Nic } from "../../vfio/guest/nic.ts";
import { openBus } from "./bus.ts";
import { sendOne } from "./send-one.ts";

const RAL0 = 0x5400;
const COMMAND = 4;
const wakeFd = eventfd();

/** Whether the line fires within 2 s, or when nothing is to come, within 200 ms. */
function fires(line: InterruptLine, expected = true): boolean {
  const fired = waitInterrupts([line], wakeFd, expected ? 2000 : 200).includes(line);
  return drainInterrupt(line) && fired;
}

/** Raises it, raises it again while the kernel may have masked it, lets it fire again thrice, and turns it off. */
function interrupts(device: PciFunction, nic: Nic, kind: InterruptKind): unknown {
  const { setup, raise } = nic.msix;
  const fresh = () => {
    nic.quiet();
    if (kind === "msix") nic.writeAll(setup);
    else nic.allowLinkChange();
  };
  const cause = () => (kind === "msix" ? nic.writeAll([raise[0]!]) : nic.raiseLinkChange());
  fresh();
  const [line] = device.enableInterrupts(kind, 1);
  const before = fires(line!, false);
  cause();
  const first = fires(line!);
  fresh();
  cause();
  const masked = !fires(line!, line!.rearm === undefined);
  const again = [1, 2, 3].map(() => {
    fresh();
    rearmInterrupt(line!);
    fires(line!, false);
    cause();
    return fires(line!);
  });
  fresh();
  rearmInterrupt(line!);
  fires(line!, false);
  device.disableInterrupts();
  cause();
  const off = fires(line!, false);
  nic.quiet();
  return { before, first, masked, again, off, rearm: line!.rearm?.by };
}

/** A wait ends by the eventfd too, and takes back that it was written. */
function wakes(): unknown {
  eventfdWrite(wakeFd);
  const start = performance.now();
  const none = waitInterrupts([], wakeFd, 5000).length;
  const early = performance.now() - start < 2500;
  const middle = performance.now();
  waitInterrupts([], wakeFd, 150);
  return { none, early, drained: performance.now() - middle >= 140 };
}

function reset(device: PciFunction, nic: Nic): unknown {
  const word = (offset: number) => device.readConfig(offset, 4);
  const bars = () => [0, 1, 2, 3, 4, 5].map((bar) => word(0x10 + 4 * bar));
  const before = { ral: nic.read(RAL0), command: device.readConfig(COMMAND, 2), bars: bars() };
  nic.write(RAL0, 0x1234_5678);
  const changed = nic.read(RAL0) === 0x1234_5678;
  const done = device.reset();
  const after = { ral: nic.read(RAL0), command: device.readConfig(COMMAND, 2), bars: bars() };
  return { changed, done, same: JSON.stringify(before) === JSON.stringify(after), before, after };
}

function master(device: PciFunction): number[] {
  const bit = () => (device.readConfig(COMMAND, 2) >> 2) & 1;
  const seen = [bit()];
  for (const on of [true, true, false]) {
    device.setBusMaster(on);
    seen.push(bit());
  }
  return seen;
}

function examine(address: string): unknown {
  const device = made.bus.open(address);
  const bar = device.mapBar(0);
  const nic = new Nic(made.arena, bar.offset, device.device);
  const bits = master(device);
  device.setBusMaster(true); // a message-signalled interrupt is a write to memory
  const kind = (["msix", "msi", "intx"] as const).find((name) => device.vectors[name] > 0);
  return {
    address: device.address,
    vendor: device.vendor,
    device: device.device,
    access: device.access,
    vectors: device.vectors,
    barBytes: bar.bytes,
    sameBar: device.mapBar(0) === bar,
    status: nic.read(8),
    master: bits,
    interrupts: kind && interrupts(device, nic, kind),
    reset: reset(device, nic),
    sent: sendOne(made, device, nic),
    errors: {
      ports: attempt(() => device.mapBar(2)),
      none: attempt(() => device.mapBar(5)),
      config: attempt(() => device.readConfig(4096, 4)),
      crooked: attempt(() => device.readConfig(1, 2)),
      vectors: attempt(() => device.enableInterrupts(kind ?? "intx", 2)),
      kind: attempt(() => device.enableInterrupts(kind === "msi" ? "msix" : "msi", 1)),
      open: attempt(() => made.bus.open(address)),
    },
  };
}

function openFiles(): string[] {
  const paths = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return paths.filter((path) => /uio|\/config$|\/resource\d/.test(path)).sort();
}

using made = openBus();
const functions = process.argv.slice(2).map(examine);
const open = openFiles();
made.bus.close();
made.bus.close();
const isPinned = made.iova.unpinned === undefined;
print({ functions, open, left: openFiles(), warnings: made.warnings, isPinned, wakes: wakes() });
