// The tests of the mlx5 driver can fail: wrong behaviours are put into its sources one at a time, each in a private
// copy of the build, and each must be caught, by the short suite of mutation-probe.ts on the software ConnectX.
// Unchanged, the same copy passes. A mutation whose place in the source is gone fails as well.
import { join } from "node:path";
import t from "tap";
import type { EngineName } from "../../../src/hot/engine.ts";
import { netnsBed } from "../../beds/netns.ts";
import { bedState } from "../../beds/paths.ts";
import { softMlx5Bed } from "../../beds/softmlx5.ts";
import { Host, kernelTap } from "../../softmlx5/verify/host.ts";
import { BuildCopy, engineOf, type Mutation, mutated, sourceOf } from "./mutant.ts";
import { mutations } from "./mutations.ts";

const missing = softMlx5Bed.missing() ?? netnsBed.missing();
const skip = missing ?? false;
t.setTimeout(400_000);
if (!missing) for (const bed of [softMlx5Bed, netnsBed]) await bed.setup();

/** Two at a time: each is an engine and an emulator, which poll. */
const SLOTS = 2;
const PROBE_MS_MAX = 30_000;
const chips = ["connectx5", "connectx4lx"] as const;
type Chip = (typeof chips)[number];

/** One copy of the build, and a NIC of each chip for it. */
class Slot implements AsyncDisposable {
  readonly copy: BuildCopy;
  private readonly hosts: Record<Chip, Host>;

  private constructor(copy: BuildCopy, hosts: Record<Chip, Host>) {
    this.copy = copy;
    this.hosts = hosts;
  }

  static async create(number: number): Promise<Slot> {
    const ports = [{ wire: "loop", kernel: `tap:${kernelTap}` }];
    const host = (chip: Chip) => Host.create({ ports, lossless: true, chip });
    const copy = new BuildCopy(join(bedState("mutations"), `${process.pid}-${number}`));
    return new Slot(copy, { connectx5: await host("connectx5"), connectx4lx: await host("connectx4lx") });
  }

  /** What a probe said that did not end well; undefined: nothing is wrong. */
  async probe(chip: Chip, engine: EngineName, parts: readonly string[]): Promise<string | undefined> {
    const host = this.hosts[chip];
    await host.netns.ip(`link set ${kernelTap} mtu 1500`); // a probe before this one may have raised it
    const args = [
      this.copy.path("test/pmd/mlx5/mutation-probe.ts"),
      host.nic.ports[0]!.ibdev,
      engine,
      ...parts,
    ];
    await using child = host.start("mutation-probe", process.execPath, args);
    const { code, signal } = await child.endWithin(PROBE_MS_MAX);
    if (code === 0) return undefined;
    const line = /^softmlx5: complaint .*$|^\w+: .*(Error|not within).*$/m.exec(child.output)?.[0];
    const why = line ?? child.output.trimEnd().split("\n").at(-1) ?? "";
    return `${chip}: ${why} (exit code ${code ?? signal})\n${child.output}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const chip of chips) await this.hosts[chip].close();
    this.copy[Symbol.dispose]();
  }
}

/** Runs the suite on both chips, or parts of it; the first thing that was wrong. */
async function suite(
  slot: Slot,
  engine: EngineName,
  parts: readonly string[] = [],
): Promise<string | undefined> {
  for (const chip of chips) {
    const wrong = await slot.probe(chip, engine, parts);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** How the mutation was caught; undefined: it was not. */
async function tryMutation(slot: Slot, mutation: Mutation): Promise<string | undefined> {
  const { file, first } = mutation;
  try {
    await slot.copy.replace(file, mutated(mutation));
    return (await suite(slot, engineOf(file), first)) ?? (await suite(slot, engineOf(file)));
  } finally {
    slot.copy.restore();
  }
}

t.test("each wrong behaviour is caught", { skip }, async (t) => {
  t.ok(mutations.length >= 25, `${mutations.length} mutations`);
  t.equal(new Set(mutations.map(({ name }) => name)).size, mutations.length, "each has a name of its own");
  const slots = await Promise.all(Array.from({ length: SLOTS }, (_, k) => Slot.create(k)));
  t.teardown(async () => {
    for (const slot of slots) await slot[Symbol.asyncDispose]();
  });

  await t.test("unchanged, made in the same way", async (t) => {
    const [slot] = slots as [Slot];
    for (const file of new Set(mutations.map((mutation) => mutation.file))) {
      if (engineOf(file) === "ts") await slot.copy.replace(file, sourceOf(file));
    }
    for (const engine of ["ts", "wasm"] as const) t.equal(await suite(slot, engine), undefined, engine);
    slot.copy.restore();
  });

  const outcomes = new Map<Mutation, string | undefined>();
  const queue = mutations.values();
  await Promise.all(
    slots.map(async (slot) => {
      for (const mutation of queue) {
        const caught = await tryMutation(slot, mutation).catch((error: Error) => `BROKEN ${error.message}`);
        outcomes.set(mutation, caught);
      }
    }),
  );
  for (const mutation of mutations) {
    const caught = outcomes.get(mutation);
    t.ok(caught, `caught: ${mutation.name}`);
    t.comment(caught?.split("\n")[0]);
    t.notMatch(
      caught ?? "",
      /^BROKEN|SyntaxError|ERR_MODULE|does not provide an export/,
      "and for what it does",
    );
  }
});
