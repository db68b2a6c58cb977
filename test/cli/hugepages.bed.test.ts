// `pollmode hugepages` beside Debian's dpdk-hugepages.py, in a guest of the lab with two NUMA nodes: the same state
// after the same options. Then what only ours does: a grant in part, pages in use, DPDK's files, a size that the CPU
// has not.
import { fileURLToPath } from "node:url";
import t from "tap";
import { commandPath } from "../beds/command.ts";
import { dpdkBed } from "../beds/dpdk.ts";
import { Lab, labBed } from "../beds/lab/lab.ts";
import type { Step } from "./guest/tool-steps.ts";
import { guestSteps } from "./guest-steps.ts";
import type { Kept } from "./tool/kept.ts";

const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));
const skip = labBed.missing() ?? dpdkBed.missing() ?? false;
t.setTimeout(300_000);

/** What can differ: all pools, all mounts. */
const state = "grep . /sys/devices/system/node/node*/hugepages/*/nr_hugepages; grep hugetlbfs /proc/mounts";
const sameOptions = {
  unmounted: "-u",
  again: "--unmount",
  mounted: "-m -U 1000 --group 7",
  twice: "--mount",
  elsewhere: "-m -d /mnt -p 2M",
  away: "-u -d /mnt",
  reserved: "-r 64M",
  fewer: "--reserve 32m -p 2048K",
  oneNode: "--reserve 8M --node 1",
  cleared: "-c",
  setup: "--setup 64M",
  otherNode: "--pagesize 2M -n 0 -r 16M",
  shown: "--show",
  end: "-u -c",
} as const;

const holdPages = `import mmap
pages = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
pages[0] = 1
print("held", flush=True)
input()`;
/** Until its mbufs are there: its memory is then. */
const startDpdk = `sleep 1000 | stdbuf -oL dpdk-testpmd -l 0,1 -m 16 --no-pci --vdev net_null0 -- \
  --total-num-mbufs=2048 -i > /tmp/testpmd 2>&1 &
while ! grep -q mb_pool /tmp/testpmd; do sleep 0.1; done; echo up; cat > /dev/null`;
const killDpdk = "pkill -9 dpdk-testpmd; while pgrep dpdk-testpmd; do sleep 0.1; done; pkill sleep";
/** A PID namespace of its own, as a container's, sees no other program. */
const hidden = `unshare -pf --mount-proc ${process.execPath} ${program} hugepages --clear`;

/** Ours, then theirs from the same start. */
function besides(script: string): Record<string, Step> {
  const options = Object.entries(sameOptions);
  const ours = options.flatMap(([name, words]): [string, Step][] => [
    [`ours ${name}`, { tool: "hugepages", words }],
    [`our state ${name}`, { run: state }],
  ]);
  const theirs = options.flatMap(([name, words]): [string, Step][] => [
    [`theirs ${name}`, { run: `${script} ${words}` }],
    [`their state ${name}`, { run: state }],
  ]);
  const again: [string, Step] = ["mount again", { run: "mount -t hugetlbfs hugetlbfs /dev/hugepages" }];
  return Object.fromEntries([...ours, again, ...theirs]);
}

async function inGuest(): Promise<Record<string, Kept>> {
  await labBed.setup();
  await dpdkBed.setup();
  const script = commandPath("dpdk-hugepages.py")!;
  // 58: X86_FEATURE_GBPAGES, which /proc/cpuinfo calls pdpe1gb
  await using lab = await Lab.boot({ hugepages: 0, kernelArguments: ["numa=fake=2", "clearcpuid=58"] });
  return await guestSteps<string>(lab, {
    ...besides(script),
    someLeft: { tool: "hugepages", words: "-m -r 32M" },
    before: { run: state },
    partial: { tool: "hugepages", words: "-n 1 -r 8G" },
    afterPartial: { run: state },
    gigantic: { tool: "hugepages", words: "-p 1G -r 1G" },
    noNode: { tool: "hugepages", words: "-r 8M -n 2" },
    hold: { hold: ["python3", "-c", holdPages] },
    shown: { tool: "hugepages", words: "--json" },
    refused: { tool: "hugepages", words: "--clear" },
    lowered: { tool: "hugepages", words: "--reserve 0" },
    released: { release: true },
    dpdk: { hold: ["bash", "-c", startDpdk] },
    dpdkRefused: { tool: "hugepages", words: "--clear" },
    dpdkHidden: { run: hidden },
    afterRefused: { run: `${state}; ls /dev/hugepages | wc -l` },
    killed: { run: killDpdk },
    ended: { release: true },
    left: { tool: "hugepages", words: "--json" },
    clear: { tool: "hugepages", words: "--clear --json" },
    afterClear: { run: `${state}; ls /dev/hugepages` },
  });
}

