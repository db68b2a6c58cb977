/** What a command of the device tool says and returns, run in this process. */
export interface Kept {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs with stdout and stderr kept. */
export async function kept(work: () => Promise<number>): Promise<Kept> {
  const texts = { stdout: "", stderr: "" };
  const writes = (["stdout", "stderr"] as const).map((name) => {
    const original = process[name].write;
    process[name].write = (text: string | Uint8Array) => {
      texts[name] += String(text);
      return true;
    };
    return () => {
      process[name].write = original;
    };
  });
  try {
    return { code: await work(), ...texts };
  } finally {
    for (const restore of writes) restore();
  }
}
