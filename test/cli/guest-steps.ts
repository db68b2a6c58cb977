// Runs steps in the lab's guest, see guest/tool-steps.ts.
import { fileURLToPath } from "node:url";
import type { Lab } from "../beds/lab/lab.ts";
import type { Step } from "./guest/tool-steps.ts";
import type { Kept } from "./tool/kept.ts";

export function guestFile(name: string): string {
  return fileURLToPath(new URL(`./guest/${name}.js`, import.meta.url));
}

/** What each step gave; its name is the step's key. */
export async function guestSteps<K extends string>(
  lab: Lab,
  steps: Record<K, Step>,
): Promise<Record<K, Kept>> {
  const names = Object.keys(steps) as K[];
  const { stdout, stderr } = await lab.node(guestFile("tool-steps"), [JSON.stringify(Object.values(steps))], {
    timeoutMs: 120_000,
  });
  let results: Kept[];
  try {
    results = JSON.parse(stdout) as Kept[];
  } catch {
    throw new Error(`the guest printed no JSON: ${stdout}\n${stderr}`);
  }
  return Object.fromEntries(names.map((name, at) => [name, results[at]])) as Record<K, Kept>;
}
