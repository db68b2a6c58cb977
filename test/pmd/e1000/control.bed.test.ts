// The control side of the physical functions in the lab, 82574 and 82576 to each other: addresses, groups, modes,
// VLANs, MTU, RSS by Microsoft's published hashes, flow rules, checksums both ways, counters, a link that goes and
// comes. And lcores that sleep until an interrupt of each kind wakes them.
import { fileURLToPath } from "node:url";
import t from "tap";
import { OlFlag } from "../../../src/hot/layout.ts";
import { Lab, labBed } from "../../beds/lab/lab.ts";
import { endKernelPeer, guestEnd, guestStart, kernelPeer, lastJson, shell } from "../../lab/support.ts";
import type { ControlSettings } from "./guest/control.ts";

const missing = labBed.missing() ?? false;
t.setTimeout(600_000);

type Tap = Pick<typeof t, "match" | "ok">;

const ids = { e1000e: 0x10d3, igb: 0x10c9 };
const good = OlFlag.RX_L4_CKSUM_GOOD;
const bad = OlFlag.RX_L4_CKSUM_BAD;
const goodIp = OlFlag.RX_IP_CKSUM_GOOD;

/** EtherType filters of QEMU's igb: which one a frame met; and ETQF as it reads. */
const flows = {
  e1000e: { create: "NOT_SUPPORTED", rules: 0 },
  igb: {
    before: "none",
    met: [0, 1, "none"],
    etqf: ["840088f7", "84018847", "0"],
    afterReset: [0, 1, "84018847"],
    fewerQueues: "FLOW_RULE",
    destroyed: ["none", 1],
    flushed: ["none", "0", "0"],
  },
};

/** How many of the frames that were sent came, and what became of them. */
const wanted = {
  link: { up: true, speed: 1000, duplex: "full", autoneg: true },
  addresses: {
    own: 1,
    broadcast: 1,
    other: 0,
    added: 2,
    removed: 0,
    changed: 1,
    changedBack: 1,
    promiscuous: 2,
    group: 0,
    groupJoined: 1,
    allMulticast: 2,
    none: 0,
  },
  // with CRC: 10 frames of 104 bytes, one of 304
  counters: [11, 1, 10, 1, 1344, 11],
  linkFlap: { links: [false, true], works: 1 },
  linkSet: { whileDown: [false, 0, 0], after: [1, true], links: [false, true] },
  mtu: { standard: 2, tooLong: 0, jumbo: [true, 5], tooLongAgain: 0, refused: "MTU" },
  vlans: {
    noFilter: 1,
    filter: 1,
    letIn: 1,
    letOut: 0,
    stripped: [true, 0x6064, true],
    inserted: [104, "81002065"],
    switched: [
      [100, 0, 0],
      [96, OlFlag.RX_VLAN_STRIPPED, 0x6064],
    ],
  },
  rss: { byDefault: [], byOwnKey: [] },
  checksums: {
    "ipv4 tcp": [[], goodIp | good],
    "ipv4 tcp, spoilt": goodIp | bad,
    "ipv4 udp": [[], goodIp | good],
    "ipv4 udp, spoilt": goodIp | bad,
    "ipv6 tcp": [[], good],
    "ipv6 tcp, spoilt": bad,
    "ipv6 udp": [[], good],
    "ipv6 udp, spoilt": bad,
  },
  faults: [{}, {}],
};

t.test("with an IOMMU", { skip: missing }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }] });
  const [e1000e, igb] = lab.nics.map(({ address }) => address) as [string, string];
  for (const address of [e1000e, igb]) await lab.bind(address, "vfio-pci");
  const program = fileURLToPath(new URL("./guest/control.js", import.meta.url));
  for (const [name, nics] of [["e1000e", [igb, e1000e]] as const, ["igb", [e1000e, igb]] as const]) {
    await t.test(name, async (t) => {
      const settings: ControlSettings = { nics: [...nics], device: ids[name] };
      const { code, stdout, stderr } = await lab.node(program, [JSON.stringify(settings)], {
        timeoutMs: 180_000,
      });
      if (code !== 0)
        throw new Error(`exit code ${code}\n${stderr}${stdout}\n${(await lab.dmesg()).slice(-1500)}`);
      const found = lastJson<Record<string, unknown>>(stdout);
      for (const [what, value] of Object.entries(wanted)) t.same(found[what], value, what);
      t.same(found.flows, flows[name], "flows");
    });
  }
});

