// The command line of `pollmode sriov`: words, values, a recorded machine, exit codes.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import t from "tap";
import { changesOf } from "../../../src/cli/sriov/settings.ts";
import { RecordedMachine } from "../../support/recorded-machine.ts";

const program = fileURLToPath(new URL("../../../src/cli/pollmode.js", import.meta.url));

function sriov(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, "sriov", ...args], {
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

t.test("values of settings", async (t) => {
  t.same(changesOf({ mac: "02:00:00:00:00:AB", trust: "on", spoofchk: "off", "link-state": "auto" }), {
    mac: "02:00:00:00:00:ab",
    trust: true,
    spoofCheck: false,
    linkState: "auto",
  });
  t.same(changesOf({ vlan: "100" }), { vlan: { id: 100, qos: 0, protocol: "802.1Q" } });
  t.same(changesOf({ vlan: "4095:7:802.1ad" }), { vlan: { id: 4095, qos: 7, protocol: "802.1ad" } });
  t.same(changesOf({ vlan: "0" }), { vlan: { id: 0, qos: 0, protocol: "802.1Q" } });
  t.same(changesOf({ rate: "100:500" }), { rate: { min: 100, max: 500 } });
  t.same(changesOf({ "max-rate": "500" }), { rate: { max: 500 } });
  t.same(changesOf({ "min-rate": "0" }), { rate: { min: 0 } });
  t.same(changesOf({ mac: "00:00:00:00:00:00" }), { mac: "00:00:00:00:00:00" });
});

t.test("values that cannot be", async (t) => {
  for (const values of [
    {},
    { mac: "02:00:00:00:00" },
    { mac: "01:00:5e:00:00:01" },
    { vlan: "4096" },
    { vlan: "5:8" },
    { vlan: "5:1:802.1x" },
    { vlan: ":5" },
    { rate: "500" },
    { rate: "1:2:3" },
    { rate: "1:" },
    { rate: "1:2", "max-rate": "5" },
    { "max-rate": "4294967296" },
    { "min-rate": "-1" },
    { trust: "yes" },
    { spoofchk: "" },
    { "link-state": "up" },
  ]) {
    t.throws(() => changesOf(values), { code: "OPTION_VALUE", fix: /--/ }, JSON.stringify(values));
  }
});

t.test("words and options", async (t) => {
  const fails = (args: string, status: number, stderr: RegExp) =>
    t.match(sriov(...args.split(" ").filter(Boolean)), { status, stdout: "", stderr }, args);
  fails("", 2, /not said what to do/);
  fails("creat x", 2, /^pollmode sriov: there is no "creat"\n {2}fix: did you mean create\?/);
  fails("create --count 1", 2, /no physical function is named/);
  fails("create a b --count 1", 2, /too many or too few words/);
  fails("set a", 2, /write: pollmode sriov set PF VF/);
  fails("list --count 2", 2, /sriov list has no --count\n {2}fix: it belongs to: pollmode sriov create/);
  fails("remove a --mac 02:00:00:00:00:01", 2, /belongs to: pollmode sriov set/);
  fails("create zz:00.0 --count 1", 2, /zz:00.0/);
});

t.test("a recorded 82599", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599");
  const { root } = recorded;
  const at = (...args: string[]) => sriov(...args, "--root", root);
  const listed = JSON.parse(at("list", "--json").stdout).devices;
  t.match(listed, [
    { totalVfs: 63, vfs: [{ index: 0 }, { index: 1 }] },
    { totalVfs: 63, vfs: [] },
  ]);
  const [first, second] = listed as { address: string; vfs: { address: string }[] }[];
  const text = at("list", first!.address.slice(5));
  t.match(text, { status: 0, stdout: / 2 of 63 virtual functions\nVF +ADDRESS +DRIVER/ });
  t.match(at("list", first!.vfs[0]!.address), { status: 1, stderr: /it is one itself/ });
  const made = at("create", second!.address, "--count", "2", "--driver", "vfio-pci");
  t.match(made, {
    status: 0,
    stdout: new RegExp(`^echo 2 > /sys/bus/pci/devices/${second!.address}/sriov_numvfs$`, "m"),
  });
  t.match(at("create", second!.address, "--count", "64"), { status: 2, stderr: /0 to 63/ });
  for (const count of ["0", "x", "-1"]) {
    t.match(at("create", second!.address, `--count=${count}`), { status: 2, stderr: /no number from 1 on/ });
  }
  t.match(at("create", second!.address, "--count", "1", "--vf-token", "x"), { status: 2, stderr: /no UUID/ });
  t.match(at("create", second!.address, "--count", "1", "--vf-token", "new"), {
    status: 2,
    stderr: /on vfio-pci/,
  });
  t.match(at("set", second!.address, "0", "--trust", "on"), { status: 1, stderr: /it has none/ });
  t.match(at("set", second!.address, "x", "--trust", "on"), { status: 2, stderr: /no virtual function of/ });
  t.match(at("remove", second!.address), { status: 0, stdout: "" });
  recorded.bind(second!.address, "vfio-pci");
  const token = at(
    "create",
    second!.address,
    "--count",
    "1",
    "--driver",
    "vfio-pci",
    "--vf-token",
    "new",
    "--json",
  );
  const { result, changes } = JSON.parse(token.stdout);
  t.match(result, { vfs: [/./], vfToken: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/ });
  t.match(changes[0], /^echo Y > \/sys\/module\/vfio_pci\/parameters\/enable_sriov$/);
  const args = ["create", second!.address, "--count", "1", "--vf-token", "new"];
  const lines = at(...args)
    .stdout.trimEnd()
    .split("\n");
  const isShell = (line: string) => /^(echo |# )/.test(line);
  t.same(
    [lines.filter((line) => !isShell(line)), lines.some((line) => /^# VF token: /.test(line))],
    [[], true],
  );
  const ofVf = at("create", first!.vfs[1]!.address, "--count", "1");
  t.match(
    ofVf,
    { status: 1, stdout: "", stderr: /is a virtual function itself/ },
    "nothing is changed for it",
  );
});
