// Hugepages for people: dpdk-hugepages.py's columns first, with sizes as the options take them back.
import { dirname } from "node:path";
import type { HugepageUse } from "../../devices/hugepage-users.ts";
import { formatBytes, type Hugepages } from "../../devices/hugepages.ts";
import type { Output } from "../tool/output.ts";

/** `seesAll`: programs of other users are in `state` too. */
export function render(out: Output, state: Hugepages & HugepageUse, seesAll: boolean): void {
  const pools = state.sizes.flatMap((size) => size.pools);
  if (pools.length === 0) out.line("This kernel has no hugepages");
  else poolTable(out, state);
  out.line();
  const mounts = state.mounts.map(({ folder, pageBytes }) => `${folder} (${formatBytes(pageBytes ?? 0)})`);
  out.line(mounts.length > 0 ? `Hugepages mounted on ${mounts.join(" ")}` : "Hugepages not mounted");
  if (state.programs.length > 0) {
    const rows = state.programs.map(({ pid, name, bytes }) => [`${pid}`, name, formatBytes(bytes)]);
    out.line();
    out.table(["Process", "Program", "Uses"], rows, { right: ["Process", "Uses"] });
  }
  const left = state.files.filter(({ isOpen, bytes }) => !isOpen && bytes > 0);
  if (left.length > 0) out.line();
  const nobody = seesAll ? "nobody" : "no program of yours";
  for (const [folder, files] of byFolder(left.filter(({ isDpdk }) => isDpdk))) {
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const what = `${formatBytes(bytes)} in ${countOf(files)} that DPDK left in ${folder}`;
    out.line(`${what}, and ${nobody} has open: --clear removes what it left`);
  }
  for (const { path, bytes } of left.filter(({ isDpdk }) => !isDpdk)) {
    out.line(
      `${formatBytes(bytes)} in ${path}, which ${nobody} has open: rm it if its content is not needed`,
    );
  }
}

/** `1 file`, `12 files`. */
export function countOf({ length }: readonly unknown[]): string {
  return `${length} ${length === 1 ? "file" : "files"}`;
}

/** Folders with their files, in the order of the files. */
export function byFolder<T extends { readonly path: string }>(files: readonly T[]): Map<string, T[]> {
  const folders = new Map<string, T[]>();
  for (const file of files) {
    const folder = dirname(file.path);
    folders.set(folder, [...(folders.get(folder) ?? []), file]);
  }
  return folders;
}

function poolTable(out: Output, { sizes }: Hugepages): void {
  const pools = sizes
    .flatMap((size) => size.pools)
    .sort((a, b) => (a.node ?? 0) - (b.node ?? 0) || a.pageBytes - b.pageBytes);
  const hasNodes = pools.some(({ node }) => node !== undefined);
  const rows = pools.map(({ node, total, pageBytes, free, surplus }) => [
    ...(hasNodes ? [`${node}`] : []),
    total > 0 ? `${total}` : out.paint("dim", "0"),
    formatBytes(pageBytes),
    formatBytes(total * pageBytes),
    `${free}`,
    `${surplus}`,
  ]);
  const numbers = ["Pages", "Free", "Surplus"];
  out.table([...(hasNodes ? ["Node"] : []), "Pages", "Size", "Total", "Free", "Surplus"], rows, {
    right: numbers,
  });
}