/** A sleeper whose interrupt does not come wakes after 200 ms by itself: a tenth of a second on the average. */
const WAKE_MS_MAX = 50;

/** By vfio-pci --vfio-intr chooses the kind, which the kernel's table of interrupts has by this name. */
const vfioKinds = { msi: "vfio-msi[0]", legacy: "vfio-intx" } as const;

/** An 82574 that is told which kind it has. */
async function wakesByKind(t: Tap, lab: Lab): Promise<void> {
  const [e1000e, igb] = lab.nics.map(({ address }) => address) as [string, string];
  await lab.bind(e1000e, "vfio-pci");
  await kernelPeer(lab, igb, "igb", "10.77.0.1/24");
  for (const [vfioIntr, name] of Object.entries(vfioKinds)) {
    const interrupts = { config: { rxInterrupts: true }, rxInterrupt: true };
    const echo = await guestStart(lab, "echo", { nics: [e1000e], engine: { vfioIntr }, ...interrupts });
    const table = await shell(lab, "grep vfio /proc/interrupts");
    t.ok(table.includes(`${name}(${e1000e})`), table);
    const text = await shell(lab, "ip netns exec peer ping -q -c 10 -i 0.1 -W 2 10.77.0.2");
    const { sleeps } = await guestEnd<{ sleeps: number }>(echo);
    t.match(text, /10 received/);
    t.ok(sleeps >= 7, `${sleeps} sleeps`);
  }
  await endKernelPeer(lab);
  await lab.bind(e1000e, "none");
}

async function wakes(t: Tap, lab: Lab, driver: "uio_pci_generic" | "igb_uio" | "vfio-pci"): Promise<void> {
  const [e1000e, igb] = lab.nics.map(({ address }) => address) as [string, string];
  for (const [ours, theirs, kernel] of [[e1000e, igb, "igb"] as const, [igb, e1000e, "e1000e"] as const]) {
    await lab.bind(ours, driver);
    await kernelPeer(lab, theirs, kernel, "10.77.0.1/24");
    const settings = { nics: [ours], config: { rxInterrupts: true }, rxInterrupt: true };
    const echo = await guestStart(lab, "echo", settings);
    const text = await shell(lab, "ip netns exec peer ping -q -c 30 -i 0.1 -W 2 10.77.0.2");
    const { sleeps } = await guestEnd<{ sleeps: number }>(echo);
    const [, average = "?"] = /= [\d.]+\/([\d.]+)\//.exec(text) ?? [];
    t.match(text, /30 received/);
    t.ok(Number(average) < WAKE_MS_MAX, `${ours}: answers after ${average} ms`);
    t.ok(sleeps >= 20, `${sleeps} sleeps`);
    await endKernelPeer(lab);
    await lab.bind(ours, "none");
  }
}

t.test("without an IOMMU", { skip: missing }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }], iommu: false });
  await t.test("interrupts: INTx by uio_pci_generic", (t) => wakes(t, lab, "uio_pci_generic"));
  await t.test("interrupts: MSI-X by igb_uio", (t) => wakes(t, lab, "igb_uio"));
  await t.test("interrupts: MSI by igb_uio", async (t) => {
    await shell(lab, "rmmod igb_uio && modprobe igb_uio intr_mode=msi");
    await wakes(t, lab, "igb_uio");
  });
  await t.test("interrupts: MSI-X by vfio-pci", (t) => wakes(t, lab, "vfio-pci"));
  await t.test("interrupts: --vfio-intr", (t) => wakesByKind(t, lab));
});