const got = skip ? ({} as Record<string, Kept>) : await inGuest();
const out = (name: string) => got[name]!.stdout;

t.test("beside dpdk-hugepages.py: the same state", { skip }, async (t) => {
  for (const name of Object.keys(sameOptions)) {
    t.equal(got[`ours ${name}`]!.code, 0, `${name}: ${got[`ours ${name}`]!.stderr}`);
    t.equal(got[`theirs ${name}`]!.code, 0, `${name}: ${got[`theirs ${name}`]!.stderr}`);
    t.equal(out(`our state ${name}`), out(`their state ${name}`), name);
  }
  t.match(out("our state oneNode"), /node0\S+:16\n\S+node1\S+:4\n/, "there are two nodes");
  t.match(out("our state mounted"), /uid=1000,gid=7,pagesize=2M/);
  t.same(rows(out("ours shown")), rows(out("theirs shown")), "they show the same");
  t.equal(rows(out("ours shown")).length, 2);
});

t.test("what cannot be granted is an error, and all is as before", { skip }, async (t) => {
  const why = /node 1 gave \d+ of 4096 hugepages of 2M: it has too little memory/;
  t.match(got.partial, { code: 1, stderr: why });
  t.equal(out("afterPartial"), out("before"), "as many as before");
  t.match(got.gigantic, {
    code: 1,
    stderr: /no hugepages of 1G: it has 2M; .*pdpe1gb.*\n {2}fix: .*-cpu host/,
  });
  t.match(got.noNode, { code: 1, stderr: /no NUMA node 2 .*\n {2}fix: use --node 0 or --node 1/ });
});

t.test("pages that a program has stay", { skip }, async (t) => {
  t.equal(out("hold"), "held\n");
  const pid = got.hold!.code;
  t.match(JSON.parse(out("shown")), {
    sizes: [{ pageBytes: 2 << 20, total: 32, free: 31, reserved: 1, pools: [{ node: 0 }, { node: 1 }] }],
    programs: [{ pid, name: "python3", bytes: 2 << 20 }],
    files: [],
  });
  for (const refused of [got.refused, got.lowered]) {
    t.match(refused, { code: 3, stderr: new RegExp(`in use by python3 \\(process ${pid}, 2M\\)`) });
  }
});

t.test("DPDK's too, and what it left when it was killed goes", { skip }, async (t) => {
  t.equal(out("dpdk"), "up\n");
  t.match(got.dpdkRefused, { code: 3, stderr: /in use by dpdk-testpmd \(process \d+, \d+M\)/ });
  t.match(got.dpdkHidden, { code: 3, stderr: /in use by a program elsewhere that has \S+rtemap_0, .* open/ });
  const [, files = "0"] = /(\d+)\n$/.exec(out("afterRefused")) ?? [];
  t.equal(out("afterRefused"), `${out("before")}${files}\n`);
  const isLeft = { isOpen: false, isDpdk: true, bytes: 2 << 20 };
  const left = JSON.parse(out("left"));
  t.ok(Number(files) >= 8, "16 MiB of it");
  t.match(left.files, Array(Number(files)).fill(isLeft));
  const { removed, sizes, files: after } = JSON.parse(out("clear"));
  t.equal(removed.length, Number(files));
  t.match([sizes[0].total, after], [0, []]);
  t.match(out("afterClear"), /node0\S+:0\n\S+node1\S+:0\n.*hugetlbfs.*\n$/);
});

/** Node, pages and size of each row that has pages, from either tool. */
function rows(text: string): string[] {
  const found = [...text.matchAll(/^ *(\d+) +([1-9]\d*) +(\d+)M/gm)];
  return found.map(([, node, pages, size]) => `${node} ${pages} ${size}`).sort();
}
