// A start, access by access: what comes before what, what is left as it was found, and that a stop and a start give
// back each register that was set between.
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { type Chip, chipOf } from "../../../pmd/e1000/chips.ts";
import { ChipDevice } from "../../../pmd/e1000/device.ts";
import { Ctrl, CtrlExt, Rctl, Reg, RingReg, STATISTICS, Tctl } from "../../../pmd/e1000/registers.ts";
import type { InterruptKind, PciFunction } from "../../../src/bus/pci-function.ts";
import type { DriverContext, LinkStatus } from "../../../src/ethdev/driver.ts";
import { Queue } from "../../../src/hot/layout.ts";
import { Rig as Memory } from "../../support/engines.ts";
import { ChipModel } from "./chip-model.ts";
import { Recorder } from "./recorder.ts";

const address = "0000:01:00.0";
const chips = [chipOf(0x10d3)!, chipOf(0x10c9)!, chipOf(0x1521)!];
const mac = (last: number) => Uint8Array.of(2, 0, 0, 0, 0, last);

async function rig(chip: Chip, link: (status: LinkStatus) => void = () => {}) {
  const memory = await Memory.make("ts", { mbufs: 64 });
  const model = new ChipModel(chip);
  const registers = new Recorder(model);
  const calls: { what: string; at: number }[] = [];
  const note = (what: string) => {
    calls.push({ what, at: registers.list.length });
    if (what !== "quiesce") return;
    const running = [...device.rxQueues, ...device.txQueues].filter((block) =>
      memory.word(block + Queue.RUN),
    );
    if (running.length > 0) throw new Error("lcores may still begin a burst");
  };
  const fn = {
    ...{ address, access: "vfio", iova: memory.iova, vectors: { msix: 16, msi: 1, intx: 1 } },
    setBusMaster: (on: boolean) => note(`master ${on}`),
    enableInterrupts: (_: InterruptKind, count: number) =>
      Array.from({ length: count }, (_, k) => ({ fd: 100 + k, readBytes: 8, rearm: undefined })),
    disableInterrupts: () => {},
    readConfig: () => 0,
    writeConfig: () => {},
    close: () => note("close"),
  } as unknown as PciFunction;
  const { arena, dma, pool } = memory;
  const shared = { arena, dma, pool, private: memory.private };
  const context = { ...shared, quiesce: async () => note("quiesce"), warn: () => {} };
  const bar = memory.private.allocate("stands for BAR 0", 1 << 17);
  const parts = { fn, registers, chip, bar, mac: undefined };
  const events = { link, error: () => {} };
  const device: ChipDevice = await ChipDevice.probe(parts, context as unknown as DriverContext, events);
  registers.list.length = 0;
  return { model, registers, calls, device };
}

