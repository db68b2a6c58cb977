// ADDRESSES OPTIONS: opens functions in turn through the bus and closes all. Prints for each what was read of BAR0, or
// the error. `iova` "auto" leaves the mode to preferredIovaMode.
import { preferredIovaMode } from "../../../../src/bus/open.ts";
import { attempt, type Caught, print } from "../../vfio/guest/environment.ts";
import { type BusOptions, openBus } from "./bus.ts";

export interface TryOptions extends Omit<BusOptions, "iova"> {
  iova?: "va" | "pa" | "auto";
}

export interface Tried {
  /** Whether the memory could be had. */
  start: Caught | undefined;
  tries: ({ value: { access: string; status: number; vectors: object } } | { error: Caught })[];
  warnings: string[];
}

const addresses = process.argv[2]!.split(",");
const { iova = "auto", ...options } = JSON.parse(process.argv[3] ?? "{}") as TryOptions;

function run(): Tried {
  const start = attempt(() => {
    const mode = iova === "auto" ? preferredIovaMode(addresses) : iova;
    return openBus({ ...options, iova: mode });
  });
  if ("error" in start) return { start: start.error, tries: [], warnings: [] };
  using made = start.value;
  const tries = addresses.map((address) =>
    attempt(() => {
      const device = made.bus.open(address);
      const status = made.arena.u32[(device.mapBar(0).offset + 8) >>> 2]!;
      return { access: device.access, status, vectors: device.vectors };
    }),
  );
  return { start: undefined, tries, warnings: made.warnings };
}

print(run());
