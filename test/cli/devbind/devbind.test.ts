// `pollmode devbind` as a program, on recorded machines: its text, its JSON, its exit codes.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { bindDriver, restoreDriver } from "../../../src/bus/pci/bind.ts";
import { FakeSysfs } from "../../support/fake-sysfs.ts";
import { RecordedMachine } from "../../support/recorded-machine.ts";

const program = fileURLToPath(new URL("../../../src/cli/pollmode.js", import.meta.url));
t.setTimeout(120_000);

function devbind(root: string, ...args: string[]) {
  const argv = [program, "devbind", "--root", root, ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: "utf8" });
  return { status, stdout, stderr };
}

/** Without the names of devices: pci.ids may be missing here. */
const bare = (text: string) => text.replaceAll(/'.*? ([0-9a-f]{4})'/g, "'$1'");

t.test("status in the form of dpdk-devbind.py", async (t) => {
  const { root } = new RecordedMachine(t, "server-82599");
  const { status, stdout, stderr } = devbind(root, "--status-dev", "net");
  t.same([status, stderr], [0, ""]);
  const lines = bare(stdout).split("\n");
  t.same(lines.slice(0, 5), [
    "",
    "Network devices using DPDK-compatible driver",
    "============================================",
    "0000:03:10.2 '10ed' numa_node=0 drv=vfio-pci unused=ixgbevf",
    "",
  ]);
  t.equal(lines[5], "Network devices using kernel driver");
  t.match(lines[7], /^0000:01:00\.0 '165f' numa_node=0 if=eno1 drv=tg3 unused=vfio-pci /);
  const all = devbind(root, "-s");
  t.same(
    [...all.stdout.matchAll(/^No '(.*)' devices detected\n=+$/gm)].map(([, title]) => title),
    ["Baseband", "Crypto", "DMA", "Eventdev", "Mempool", "Compress", "Misc (rawdev)", "Regex", "ML"],
  );
  t.ok(all.stdout.startsWith(stdout));
  t.equal(devbind(root, "--status", "net").stdout, stdout, "as the latest dpdk-devbind.py spells it");
  t.match(bare(devbind(root, "-s", "eno1").stdout), /^0000:01:00\.0 [^\n]*\n\nNo 'Baseband'/m, "one device");
});

t.test("status as JSON, and what is in use", async (t) => {
  const recorded = new RecordedMachine(t, "server-i350");
  const text = devbind(recorded.root, "--status-dev", "net", "--json");
  const { status } = JSON.parse(text.stdout);
  t.equal(text.status, 0);
  t.match(status, [{ group: "net", title: "Network", kernel: [{ address: /^0000:/, vendorId: 0x8086 }] }]);
  const { address, interfaces } = status[0].kernel[0];
  const link = { index: 2, name: interfaces[0], flags: 3, operState: "up", carrier: true, hasXdp: false };
  const own = { index: 2, family: 4, address: "10.0.0.1", prefixLength: 24 };
  recorded.put("/netlink.json", JSON.stringify({ links: [link], addresses: [own], routes: [] }));
  t.match(devbind(recorded.root, "-s").stdout, new RegExp(`^${address} .* \\*Active\\*$`, "m"));
  const refused = devbind(recorded.root, "-b", "vfio-pci", address, "--json");
  t.equal(refused.status, 3);
  t.match(JSON.parse(refused.stdout), {
    action: "bind",
    devices: [{ address, result: "refused", error: { code: "DEVICE_IN_USE", message: /10\.0\.0\.1\/24/ } }],
    exitCode: 3,
  });
  const said = devbind(recorded.root, "-b", "vfio-pci", address);
  t.match(said, { status: 3, stdout: "", stderr: /it is in use: .*\n {2}fix: .*\n.*nothing was changed\n$/ });
  t.match(said.stderr, /\(ip address flush dev enp1s0f0\); --force breaks it/);
  const shown = devbind(recorded.root, "-b", "vfio-pci", address, "--dry-run");
  t.match(shown, { status: 3, stdout: "" }, "what is refused is not called nothing to change");
  const forced = devbind(recorded.root, "-b", "vfio-pci", address, "--force");
  t.match(forced, {
    status: 0,
    stdout: /drivers_probe|\/bind/,
    stderr: /--force breaks that .* 10\.0\.0\.1\/24/,
  });
});

