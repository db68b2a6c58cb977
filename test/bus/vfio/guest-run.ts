// Runs the guest's programs in the lab and reads the JSON that they print.
import { fileURLToPath } from "node:url";
import type { Test } from "tap";
import type { ExecOptions, Lab } from "../../beds/lab/lab.ts";
import type { Caught, GuestOptions } from "./guest/environment.ts";
import type { TryOpenResult } from "./guest/try-open.ts";

function guestProgram(name: string): string {
  return fileURLToPath(new URL(`./guest/${name}.js`, import.meta.url));
}

export interface GuestExec extends ExecOptions {
  /** A command that runs the program, such as setpriv. */
  prefix?: readonly string[];
}

/** What a program printed; fails with its stderr when that is no JSON. */
export async function guestJson<T>(
  lab: Lab,
  name: string,
  args: readonly string[],
  { prefix = [], ...options }: GuestExec = {},
): Promise<T> {
  const command = [...prefix, process.execPath, guestProgram(name), ...args];
  const { stdout, stderr } = await lab.exec(command, options);
  try {
    return JSON.parse(stdout) as T;
  } catch {
    throw new Error(`${name} printed no JSON: ${stdout}\n${stderr}`);
  }
}

export interface TryOptions extends GuestOptions {
  bar?: number;
  exec?: GuestExec;
}

/** Opens these functions in one process of the guest, and closes them. */
export function tryOpen(lab: Lab, addresses: readonly string[], options: TryOptions = {}) {
  const { bar = 0, exec, ...rest } = options;
  const args = [addresses.join(","), JSON.stringify(rest), `${bar}`];
  return guestJson<TryOpenResult>(lab, "try-open", args, exec);
}

/** The error of a function, or what stands for "it was opened". Fails if something was not given back. */
export async function openError(lab: Lab, address: string, options: TryOptions = {}): Promise<Caught> {
  const result = await tryOpen(lab, [address], options);
  const [first] = result.tries;
  if (result.left.length > 0 || result.lockedKib > 0) throw new Error(`left: ${JSON.stringify(result)}`);
  return first && "error" in first
    ? first.error
    : { code: "OPENED", message: JSON.stringify(first), fix: "" };
}

const pollmode = fileURLToPath(new URL("../../../src/cli/pollmode.js", import.meta.url));
/** As after `npm install -g`. */
const installed = `pollmode() { ${process.execPath} ${pollmode} "$@"; }`;

/** Does what an error's fix says, in its words: what follows "as root: " up to the next alternative. */
export async function obey(lab: Lab, fix: string, from = "as root: "): Promise<void> {
  const at = fix.indexOf(from);
  if (at < 0) throw new Error(`no "${from}" in: ${fix}`);
  const command = fix.slice(at + from.length).split(/; or |; in a container/)[0]!;
  await lab.run(`${installed}; set -e; ${command}`);
}

/** They can be opened, all in one process, and are given back. */
export async function opens(
  t: Test,
  lab: Lab,
  addresses: string | string[],
  options?: TryOptions,
): Promise<void> {
  const list = [addresses].flat();
  const result = await tryOpen(lab, list, options);
  const tries = list.map(() => ({ value: { vendor: 0x8086 } }));
  t.match(result, { tries }, `opens ${list.join(", ")}`);
  t.same([result.left, result.lockedKib], [[], 0], "and gives back everything");
}

/** A process of the guest holds a function while `body` runs. */
export async function whileHeld(
  lab: Lab,
  address: string,
  token: string,
  body: (pid: number) => Promise<void>,
): Promise<void> {
  await using holder = lab.startNode(guestProgram("hold"), [address, token].filter(Boolean));
  await holder.waitFor(/"value":32902/);
  await body(holder.pid!);
  holder.end();
  await holder.exited;
}
