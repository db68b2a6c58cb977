// The whole control side of a physical function against a modelled chip: the order of a start, what stays over a stop,
// interrupts, buffers, MTU, the link, faults of the chip, and that nothing is lost or left behind.
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import {
  Ctrl,
  CtrlExt,
  Dctl,
  Rctl,
  Reg,
  Rfctl,
  RingReg,
  Rxcsum,
  STATISTICS,
  Tctl,
} from "../../../pmd/e1000/registers.ts";
import { IntelQueue } from "../../../pmd/intel/layout.ts";
import { Queue, QueueError } from "../../../src/hot/layout.ts";
import { names, Rig, until } from "./device-rig.ts";

for (const name of names) {
  const igb = name !== "82574";

  t.test(`${name}: start, in the datasheet's order`, async (t) => {
    await using rig = await Rig.make(name);
    const { model, device } = rig;
    t.same([...device.mac], [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    await rig.start({ rxQueues: 2, txQueues: 2, offloads: ["rxChecksum", "vlanStrip", "vlanInsert"] });
    t.equal(model.resets, 2, "at probe, at start");
    const enabled = rig.at(Reg.RCTL);
    for (const queue of [0, 1]) {
      const rx = (register: RingReg) => model.get(model.rx(queue, register));
      t.equal(rx(RingReg.LEN), 16384);
      t.equal(rx(RingReg.BAH), 1, "IOVAs begin at 2^32");
      t.equal(rx(RingReg.DCTL) & Dctl.ENABLE, igb ? Dctl.ENABLE : 0);
      t.equal(model.get(model.tx(queue, RingReg.LEN)), 16384);
      if (igb) t.equal(rx(RingReg.SRRCTL), 0x8200_0002, "2 KiB, advanced, full queues drop");
      t.equal(
        rig.queueWord(device.rxQueues[queue]!, IntelQueue.TAIL_REG),
        rig.bar + model.rx(queue, RingReg.TAIL),
      );
      t.equal(
        rig.queueWord(device.txQueues[queue]!, IntelQueue.TAIL_REG),
        rig.bar + model.tx(queue, RingReg.TAIL),
      );
      t.equal(rig.queueWord(device.rxQueues[queue]!, Queue.RUN), 1);
      for (const place of [model.rx(queue, RingReg.DCTL), model.tx(queue, RingReg.DCTL)])
        t.ok(rig.at(place) < enabled && rig.at(place) > 0, "queues before RCTL.EN");
    }
    t.same(model.get(Reg.RCTL) & ~Rctl.SECRC, Rctl.EN | Rctl.BAM, "frames of 1518 bytes, to us and to all");
    t.ok(model.get(Reg.TCTL) & Tctl.EN);
    t.equal(model.get(Reg.RXCSUM), Rxcsum.IPOFLD | Rxcsum.TUOFLD | Rxcsum.PCSD);
    t.ok(model.get(Reg.CTRL) & Ctrl.SLU);
    t.equal(model.get(Reg.VET), 0x8100);
    t.ok(model.get(Reg.CTRL) & Ctrl.VME);
    t.ok(model.get(Reg.CTRL_EXT) & CtrlExt.DRV_LOAD);
    if (!igb) t.ok(model.get(Reg.RFCTL) & Rfctl.EXSTEN);
    t.same(rig.calls, ["master true"]);
  });

  t.test(`${name}: stop and close`, async (t) => {
    const rig = await Rig.make(name);
    const { model, device, memory } = rig;
    await rig.start({ rxDescriptors: 128, txDescriptors: 64 });
    const mbuf = memory.alloc(1)[0]!;
    // as if the lcore had given the chip one buffer
    memory.put(memory.word(device.rxQueues[0]! + IntelQueue.MBUFS), mbuf);
    memory.put(device.rxQueues[0]! + IntelQueue.TAIL, 1);
    model.writes.length = 0;
    await device.stop();
    t.ok(rig.at(Reg.CTRL) > rig.at(model.rx(0, RingReg.DCTL)), "queues off, then the reset");
    t.equal(model.get(Reg.RCTL) & Rctl.EN, 0);
    t.same(rig.calls, ["master true", "quiesce", "master false"]);
    t.same(memory.audit(), [], "the mbuf is back");
    await device.stop();
    await device.close();
    t.equal(rig.calls.at(-1), "close");
    t.equal(model.get(Reg.CTRL_EXT) & CtrlExt.DRV_LOAD, 0, "firmware may have it");
  });

  t.test(`${name}: what was set is there again after a stop`, async (t) => {
    await using rig = await Rig.make(name);
    const { model, device } = rig;
    await rig.start({ rxQueues: 2, txQueues: 1 });
    const key = Uint8Array.from({ length: 40 }, (_, k) => k);
    await device.setRss({ key });
    await device.setMtu(9000);
    await device.setAllMulticast(true);
    await device.addMac(Uint8Array.of(2, 0, 0, 0, 0, 1));
    model.set(STATISTICS.GPRC, 3);
    await device.stop();
    t.equal(model.get(Reg.RSSRK + 4), 0);
    model.set(STATISTICS.GPRC, 99); // a reset leaves anything there
    await device.start();
    t.same(device.rss().key, key);
    t.equal(device.xstats().GPRC, 3, "counters go on");
    t.ok(model.get(Reg.RCTL) & Rctl.LPE);
    t.ok(model.get(Reg.RCTL) & Rctl.MPE);
    t.equal(model.get(Reg.RAL + 8), 2);
    if (igb) t.equal(model.get(Reg.RLPML), 9022);
    t.equal(rig.queueWord(device.txQueues[0]!, IntelQueue.BYTES_MAX), 9018);
    await t.rejects(device.setMtu(9001), { code: "MTU" });
    await t.rejects(device.setMtu(67), { code: "MTU" });
    await device.setMtu(1500);
    t.equal(model.get(Reg.RCTL) & Rctl.LPE, 0);
  });

  t.test(`${name}: receive interrupts`, async (t) => {
    await using rig = await Rig.make(name);
    const { model, device } = rig;
    await rig.start({ rxQueues: 2, rxInterrupts: true });
    t.ok(rig.calls.includes("msix 2"));
    t.same([device.rxInterrupt(0).fd, device.rxInterrupt(1).fd], [100, 101]);
    const arm = (queue: number) =>
      [IntelQueue.ARM_REG, IntelQueue.ARM_VALUE].map((word) => rig.queueWord(device.rxQueues[queue]!, word));
    if (igb) {
      t.same(arm(1), [rig.bar + Reg.EIMS, 2]);
      t.same(
        [model.get(Reg.EIAC), model.get(Reg.EIAM), model.get(Reg.EIMS)],
        [3, 3, 0],
        "armed by lcores alone",
      );
      t.same(
        name === "82576" ? [model.get(Reg.IVAR0), model.get(Reg.IVAR0 + 4)] : [model.get(Reg.IVAR0)],
        name === "82576" ? [0x80, 0x81] : [0x0081_0080],
      );
      t.equal(model.get(Reg.EITR), 0);
    } else {
      t.same(arm(1), [rig.bar + Reg.IMS, 1 << 21]);
      t.equal(model.get(Reg.IVAR_82574), 0x98);
      t.same([model.get(Reg.EIAC_82574), model.get(Reg.IMS)], [3 << 20, 0]);
    }
    await device.stop();
    await device.configure({ rxQueues: 1, txQueues: 1 });
    t.equal(rig.calls.at(-1), "no interrupts");
    t.throws(() => device.rxInterrupt(0), { code: "NOT_SUPPORTED" });
  });
}

t.test("interrupts: more queues than vectors", async (t) => {
  await using rig = await Rig.make("82576");
  const asked = { rxQueues: 6, txQueues: 1, rxInterrupts: true };
  await t.rejects(rig.device.configure(asked), { code: "INTERRUPT_VECTORS", message: /6.*5 MSI-X/ });
});

t.test("interrupts of one vector for all causes", async (t) => {
  for (const [name, throttle] of [["82574", Reg.ITR_82574] as const, ["82576", Reg.EITR] as const]) {
    for (const [kind, vectors] of [
      ["msi", { msix: 0, msi: 1, intx: 1 }] as const,
      ["intx", { msix: 0, msi: 0, intx: 1 }] as const,
    ]) {
      await using rig = await Rig.make(name, (one) => {
        one.vectors = vectors;
      });
      t.ok(rig.device.info.rxInterrupts);
      await rig.start({ rxInterrupts: true });
      t.ok(rig.calls.includes(`${kind} 1`));
      const words = [IntelQueue.ARM_REG, IntelQueue.ARM_VALUE, IntelQueue.ARM_CLEAR];
      const arm = words.map((word) => rig.queueWord(rig.device.rxQueues[0]!, word));
      t.same(arm, [rig.bar + Reg.IMS, 1 << 7, rig.bar + Reg.ICR], `${name}, ${kind}`);
      t.equal(rig.at(throttle) > 0, true);
      t.same([rig.model.get(Reg.GPIE), rig.model.get(Reg.IVAR_82574)], [0, 0]);
      await rig.device.stop();
      const two = { rxQueues: 2, txQueues: 1, rxInterrupts: true };
      await t.rejects(rig.device.configure(two), { code: "INTERRUPT_VECTORS" });
    }
  }
});

t.test("82574: buffers of a size that RCTL can say", async (t) => {
  await using rig = await Rig.make("82574");
  t.equal(rig.device.info.rxQueuesMax, 2);
  await rig.start();
  t.equal(rig.model.get(Reg.RCTL) & (Rctl.BSEX | Rctl.BSIZE_256), 0, "2048");
  t.equal(rig.queueWord(rig.device.rxQueues[0]!, IntelQueue.ROOM), 2048);
});

t.test("vlanStrip and vlanInsert have one switch", async (t) => {
  await using rig = await Rig.make("82576");
  const asked = { rxQueues: 1, txQueues: 1, offloads: ["vlanStrip"] } as const;
  await t.rejects(rig.device.configure(asked), { code: "NOT_SUPPORTED", message: /CTRL.VME/ });
});

t.test("RSS is set up by configure alone", async (t) => {
  await using rig = await Rig.make("82576");
  await rig.start();
  await t.rejects(rig.device.setRss({}), { code: "NOT_SUPPORTED" });
});

t.test("the link goes up and down, once each", async (t) => {
  await using rig = await Rig.make("82576");
  const { model, links, device } = rig;
  await rig.start();
  t.same(device.link(), { up: false, speed: 0, duplex: "half", autoneg: true });
  model.linkUp();
  await until("up", () => links.length === 1);
  t.same(device.link(), { up: true, speed: 1000, duplex: "full", autoneg: true });
  model.linkDown();
  await until("down", () => links.length === 2);
  model.linkUp();
  await until("up again", () => links.length === 3);
  await device.stop();
  t.same(
    links.map(({ up }) => up),
    [true, false, true, false],
  );
});

t.test("an EEPROM with a wrong checksum is told, and an address may be given", async (t) => {
  const spoil = ({ model }: Rig) => {
    model.nvm[20] = 0xdead;
    model.nvm.fill(0, 0, 3);
  };
  await t.rejects(Rig.make("82576", spoil), { code: "NVM_MAC" });
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 7);
  await using rig = await Rig.make("82576", spoil, mac);
  t.match(rig.warnings[0], /checksum/);
  t.same(rig.device.mac, mac);
});

t.test("faults at probe and at start", async (t) => {
  const gone = Rig.make("82574", ({ model }) => {
    model.faults.gone = true;
  });
  await t.rejects(gone, { code: "DEVICE_LOST" });
  const stuck = Rig.make("82574", ({ model }) => {
    model.faults.resetNeverEnds = true;
  });
  await t.rejects(stuck, { code: "CHIP_TIMEOUT" });
  await using rig = await Rig.make("82576");
  await rig.device.configure({ rxQueues: 1, txQueues: 1 });
  rig.model.faults.phyError = true;
  await t.rejects(rig.device.start(), { code: "CHIP_TIMEOUT", message: /PHY/ });
  rig.model.faults.phyError = false;
  rig.model.faults.queuesNeverEnable = true;
  await t.rejects(rig.device.start(), { code: "CHIP_TIMEOUT", message: /queue/ });
  t.equal(rig.calls.at(-1), "master false", "a start that fails leaves no DMA");
  t.equal(rig.queueWord(rig.device.rxQueues[0]!, Queue.RUN), 0);
  rig.model.faults.queuesNeverEnable = false;
  await rig.device.start();
});

t.test("a chip that is pulled out stops its queues, and says so once", async (t) => {
  await using rig = await Rig.make("82576");
  await rig.start();
  rig.model.faults.gone = true;
  await until("an error", () => rig.errors.length > 0);
  t.match(rig.errors[0], { code: "DEVICE_LOST" });
  await pause(250);
  t.equal(rig.errors.length, 1);
  for (const queue of [...rig.device.rxQueues, ...rig.device.txQueues]) {
    t.same([rig.queueWord(queue, Queue.RUN), rig.queueWord(queue, Queue.ERROR)], [0, QueueError.DEVICE_LOST]);
  }
  await rig.device.stop();
  t.equal(rig.calls.at(-1), "master false");
  t.same(rig.memory.audit(), []);
});

t.test("an access that the bus refused stops all queues", async (t) => {
  await using rig = await Rig.make("82574", (one) => {
    one.pciStatus = 0x2000; // of the time before
  });
  await rig.start();
  const [queue] = rig.device.rxQueues;
  await pause(1300);
  t.equal(rig.queueWord(queue!, Queue.ERROR), QueueError.NONE);
  rig.pciStatus = 0x2010;
  await until("a fault", () => rig.queueWord(queue!, Queue.ERROR) !== 0);
  for (const block of [...rig.device.rxQueues, ...rig.device.txQueues]) {
    t.equal(rig.queueWord(block, Queue.ERROR), QueueError.DMA_ERROR);
    t.equal(rig.queueWord(block, Queue.ERROR_ARG), 0x2000);
  }
});
