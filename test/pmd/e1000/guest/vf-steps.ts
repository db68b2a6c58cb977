// Runs a list of steps on one NIC in the lab's guest, calls of its port and shell commands, and reports what each gave.
// So what is asked of a virtual function and what is done to its PF stand in one list, in the test on the host.
import { execFileSync } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { PollmodeError } from "../../../../src/errors.ts";
import type { Port } from "../../../../src/ethdev/port.ts";
import { until } from "../../../acceptance/support.ts";
import { type NicSettings, openNics, report, settings } from "../../../lab/guest/ports.ts";

export type VfStep =
  | ["setMac" | "addMac" | "removeMac", number[]]
  | ["setMulticast", number[][]]
  | ["setVlan", number, boolean]
  | ["setMtu", number]
  | ["setPromiscuous" | "setAllMulticast" | "setVlanFilter", boolean]
  | ["mac" | "xstats" | "links"]
  /** Waits until the link is up or down. */
  | ["link", boolean]
  | ["pause", number]
  | ["shell", string];

export interface StepResult {
  value?: unknown;
  code?: string;
  message?: string;
  fix?: string;
}

export interface StepsSettings extends NicSettings {
  steps: VfStep[];
}

const asked = settings<StepsSettings>();
await using pm = await openNics(asked);
const port = pm.ports[0]!;
const links: boolean[] = [];
const errors: string[] = [];
port.on("link", ({ up }) => links.push(up));
port.on("error", ({ code }) => errors.push(code));

const bytes = (list: number[]) => Uint8Array.from(list);

async function run(step: VfStep, port: Port): Promise<unknown> {
  switch (step[0]) {
    case "setMac":
    case "addMac":
    case "removeMac":
      return port[step[0]](bytes(step[1]));
    case "setMulticast":
      return port.setMulticast(step[1].map(bytes));
    case "setVlan":
      return port.setVlan(step[1], step[2]);
    case "setMtu":
      return port.setMtu(step[1]);
    case "setPromiscuous":
    case "setAllMulticast":
    case "setVlanFilter":
      return port[step[0]](step[1]);
    case "mac":
      return [...port.mac];
    case "xstats":
      return port.xstats();
    case "links":
      await pause(500); // the device looks at its link by and by
      return { links: links.splice(0), errors: errors.splice(0) };
    case "link":
      return until(`link ${step[1] ? "up" : "down"}`, () => port.link().up === step[1], 20_000);
    case "pause":
      return pause(step[1]);
    case "shell":
      return execFileSync("bash", ["-c", step[1]], { encoding: "utf8" });
  }
}

const results: StepResult[] = [];
for (const step of asked.steps) {
  try {
    results.push({ value: await run(step, port) });
  } catch (error) {
    const { code = "?", message, fix = "" } = error as PollmodeError;
    results.push({ code, message, fix });
    if (!(error instanceof PollmodeError)) break;
  }
}
await port.stop();
report({ results, pool: pm.pool.audit([]) });
