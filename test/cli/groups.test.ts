// `pollmode groups` and `pollmode passthrough` as programs, on recorded machines.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import t from "tap";
import { RecordedMachine } from "../support/recorded-machine.ts";
import { elementsOf } from "../support/xml.ts";

const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));

function pollmode(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

t.test("groups: a shared group as a tree", async (t) => {
  const { root } = new RecordedMachine(t, "desktop-shared-group");
  const { status, stdout, stderr } = pollmode("groups", "--root", root, "1");
  t.same([status, stderr], [0, ""]);
  t.notMatch(stdout, "\x1b", "no colours in a pipe");
  const lines = stdout.trimEnd().split("\n");
  t.match(lines, [
    /^group 1 {2}DMA-FQ {2}not viable$/,
    /^ {2}0000:01:00\.1 is driven by the kernel \(ixgbe\)$/,
    /^ {2}0000:02:00\.0 is driven by the kernel \(xhci_hcd\)$/,
    /^ {2}to make it viable, as root: pollmode devbind -b vfio-pci 0000:01:00\.1 0000:02:00\.0$/,
    /^ {2}shared: 0000:00:01\.0 \(root port\) has no ACS/,
    /^ {2}shared: 0000:00:01\.1 /,
    /^ {2}shared: 0000:00:01\.0, 0000:00:01\.1 are functions/,
    /^├─ 0000:00:01\.0 {5}pcieport {2}.*\[8086:1901\] {2}\(root port, no ACS\)$/,
    /^│ {2}├─ 0000:01:00\.0 {2}vfio-pci {2}.*\[8086:1528\]$/,
    /^│ {2}└─ 0000:01:00\.1 {2}ixgbe {5}.*\[8086:1528\] {2}enp1s0f1$/,
    /^└─ 0000:00:01\.1 {5}pcieport/,
    /^ {3}└─ 0000:02:00\.0 {2}xhci_hcd/,
  ]);
  t.equal(lines.length, 12);
});

t.test("groups: what the machine needs is named, and no command takes it", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group");
  const disk = "/sys/devices/pci0000:00/0000:00:01.1/0000:02:00.0/usb1/1-1/host6/6:0:0:0/block/sda/sda1";
  recorded
    .put(`${disk}/dev`, "8:1\n")
    .link("/sys/class/block/sda1", disk)
    .put("/proc/self/mountinfo", "22 1 0:27 /@ / rw,relatime shared:1 - btrfs /dev/sda1 rw\n")
    .put("/sys/bus/pci/devices/0000:00:02.0/boot_vga", "1\n")
    .put(
      "/netlink.json",
      JSON.stringify({
        links: [{ index: 3, name: "enp1s0f1" }],
        addresses: [{ index: 3, family: 4, address: "192.0.2.7", prefixLength: 24 }],
        routes: [],
      }),
    );
  const { status, stdout } = pollmode("groups", "--root", recorded.root, "1");
  t.equal(status, 0);
  t.match(stdout.split("\n").slice(3, 6), [
    "  0000:01:00.1 cannot be bound to vfio-pci, it is in use: enp1s0f1 has the address 192.0.2.7/24",
    "  0000:02:00.0 cannot be bound to vfio-pci, it is in use: /dev/sda1 is mounted on /",
    "  take that out of use, or put what you want to give away into another slot",
  ]);
  t.notMatch(stdout, "devbind");
  const { groups } = JSON.parse(pollmode("groups", "--root", recorded.root, "--json", "1", "2").stdout);
  t.match(groups, [
    { fix: null, dangers: [/192\.0\.2\.7/, /sda1 is mounted/] },
    { fix: null, dangers: [/^0000:00:02\.0 .*: the machine's console is shown on it \(boot_vga\)$/] },
  ]);
  const refused = pollmode("devbind", "--root", recorded.root, "-b", "vfio-pci", "00:02.0");
  t.match(refused, { status: 3, stderr: /the machine's console is shown on it/ }, "devbind says the same");
});

t.test("groups: a device alone says what it is in its own line", async (t) => {
  const { root } = new RecordedMachine(t, "desktop-shared-group");
  const lines = pollmode("groups", "--root", root, "2").stdout.trimEnd().split("\n");
  t.match(lines, [
    /^group 2 {2}DMA {2}not viable, its driver is the kernel's$/,
    /^└─ 0000:00:02\.0 {2}i915 {2}/,
  ]);
  t.equal(lines.length, 2);
});

t.test("groups: named by device, interface and number; as JSON; as an ordinary user", async (t) => {
  const { root } = new RecordedMachine(t, "desktop-shared-group", { asUser: true });
  const json = (...args: string[]) =>
    JSON.parse(pollmode("groups", "--json", "--root", root, ...args).stdout);
  const numbers = (...args: string[]) => json(...args).groups.map(({ number }: { number: number }) => number);
  t.same(numbers("eno1", "04:*", "2"), [2, 8, 12]);
  t.same(numbers(), [0, 1, 2, 3, 7, 8, 12]);
  t.match(json("1"), {
    acsHidden: true,
    groups: [
      {
        viable: false,
        fix: "pollmode devbind -b vfio-pci 0000:01:00.1 0000:02:00.0",
        reservedRegions: [{ start: "0xfee00000", end: "0xfeefffff", type: "msi" }],
        devices: [
          { address: "0000:00:01.0", driver: "pcieport", kind: "bridge", acs: "unknown", parent: null },
          { address: "0000:00:01.1" },
          { address: "0000:01:00.0", parent: "0000:00:01.0", vendor: 0x8086, device: 0x1528 },
        ],
      },
    ],
  });
  t.match(
    pollmode("groups", "--root", root, "1").stdout,
    /only root may read: sudo pollmode groups shows it/,
  );
  t.match(
    pollmode("groups", "--root", root, "2").stdout,
    /^((?!sudo)[\s\S])*$/,
    "nothing is hidden of a single device",
  );
});

t.test("groups: none, and what is not there", async (t) => {
  const { root } = new RecordedMachine(t, "desktop-no-iommu");
  t.match(pollmode("groups", "--root", root), { status: 0, stdout: /no IOMMU groups: .*pollmode doctor/ });
  t.same(JSON.parse(pollmode("groups", "--root", root, "--json").stdout), { groups: [] });
  t.match(pollmode("groups", "--root", root, "5"), { status: 2, stderr: /no IOMMU group 5/ });
  t.match(pollmode("groups", "--root", root, "enp1s0"), {
    status: 1,
    stderr: /0000:01:00.0 is in no IOMMU group/,
  });
  t.match(pollmode("groups", "--root", root, "eth9"), { status: 2, stderr: /eth9/ });
  t.match(pollmode("groups", "--dry-run"), { status: 2, stderr: /--dry-run/ });
  t.match(pollmode("groups", "--help"), { status: 0, stdout: /^usage: pollmode groups \[DEVICE\|GROUP…\]/ });
});

t.test("passthrough: only what QEMU takes is on stdout", async (t) => {
  const { root } = new RecordedMachine(t, "desktop-shared-group");
  const qemu = pollmode(
    "passthrough",
    "--root",
    root,
    "--format",
    "qemu",
    "--group",
    "--memory",
    "4G",
    "01:00.0",
  );
  t.match(qemu, {
    status: 0,
    stderr:
      /RLIMIT_MEMLOCK is 8 MiB[\s\S]*first, as root: pollmode devbind -b vfio-pci 0000:01:00\.1 0000:02:00\.0/,
  });
  t.same(qemu.stdout.trimEnd().split("\n"), [
    "-device pcie-root-port,id=pollmode1,bus=pcie.0,chassis=101",
    "-device vfio-pci,host=0000:01:00.0,bus=pollmode1,addr=00.0,multifunction=on",
    "-device vfio-pci,host=0000:01:00.1,bus=pollmode1,addr=00.1",
    "-device pcie-root-port,id=pollmode2,bus=pcie.0,chassis=102",
    "-device vfio-pci,host=0000:02:00.0,bus=pollmode2,addr=00.0",
  ]);
  const xml = pollmode(
    "passthrough",
    "--root",
    root,
    "--format",
    "libvirt",
    "--managed",
    "no",
    "01:00.0",
  ).stdout;
  t.match(elementsOf(xml), [{ path: "hostdev", attributes: { managed: "no" } }]);
  const json = JSON.parse(pollmode("passthrough", "--root", root, "--json", "01:00.0").stdout);
  t.match(json, {
    ready: false,
    first: [/devbind/],
    qemu: ["-device", /^pcie-root-port/, "-device", /^vfio-pci/],
    checkedWith: null,
    libvirt: { devices: /^<hostdev/ },
  });
});

t.test("passthrough: a new token is the same on all sides", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599").bind("0000:03:00.0", "vfio-pci");
  const { stdout } = pollmode(
    "passthrough",
    "--root",
    recorded.root,
    "--json",
    "--vf-token",
    "new",
    "03:10.2",
  );
  const { vfToken, qemu, libvirt, ready } = JSON.parse(stdout);
  t.match(vfToken, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  t.match(qemu.at(-1), `vf-token=${vfToken}`);
  t.match(libvirt.overrides, `value='${vfToken}'`);
  t.equal(ready, true);
});

t.test("passthrough: what the host uses is named, since libvirt would take it without a word", async (t) => {
  const { root } = new RecordedMachine(t, "server-82599");
  const run = (...args: string[]) => pollmode("passthrough", "--root", root, ...args);
  t.match(
    run("eno1").stderr,
    /^0000:01:00\.0 is in use, and the host loses it: eno1 has the address 192\.0\.2\.10/m,
  );
  t.match(JSON.parse(run("--json", "eno1").stdout).warnings, [/address/, /default route/]);
  t.notMatch(run("eno2").stderr, /in use/);
});

t.test("passthrough: refused for safety, and what is written wrongly", async (t) => {
  const { root } = new RecordedMachine(t, "server-connectx5");
  const run = (...args: string[]) => pollmode("passthrough", "--root", root, ...args);
  t.match(run("ens1f0np0"), {
    status: 3,
    stdout: "",
    stderr: /mlx5_core, which drives it[\s\S]*fix: give the guest/,
  });
  t.match(run("3c:08.0"), { status: 3, stdout: "", stderr: /is a bridge/ });
  t.match(run("--json", "3c:08.0"), { status: 3, stdout: /"code": "DEVICE_IS_BRIDGE"/ });
  t.match(run(), { status: 2, stderr: /no device is named/ });
  t.match(run("--format", "xen", "01:00.0"), { status: 2, stderr: /one of qemu, libvirt, both/ });
  t.match(run("--memory", "lots", "01:00.0"), { status: 2, stderr: /--memory lots: this is no size/ });
  t.match(run("--managed", "maybe", "01:00.0"), { status: 2 });
  t.match(run("--vf-token", "1234", "01:00.0"), { status: 2, stderr: /this is no UUID/ });
  t.match(run("--vf-token", "new", "01:00.0"), { status: 2, stderr: /none of the devices takes one/ });
  t.match(run("14d63f20-8445-11ea-8900-1f9ce7d5650d"), { status: 1, stderr: /no mediated device/ });
});
