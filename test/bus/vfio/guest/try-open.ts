// ADDRESSES OPTIONS [BAR]: opens functions in turn, reads the first words of a BAR of each (-1: of none), resets each,
// closes all. Prints for each what was read or the error, and what is left open afterwards.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { attempt, type Caught, environment, type GuestOptions, print } from "./environment.ts";

export interface Opened {
  vendor: number;
  device: number;
  access: string;
  words: number[];
  reset: boolean;
}

export interface TryOpenResult {
  tries: ({ value: Opened } | { error: Caught })[];
  warnings: string[];
  /** Files of /dev/vfio and of VFIO that are open after close(). */
  left: string[];
  /** Locked memory after close(), KiB. */
  lockedKib: number;
}

const addresses = process.argv[2]!.split(",");
const options = JSON.parse(process.argv[3] ?? "{}") as GuestOptions;
const bar = Number(process.argv[4] ?? 0);

function run(): TryOpenResult {
  using made = environment(options);
  const { arena, vfio, warnings } = made;
  const tries = addresses.map((address) =>
    attempt((): Opened => {
      const opened = vfio.open(address);
      const { vendor, device, access } = opened;
      const first = bar < 0 ? 0 : opened.mapBar(bar).offset >>> 2;
      const words = bar < 0 ? [] : Array.from(arena.u32.subarray(first, first + 4));
      return { vendor, device, access, words, reset: opened.reset() };
    }),
  );
  vfio.close();
  vfio.close();
  const fds = readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
  const locked = /^VmLck:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return { tries, warnings, left: fds.filter((path) => path.includes("vfio")), lockedKib: Number(locked) };
}

print(run());
