// The virtual function's control side against a modelled PF: addresses, settings that the PF forgets and is told again,
// resets of the PF, refusals, counters that wrap. Queues are stand-ins here; the lab has the real ones.
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { RingReg, Status } from "../../../pmd/e1000/registers.ts";
import { VfDevice } from "../../../pmd/e1000/vf-device.ts";
import type { VfQueues } from "../../../pmd/e1000/vf-queues.ts";
import { VF_RINGS, VF_STATS, VfReg } from "../../../pmd/e1000/vf-registers.ts";
import type { PciFunction } from "../../../src/bus/pci-function.ts";
import type { PollmodeError } from "../../../src/errors.ts";
import type { DriverContext, LinkStatus } from "../../../src/ethdev/driver.ts";
import { VfModel } from "./vf-model.ts";

const adminMac = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);
const otherMac = Uint8Array.of(0x02, 9, 9, 9, 9, 9);
const group = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
const ones = 0xffff_ffff;

interface Rig {
  readonly model: VfModel;
  readonly device: VfDevice;
  /** What the queues and the function were told. */
  readonly calls: string[];
  readonly links: LinkStatus[];
  readonly errors: PollmodeError[];
}

async function rig(model = new VfModel()): Promise<Rig> {
  const calls: string[] = [];
  const links: LinkStatus[] = [];
  const errors: PollmodeError[] = [];
  const call = (name: string) => () => void calls.push(name);
  const queues = {
    rxOffsets: [],
    txOffsets: [],
    ...Object.fromEntries(
      ["configure", "start", "halt", "drain", "free", "expectTags"].map((name) => [name, call(name)]),
    ),
    disable: async () => call("disable")(),
  } as unknown as VfQueues;
  model.values.set(VfReg.VTSTATUS, Status.FD | Status.LU | Status.SPEED_1000);
  const parts = {
    fn: { close: call("close") } as unknown as PciFunction,
    registers: model,
    names: { vf: "0000:01:10.0", pf: "eth3", index: 0, mend: "ip link set eth3 up" } as const,
    info: { driver: "net_e1000_igb_vf", rxQueuesMax: 1, txQueuesMax: 2, frameBytesMax: 9018 },
    queues,
  };
  const context = { quiesce: async () => call("quiesce")() } as unknown as DriverContext;
  const events = {
    link: (status: LinkStatus) => void links.push(status),
    error: (error: Error) => void errors.push(error as PollmodeError),
  };
  return { model, device: await VfDevice.probe(parts, context, events), calls, links, errors };
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let k = 0; k < 200; k++) {
    if (holds()) return;
    await pause(10);
  }
  throw new Error(`not in 2 s: ${what}`);
}

/** First words of the messages that the PF took since the last call. */
function said(model: VfModel): number[] {
  return model.taken.splice(0).map(([word]) => word!);
}

t.test("the address: its administrator's, else one by chance that the PF is told", async (t) => {
  const model = new VfModel();
  model.adminMac = adminMac;
  t.same((await rig(model)).device.mac, adminMac);
  t.same(said(model), [1, 5], "RESET and the frame size");
  const { device, model: bare } = await rig();
  t.equal(device.mac[0]! & 3, 2, "locally administered, no group");
  t.same(said(bare), [1, 2, 5]);
});

t.test("start, stop, close", async (t) => {
  const { device, calls, links } = await rig();
  await device.configure({ rxQueues: 1, txQueues: 1 });
  t.same(device.link(), { up: false, speed: 0, duplex: "full" }, "not before it is started");
  await device.start();
  t.same(links, [{ up: true, speed: 1000, duplex: "full" }]);
  await device.stop();
  t.same(links.at(-1)!.up, false);
  await device.close();
  t.same(calls, ["configure", "start", "halt", "quiesce", "disable", "drain", "free", "close"]);
});

t.test("a PF that is down, or silent, is an error of the probe", async (t) => {
  const down = new VfModel();
  down.pfDown();
  await t.rejects(rig(down), { code: "VF_PF_DOWN", fix: "ip link set eth3 up" });
  const silent = new VfModel();
  silent.mood = "silent";
  await t.rejects(rig(silent), { code: "VF_MAILBOX_TIMEOUT" });
});

t.test("what was set is told again after a reset of the PF", async (t) => {
  const { device, model, calls, links } = await rig();
  await device.configure({ rxQueues: 1, txQueues: 1 });
  await device.start();
  const mac = device.mac;
  await device.setMtu(9000);
  await device.setVlan(7, true);
  await device.setVlan(8, true);
  await device.setVlan(8, false);
  await device.addMac(otherMac);
  await device.setMulticast([group]);
  await device.setAllMulticast(true);
  said(model);
  calls.length = 0;
  model.pfDown();
  await until("link down", () => links.at(-1)!.up === false);
  t.same(device.link().up, false);
  await until("queues taken back", () => calls.includes("drain"));
  t.same(calls, ["halt", "quiesce", "disable", "drain"]);
  await t.rejects(device.setVlan(9, true), { code: "VF_PF_DOWN" });
  model.pfUp();
  await until("link up", () => links.at(-1)!.up);
  t.equal(calls.at(-1), "start");
  t.same(said(model), [1, 2, 5, 0x20002, 0x10003, 0x10004, 0x20006], "all but VLANs 8 and 9");
  t.same(device.mac, mac);
  t.equal(device.xstats().pf_resets, 1);
  await device.stop();
});

