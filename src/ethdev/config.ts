// Checks what a port is asked for against what its device says it has.
import { PollmodeError } from "../errors.ts";
import type { DeviceConfig, DeviceInfo, RssConfig } from "./driver.ts";

/** Throws for the first thing that the device has not. `port` names the port in messages. */
export function checkConfig(port: string, info: DeviceInfo, config: DeviceConfig): void {
  checkQueueCount(port, "rxQueues", config.rxQueues, info.rxQueuesMax, info.driver);
  checkQueueCount(port, "txQueues", config.txQueues, info.txQueuesMax, info.driver);
  checkDescriptors(port, "rxDescriptors", config.rxDescriptors, info);
  checkDescriptors(port, "txDescriptors", config.txDescriptors, info);
  for (const offload of config.offloads ?? []) {
    if (info.offloads?.includes(offload)) continue;
    const has = info.offloads?.join(", ") || "none";
    throw notSupported(port, `${info.driver} has not the offload ${offload}`, `choose among: ${has}`);
  }
  if (config.rxInterrupts && !info.rxInterrupts) {
    throw notSupported(
      port,
      `${info.driver} has no receive interrupts`,
      "leave rxInterrupts and --rx-interrupt out",
    );
  }
  if (config.rss) checkRss(port, info, config.rss, config.rxQueues);
}

export function checkRss(port: string, info: DeviceInfo, rss: RssConfig, rxQueues: number): void {
  const limits = info.rss;
  if (!limits) throw notSupported(port, `${info.driver} has not receive-side scaling`, "leave rss out");
  const { key, table, types } = rss;
  const fail = (what: string, fix: string) => new PollmodeError("RSS", `${port}: ${what}`, fix);
  if (key && key.length !== limits.keyBytes) {
    throw fail(`the RSS key has ${key.length} bytes`, `give ${limits.keyBytes} bytes`);
  }
  if (table && (table.length === 0 || table.length > limits.tableEntries)) {
    const fix = `give 1 to ${limits.tableEntries} entries; they repeat until the table is full`;
    throw fail(`the redirection table has ${table.length} entries`, fix);
  }
  const queue = table?.find((entry) => !Number.isInteger(entry) || entry < 0 || entry >= rxQueues);
  if (queue !== undefined) {
    throw fail(
      `the redirection table leads to receive queue ${queue}`,
      `there are queues 0 to ${rxQueues - 1}`,
    );
  }
  const type = types?.find((one) => !limits.types.includes(one));
  if (type !== undefined) {
    throw notSupported(
      port,
      `${info.driver} does not hash ${type}`,
      `choose among: ${limits.types.join(", ")}`,
    );
  }
}

function checkQueueCount(port: string, what: string, value: number, max: number, driver: string): void {
  if (Number.isInteger(value) && value >= 1 && value <= max) return;
  const message = `${port}: ${what} ${value}, but ${driver} has 1 to ${max}`;
  throw new PollmodeError("QUEUE_COUNT", message, `choose ${what} between 1 and ${max}`);
}

function checkDescriptors(port: string, what: string, value: number | undefined, info: DeviceInfo): void {
  if (value === undefined) return;
  if (!info.descriptors)
    throw notSupported(port, `${info.driver} has no ${what} to choose`, `leave ${what} out`);
  const { min, max, multiple } = info.descriptors;
  if (Number.isInteger(Math.log2(value)) && value >= min && value <= max && value % multiple === 0) return;
  const message = `${port}: ${what} ${value}, but ${info.driver} has powers of two from ${min} to ${max}`;
  throw new PollmodeError("RING_SIZE", message, `choose ${what} ${Math.min(max, Math.max(min, 1024))}`);
}

function notSupported(port: string, what: string, fix: string): PollmodeError {
  return new PollmodeError("NOT_SUPPORTED", `${port}: ${what}`, fix);
}
