// What the NICs do with addresses, VLANs, long frames, checksums, queues and their cable, as the kernel's own driver
// sees it from the other NIC. guest/features.ts does it; here stands what must come of it.
import t from "tap";
import { Lab, type LabNic, labBed } from "../beds/lab/lab.ts";
import type { FeatureSettings } from "./guest/features.ts";
import { endKernelPeer, guestProgram, kernelPeer, lastJson } from "./support.ts";

type Tap = Pick<typeof t, "test" | "same" | "comment">;
type Report = Record<string, unknown>;

const missing = labBed.missing() ?? false;
t.setTimeout(0); // the runner has the deadline

/** Places among: to us, to all, to a second address, to a stranger's, to a group, to another group. */
const addresses = {
  byDefault: [0, 1],
  added: [0, 1, 2],
  groupJoined: [0, 1, 4],
  allMulticast: [0, 1, 4, 5],
  promiscuous: [0, 1, 2, 3, 4, 5],
  changed: [1, 2],
  mac: [2, 0, 0, 0, 0, 0x22],
};
/** The same, and of a VLAN that was let in, and of another. */
const afterRestart = {
  before: [1, 2, 3, 5, 6],
  after: [1, 2, 3, 5, 6],
  links: [false, true],
  letOut: [1],
  noFilter: [0],
};
const cable = {
  links: [
    [false, 0],
    [true, 1000],
  ],
  whileDown: 0,
  status: false,
  after: [true],
};
const vlanOffload = {
  stripped: [
    [true, 1, 0x6065],
    [true, 0, 0],
  ],
  inserted: [true],
};
/** Bytes are with CRC; a piece is 2048 bytes. */
const longFrames = {
  standard: [0],
  pieces: [1, 1, 2, 2, 4, 5].map((count) => [true, count]),
  sent: [true],
  again: [0],
  refused: [0, 1],
};
const rxChecksums = {
  "ipv4 tcp": "good good",
  "ipv4 tcp, payload spoilt": "good bad",
  "ipv4 tcp, header spoilt": "bad good",
  "ipv4 udp": "good good",
  "ipv4 udp, payload spoilt": "good bad",
  "ipv4 udp, header spoilt": "bad good",
  "ipv4 other": "good -",
  "ipv4 other, payload spoilt": "good -",
  "ipv4 other, header spoilt": "bad -",
  "ipv6 tcp": "- good",
  "ipv6 tcp, payload spoilt": "- bad",
  "ipv6 udp": "- good",
  "ipv6 udp, payload spoilt": "- bad",
  "ipv6 other": "- -",
  "ipv6 other, payload spoilt": "- -",
  "ipv4 udp without a checksum": "good -",
  "not IP": "- -",
  "turned off": "- -",
};
const received = {
  GPRC: 16,
  BPRC: 6,
  MPRC: 3,
  PRC127: 8,
  PRC511: 5,
  PRC1023: 3,
  GORC: 5204,
  TOR: 5204,
  TPR: 16,
};
const sent = { GPTC: 9, BPTC: 2, MPTC: 1, PTC255: 9, GOTC: 1836, TOT: 1836, TPT: 9 };

function spreading(queues: number) {
  const all = Array.from({ length: queues }, (_, queue) => queue);
  const right = { wrong: [], used: all };
  return {
    byDefault: right,
    byOwnKey: right,
    kept: true,
    oneQueue: { wrong: [], used: [0, queues - 1] },
    sent: all.map(() => 1),
  };
}

async function run(lab: Lab, ours: LabNic, settings: FeatureSettings): Promise<Report> {
  const command = [process.execPath, guestProgram("features"), JSON.stringify(settings)];
  const program = lab.start(["ip", "netns", "exec", "peer", ...command]);
  try {
    await program.waitFor(/@unplug/, 180_000);
    await lab.setLink(ours, false);
    await program.waitFor(/@plug/, 60_000);
    await lab.setLink(ours, true);
    const { code } = await program.exited;
    if (code !== 0) throw program.error(`ended with exit code ${code}`);
    return lastJson<Report>(program.stdout);
  } finally {
    await program.kill();
  }
}

function check(t: Tap, found: Report, queues: number): void {
  const { counters: counted, txChecksums, longFrames: long, ...rest } = found as Record<string, Report>;
  const wanted = { addresses, afterRestart, cable, vlanOffload, rxChecksums };
  for (const [what, value] of Object.entries(wanted)) t.same(rest[what], value, what);
  const { tooLong: _, ...lengths } = long!;
  t.same(lengths, longFrames, "longFrames");
  t.same(rest.spreading, spreading(queues), "spreading");
  const right = Object.fromEntries(Object.keys(txChecksums!).map((name) => [name, []]));
  t.same(txChecksums, { ...right, "not asked for": true }, "txChecksums");
  const { shortest: __, ...counters } = counted!;
  t.same(counters, { cleared: true, received, seen: 9, sent, stats: [16, 5140, 9, 1800] }, "counters");
  t.same(rest.longPings, [40, 40], "longPings");
  t.same([rest.faults, rest.errors, rest.pool], [{}, [], []], "nothing is amiss, every mbuf is back");
}

const emulation = {
  prc64: "QEMU takes PRC64 to PRC1522 of the length without the CRC that RCTL.SECRC strips",
  roc: "QEMU's igb counts ROC in VMDq mode alone (igb_receive_assign)",
};

t.test("against the kernel's driver", { skip: missing }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }] });
  const [e1000e, igb] = lab.nics as [LabNic, LabNic];
  const rows = [
    { name: "e1000e", ours: e1000e, theirs: igb, kernel: "igb", queues: 2, countsRoc: true },
    { name: "igb", ours: igb, theirs: e1000e, kernel: "e1000e", queues: 4, countsRoc: false },
  ];
  for (const { name, ours, theirs, kernel, queues, countsRoc } of rows) {
    await t.test(name, async (t) => {
      const peer = await kernelPeer(lab, theirs.address, kernel, "10.77.0.1/24");
      await lab.bind(ours.address, "vfio-pci");
      const settings = { nic: ours.address, peer, queues };
      const found = await run(lab, ours, settings).finally(() => endKernelPeer(lab));
      check(t, found, queues);
      const { longFrames, counters } = found as { longFrames: Report; counters: Report };
      await t.test(
        "frames that are too long are counted",
        { skip: !countsRoc && emulation.roc },
        async (t) => {
          t.equal(longFrames.tooLong, 2);
        },
      );
      await t.test("the shortest frames are counted by size", { skip: emulation.prc64 }, async (t) => {
        t.equal(counters.shortest, 4);
      });
    });
  }
});
