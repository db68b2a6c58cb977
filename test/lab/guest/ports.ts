// What the programs that run in the lab's guest share: an engine with its NICs started, and the result as JSON on
// stdout's last line.

import type { PollmodeOptions } from "../../../src/engine/options.ts";
import type { DeviceConfig } from "../../../src/ethdev/driver.ts";
import type { Port } from "../../../src/ethdev/port.ts";
import { Pollmode } from "../../../src/pollmode.ts";
import { until } from "../../acceptance/support.ts";

const linkTimeoutMs = 15_000;

/** The JSON object that the host's test passed as the only argument. */
export function settings<T>(): T {
  return JSON.parse(process.argv[2] ?? "{}") as T;
}

export function report(result: unknown): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** Tells the host's test that it may go on. */
export function say(word: string): void {
  process.stdout.write(`@${word}\n`);
}

export interface NicSettings {
  /** PCI addresses with their devargs. */
  nics: string[];
  engine?: PollmodeOptions;
  config?: Partial<DeviceConfig>;
  promiscuous?: boolean;
  mtu?: number;
}

/** Starts an engine on the NICs, and waits until all have a link. */
export async function openNics({ nics, engine, config, promiscuous, mtu }: NicSettings): Promise<Pollmode> {
  const pm = await Pollmode.start({ lcores: "0-1", allow: nics, ...engine });
  try {
    for (const port of pm.ports) await startNic(port, config, promiscuous, mtu);
    await until("a link on each port", () => pm.ports.every((port) => port.link().up), linkTimeoutMs);
    return pm;
  } catch (error) {
    await pm.close();
    throw error;
  }
}

async function startNic(port: Port, config?: Partial<DeviceConfig>, promiscuous?: boolean, mtu?: number) {
  if (mtu) await port.setMtu(mtu);
  await port.configure({ rxQueues: 1, txQueues: 1, ...config });
  await port.start();
  if (promiscuous) await port.setPromiscuous(true);
}
