import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { type Change, Machine } from "../../src/devices/machine.ts";

function folder(t: { teardown(done: () => void): unknown }): string {
  const root = mkdtempSync(join(tmpdir(), "pollmode-machine-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, "proc/sys/kernel"), { recursive: true });
  writeFileSync(join(root, "proc/sys/kernel/osrelease"), "6.1.0-40-amd64\n");
  return root;
}

t.test("files below a root", async (t) => {
  const root = folder(t);
  const machine = new Machine({ root });
  t.equal(machine.kernelRelease, "6.1.0-40-amd64");
  t.equal(machine.readText("/proc/none"), undefined);
  t.same(machine.list("/proc/sys"), ["kernel"]);
  t.same(machine.list("/nothing"), []);
  machine.writeFile("/var/lib/pollmode/a.json", "{}");
  t.equal(machine.readText("/var/lib/pollmode/a.json"), "{}");
  t.same(readdirSync(join(root, "var/lib/pollmode")), ["a.json"], "no draft is left");
  machine.write("/proc/sys/kernel/osrelease", "x");
  t.equal(machine.kernelRelease, "x");
  machine.remove("/var/lib/pollmode/a.json");
  machine.remove("/var/lib/pollmode/a.json");
  t.notOk(machine.exists("/var/lib/pollmode/a.json"));
  t.throws(() => machine.write("/proc/none/x", "1"), { code: "WRITE_FAILED", message: /^\/proc\/none\/x / });
  t.throws(() => machine.writeFile("/proc/sys/kernel/osrelease/x", ""), { code: "WRITE_FAILED" });
  t.notOk(machine.isReal);
  t.throws(() => machine.run(["true"]), { code: "COMMAND_FAILED", fix: "leave out --root" });
});

t.test("a dry run changes nothing", async (t) => {
  const root = folder(t);
  const changes: Change[] = [];
  const machine = new Machine({ root, record: (change) => changes.push(change) });
  machine.writeFile("/etc/x", "1");
  machine.write("/proc/sys/kernel/osrelease", "2");
  machine.sysfs.write("bus/pci/drivers_probe", "0000:00:01.0");
  machine.remove("/proc/sys/kernel/osrelease");
  t.equal(machine.run(["modprobe", "x"]), "");
  t.same(
    changes.map(({ kind }) => kind),
    ["file", "write", "write", "remove", "run"],
  );
  t.equal(machine.kernelRelease, "6.1.0-40-amd64");
  t.same(readdirSync(root), ["proc"]);
});

t.test("programs", async (t) => {
  const machine = new Machine();
  t.equal(machine.run(["echo", "a b"]), "a b\n");
  t.throws(() => machine.run(["pollmode-no-such-program"]), { code: "COMMAND_MISSING" });
  const failing = ["sh", "-c", "echo first >&2; echo why >&2; exit 3"];
  t.throws(() => machine.run(failing), { code: "COMMAND_FAILED", message: /failed: why$/ });
  const ran: string[] = [];
  const fake = new Machine({ root: folder(t), run: (command) => `${ran.push(command.join(" "))}` });
  fake.loadModule("vfio-pci");
  t.same(ran, ["modprobe vfio-pci"]);
});