for (const chip of chips) {
  const igb = chip.family === "igb";

  t.test(`${chip.name}: a start's order`, async (t) => {
    const { model, registers, calls, device } = await rig(chip);
    await device.configure({ rxQueues: 2, txQueues: 2 });
    await device.start();
    const { list } = registers;
    const reset = registers.place("write", Reg.CTRL, Ctrl.RST);
    const early = list.slice(0, reset).filter(({ kind }) => kind === "write");
    const quiet = new Set<number>([Reg.IMC, Reg.EIMC, Reg.RCTL, Reg.TCTL, Reg.CTRL]);
    t.same(
      early.filter(({ offset }) => !quiet.has(offset)),
      [],
      "the reset before everything else",
    );
    const mdic = registers.place("write", Reg.MDIC);
    const base = registers.place("write", model.rx(0, RingReg.BAL));
    const rctl = registers.place("write", Reg.RCTL, Rctl.EN);
    const tctl = registers.place("write", Reg.TCTL, Tctl.EN);
    const lastTxRing = Math.max(
      ...[0, 1].map((queue) => registers.place("write", model.tx(queue, RingReg.DCTL))),
    );
    t.ok(reset < mdic && mdic < base && base < lastTxRing && lastTxRing < tctl && tctl < rctl, "in order");
    t.equal(
      list.findLastIndex(({ kind }) => kind === "write"),
      rctl,
      "RCTL.EN is written last",
    );
    t.same(
      calls.map(({ what }) => what),
      ["master true"],
    );
    t.ok(calls[0]!.at > reset && calls[0]!.at < base, "no DMA before the reset");
    calls.length = 0;
    list.length = 0;
    const rctlOn = model.get(Reg.RCTL);
    await device.stop();
    t.same(
      calls.map(({ what }) => what),
      ["quiesce", "master false"],
    );
    const writes = list.filter(({ kind }) => kind === "write").map(({ offset }) => offset);
    const controls = [0, 1].flatMap((k) => [model.rx(k, RingReg.DCTL), model.tx(k, RingReg.DCTL)]);
    t.same(writes.slice(0, 2), [Reg.RCTL, Reg.TCTL], "receive and transmit off");
    t.equal(list[registers.place("write", Reg.TCTL)]!.value & Tctl.EN, 0);
    t.same(new Set(writes.slice(2, 6)), new Set(controls), "then the queues");
    t.equal(writes[6], Reg.IMC, "then the reset");
    const { value: rctlOff } = list[registers.place("write", Reg.RCTL)]!;
    t.equal(rctlOff, rctlOn & ~Rctl.EN, "EN alone");
    t.ok(calls[0]!.at <= registers.place("write", Reg.RCTL), "the lcores leave the rings first");
    t.ok(registers.place("write", Reg.CTRL, Ctrl.RST) < calls[1]!.at, "reset while its DMA can still end");
    registers.answer = (offset, value) => (offset === Reg.CTRL_EXT ? value | CtrlExt.DRV_LOAD : value);
    list.length = 0;
    await device.close();
    t.same(
      registers.written(Reg.CTRL_EXT).map((value) => value & CtrlExt.DRV_LOAD),
      [0],
      "firmware may have it",
    );
    t.equal(calls.at(-1)!.what, "close");
    t.same([device.rxQueues, device.txQueues], [[], []], "the rings' memory is given back");
  });

  t.test(`${chip.name}: bits that are not ours stay`, async (t) => {
    const { model, registers, device } = await rig(chip);
    await device.configure({ rxQueues: 1, txQueues: 1, offloads: [] });
    const found: Record<number, number> = {
      [Reg.TCTL]: 0x4000_0000 | (0xe3 << Tctl.CT_SHIFT) | (0x200 << Tctl.COLD_SHIFT),
      [Reg.VET]: 0x88a8_1234,
      [Reg.CTRL]: Ctrl.FRCSPD | Ctrl.FRCDPLX,
      [Reg.CTRL_EXT]: 1 << 5,
    };
    const isReset = () => registers.place("write", Reg.CTRL, Ctrl.RST) >= 0;
    const written = (offset: number) => registers.written(offset).length;
    // how often the reset, and the mending of the 82574 that follows it, write each
    const byReset: Record<number, number> = igb
      ? { [Reg.CTRL]: 2, [Reg.TCTL]: 1 }
      : { [Reg.CTRL]: 3, [Reg.TCTL]: 1, [Reg.CTRL_EXT]: 1 };
    const untouched = (offset: number) => written(offset) <= (byReset[offset] ?? 0);
    registers.answer = (offset, value) =>
      isReset() && found[offset] !== undefined && untouched(offset) ? (value | found[offset]) >>> 0 : value;
    await device.start();
    const several = igb ? 0 : 1 << 28;
    t.equal(model.get(Reg.TCTL), 0x4003_f0fa | several, "CT 15, COLD 63, PSP, EN");
    t.equal(model.get(Reg.VET), 0x88a8_8100);
    t.equal(model.get(Reg.CTRL) & (Ctrl.FRCSPD | Ctrl.FRCDPLX), 0, "speed and duplex are negotiated");
    t.equal(model.get(Reg.CTRL) & (Ctrl.SLU | Ctrl.FD | Ctrl.VME), Ctrl.SLU | Ctrl.FD);
    t.equal(model.get(Reg.CTRL_EXT) & ((1 << 5) | CtrlExt.DRV_LOAD), (1 << 5) | CtrlExt.DRV_LOAD);
    if (!igb) t.equal(model.get(Reg.TIPG), 0x0060_2008, "IPGT 8, IPGR1 8, IPGR2 6");
    else t.same(registers.written(Reg.TIPG), [], "igb: as the reset leaves it");
    await device.stop();
    await device.close();
  });

  t.test(`${chip.name}: a stop and a start change no register`, async (t) => {
    const { model, device } = await rig(chip);
    const offloads = ["rxChecksum", "txChecksum", "vlanStrip", "vlanInsert"] as const;
    await device.configure({ rxQueues: 2, txQueues: 2, offloads, rxInterrupts: true });
    await device.start();
    await device.setMac(mac(1));
    await device.addMac(mac(2));
    await device.addMac(mac(3));
    await device.removeMac(mac(2));
    await device.setMulticast([Uint8Array.of(1, 0, 0x5e, 0, 0, 1), Uint8Array.of(0x33, 0x33, 0, 0, 0, 9)]);
    await device.setVlan(7, true);
    await device.setVlan(4094, true);
    await device.setVlan(7, false);
    await device.setVlanFilter(true);
    await device.setAllMulticast(true);
    await device.setMtu(4000);
    const key = Uint8Array.from({ length: 40 }, (_, k) => 255 - k);
    await device.setRss({ key, table: [1, 1, 0], types: ["ipv4-tcp"] });
    const snapshot = () => new Map([...model.values].filter(([, value]) => value !== 0));
    for (const promiscuous of [false, true]) {
      await device.setPromiscuous(promiscuous);
      const before = snapshot();
      t.ok(before.size > 40, `${before.size} registers`);
      await device.stop();
      t.ok(snapshot().size < 20, "the reset took them");
      await device.start();
      const after = snapshot();
      const names = new Set([...before.keys(), ...after.keys()]);
      // of the semaphore and the PHY's and EEPROM's mailboxes only the last use is there
      const passing = new Set<number>([Reg.SWSM, Reg.MDIC, Reg.EERD]);
      const changed = [...names].filter((at) => !passing.has(at) && before.get(at) !== after.get(at));
      t.same(
        changed.map(
          (at) => `${at.toString(16)}: ${before.get(at)?.toString(16)}, ${after.get(at)?.toString(16)}`,
        ),
        [],
      );
      t.same(device.rss(), {
        key,
        types: ["ipv4-tcp"],
        table: Array.from({ length: 128 }, (_, k) => [1, 1, 0][k % 3]),
      });
    }
    await device.stop();
    await device.close();
  });

  t.test(`${chip.name}: what a reset leaves in the counters does not count`, async (t) => {
    const { registers, device } = await rig(chip);
    await device.configure({ rxQueues: 1, txQueues: 1 });
    let left = 99;
    registers.answer = (offset, value) => {
      if (offset !== STATISTICS.GPRC || registers.place("write", Reg.CTRL, Ctrl.RST) < 0) return value;
      const garbage = left;
      left = 0;
      return value + garbage;
    };
    await device.start();
    t.equal(left, 0, "it was read");
    t.equal(device.xstats?.().GPRC, 0);
    await device.stop();
    await device.close();
  });

  t.test(`${chip.name}: a chip that is gone at the start`, async (t) => {
    const { model, calls, device } = await rig(chip);
    await device.configure({ rxQueues: 1, txQueues: 1 });
    model.faults.gone = true;
    await t.rejects(device.start(), { code: "DEVICE_LOST", message: /^0000:01:00.0/, fix: /dmesg/ });
    t.same(
      calls.filter(({ what }) => what === "master true"),
      [],
    );
    await device.close();
    t.equal(calls.at(-1)!.what, "close", "given back nevertheless");
  });
}

t.test("counters and link: read when asked and once a second, told when they change", async (t) => {
  const links: boolean[] = [];
  const { model, device } = await rig(chips[1]!, ({ up }) => links.push(up));
  await device.configure({ rxQueues: 1, txQueues: 1 });
  await device.start();
  model.set(STATISTICS.GPRC, 5);
  t.equal(device.xstats().GPRC, 5);
  model.set(STATISTICS.MPC, 2);
  t.equal(device.stats().rxMissed, 2);
  device.clearStats();
  t.same([device.xstats().GPRC, device.stats().rxMissed], [0, 0]);
  model.set(STATISTICS.GPRC, 7);
  model.linkUp();
  for (let k = 0; k < 300 && model.get(STATISTICS.GPRC) !== 0; k++) await pause(10);
  t.equal(model.get(STATISTICS.GPRC), 0, "read before it could be full");
  t.equal(device.xstats().GPRC, 7);
  await pause(250);
  t.same(links, [true], "once, however often it is looked at");
  await device.stop();
  t.same(links, [true, false]);
  await device.close();
});
