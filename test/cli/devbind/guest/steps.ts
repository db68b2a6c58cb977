// In the lab's guest: runs what its argument lists, one after the other, in this one process: a list of words is the
// command line of devbind, a text is bash's. Prints one line of JSON: exit code, stdout and stderr of each.
import { spawnSync } from "node:child_process";
import { main } from "../../../../src/cli/devbind/main.ts";
import { type Kept, kept } from "../../tool/kept.ts";

export type Step = readonly string[] | string;

function bash(command: string): Kept {
  const { status, stdout, stderr } = spawnSync("bash", ["-c", command], { encoding: "utf8" });
  return { code: status ?? -1, stdout, stderr };
}

const results: Kept[] = [];
for (const step of JSON.parse(process.argv[2]!) as Step[]) {
  results.push(typeof step === "string" ? bash(step) : await kept(() => main(step)));
}
console.log(JSON.stringify(results));
