// What the acceptance tests of mlx5 ports share: programs of ours on the software ConnectX. Each is a process of its
// own, for the emulator is loaded beneath it; a complaint of the emulator's ends it with an exit code that is not 0.
import { fileURLToPath } from "node:url";
import type { Port } from "../../src/ethdev/port.ts";
import { OwnedProcess } from "../beds/child.ts";
import type { SoftMlx5 } from "../beds/softmlx5.ts";

export type Mode = "dv" | "ibv";

/** A script of this folder, on the emulator; what it is to do is JSON. `wrapper`: the command that starts node. */
export function startOn(bed: SoftMlx5, script: string, job: unknown, wrapper: string[] = []): OwnedProcess {
  const path = fileURLToPath(new URL(`./${script}.js`, import.meta.url));
  const env = { ...process.env, ...bed.env };
  const [command, ...args] = [...wrapper, process.execPath, path, JSON.stringify(job)];
  return new OwnedProcess(script, command!, args, { env });
}

/** The same to its end: the JSON that its last line is. */
export async function runOn<T>(
  bed: SoftMlx5,
  script: string,
  job: unknown,
  { timeoutMs = 60_000, wrapper = [] as string[] } = {},
): Promise<T> {
  await using child = startOn(bed, script, job, wrapper);
  const status = await child.endWithin(timeoutMs);
  if (status.code !== 0) throw child.error(`ended with exit code ${status.code} (${status.signal})`);
  return lastLine(child);
}

export function lastLine<T>(child: OwnedProcess): T {
  const line = child.stdout.trimEnd().split("\n").at(-1)!;
  try {
    return JSON.parse(line) as T;
  } catch {
    throw child.error("printed no report");
  }
}

/** An address for each receive queue. With one queue it is the port's own; else flow rules lead there. */
export function addressesOf(port: Port): Uint8Array[] {
  const queues = port.rxQueues.length;
  if (queues === 1) return [port.mac];
  return port.rxQueues.map((_, index) => {
    const mac = Uint8Array.of(2, 0, 0x5e, 0, port.id, index);
    const pattern = [{ item: "eth", dst: { spec: mac } }] as const;
    port.flow.create({ ingress: true, pattern, actions: [{ action: "queue", index }] });
    return mac;
  });
}
