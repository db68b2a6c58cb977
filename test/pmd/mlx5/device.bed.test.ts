// Ports of pmd/mlx5 on the software ConnectX: device-loop.ts and device-rules.ts, in both modes and on two chips, and
// device-netdev.ts. A complaint of the emulator's ends each with status 86.
import { rmSync, symlinkSync } from "node:fs";
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
    for (const name of ["device-loop", "device-rules"]) {
      await t.spawn(process.execPath, [script(name), mode], { env }, `${name} ${mode} ${chip}`);
    }
  });
}

for (const kind of ["pf", "vf", "none"]) {
  t.test(`the kernel's interface: ${kind}`, { skip: netnsMissing ?? false }, async (t) => {
    await using bed = await softMlx5({ ports: [{ wire: "loop" }] });
    await using netns = await Netns.create();
    const [{ netdev, mac, address }] = bed.ports as [(typeof bed.ports)[number]];
    const pci = join(bed.sysfs, "bus/pci/devices", address);
    if (kind === "vf") symlinkSync("../0000:03:00.7", join(pci, "physfn"));
    if (kind === "none") rmSync(join(pci, "net"), { recursive: true });
    const env = { ...process.env, ...bed.env };
    const args = ["netns", "exec", netns.name, process.execPath, script("device-netdev"), netdev, mac, kind];
    await t.spawn("ip", args, { env }, `device-netdev ${kind}`);
  });
}
