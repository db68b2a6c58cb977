// `pollmode sriov` in the lab, on an igb (82576) and its kernel driver, against what ip(8) says; VF tokens; and what
// counts as use of NICs with the kernel's own bond, team, VLANs and so on.
import { fileURLToPath } from "node:url";
import t from "tap";
import type { Use } from "../../src/devices/in-use.ts";
import { Lab, labBed } from "../beds/lab/lab.ts";
import { bedSource } from "../beds/paths.ts";
import type { UseStep } from "../devices/guest/uses.ts";
import type { Step } from "./guest/tool-steps.ts";
import { guestSteps } from "./guest-steps.ts";
import type { Kept } from "./tool/kept.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const [nic, pf] = ["0000:00:03.0", "0000:00:04.0"];
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

const boot = async () => {
  await labBed.setup();
  const lab = await Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }], cpus: 1 });
  await lab.bind(nic, "e1000e");
  await lab.bind(pf, "igb");
  await lab.run("modprobe -a vfio-pci 8021q macvlan ipvlan team vrf bridge; modprobe bonding max_bonds=0");
  return lab;
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) t.teardown(() => lab[Symbol.asyncDispose]());

const interfaceOf = async (address: string) =>
  (await lab.run(`ls /sys/bus/pci/devices/${address}/net`)).trim();

t.test("in use", { skip }, async (t) => {
  const [a, b] = [await interfaceOf(nic), await interfaceOf(pf)];
  const flush = `ip address flush dev ${a}; ip link set ${a} nomaster; ip link set ${a} up`;
  const on = (kind: string, more = "") => `ip link add link ${a} name up0 type ${kind} ${more}`;
  const member = (kind: string, more = "") =>
    `ip link add top0 type ${kind} ${more}; ip link set ${a} down; ip link set ${a} master top0; ip link set top0 up`;
  const far = "ip netns add far; ip link set up0 netns far";
  const steps: UseStep[] = [
    ["up", `ip link set ${a} up; ip link set ${b} up; sleep 2`, nic, ""],
    ["address", `ip address add 10.0.0.1/24 dev ${a}`, nic, ""],
    ["default", `ip route add default via 10.0.0.254`, nic, flush],
    ["v6", `ip -6 address add 2001:db8::1/64 dev ${a} nodad`, nic, flush],
    ["vlan", on("vlan", "id 5"), nic, "ip link del up0"],
    ["macvlan", on("macvlan"), nic, "ip link del up0"],
    ["ipvlan", on("ipvlan"), nic, "ip link del up0"],
    ["vlan far", `${on("vlan", "id 5")}; ${far}`, nic, "ip netns del far; sleep 1"],
    ["ipvlan far", `${on("ipvlan")}; ${far}`, nic, "ip netns del far; sleep 1"],
    [
      "bond",
      `${member("bond")}; ip address add 10.0.0.1/24 dev top0; ip route add default via 10.0.0.254`,
      nic,
      `ip link del top0; ${flush}`,
    ],
    ["team", member("team"), nic, `ip link del top0; ${flush}`],
    ["vrf", member("vrf", "table 10"), nic, `ip link del top0; ${flush}`],
    ["bridge", member("bridge"), nic, `ip link del top0; ${flush}`],
    ["other", "", pf, ""],
    ["namespace", `ip netns add far; ip link set ${a} netns far`, nic, "ip netns del far; sleep 1"],
    ["back", "", nic, ""],
  ];
  const { code, stdout, stderr } = await lab.node(path("../devices/guest/uses.js"), [JSON.stringify(steps)]);
  if (code !== 0) throw new Error(`uses: ${stderr}${stdout}`);
  const { found } = JSON.parse(stdout) as { found: Record<string, Use[]> };
  const texts = (name: string) => found[name]?.map(({ kind, text }) => `${kind}: ${text}`);
  t.same(texts("up"), [], "with its carrier and a link-local address");
  t.same(texts("address"), [`address: ${a} has the address 10.0.0.1/24`]);
  t.same(texts("default")?.[1], `default-route: ${a} has the default route of IPv4 via 10.0.0.254`);
  t.same(texts("v6"), [`address: ${a} has the address 2001:db8::1/64`]);
  for (const kind of ["vlan", "macvlan", "ipvlan"])
    t.same(texts(kind), [`${kind}: up0 (${kind}) stands on ${a}`]);
  for (const kind of ["vlan", "ipvlan"])
    t.same(texts(`${kind} far`), [`${kind}: up0 (${kind}), in network namespace far, stands on ${a}`]);
  t.same(texts("bond"), [
    `bond: ${a} is a member of bond top0`,
    `address: top0, over ${a}, has the address 10.0.0.1/24`,
    `default-route: top0, over ${a}, has the default route of IPv4 via 10.0.0.254`,
  ]);
  for (const kind of ["team", "vrf", "bridge"])
    t.same(texts(kind), [`${kind}: ${a} is a member of ${kind} top0`]);
  t.same(texts("other"), []);
  t.match(found.namespace, [{ interface: "", kind: "namespace" }]);
  t.same(texts("back"), [], "a deleted namespace gives it back");
});

const vfs = ["0000:00:14.0", "0000:00:14.2"] as const;
const holder = path("../bus/vfio/guest/hold.js");
const bind = (address: string, driver: string) => `bash ${bedSource("lab/bind.sh")} ${address} ${driver}`;
const tool = (words: string): Step => ({ tool: "sriov", words: `${words} --json` });

/** Of a step of the tool: exit code and JSON. */
function said({ code, stdout, stderr }: Kept): unknown {
  try {
    return { code, ...(JSON.parse(stdout) as object) };
  } catch {
    throw new Error(`no JSON, exit code ${code}: ${stdout}${stderr}`);
  }
}

