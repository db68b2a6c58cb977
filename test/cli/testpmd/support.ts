// A testpmd session inside the test process, on virtual ports.
import { parseTestpmd } from "../../../src/cli/testpmd/options.ts";
import { Session } from "../../../src/cli/testpmd/session.ts";
import { threadCpus } from "../../../src/libc/libc.ts";

const cpus = threadCpus();

/** `n` lcores beside the main one; as many CPUs as there are. */
export function lcoreArgs(n = 1): string[] {
  const cpu = (k: number) => cpus[k % cpus.length];
  return ["--lcores", Array.from({ length: n + 1 }, (_, k) => `${k}@${cpu(k)}`).join(",")];
}

export interface Opened extends AsyncDisposable {
  readonly session: Session;
  /** All that was said and warned of so far, and none of it twice. */
  said(): string;
  warned(): string;
}

/** Opens a session: `vdevs` as --vdev has them, `app` as after `--`. */
export async function openSession(
  vdevs: readonly string[],
  app: readonly string[] = [],
  lcores = 1,
): Promise<Opened> {
  const eal = ["--no-huge", "--in-memory", "--no-pci", "-m", "64", ...lcoreArgs(lcores)];
  const parsed = parseTestpmd([...eal, ...vdevs.flatMap((vdev) => ["--vdev", vdev]), "--", ...app]);
  if (parsed.what !== "run") throw new Error(`parsed as ${parsed.what}`);
  const words: string[] = [];
  const warnings: string[] = [];
  const session = await Session.open(
    parsed.options,
    (text) => words.push(text),
    (text) => warnings.push(text),
  );
  return {
    session,
    said: () => words.splice(0).join("\n"),
    warned: () => warnings.splice(0).join("\n"),
    [Symbol.asyncDispose]: () => session.close(),
  };
}

export const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

/** Waits until `holds`; fails after five seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 5000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`in vain waited for ${what}`);
    await pause(2);
  }
}
