// pollmode's own engines among the programs that hold devices: each that has a control socket says what it has mapped.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Holder } from "../../devices/holders.ts";
import { runtimePath } from "../../eal/runtime-dir.ts";
import { PollmodeError } from "../../errors.ts";
import { ControlConnection } from "../../telemetry/control-client.ts";

export interface RunningEngine {
  readonly pid: number;
  readonly filePrefix: string;
  /** Names of its ports; PCI addresses of those on devices. */
  readonly ports: readonly string[];
  /** Its DMA zone: what it maps for each container of devices, and how much of it is in use. */
  readonly dmaBytes: number;
  readonly dmaUsedBytes: number;
  /** Pieces that the zone is mapped in. */
  readonly dmaMappings: number;
}

interface Info {
  readonly dma?: { readonly bytes: number; readonly usedBytes: number; readonly mappings: number };
}

/** Those of `holders` that this user's runtime directory knows, and that answer. */
export async function askEngines(holders: readonly Holder[]): Promise<RunningEngine[]> {
  const pids = new Set(holders.map(({ pid }) => pid));
  const base = dirname(runtimePath("pollmode"));
  const running = folders(base).flatMap((filePrefix) => {
    const pid = pidOf(join(base, filePrefix, "config"));
    return pid !== undefined && pids.has(pid) ? [{ filePrefix, pid }] : [];
  });
  const answers = await Promise.all(running.map(({ filePrefix, pid }) => ask(filePrefix, pid)));
  return answers.filter((engine) => engine !== undefined);
}

async function ask(filePrefix: string, pid: number): Promise<RunningEngine | undefined> {
  let control: ControlConnection | undefined;
  try {
    control = new ControlConnection(filePrefix, { onEvent: () => {}, onClose: () => {} });
    const [info, ports] = await Promise.all([control.ask("info"), control.ask("ports")]);
    const { bytes = 0, usedBytes = 0, mappings = 0 } = (info.result as Info).dma ?? {};
    const names = (ports.result as { name: string }[]).map(({ name }) => name);
    return { pid, filePrefix, ports: names, dmaBytes: bytes, dmaUsedBytes: usedBytes, dmaMappings: mappings };
  } catch (error) {
    if (error instanceof PollmodeError) return undefined; // it has just ended, or is busy
    throw error;
  } finally {
    control?.close();
  }
}

function folders(base: string): string[] {
  try {
    return readdirSync(base);
  } catch {
    return []; // no engine has run yet
  }
}

function pidOf(file: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
    return Number.isInteger(pid) ? pid : undefined;
  } catch {
    return undefined; // it has just ended
  }
}
