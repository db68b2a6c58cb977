// Settings of virtual functions, over a driver made up for it: all or nothing, and read back.
import t from "tap";
import type { VfSettings } from "../../src/bus/netlink/vf.ts";
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import { setNumVfs } from "../../src/bus/pci/sriov.ts";
import { type Change, Machine } from "../../src/devices/machine.ts";
import { readVfSettings, setVf } from "../../src/devices/vf-settings.ts";
import { PollmodeError } from "../../src/errors.ts";
import { FakeSysfs } from "../support/fake-sysfs.ts";
import { FakeVfs } from "../support/fake-vfs.ts";

const pf = "0000:04:00.0";
type Test = { teardown(done: () => void): unknown };

async function machineWith(
  t: Test,
  interfaces = ["eth1"],
  record?: (change: Change) => void,
): Promise<Machine> {
  const sysfs = new FakeSysfs(t)
    .addDriver("igb", { hasSriov: true })
    .addDevice(pf, { driver: "igb", totalVfs: 7, interfaces });
  await setNumVfs(pf, 2, { sysfs });
  return new Machine({ root: sysfs.root, sysfs, ...(record && { record }) });
}

const all: VfSettings = {
  mac: "02:00:00:00:00:07",
  vlan: { id: 100, qos: 3, protocol: "802.1Q" },
  rate: { min: 0, max: 500 },
  spoofCheck: false,
  trust: true,
  linkState: "enable",
};

t.test("all that there is", async (t) => {
  const [machine, vfs] = [await machineWith(t), new FakeVfs(2)];
  t.same(setVf(machine, pf, 1, all, vfs), all);
  t.same(vfs.writes, ["1 mac", "1 vlan", "1 rate", "1 spoofCheck", "1 trust", "1 linkState"]);
  t.same(vfs.read().get(1), all);
  t.same(vfs.read().get(0), FakeVfs.initial, "the other one is as it was");
  t.same(
    setVf(machine, pf, 1, { rate: { min: 10 } }, vfs).rate,
    { min: 10, max: 500 },
    "the other half stays",
  );
  t.same(setVf(machine, pf, 1, { rate: { max: 0 } }, vfs).rate, { min: 10, max: 0 }, "0 is no limit");
  t.throws(() => setVf(machine, pf, 1, { rate: { min: 900, max: 100 } }, vfs), { code: "OPTION_VALUE" });
});

t.test("a refusal at each setting: those before it are taken back", async (t) => {
  const machine = await machineWith(t);
  for (const [key, code, fix] of [
    ["mac", "EPERM", /run as root/],
    ["vlan", "EPROTONOSUPPORT", /802.1Q: igb knows no other/],
    ["rate", "EINVAL", /take eth1 up, with its cable in/],
    ["spoofCheck", "EOPNOTSUPP", /igb cannot do this/],
    ["trust", "EINVAL", /dmesg/],
    ["linkState", "EOPNOTSUPP", /igb cannot do this/],
  ] as const) {
    const vfs = new FakeVfs(2);
    const error = new PollmodeError(code, `rtnetlink(RTM_SETLINK, virtual function 0, ${key}): ${code}`, "?");
    vfs.fail(key, error);
    t.throws(
      () => setVf(machine, pf, 0, all, vfs),
      {
        code: "SRIOV_SETTING",
        message: /^0000:04:00.0 \(eth1\), virtual function 0: .*; its settings are as they/,
        fix,
      },
      key,
    );
    t.same(vfs.read().get(0), FakeVfs.initial, key);
  }
});

t.test("a driver that takes a value and does something else", async (t) => {
  const [machine, vfs] = [await machineWith(t), new FakeVfs(2)];
  vfs.onWrite = (one) => (one.trust === undefined ? one : {});
  t.throws(() => setVf(machine, pf, 0, { mac: "02:00:00:00:00:07", trust: true }, vfs), {
    code: "SRIOV_SETTING",
    message: /the driver took trust on, but shows trust off; its settings/,
  });
  t.same(vfs.read().get(0), FakeVfs.initial);
});

t.test("a driver that never shows a setting", async (t) => {
  const [machine, vfs] = [await machineWith(t), new FakeVfs(2)];
  const hidden = { read: () => new Map([[0, { mac: "02:00:00:00:00:07" }]]), write: vfs.write.bind(vfs) };
  t.same(setVf(machine, pf, 0, { trust: true }, hidden), { mac: "02:00:00:00:00:07" });
  t.same(vfs.writes, ["0 trust"]);
});

t.test("they cannot be put back", async (t) => {
  const [machine, vfs] = [await machineWith(t), new FakeVfs(2)];
  vfs.fail("trust", new PollmodeError("EOPNOTSUPP", "no trust", "?"));
  vfs.onWrite = (one) => {
    if (one.mac === FakeVfs.initial.mac) throw new PollmodeError("EIO", "no MAC", "?");
    return one;
  };
  t.throws(() => setVf(machine, pf, 0, { mac: "02:00:00:00:00:07", trust: true }, vfs), {
    code: "SRIOV_NOT_RESTORED",
    message: /no trust; its settings could not be put back: no MAC/,
    fix: /ip link show eth1/,
  });
});

t.test("what cannot be set at all", async (t) => {
  const [machine, vfs] = [await machineWith(t), new FakeVfs(2)];
  t.throws(() => setVf(machine, pf, 2, all, vfs), {
    code: "SRIOV_VF",
    message: /it has 0 to 1/,
    fix: /--count 3/,
  });
  const vf = readPciDevice(pf, machine.sysfs).sriov!.vfs[0]!;
  t.throws(() => setVf(machine, vf, 0, all, vfs), { code: "SRIOV_UNSUPPORTED", fix: new RegExp(pf) });
  t.throws(() => setVf(machine, "0000:05:00.0", 0, all, vfs), { code: "PCI_UNKNOWN" });
  const bare = await machineWith(t, []);
  t.throws(() => setVf(bare, pf, 0, all, vfs), {
    code: "SRIOV_NO_INTERFACE",
    message: /\(igb\) has no interface/,
  });
  t.same(vfs.writes, []);
  t.same(readVfSettings(readPciDevice(pf, bare.sysfs), vfs), new Map());
});

t.test("a dry run shows it as ip-link(8) has it", async (t) => {
  const changes: Change[] = [];
  const [machine, vfs] = [await machineWith(t, ["eth1"], (change) => changes.push(change)), new FakeVfs(2)];
  setVf(machine, pf, 0, all, vfs);
  t.same(
    changes.map((change) => (change.kind === "run" ? change.command.join(" ") : change.kind)),
    [
      "ip link set eth1 vf 0 mac 02:00:00:00:00:07",
      "ip link set eth1 vf 0 vlan 100 qos 3 proto 802.1Q",
      "ip link set eth1 vf 0 max_tx_rate 500 min_tx_rate 0",
      "ip link set eth1 vf 0 spoofchk off",
      "ip link set eth1 vf 0 trust on",
      "ip link set eth1 vf 0 state enable",
    ],
  );
  t.same(vfs.writes, []);
});
