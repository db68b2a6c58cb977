// A made-up machine with one NIC on a UIO driver: files stand in for /dev/uio0, configuration space and a BAR.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { System } from "../../../src/bus/vfio/system.ts";
import { MIB } from "../../../src/limits.ts";
import { Arena } from "../../../src/memory/arena.ts";
import type { IovaMap } from "../../../src/memory/iova.ts";
import { dmaZone, type Zone } from "../../../src/memory/zone.ts";
import { type FakeDevice, FakeSysfs, zeroBar } from "../../support/fake-sysfs.ts";

export const address = "0000:00:03.0";
const folder = `devices/pci0000:00/${address}`;

export interface FakeUio {
  readonly sysfs: FakeSysfs;
  readonly system: System;
  readonly arena: Arena;
  readonly dma: Zone;
  /** Physical addresses, without a look at any. */
  readonly iova: IovaMap;
  /** The command register as it stands. */
  command(): number;
  /** A process that has a file open. */
  addProcess(pid: number, name: string, path: string): void;
  node(): string;
}

/** Root's capabilities by default. */
export function fakeUio(
  t: { teardown(done: () => void): unknown },
  device: FakeDevice = {},
  capabilities = "000001ffffffffff",
): FakeUio {
  const sysfs = new FakeSysfs(t);
  for (const driver of ["uio_pci_generic", "igb_uio", "vfio-pci", "e1000e"]) sysfs.addDriver(driver);
  const config = Buffer.alloc(256);
  config.writeUInt32LE(0x10d38086, 0);
  config.writeUInt16LE(0x0004, 4); // a killed program's bus mastering
  const registers = ["0x00000000febc0000 0x00000000febdffff 0x0000000000040200", zeroBar];
  const made = { driver: "uio_pci_generic", uio: "uio0", config, resource: registers, ...device };
  sysfs.addDevice(address, made);
  sysfs.put(`${folder}/resource0`, Buffer.alloc(0x20000));
  sysfs.put(`${folder}/reset`, "");
  const root = mkdtempSync(join(tmpdir(), "pollmode-uio-"));
  const [dev, proc] = [join(root, "dev"), join(root, "proc")];
  for (const made of [dev, join(proc, "self")]) mkdirSync(made, { recursive: true });
  writeFileSync(join(dev, "uio0"), "");
  writeFileSync(join(proc, "self/status"), `CapEff:\t${capabilities}\n`);
  const arena = new Arena(16 * MIB);
  const dma = dmaZone(arena, { bytes: 2 * MIB, noHuge: true, warn: () => {} });
  t.teardown(() => {
    dma.close();
    arena.close();
    rmSync(root, { recursive: true });
  });
  const iova = { mode: "pa", unpinned: undefined, fds: [dma.fd!], of: BigInt } as unknown as IovaMap;
  const addProcess = (pid: number, name: string, path: string) => {
    mkdirSync(join(proc, `${pid}`, "fd"), { recursive: true });
    writeFileSync(join(proc, `${pid}`, "comm"), `${name}\n`);
    symlinkSync(path, join(proc, `${pid}`, "fd/7"));
  };
  const command = () => readFileSync(sysfs.path(`${folder}/config`)).readUInt16LE(4);
  const system = new System(sysfs, dev, proc);
  return { sysfs, system, arena, dma, iova, command, addProcess, node: () => join(dev, "uio0") };
}
