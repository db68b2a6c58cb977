// In the lab's guest: does what its argument lists, one after the other, and prints one line of JSON: the result or the
// error of each. Errors do not stop it.
import { execFileSync } from "node:child_process";
import { openSync } from "node:fs";
import { mapBar } from "../../../../src/bus/pci/bar.ts";
import { type Binding, bindDriver, restoreDriver, unbindDriver } from "../../../../src/bus/pci/bind.ts";
import { ConfigFile, readConfigImage } from "../../../../src/bus/pci/config-file.ts";
import { parseConfigSpace } from "../../../../src/bus/pci/config-space.ts";
import { KernelModules } from "../../../../src/bus/pci/modules.ts";
import { readPciDevice, scanPci } from "../../../../src/bus/pci/scan.ts";
import { setNumVfs } from "../../../../src/bus/pci/sriov.ts";
import { PollmodeError } from "../../../../src/errors.ts";
import { MIB } from "../../../../src/limits.ts";
import { Arena } from "../../../../src/memory/arena.ts";

export type Step =
  | { readonly do: "scan" }
  | {
      readonly do: "read" | "config" | "candidates" | "unbind" | "busMaster" | "hold";
      readonly address: string;
    }
  | { readonly do: "bind"; readonly address: string; readonly driver: string; readonly load?: boolean }
  /** How it was before the last bind. */
  | { readonly do: "restore" }
  | { readonly do: "register"; readonly address: string; readonly bar: number; readonly at: number }
  | { readonly do: "vfs"; readonly address: string; readonly count: number; readonly autoprobe?: boolean };

const modprobe = (name: string) => void execFileSync("modprobe", [name]);

function readRegister(address: string, bar: number, at: number): string {
  const arena = new Arena(16 * MIB);
  try {
    const mapped = mapBar(arena, address, bar);
    const value = arena.u32[(mapped.bar.offset + at) >> 2]!;
    arena.release(mapped.range);
    return value.toString(16);
  } finally {
    arena.close();
  }
}

function toggleBusMaster(address: string): boolean[] {
  const config = new ConfigFile(address);
  const isOn = () => parseConfigSpace(readConfigImage(address)).busMaster;
  const seen = [true, false].map((on) => {
    config.setBusMaster(on);
    return isOn();
  });
  config.close();
  return seen;
}

let before: Binding | undefined;

function run(step: Step): unknown {
  switch (step.do) {
    case "scan":
      return scanPci();
    case "read":
      return readPciDevice(step.address);
    case "config":
      return parseConfigSpace(readConfigImage(step.address));
    case "candidates":
      return new KernelModules().candidates(readPciDevice(step.address).modalias);
    case "unbind":
      return unbindDriver(step.address);
    case "busMaster":
      return toggleBusMaster(step.address);
    case "bind":
      before = bindDriver(step.address, step.driver, step.load ? { loadModule: modprobe } : {});
      return before;
    case "restore":
      return restoreDriver(before!);
    case "register":
      return readRegister(step.address, step.bar, step.at);
    case "vfs":
      return setNumVfs(
        step.address,
        step.count,
        step.autoprobe === undefined ? {} : { autoprobe: step.autoprobe },
      );
    case "hold":
      return openSync(`/dev/vfio/${readPciDevice(step.address).iommuGroup}`, "r+"); // until this program ends
  }
}

const results: unknown[] = [];
for (const step of JSON.parse(process.argv[2]!) as Step[]) {
  try {
    results.push({ value: await run(step) });
  } catch (error) {
    if (!(error instanceof PollmodeError)) throw error;
    const { code, message, fix } = error;
    results.push({ error: { code, message, fix } });
  }
}
console.log(
  JSON.stringify(results, (_, value) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value)),
);