t.test("a PF that was reset and back between two looks, and one that only pings", async (t) => {
  const { device, model, links } = await rig();
  await device.start();
  model.ping();
  await pause(250);
  t.equal(links.length, 1, "a ping with CTS changes nothing");
  model.pfDown();
  model.pfUp();
  await until("link down and up", () => links.length === 3);
  t.same(
    links.map(({ up }) => up),
    [true, false, true],
  );
  model.clearToSend = false;
  model.ping();
  await until("again", () => links.length === 5);
  t.equal(device.xstats().pf_resets, 2);
  await device.stop();
});

t.test("the PF's link goes and comes", async (t) => {
  const { device, model, links, calls } = await rig();
  await device.start();
  model.values.set(VfReg.VTSTATUS, Status.FD | Status.SPEED_100);
  await until("link down", () => links.length === 2);
  model.values.set(VfReg.VTSTATUS, Status.LU | Status.SPEED_100);
  await until("link up", () => links.length === 3);
  t.same(links.at(-1), { up: true, speed: 100, duplex: "half" });
  t.notOk(calls.includes("halt"), "the queues go on");
  await device.stop();
});

t.test("a refusal changes nothing, and what was granted before is asked for again", async (t) => {
  const { device, model } = await rig();
  const mac = device.mac;
  await device.setAllMulticast(true);
  said(model);
  await t.rejects(device.setPromiscuous(true), { code: "VF_REFUSED" });
  t.same(said(model), [0x30006, 0x20006], "all multicast again, for igb has cleared it");
  model.mood = "refuses";
  await t.rejects(device.setMac(otherMac), { code: "VF_REFUSED" });
  await t.rejects(device.addMac(otherMac), { code: "VF_REFUSED" });
  t.same(device.mac, mac);
  model.mood = "answers";
  said(model);
  await device.removeMac(otherMac);
  t.same(said(model), [], "it was not added");
  await t.rejects(device.setVlanFilter(false), { code: "NOT_SUPPORTED", message: /always$/ });
  await device.setVlanFilter(true);
  await t.rejects(device.setMac(group), { code: "MAC_ADDRESS" });
  await t.rejects(device.addMac(new Uint8Array(6)), { code: "MAC_ADDRESS" });
  await t.rejects(device.setMtu(9001), { code: "MTU" });
  t.same(said(model), [], "the PF is not asked");
});

t.test("further addresses: the PF can take away all, so the others are added again", async (t) => {
  const { device, model } = await rig();
  const third = Uint8Array.of(2, 0, 0, 0, 0, 3);
  await device.addMac(otherMac);
  await device.addMac(otherMac);
  await device.addMac(third);
  said(model);
  await device.removeMac(otherMac);
  t.same(said(model), [0x10002, 0x20002]);
});

t.test("the administrator's address replaces a chosen one that is refused after a reset", async (t) => {
  const { device, model, errors, links } = await rig();
  await device.start();
  await device.setMac(otherMac);
  model.pfDown();
  await until("link down", () => links.at(-1)!.up === false);
  model.adminMac = adminMac;
  model.mood = "refuses";
  model.pfUp();
  await until("link up", () => links.at(-1)!.up);
  t.same(device.mac, adminMac);
  t.match(errors[0], { code: "VF_REFUSED", message: /MAC address 02:09:09:09:09:09/ });
  await device.stop();
});

t.test("a PF that is up but does not answer yet is asked again", async (t) => {
  const { device, model, links, errors } = await rig();
  await device.start();
  model.mood = "silent";
  model.pfDown();
  await until("link down", () => links.at(-1)!.up === false);
  model.pfUp();
  await pause(1300); // one time-out
  t.same(links.at(-1)!.up, false);
  model.mood = "answers";
  await until("link up", () => links.at(-1)!.up);
  t.same(errors, []);
  await device.stop();
});

t.test("counters wrap, and a reset of the PF adds nothing", async (t) => {
  const { device, model, links } = await rig();
  await device.start();
  const set = (name: keyof typeof VF_STATS, value: number) => model.values.set(VF_STATS[name], value);
  set("VFGORC", 0xffff_ff00);
  t.equal(device.xstats().VFGORC, 0xffff_ff00);
  set("VFGORC", 0x100);
  t.equal(device.xstats().VFGORC, 0x1_0000_0100);
  set("VFGPRC", 5);
  model.values.set(VF_RINGS.rx + RingReg.RQDPC, 3);
  t.equal(device.stats().rxMissed, 3);
  model.values.set(VF_RINGS.rx + RingReg.RQDPC, 0);
  model.pfDown();
  for (const offset of Object.values(VF_STATS)) model.values.set(offset, 0);
  t.match(device.xstats(), { VFGORC: 0x1_0000_0100, VFGPRC: 5 });
  model.pfUp();
  await until("link up", () => links.length === 3);
  set("VFGPRC", 2);
  t.match(device.xstats(), { VFGORC: 0x1_0000_0100, VFGPRC: 7 });
  device.clearStats();
  t.match(device.xstats(), { VFGORC: 0, VFGPRC: 0, RQDPC: 0, pf_resets: 0 });
  await device.stop();
});

t.test("a VF that is taken away is reported once", async (t) => {
  const { device, model, links, errors } = await rig();
  await device.start();
  model.gone = true;
  await until("an error", () => errors.length > 0);
  await pause(250);
  t.equal(errors.length, 1);
  const fix = /pollmode sriov create eth3 --count 1/;
  t.match(errors[0], { code: "DEVICE_LOST", message: /eth3 has taken it away/, fix });
  t.equal(model.read(VfReg.VTSTATUS), ones);
  t.same(links.at(-1)!.up, false);
  await device.stop();
});
