// pollmode permit on machines made of files: what it writes, how often, and that a fault at any step leaves nothing.
import { chmodSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { PciDevice } from "../../src/bus/pci/scan.ts";
import { findDevices } from "../../src/devices/find.ts";
import type { Machine } from "../../src/devices/machine.ts";
import { type PermitRequest, permit, revoke } from "../../src/devices/permit.ts";
import { limitsPath, parseRule, principalOf, rulePath, ruleText } from "../../src/devices/permit-files.ts";
import { PollmodeError } from "../../src/errors.ts";
import { RecordedMachine } from "../support/recorded-machine.ts";

const [vf, nic] = ["0000:03:10.2", "0000:03:00.1"];
const me = { uid: process.getuid!(), gid: process.getgid!() };
/** Whose files a test's are: root, if root runs it. Another name for that number is what permit is told. */
const own = `self:x:${me.uid || 4321}:${me.gid || 4321}`;
const accounts = `root:x:0:0::/:/bin/sh\n${own}::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n`;

interface Made {
  readonly machine: Machine;
  readonly recorded: RecordedMachine;
  readonly commands: string[];
  find(...words: string[]): PciDevice[];
}

interface How {
  readonly udev?: "runs" | "installed" | "none";
  /** What the n-th command does. */
  readonly onCommand?: (command: string, n: number) => void;
}

/** A server whose function vf is bound to vfio-pci; its node is the test's own user's. */
function make(t: { teardown(done: () => void): unknown }, { udev = "runs", onCommand }: How = {}): Made {
  const recorded = new RecordedMachine(t, "server-82599")
    .put("/etc/passwd", accounts)
    .put("/dev/vfio/33", "");
  recorded
    .put("/etc/group", "root:x:0:\ndpdk:x:996:alice\n")
    .put("/dev/vfio/vfio", "")
    .put("/etc/security/limits.conf", "");
  if (udev !== "none") recorded.put("/usr/lib/udev/rules.d/50-udev-default.rules", "");
  if (udev === "runs") recorded.put("/run/udev/control", "");
  chmodSync(join(recorded.root, "dev/vfio/vfio"), 0o666);
  chmodSync(join(recorded.root, "dev/vfio/33"), 0o600);
  const commands: string[] = [];
  const run = (command: readonly string[]) => {
    commands.push(command.join(" "));
    onCommand?.(command.join(" "), commands.length - 1);
    return "";
  };
  const machine = recorded.machine({ run });
  return { machine, recorded, commands, find: (...words) => findDevices(machine, words) };
}

/** All of /etc that permit could touch. */
function etc({ machine }: Pick<Made, "machine">): Record<string, string> {
  const folders = ["/etc/udev/rules.d", "/etc/security/limits.d"];
  const paths = folders.flatMap((folder) => machine.list(folder).map((name) => `${folder}/${name}`));
  return Object.fromEntries(paths.map((path) => [path, machine.readText(path)!]));
}

const tellUdev = [
  "udevadm control --reload",
  "udevadm trigger --action=change --settle --subsystem-match=vfio --subsystem-match=uio",
];
/** The node is this one's already, so what udev would do need not be. */
const self = { kind: "user", name: "self", id: me.uid } as const;

t.test("who", async (t) => {
  const { machine } = make(t);
  t.same(principalOf(machine, "alice"), { kind: "user", name: "alice", id: 1000 });
  t.same(principalOf(machine, "1000"), { kind: "user", name: "1000", id: 1000 });
  t.same(principalOf(machine, "@dpdk"), { kind: "group", name: "dpdk", id: 996 });
  t.throws(() => principalOf(machine, "alise"), { code: "OPTION_VALUE", fix: /did you mean alice/ });
  t.throws(() => principalOf(machine, "@nobody-has-it"), { code: "OPTION_VALUE" });
  t.throws(() => principalOf(machine, "root"), { code: "OPTION_VALUE", message: /^root is root's/ });
});

t.test("the rule", async (t) => {
  const alice = { kind: "user", name: "alice", id: 1000 } as const;
  const lines = ruleText(alice, [nic, vf])
    .split("\n")
    .filter((line) => line && !line.startsWith("#"));
  t.equal(lines.length, 4);
  const give = 'OWNER="alice", MODE="0660"';
  t.equal(lines[0], `SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/${nic}", ${give}`);
  const files = "/sys%p/device/config /sys%p/device/resource[0-5]";
  const run = `RUN+="/bin/sh -c 'chown alice ${files}; chmod u+rw ${files}'"`;
  t.equal(lines[1], `SUBSYSTEM=="uio", KERNELS=="${nic}", ${give}, ${run}`);
  t.same(parseRule(ruleText(alice, [nic, vf])), [nic, vf]);
  const group = ruleText({ kind: "group", name: "dpdk", id: 996 }, "all");
  t.match(group, 'SUBSYSTEM=="vfio", KERNEL=="[0-9]*", GROUP="dpdk", MODE="0660"');
  t.match(group, "chown :dpdk /sys%p");
  t.equal(parseRule(group), "all");
  t.equal(parseRule('KERNEL=="sda", MODE="0600"\n'), undefined);
});

t.test("gives, once and for all", async (t) => {
  const made = make(t);
  const { machine, commands, find } = made;
  const request: PermitRequest = { principal: self, devices: find("03:10.2") };
  const report = permit(machine, request);
  t.match(report, { nodes: ["/dev/vfio/33"], later: [], lasts: true, notes: [] });
  t.same(report.files, [
    { path: "/etc/udev/rules.d/72-pollmode-user-self.rules", state: "written" },
    { path: "/etc/security/limits.d/pollmode-user-self.conf", state: "written" },
  ]);
  t.same(commands, tellUdev);
  t.match(machine.readText(limitsPath(self)), /^self soft memlock 4194304\nself hard memlock 4194304\n/m);

  const before = etc(made);
  const again = permit(machine, request);
  t.same(
    again.files.map(({ state }) => state),
    ["unchanged", "unchanged"],
  );
  t.same(etc(made), before, "twice is once");

  const other = permit(machine, { ...request, devices: find("enp3s0f1"), memory: { bytes: undefined } });
  t.same(other.later, [nic], "which the kernel still drives");
  t.same(parseRule(machine.readText(rulePath(self))!), [nic, vf], "beside the first");
  t.match(machine.readText(limitsPath(self)), "self hard memlock unlimited");
  permit(machine, request);
  t.match(machine.readText(limitsPath(self)), "unlimited", "the limit stays if none is given");

  permit(machine, { principal: self, devices: [] });
  t.equal(parseRule(machine.readText(rulePath(self))!), "all");
});

t.test("takes back", async (t) => {
  const made = make(t);
  const { machine, commands, find } = made;
  permit(machine, { principal: self, devices: find("03:10.2", "03:00.1") });
  commands.length = 0;
  t.match(revoke(machine, { principal: self, devices: find("03:00.1") }), { nodes: [] });
  t.same(parseRule(machine.readText(rulePath(self))!), [vf]);
  t.same(commands, tellUdev);
  commands.length = 0;
  const { files, nodes } = revoke(machine, { principal: self, devices: [] });
  t.same(
    files.map(({ state }) => state),
    ["removed", "removed"],
  );
  t.same(nodes, ["/dev/vfio/33"]);
  t.same(commands, ["chown 0:0 /dev/vfio/33", "chmod 0600 /dev/vfio/33", ...tellUdev]);
  t.same(etc(made), {});
  const alice = principalOf(machine, "alice");
  t.match(
    revoke(machine, { principal: alice, devices: [] }),
    { files: [], nodes: [] },
    "what was never given",
  );
  permit(machine, { principal: self, devices: [] });
  t.throws(() => revoke(machine, { principal: self, devices: find("03:10.2") }), { code: "OPTION_CONFLICT" });
});

t.test("without udev", async (t) => {
  const { machine, commands, find } = make(t, { udev: "none" });
  const request = { principal: self, devices: find("03:10.2") };
  const report = permit(machine, request);
  t.match(report, { nodes: ["/dev/vfio/33"], lasts: false, notes: [/no udev here/] });
  t.same(
    report.files.map(({ path }) => path),
    [limitsPath(self)],
  );
  t.same(commands, [], "it is self's already");
  const installed = make(t, { udev: "installed" });
  t.match(permit(installed.machine, request), { lasts: true });
  t.ok(installed.machine.exists(rulePath(self)), "udev will read it when it runs");
});

t.test("a node is given by chown, and given back when that is not enough", async (t) => {
  const made = make(t, { udev: "none" });
  const alice = principalOf(made.machine, "alice");
  t.throws(() => permit(made.machine, { principal: alice, devices: made.find("03:10.2") }), {
    code: "PERMIT_FAILED",
    message: /^\/dev\/vfio\/33 did not become alice's/,
    fix: /udevadm test/,
  });
  const { uid, gid } = me;
  t.same(made.commands, [
    "chown alice /dev/vfio/33",
    "chmod u+rw /dev/vfio/33",
    `chown ${uid}:${gid} /dev/vfio/33`,
    "chmod 0600 /dev/vfio/33",
  ]);
  t.same(etc(made), {});
});

t.test("a fault at each step, and all is as it was", async (t) => {
  const fault = new PollmodeError("COMMAND_FAILED", "made to fail", "");
  for (const udev of ["runs", "none"] as const) {
    for (let step = 0; step < 2; step++) {
      let failed = false;
      const onCommand = (_command: string, n: number) => {
        if (n !== step || failed) return;
        failed = true;
        throw fault;
      };
      const made = make(t, { udev, onCommand });
      made.recorded.put(rulePath(self), ruleText(self, [nic]));
      const before = etc(made);
      const devices = made.find("03:10.2");
      // a group that is not the node's, so that there is something to do without udev
      const principal = udev === "runs" ? self : ({ kind: "group", name: "dpdk", id: 996 } as const);
      t.throws(() => permit(made.machine, { principal, devices }), fault, `${udev}, command ${step}`);
      t.same(etc(made), before);
      t.ok(failed);
    }
  }
  const full = make(t);
  full.recorded.put("/etc/security/limits.d", "a file where a folder should be\n");
  t.throws(() => permit(full.machine, { principal: self, devices: [] }), { code: "WRITE_FAILED" });
  t.notOk(full.machine.exists(rulePath(self)), "the rule before it is gone again");
});

t.test("what cannot be put back is said", async (t) => {
  const onCommand = () => {
    throw new PollmodeError("COMMAND_FAILED", "udevadm is broken", "mend it");
  };
  const made = make(t, { onCommand });
  t.throws(() => permit(made.machine, { principal: self, devices: [] }), {
    code: "COMMAND_FAILED",
    message: "udevadm is broken; and not all could be put back: udevadm is broken",
    fix: "mend it",
  });
  t.same(etc(made), {});
});

t.test("another user has it", async (t) => {
  const made = make(t);
  const { machine, recorded, find } = made;
  const bob = { kind: "user", name: "bob", id: 1001 } as const;
  recorded.put(rulePath(bob), ruleText(bob, [vf]));
  const before = etc(made);
  const taken = { code: "PERMIT_TAKEN", message: /^0000:03:10.2: .* the user bob/, fix: /permit @pollmode/ };
  t.throws(() => permit(machine, { principal: self, devices: find("03:10.2") }), taken);
  t.throws(() => permit(machine, { principal: self, devices: [] }), { ...taken, message: /^0000:03:10.2/ });
  t.same(etc(made), before);
  permit(machine, { principal: self, devices: find("03:00.1") });
  const group = principalOf(machine, "@dpdk");
  t.throws(() => permit(machine, { principal: group, devices: find("03:10.2") }), { code: "PERMIT_FAILED" });
});

t.test("what a permission cannot give is said", async (t) => {
  const { machine, recorded } = make(t);
  recorded.bind(nic, "uio_pci_generic").put(`/sys/bus/pci/devices/${nic}/uio/uio0/name`, "uio_pci_generic\n");
  recorded.put("/dev/uio0", "");
  chmodSync(join(recorded.root, "dev/vfio/vfio"), 0o600);
  const { nodes, notes } = permit(machine, { principal: self, devices: findDevices(machine, [nic]) });
  t.same(nodes, ["/dev/uio0"]);
  t.match(notes, [/0000:03:00.1: UIO also takes CAP_SYS_ADMIN/, /chmod 0666 \/dev\/vfio\/vfio/]);
});

t.test("what comes with it is said", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group").put("/etc/passwd", accounts);
  const machine = recorded.machine({ record: () => {} });
  const { notes } = permit(machine, { principal: self, devices: findDevices(machine, ["01:00.0"]) });
  const comes = (address: string) => `${address} is in IOMMU group 1 too, and is given with it`;
  const told = notes.filter((note) => / too, /.test(note));
  t.same(told, [comes("0000:01:00.1"), comes("0000:02:00.0")], "but for bridges");
});

t.test("a dry run changes nothing and shows all", async (t) => {
  const { recorded, find } = make(t);
  const changes: string[] = [];
  const machine = recorded.machine({ record: ({ kind }) => void changes.push(kind) });
  permit(machine, { principal: principalOf(machine, "alice"), devices: find("03:10.2") });
  t.same(changes, ["file", "file", "run", "run"]);
  t.same(etc({ machine }), {});
  t.equal(statSync(join(recorded.root, "dev/vfio/33")).uid, me.uid);
});