t.test("virtual functions made, set, listed and removed", { skip }, async (t) => {
  const name = await interfaceOf(pf);
  const device = `/sys/bus/pci/devices/${pf}`;
  const found = await guestSteps(lab, {
    made: tool(`create ${name} --count 2 --driver vfio-pci`),
    autoprobe: { run: `cat ${device}/sriov_drivers_autoprobe` },
    up: { run: `ip link set ${name} up; until ip link show ${name} | grep -q LOWER_UP; do sleep .1; done` },
    set: tool(
      `set ${pf} ${vfs[1]} --mac 02:00:00:00:00:07 --vlan 100:3 --max-rate 500 --trust on --spoofchk off`,
    ),
    ip: { run: `ip -j -d link show ${name}` },
    state: tool(`set ${pf} 0 --mac 02:00:00:00:00:08 --link-state disable`),
    protocol: tool(`set ${pf} 0 --vlan 5:0:802.1ad`),
    ipThen: { run: `ip -j -d link show ${name}` },
    list: tool("list"),
    used: {
      run: `${bind(vfs[0], "igbvf")}; ip address add 10.7.0.1/24 dev $(ls /sys/bus/pci/devices/${vfs[0]}/net)`,
    },
    refused: tool(`remove ${pf}`),
    hold: { hold: [process.execPath, holder, vfs[1]] },
    open: tool(`remove ${pf} --force`),
    release: { release: true },
    removed: tool(`remove ${pf} --force`),
    numVfs: { run: `cat ${device}/sriov_numvfs` },
  });
  const onVfio = { driver: "vfio-pci", interfaces: [] };
  t.match(said(found.made), { code: 0, address: pf, vfs, status: { vfs: [onVfio, onVfio] } });
  t.equal(found.autoprobe.stdout, "1\n");
  const settings = {
    mac: "02:00:00:00:00:07",
    vlan: { id: 100, qos: 3, protocol: "802.1Q" },
    rate: { min: 0, max: 500 },
    trust: true,
    spoofCheck: false,
  };
  t.match(said(found.set), { code: 0, vf: 1, settings });
  const shown = { vlan_list: [{ vlan: 100, qos: 3 }], rate: { max_tx: 500 }, trust: true, spoofchk: false };
  const [first, second] = ipVfs(found.ip);
  t.match(first, { trust: false, spoofchk: true });
  t.match(second, { ...shown, address: settings.mac });
  const error = { code: "SRIOV_SETTING", message: /EOPNOTSUPP/, fix: /igb cannot do this/ };
  t.match(said(found.state), { code: 1, error, exitCode: 1 });
  t.match(said(found.protocol), {
    error: { message: /EPROTONOSUPPORT/, fix: /use the VLAN protocol 802.1Q/ },
  });
  t.same(ipVfs(found.ipThen), [first, second], "nothing of what was refused has stayed");
  const listed = {
    address: pf,
    totalVfs: 7,
    interfaces: [name],
    vfs: [{ settings: { trust: false } }, { settings }],
  };
  t.match(said(found.list), { devices: [listed] });
  t.match(said(found.refused), {
    code: 3,
    error: { code: "DEVICE_IN_USE", message: /has the address 10.7.0.1/ },
  });
  const open = { code: "PCI_IN_USE", message: new RegExp(`process ${found.hold.code}\\)`) };
  t.match(said(found.open), { code: 3, error: open }, "not by force either");
  t.match(said(found.removed), { code: 0, removed: vfs });
  t.match(found.removed.stderr, /has the address 10.7.0.1/, "it names what it breaks");
  t.equal(found.numVfs.stdout, "0\n");
});

function ipVfs({ stdout }: Kept): object[] {
  const [link] = JSON.parse(stdout) as { vfinfo_list: object[] }[];
  return link!.vfinfo_list;
}

t.test("VF tokens", { skip }, async (t) => {
  const vfToken = "14d63f20-8445-11ea-8900-1f9ce7d5650d";
  const found = await guestSteps(lab, {
    vfio: { run: bind(pf, "vfio-pci") },
    made: tool(`create ${pf} --count 2 --driver vfio-pci --vf-token ${vfToken}`),
    missing: { open: [vfs[0]] },
    kept: { open: [vfs[0]], vfToken },
    hold: { hold: [process.execPath, holder, pf, vfToken] },
    missingStill: { open: [vfs[0]] },
    both: { open: vfs, vfToken },
    wrong: { open: [vfs[0]], vfToken: "00000000-8445-11ea-8900-1f9ce7d5650d" },
    again: tool(`create ${pf} --count 2 --vf-token ${vfToken}`),
    release: { release: true },
    removed: tool(`remove ${pf}`),
  });
  const tries = (step: Kept) => JSON.parse(step.stdout) as unknown;
  const intel = { value: 0x8086 };
  t.match(said(found.made), { code: 0, vfs, vfToken, tokenIsHeld: false });
  t.match(tries(found.missing), [{ error: { code: "VFIO_TOKEN_MISSING" } }]);
  t.same(tries(found.kept), [intel], "the PF is not open: the kernel keeps its token");
  t.match(found.hold.stdout, /"value":32902/);
  t.match(tries(found.missingStill), [{ error: { code: "VFIO_TOKEN_MISSING" } }]);
  t.same(tries(found.both), [intel, intel]);
  t.match(tries(found.wrong), [{ error: { code: "VFIO_TOKEN_WRONG" } }]);
  t.match(said(found.again), { code: 0, vfs, tokenIsHeld: true });
  t.match(said(found.removed), { code: 0, removed: vfs });
});
