// What is remembered of how devices were bound: across processes and boots, and through damage.
import { fork } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import t from "tap";
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import { BindingJournal } from "../../src/devices/journal.ts";
import { FakeMachine } from "../support/fake-machine.ts";

const nic = "0000:00:03.0";
const other = "0000:00:04.0";
const RUN = "/run/pollmode/bindings.json";
const LIBRARY = "/var/lib/pollmode/bindings.json";

function machineOf(t: { teardown(done: () => void): unknown }): FakeMachine {
  const machine = FakeMachine.make(t);
  machine.kernel
    .addDriver("e1000e", { ids: ["8086:10d3"] })
    .addDriver("vfio-pci")
    .addDevice(nic, { driver: "e1000e", group: 7 })
    .addDevice(other, { driver: "vfio-pci", override: "vfio-pci", group: 8 });
  return machine;
}

/** As a process of its own would: opened, used, closed. */
async function withJournal<T>(machine: FakeMachine, work: (journal: BindingJournal) => T) {
  const warnings: string[] = [];
  const journal = await BindingJournal.open(machine, (text) => warnings.push(text));
  try {
    return { value: work(journal), warnings };
  } finally {
    journal.close();
  }
}

const devices = (machine: FakeMachine, ...names: string[]) =>
  names.map((name) => readPciDevice(name, machine.sysfs));
const all = async (machine: FakeMachine) => (await withJournal(machine, (journal) => journal.all())).value;

t.test("what was first is kept, and forgotten when it is so again", async (t) => {
  const machine = machineOf(t);
  await withJournal(machine, (journal) => journal.remember(devices(machine, nic, other)));
  const entries = await all(machine);
  t.match(entries, [
    { address: nic, driver: "e1000e", vendor: 0x8086, device: 0x10d3 },
    { address: other, driver: "vfio-pci", driverOverride: "vfio-pci" },
  ]);
  t.equal(machine.readText(RUN), machine.readText(LIBRARY));
  machine.sysfs.write("bus/pci/drivers/e1000e/unbind", nic);
  await withJournal(machine, (journal) => journal.remember(devices(machine, nic)));
  t.same(await all(machine), entries, "the first state stays");
  await withJournal(machine, (journal) => journal.settle(devices(machine, nic, other)));
  t.same(await all(machine), entries.slice(0, 1), "the other is as it was");
  machine.sysfs.write("bus/pci/drivers/e1000e/bind", nic);
  await withJournal(machine, (journal) => journal.settle(devices(machine, nic)));
  t.same(await all(machine), []);
  t.notOk(machine.exists(RUN) || machine.exists(LIBRARY), "no file is left");
});

t.test("after a reboot", async (t) => {
  const machine = machineOf(t);
  await withJournal(machine, (journal) => journal.remember(devices(machine, nic)));
  machine.remove(RUN);
  machine.put("/proc/sys/kernel/random/boot_id", "another\n");
  const seen = await withJournal(machine, (journal) => {
    const [entry] = journal.all();
    return { entry, isOfThisBoot: journal.isOfThisBoot(entry!) };
  });
  t.match(seen.value, { entry: { address: nic, driver: "e1000e" }, isOfThisBoot: false });
  machine.sysfs.write("bus/pci/drivers/e1000e/unbind", nic);
  await withJournal(machine, (journal) => journal.remember(devices(machine, nic)));
  t.match(await all(machine), [{ driver: "e1000e" }], "to have no driver now says less");
  machine.sysfs.write("bus/pci/drivers/e1000e/bind", nic);
  await withJournal(machine, (journal) => {
    journal.remember(devices(machine, nic));
    t.ok(journal.isOfThisBoot(journal.all()[0]!), "a driver of the kernel's is news");
  });
});

t.test("a damaged file", async (t) => {
  const good = (address: string) => ({
    address,
    driver: "e1000e",
    vendor: 1,
    device: 2,
    interfaces: [],
    boot: "b",
  });
  const texts = [
    "",
    "{",
    "[]",
    "null",
    JSON.stringify({ version: 2, bindings: [] }),
    JSON.stringify({ version: 1, bindings: {} }),
    JSON.stringify({ version: 1, bindings: [null] }),
    JSON.stringify({ version: 1, bindings: [good("../../etc")] }),
    JSON.stringify({ version: 1, bindings: [{ ...good(nic), driver: ".." }] }),
    JSON.stringify({ version: 1, bindings: [{ ...good(nic), driver: "a/b" }] }),
    JSON.stringify({ version: 1, bindings: [good(nic), { ...good(other), vendor: "x" }] }),
    JSON.stringify({ version: 1, bindings: [{ ...good(nic), interfaces: [1] }] }),
  ];
  for (const text of texts) {
    const machine = machineOf(t);
    machine.put(RUN, text);
    const mend = new RegExp(`devbind --status.*rm .*${RUN}`);
    await withJournal(machine, (journal) => {
      t.throws(() => journal.all(), { code: "BINDINGS_DAMAGED", message: /damaged/, fix: mend }, text);
    });
    const { warnings } = await withJournal(machine, (journal) => journal.remember(devices(machine, nic)));
    t.match(warnings, [mend], "binding goes on, with a warning");
    t.equal(machine.readText(`${RUN}.damaged`), text, "and keeps what there was");
    t.match(await all(machine), [{ address: nic }]);
  }
});

t.test("one damaged file, and the other one stands in for it", async (t) => {
  for (const path of [RUN, LIBRARY]) {
    const machine = machineOf(t);
    await withJournal(machine, (journal) => journal.remember(devices(machine, nic)));
    machine.put(path, "%");
    const { value, warnings } = await withJournal(machine, (journal) => journal.all());
    t.match(value, [{ address: nic, driver: "e1000e" }]);
    t.match(warnings, [/damaged/]);
  }
});

t.test("/var/lib cannot be written: this boot's are kept, with a warning", async (t) => {
  const machine = machineOf(t);
  machine.put("/var/lib/pollmode", "a file where the folder should be");
  const { warnings } = await withJournal(machine, (journal) => journal.remember(devices(machine, nic)));
  t.match(warnings, [/bindings\.json cannot be changed.*nothing of it after a reboot/]);
  t.match(await all(machine), [{ address: nic }]);
  const none = machineOf(t);
  none.put("/run/pollmode", "a file");
  await t.rejects(
    withJournal(none, () => {}),
    { code: "WRITE_FAILED", fix: /run as root/ },
  );
});

t.test("one process at a time", async (t) => {
  const machine = machineOf(t);
  const children = Array.from({ length: 4 }, (_, index) => {
    const child = fork(fileURLToPath(new URL("./journal-child.js", import.meta.url)), [
      machine.root,
      `${index}`,
    ]);
    return new Promise<number | null>((resolve) => child.on("exit", resolve));
  });
  t.same(await Promise.all(children), [0, 0, 0, 0]);
  t.equal((await all(machine)).length, 40, "no process has lost what another one wrote");
  t.same(
    readdirSync(machine.path("/run/pollmode")).sort(),
    ["bindings.json", "bindings.lock"],
    "no draft is left",
  );
});

t.test("a process that dies leaves no lock", async (t) => {
  const machine = machineOf(t);
  mkdirSync(machine.path("/run/pollmode"), { recursive: true });
  writeFileSync(machine.path("/run/pollmode/bindings.lock"), "1\n");
  t.same(await all(machine), []);
});