t.test("--dry-run shows the writes that a bind does, in their order", async (t) => {
  const nic = "0000:00:03.0";
  const machine = (): FakeSysfs => {
    return new FakeSysfs(t)
      .addDriver("e1000e", { ids: ["8086:10d3"] })
      .addDriver("vfio-pci")
      .addDevice(nic, { driver: "e1000e", group: 7, interfaces: ["eth0"] });
  };
  const [shown, done] = [machine(), machine()];
  const root = mkdtempSync(join(tmpdir(), "pollmode-root-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  symlinkSync(shown.root, join(root, "sys"));
  const before = shown.state();
  const { status, stdout, stderr } = devbind(root, "--bind=vfio-pci", "-U", "1000", "eth0", "--dry-run");
  t.same([status, stderr], [0, ""]);
  t.same(shown.state(), before);
  bindDriver(nic, "vfio-pci", { sysfs: done });
  const lines = stdout.split("\n");
  const writes = done.writes.map(({ path, value }) => `echo ${value.trim()} > ${join("/sys", path)}`);
  t.same(
    lines.filter((line) => line.startsWith("echo")),
    writes,
  );
  t.ok(lines.includes("chown 1000 /dev/vfio/7"));
  t.ok(lines.includes(`# ${nic}: e1000e -> vfio-pci (/dev/vfio/7)`), "the result is a comment to a shell");
  t.match(stdout, /cat > \/run\/pollmode\/bindings\.json <<'END'\n/);
  const again = devbind(root, "-b", "e1000e", "eth0", "--dry-run");
  t.equal(again.stdout, `# ${nic}: has e1000e already\n# nothing to change\n`);
  restoreDriver({ address: nic, driver: "e1000e", driverOverride: undefined }, { sysfs: done });
});

t.test("an IOMMU group as a whole", async (t) => {
  const { root } = new RecordedMachine(t, "desktop-shared-group");
  const alone = devbind(root, "-b", "vfio-pci", "01:00.1", "--dry-run");
  t.match(alone, { status: 0, stderr: /IOMMU group 1 .*0000:02:00\.0 \(xhci_hcd\); --group/ });
  const whole = devbind(root, "-b", "vfio-pci", "--group", "01:00.1", "--dry-run", "--json");
  t.equal(whole.status, 0);
  const { result, changes } = JSON.parse(whole.stdout);
  t.match(result.devices, [
    { address: "0000:01:00.0", result: "unchanged" },
    { address: "0000:01:00.1", before: "ixgbe", after: "vfio-pci", result: "changed", node: "/dev/vfio/1" },
    { address: "0000:02:00.0", before: "xhci_hcd", after: "vfio-pci", result: "changed" },
  ]);
  t.equal(result.devices.length, 3, "its bridges stay");
  t.match(changes, [/./]);
  t.match(devbind(root, "-b", "e1000", "--group", "04:01.0"), {
    status: 2,
    stderr: /--group is for drivers/,
  });
});

t.test("bifurcated NICs", async (t) => {
  const { root } = new RecordedMachine(t, "server-connectx5");
  const said = devbind(root, "-b", "vfio-pci", "3d:00.1");
  t.match(said, {
    status: 3,
    stdout: "",
    stderr: /mlx5_core shares it.*\n {2}fix: leave it as it is, .*rdma-core/,
  });
});

t.test("no IOMMU", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-no-iommu").drop("/netlink.json");
  const { root } = recorded.put("/etc/group", "root:x:0:\nusers:x:100:\n");
  const plain = devbind(root, "-b", "vfio-pci", "01:00.0");
  t.match(plain, { status: 1, stderr: /0000:01:00\.0 has no IOMMU.*\n {2}fix: .*--noiommu-mode/ });
  const named = devbind(root, "-b", "vfio-pci", "--noiommu-mode", "-G", "users", "01:00.0");
  t.match(named, { status: 0, stderr: /has all of memory/ });
  t.match(named.stdout, /^echo Y > .*enable_unsafe_noiommu_mode$/m);
  t.match(named.stdout, /^chown :100 \/dev\/vfio\/noiommu-N$/m);
  const none = devbind(root, "-u", "dpdk");
  t.equal(none.status, 0);
  t.match(none.stdout, /^# 0000:02:00\.0: uio_pci_generic -> no driver$/m);
});

t.test("restoring", async (t) => {
  const { root } = new RecordedMachine(t, "server-82599");
  t.equal(devbind(root, "--restore", "--dry-run").stdout, "# nothing to change\n");
  t.match(devbind(root, "--restore"), { status: 0, stderr: "" });
  t.match(devbind(root, "--restore", "eno1"), {
    status: 1,
    stderr: /it is not known what 0000:01:00\.0 was bound to/,
  });
  const recorded = new RecordedMachine(t, "server-82599");
  recorded.put("/run/pollmode/bindings.json", "{");
  const damaged = devbind(recorded.root, "--restore");
  t.match(damaged, { status: 1, stderr: /damaged.*\n {2}fix: .*rm .*bindings\.json/ });
  const entry = {
    address: "0000:03:10.2",
    driver: "ixgbevf",
    vendor: 0x8086,
    device: 0x10ed,
    interfaces: [],
    boot: "x",
  };
  recorded.put("/var/lib/pollmode/bindings.json", JSON.stringify({ version: 1, bindings: [entry] }));
  const shown = devbind(recorded.root, "--restore", "--dry-run");
  t.match(shown, { status: 0, stdout: /^# 0000:03:10\.2: vfio-pci -> ixgbevf$/m, stderr: /damaged/ });
  t.match(shown.stdout, /^echo 0000:03:10\.2 > .*ixgbevf\/bind$/m);
});

t.test("a command line that is wrong", async (t) => {
  const { root } = new RecordedMachine(t, "server-82599");
  const cases: [args: string[], message: RegExp][] = [
    [[], /not said what to do/],
    [["eno1"], /not said what to do/],
    [["-b", "vfio-pci"], /no device is named[\s\S]*-?-bind vfio-pci 0000/],
    [["-u"], /no device is named/],
    [["-b", "vfio-pci", "-u", "eno1"], /--bind and --unbind exclude each other/],
    [["--restore", "-u", "eno1"], /exclude each other/],
    [["-b", "eno1", "eno2"], /"eno1" is no driver's name[\s\S]*driver first/],
    [["-b", "03:00.1", "eno2"], /no driver's name/],
    [["-b", "vfio-pci", "enp3s0f9"], /names no PCI device[\s\S]*did you mean/],
    [["-b", "vfio-pci", "99:00.0"], /0000:99:00\.0: this machine has no such PCI device/],
    [["-b", "vfio-pci", "-U", "nobody-of-this-name", "eno2"], /no user "nobody-of-this-name"/],
    [["-u", "--noiommu-mode", "eno2"], /--noiommu-mode says how to bind/],
    [["--status-dev", "nic"], /--status-dev nic: there is no such kind[\s\S]*net, baseband/],
    [["--statsu"], /unknown option --statsu[\s\S]*did you mean --status/],
    [["-s", "--root", "/no/such/folder"], /--root/],
  ];
  for (const [args, message] of cases) {
    const { status, stdout, stderr } = devbind(root, ...args);
    t.same([status, stdout], [2, ""], args.join(" "));
    t.match(stderr, message, args.join(" "));
    t.match(stderr, /\n {2}fix: /, args.join(" "));
  }
  const json = devbind(root, "-b", "vfio-pci", "99:00.0", "--json");
  t.match(JSON.parse(json.stdout), { error: { code: "PCI_UNKNOWN" }, exitCode: 2 });
});

t.test("drivers that are not there", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599");
  const said = devbind(recorded.root, "-b", "vfoi-pci", "eno2");
  t.match(said, { status: 1, stderr: /no such PCI driver loaded[\s\S]*no module vfoi-pci/ });
  writeFileSync(
    join(recorded.root, "lib/modules/6.1.0-28-amd64/modules.dep"),
    "kernel/uio_pci_generic.ko:\n",
  );
  const loads = devbind(recorded.root, "-b", "uio_pci_generic", "eno2");
  t.match(loads, { status: 0, stdout: /^modprobe uio_pci_generic\n/ });
});
