// GROUP…: whether IOMMU groups are viable, as VFIO says (or why a group cannot be opened) and as the library does.
// Prints one line of JSON.
import { closeSync, openSync } from "node:fs";
import { isViable } from "../../../src/bus/vfio/calls.ts";
import { iommuGroups } from "../../../src/devices/groups.ts";
import { Machine } from "../../../src/devices/machine.ts";

export interface GroupStatus {
  number: number;
  vfio: boolean | string;
  viable: boolean | undefined;
  why: readonly string[] | undefined;
}

const all = iommuGroups(new Machine());

function statusOf(number: number): GroupStatus {
  const group = all.find((group) => group.number === number);
  return { number, vfio: askVfio(`/dev/vfio/${number}`), viable: group?.viable, why: group?.why };
}

function askVfio(node: string): boolean | string {
  let fd: number;
  try {
    fd = openSync(node, "r+");
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
  try {
    return isViable(fd, node);
  } finally {
    closeSync(fd);
  }
}

console.log(JSON.stringify(process.argv.slice(2).map((number) => statusOf(Number(number)))));
