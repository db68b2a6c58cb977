// The machine a number was measured on: every bench prints it beside its result, for people and for --json.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

export interface Hugepages {
  readonly sizeKiB: number;
  readonly free: number;
  readonly total: number;
}

export interface Machine {
  readonly cpuModel: string;
  /** The clock that rdtsc counts, as far as the kernel tells: in the model's name, else the current one. */
  readonly cpuMHz: number | undefined;
  /** CPUs this system has, and those this process may use. */
  readonly cores: number;
  readonly kernel: string;
  readonly node: string;
  /** Short commit, with a "+" when files differ from it; "unknown" outside git. */
  readonly commit: string;
  readonly hugepages: readonly Hugepages[];
  /** ISO 8601, UTC. */
  readonly date: string;
}

const hugepagesFolder = "/sys/kernel/mm/hugepages";

/** Describes this machine and the commit that `folder` (this file's, by default) is checked out at. */
export function describeMachine(folder = dirname(fileURLToPath(import.meta.url))): Machine {
  return {
    ...parseCpuinfo(readText("/proc/cpuinfo")),
    cores: cpus().length,
    kernel: release(),
    node: process.version,
    commit: readCommit(folder),
    hugepages: readHugepages(hugepagesFolder),
    date: new Date().toISOString(),
  };
}

/** Model and clock of the first CPU in /proc/cpuinfo's text. */
export function parseCpuinfo(text: string): Pick<Machine, "cpuModel" | "cpuMHz"> {
  const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.+)$`, "m").exec(text)?.[1]?.trim();
  const model = field("model name") ?? "unknown CPU";
  // "… @ 2.60GHz" is the constant TSC's rate to within a percent; "cpu MHz" is this moment's clock.
  const nominal = /@ ([0-9.]+) ?GHz/.exec(model)?.[1];
  const current = field("cpu MHz");
  const cpuMHz = nominal ? Number(nominal) * 1000 : current ? Number(current) : undefined;
  return { cpuModel: model.replace(/\s+/g, " "), cpuMHz };
}

/** Free and total pages of each size; empty where the kernel has no hugepages. */
export function readHugepages(folder: string): Hugepages[] {
  const sizes: Hugepages[] = [];
  for (const name of readFolder(folder)) {
    const sizeKiB = Number(/^hugepages-([0-9]+)kB$/.exec(name)?.[1]);
    if (!sizeKiB) continue;
    const count = (file: string) => Number(readText(`${folder}/${name}/${file}`)) || 0;
    sizes.push({ sizeKiB, free: count("free_hugepages"), total: count("nr_hugepages") });
  }
  return sizes.sort((a, b) => a.sizeKiB - b.sizeKiB);
}

/** Two lines for people. */
export function formatMachine(machine: Machine): string {
  const { cpuModel, cpuMHz, cores, kernel, node, commit, hugepages, date } = machine;
  const clock = cpuMHz === undefined ? "" : `, ${cpuMHz.toFixed(0)} MHz`;
  const pages = hugepages.map(({ sizeKiB, free, total }) => `${free}/${total} of ${sizeKiB / 1024} MiB`);
  return [
    `machine: ${cpuModel}${clock}, ${cores} ${cores === 1 ? "core" : "cores"}, Linux ${kernel}`,
    `pollmode ${commit}, Node ${node}, hugepages free: ${pages.join(", ") || "none"}, ${date}`,
  ].join("\n");
}

function readCommit(folder: string): string {
  try {
    const git = (...args: string[]) =>
      execFileSync("git", ["-C", folder, ...args], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      }).trim();
    // an installed package lies in somebody else's repository, whose commit says nothing
    if (folder.includes("node_modules")) return "unknown";
    const commit = git("rev-parse", "--short", "HEAD");
    // --no-optional-locks: asking must not write to the index, which another git may be using.
    return git("--no-optional-locks", "status", "--porcelain") === "" ? commit : `${commit}+`;
  } catch {
    return "unknown"; // no git, or an installed package
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function readFolder(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
