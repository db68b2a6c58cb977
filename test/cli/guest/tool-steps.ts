// In the lab's guest: runs commands of the device tool and other programs one after the other, in one process, for a
// start of node takes seconds there. Prints one line of JSON: what each step gave. A step that fails stops no other.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { VFIO_PCI_CONFIG_REGION_INDEX } from "../../../src/bus/vfio/abi.ts";
import { Sysfsdev } from "../../../src/bus/vfio/sysfsdev.ts";
import { main as hugepages } from "../../../src/cli/hugepages/main.ts";
import { main as mdev } from "../../../src/cli/mdev/main.ts";
import { main as sriov } from "../../../src/cli/sriov/main.ts";
import { PollmodeError } from "../../../src/errors.ts";
import { attempt, environment } from "../../bus/vfio/guest/environment.ts";
import { type Kept, kept } from "../tool/kept.ts";

const tools = { hugepages, mdev, sriov };

export type Step =
  /** `pollmode TOOL WORDS`. */
  | { readonly tool: keyof typeof tools; readonly words: string }
  /** A program, words or a line for bash. */
  | { readonly run: string }
  /** Starts a program, waits for the first thing that it prints, and leaves it running. */
  | { readonly hold: readonly string[] }
  /** Ends the program's stdin and waits for its end. */
  | { readonly release: true }
  /** Opens PCI functions through VFIO, and closes them; prints what came of each. */
  | { readonly open: readonly string[]; readonly vfToken?: string }
  /** Opens a mediated device, reads and writes it, closes it. */
  | { readonly sysfsdev: string };

let held: ChildProcess | undefined;

function bash(line: string): Kept {
  const { status, stdout, stderr } = spawnSync("bash", ["-c", line], { encoding: "utf8" });
  return { code: status ?? -1, stdout, stderr };
}

async function hold([program = "", ...words]: readonly string[]): Promise<Kept> {
  const child = spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] });
  held = child;
  const stdout = await new Promise<string>((resolve) => {
    child.stdout.once("data", (bytes) => resolve(String(bytes)));
    child.once("exit", () => resolve("ended"));
  });
  return { code: child.pid ?? -1, stdout, stderr: "" };
}

async function release(): Promise<Kept> {
  const child = held!;
  const ended = new Promise<number>((resolve) => child.once("exit", (code) => resolve(code ?? -1)));
  child.stdin?.end();
  return { code: await ended, stdout: "", stderr: "" };
}

function open(addresses: readonly string[], vfToken: string | undefined): Kept {
  using made = environment(vfToken === undefined ? {} : { vfToken });
  const tries = addresses.map((address) => attempt(() => made.vfio.open(address).vendor));
  return { code: 0, stdout: JSON.stringify(tries), stderr: "" };
}

/** A 16550's scratch register: what is written there can be read. */
const UART_SCR = 7;

function useSysfsdev(uuid: string): Kept {
  const code = (access: () => void) => {
    try {
      access();
      return "done";
    } catch (error) {
      return error instanceof PollmodeError ? error.code : String(error);
    }
  };
  const opened = Sysfsdev.open(`/sys/bus/mdev/devices/${uuid}`);
  const ids = opened.read(VFIO_PCI_CONFIG_REGION_INDEX, 0, 4);
  opened.write(0, UART_SCR, Buffer.from([0x5a]));
  const scratch = opened.read(0, UART_SCR, 1)[0];
  const errors = [
    code(() => opened.read(0, 8, 1)),
    code(() => opened.read(0, -1, 1)),
    code(() => opened.read(0, 0, 0)),
    code(() => opened.write(2, 0, Buffer.alloc(1))),
    code(() => Sysfsdev.open(`/sys/bus/mdev/devices/${uuid}`)),
  ];
  const { kind, group, canReset } = opened;
  opened.close();
  opened.close();
  errors.push(code(() => opened.read(0, 0, 1)));
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  const left = links.filter((link) => link.includes("vfio"));
  const [vendor, device] = [ids.readUInt16LE(0), ids.readUInt16LE(2)];
  return {
    code: 0,
    stdout: JSON.stringify({ vendor, device, scratch, errors, kind, group, canReset, left }),
    stderr: "",
  };
}

function run(step: Step): Promise<Kept> | Kept {
  if ("tool" in step) return kept(() => tools[step.tool](step.words.split(" ").filter(Boolean)));
  if ("run" in step) return bash(step.run);
  if ("hold" in step) return hold(step.hold);
  if ("open" in step) return open(step.open, step.vfToken);
  return "release" in step ? release() : useSysfsdev(step.sysfsdev);
}

const results: Kept[] = [];
for (const step of JSON.parse(process.argv[2]!) as Step[]) {
  try {
    results.push(await run(step));
  } catch (error) {
    results.push({ code: -1, stdout: "", stderr: String((error as Error).stack) });
  }
}
console.log(JSON.stringify(results));
