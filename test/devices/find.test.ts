import t from "tap";
import { findDevices } from "../../src/devices/find.ts";
import { FakeMachine } from "../support/fake-machine.ts";
import { RecordedMachine } from "../support/recorded-machine.ts";

const addresses = (found: readonly { address: string }[]) => found.map(({ address }) => address);

t.test("addresses, patterns and interfaces", async (t) => {
  const machine = new RecordedMachine(t, "server-82599").machine();
  const find = (...words: string[]) => addresses(findDevices(machine, words));
  t.same(find("0000:03:00.1"), ["0000:03:00.1"]);
  t.same(find("03:00.1"), ["0000:03:00.1"]);
  t.same(find("enp3s0f1"), ["0000:03:00.1"]);
  t.same(find("0000:03:00.*"), ["0000:03:00.0", "0000:03:00.1"]);
  t.same(find("03:00.*"), ["0000:03:00.0", "0000:03:00.1"], "without the domain");
  t.same(find("*:00.1"), ["0000:01:00.1", "0000:03:00.1"]);
  t.same(find("03:10.[02]"), ["0000:03:10.0", "0000:03:10.2"]);
  t.same(find("03:10.[!0]"), ["0000:03:10.2"]);
  t.same(find("03:00.?"), ["0000:03:00.0", "0000:03:00.1"]);
  t.same(find("eno*"), ["0000:01:00.0", "0000:01:00.1"], "of interfaces, where no address fits");
  t.same(
    find("03:00.1", "0000:03:00.*", "enp3s0f0", "eno1"),
    ["0000:03:00.1", "0000:03:00.0", "0000:01:00.0"],
    "in the order of the words, each once",
  );
  t.same(find(), []);
});

t.test("hexadecimal digits of either case, domains beyond the first", async (t) => {
  const machine = FakeMachine.make(t);
  machine.kernel.addDevice("0000:af:00.0").addDevice("0001:02:00.0").addDevice("10000:01:00.0");
  const find = (word: string) => addresses(findDevices(machine, [word]));
  t.same(find("AF:00.0"), ["0000:af:00.0"]);
  t.same(find("AF:*"), ["0000:af:00.0"]);
  t.same(find("0001:02:00.0"), ["0001:02:00.0"]);
  t.same(find("10000:01:00.0"), ["10000:01:00.0"]);
  t.throws(() => find("02:00.0"), { code: "PCI_UNKNOWN" });
});

t.test("what there is not", async (t) => {
  const machine = new RecordedMachine(t, "server-82599").machine();
  const find = (word: string) => () => findDevices(machine, [word]);
  t.throws(find("0000:03:00.4"), {
    code: "PCI_UNKNOWN",
    message: "0000:03:00.4: this machine has no such PCI device",
    fix: /^did you mean 0000:03:00\.0\? network devices: 0000:01:00\.0 \(eno1\), /,
  });
  t.throws(find("enp3s0f3"), { code: "DEVICE_UNKNOWN", fix: /^did you mean enp3s0f0\?/ });
  for (const word of ["", "*:77.7", "[", "[z-a]", "03:00.", "../../etc", "\n"]) {
    t.throws(find(word), { code: "DEVICE_UNKNOWN", fix: /network devices/ }, JSON.stringify(word));
  }
  const recorded = new RecordedMachine(t, "server-82599").put("/sys/class/net/bond0/operstate", "up\n");
  t.throws(() => findDevices(recorded.machine(), ["bond0"]), {
    code: "DEVICE_UNKNOWN",
    message: /"bond0" is an interface without a PCI device/,
  });
  const empty = FakeMachine.make(t);
  t.throws(() => findDevices(empty, ["eth0"]), { code: "DEVICE_UNKNOWN", fix: /no PCI network device/ });
});
