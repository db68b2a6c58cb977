// Ports of pmd/mlx5 on the software ConnectX: device-loop.ts, in both modes and on three chips. A complaint of the
// emulator's ends it with status 86.
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { Netns, netnsBed } from "../../beds/netns.ts";
import { softMlx5, softMlx5Bed } from "../../beds/softmlx5.ts";

const missing = softMlx5Bed.missing();
t.setTimeout(120_000);
if (!missing) await softMlx5Bed.setup();

const netnsMissing = missing ?? netnsBed.missing();
if (!netnsMissing) await netnsBed.setup();

const script = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

for (const [mode, chip] of [
  ["dv", "connectx5"],
  ["ibv", "connectx5"],
  ["dv", "connectx4lx"],
] as const) {
  t.test(`${mode}, ${chip}`, { skip: missing ?? false }, async (t) => {
    await using bed = await softMlx5({ ports: [{ wire: "loop" }], chip });
    const env = { ...process.env, ...bed.env };
    await t.spawn(process.execPath, [script("device-loop"), mode], { env }, `device-loop ${mode} ${chip}`);
  });
}

for (const kind of ["pf", "vf"]) {
  t.test(`the kernel's interface of a ${kind}`, { skip: netnsMissing ?? false }, async (t) => {
    await using bed = await softMlx5({ ports: [{ wire: "loop" }] });
    await using netns = await Netns.create();
    const [{ netdev, mac, address }] = bed.ports as [(typeof bed.ports)[number]];
    if (kind === "vf") symlinkSync("../0000:03:00.7", join(bed.sysfs, "bus/pci/devices", address, "physfn"));
    const env = { ...process.env, ...bed.env };
    const args = ["netns", "exec", netns.name, process.execPath, script("device-netdev"), netdev, mac, kind];
    await t.spawn("ip", args, { env }, `device-netdev ${kind}`);
  });
}
