// Every access to a modelled chip in its order: what a driver may leave out without any other test noticing, because
// a model is well-behaved without it. Chips are not: interrupts that are not masked, DMA that was not ended,
// semaphores that another holds.
import t from "tap";
import { chipOf } from "../../../pmd/e1000/chips.ts";
import { armRegister, routeInterrupts } from "../../../pmd/e1000/interrupts.ts";
import { readMac } from "../../../pmd/e1000/nvm.ts";
import { negotiateLink, powerDownPhy } from "../../../pmd/e1000/phy.ts";
import {
  CFG_DONE,
  Ctrl,
  CtrlExt,
  Eecd,
  ExtcnfCtrl,
  Manc,
  Mdic,
  PHY_SYNC_BITS,
  Phy,
  Reg,
  RingReg,
  STATISTICS,
  Status,
  Swsm,
} from "../../../pmd/e1000/registers.ts";
import { resetChip } from "../../../pmd/e1000/reset.ts";
import { Statistics } from "../../../pmd/e1000/stats.ts";
import { ChipModel } from "./chip-model.ts";
import { Recorder } from "./recorder.ts";

const address = "0000:01:00.0";
const chip82574 = chipOf(0x10d3)!;
const chip82576 = chipOf(0x10c9)!;
const chipI350 = chipOf(0x1521)!;
const ALL = 0xffff_ffff;

const chips = [chip82574, chip82576, chipI350];
const rig = (chip = chip82576) => {
  const model = new ChipModel(chip);
  return { model, chip: new Recorder(model) };
};

for (const one of chips) {
  const igb = one.family === "igb";

  t.test(`${one.name}: a reset's steps`, async (t) => {
    const { chip } = rig(one);
    chip.answer = (offset, value) => (offset === Reg.EEMNGCTL ? CFG_DONE : value);
    await resetChip(chip, one, address);
    const reset = chip.place("write", Reg.CTRL, Ctrl.RST);
    const before = [
      chip.place("write", Reg.IMC, ALL),
      chip.place("read", Reg.ICR),
      ...(igb ? [chip.place("write", Reg.EIMC, ALL), chip.place("read", Reg.EICR)] : []),
      chip.place("write", Reg.RCTL),
      chip.place("write", Reg.TCTL),
      chip.place("write", Reg.CTRL, Ctrl.GIO_MASTER_DISABLE),
      chip.place("read", Reg.STATUS),
    ];
    t.ok(
      before.every((at, k) => at >= 0 && at < reset && at > (before[k - 1] ?? -1)),
      `in order before RST at ${reset}: ${before}`,
    );
    t.equal(chip.list[before.at(-2)!]!.value & Ctrl.RST, 0, "first the master, then the reset");
    t.same([chip.written(Reg.RCTL), chip.written(Reg.TCTL)], [[0], [0]]);
    const pause = chip.list[reset + 1]!.ms - chip.list[reset]!.ms;
    t.ok(pause >= 1, `nothing is touched for 1 ms after RST: ${pause}`);
    const mask = chip.place("write", Reg.IMC, ALL, reset);
    t.ok(mask > reset && chip.place("read", Reg.ICR, 0, mask) > mask, "masked again: the reset took it back");
    if (igb) t.ok(chip.place("read", Reg.EICR, 0, mask) > chip.place("write", Reg.EIMC, ALL, mask));
    else
      t.same([chip.written(Reg.EIMC), chip.reads(Reg.EICR)], [[], 0], "the 82574 has other registers there");
    if (!igb) t.ok(chip.place("write", Reg.TARC0) > mask, "mended last");
  });

  t.test(`${one.name}: a reset waits for what the chip does by itself`, async (t) => {
    const { model, chip } = rig(one);
    model.set(Reg.STATUS, model.get(Reg.STATUS) | (1 << Status.LAN_ID_SHIFT));
    const times = { [Reg.STATUS]: 4, [Reg.EECD]: 3, [Reg.EEMNGCTL]: 5 } as Record<number, number>;
    const wasReset = () => chip.place("write", Reg.CTRL, Ctrl.RST) >= 0;
    chip.answer = (offset, value) => {
      const left = times[offset];
      if (left === undefined) return value;
      const done = chip.reads(offset) >= left;
      if (offset === Reg.STATUS) {
        const lan = 1 << Status.LAN_ID_SHIFT;
        return (
          (done || wasReset() ? value & ~Status.GIO_MASTER_ENABLE : value | Status.GIO_MASTER_ENABLE) | lan
        );
      }
      if (offset === Reg.EECD) return done ? Eecd.AUTO_RD : 0;
      return done ? CFG_DONE | (CFG_DONE << 1) : CFG_DONE; // port 0 is done long before
    };
    await resetChip(chip, one, address);
    const reset = chip.place("write", Reg.CTRL, Ctrl.RST);
    const looks = chip.list.slice(0, reset).filter(({ offset }) => offset === Reg.STATUS).length;
    t.equal(looks, 5, "until the master has stopped");
    t.equal(chip.reads(Reg.EECD), 4, "until the EEPROM's words are loaded");
    t.equal(chip.reads(Reg.EEMNGCTL), 6, "until this port's PHY is set up");
  });
}

t.test("an address in RAL goes before the EEPROM's words", async (t) => {
  const { model, chip } = rig();
  model.set(Reg.RAL, 0x0000_0002);
  model.set(Reg.RAH, 0x8000_0900);
  t.same([...(await readMac(chip, address))], [2, 0, 0, 0, 0, 9]);
  t.equal(chip.reads(Reg.EERD), 0);
});

t.test("MDIC: PHY 1, read, then written", async (t) => {
  for (const one of chips) {
    const { model, chip } = rig(one);
    model.phy.set(Phy.CONTROL, Phy.POWER_DOWN | 0x0040);
    await negotiateLink(chip, one, address);
    const wanted = Phy.ENABLE_AN | Phy.RESTART_AN | 0x0040;
    const commands = [Mdic.OP_READ | Mdic.PHYADD_1, Mdic.OP_WRITE | Mdic.PHYADD_1 | wanted];
    t.same(chip.written(Reg.MDIC), commands, "other bits of the PHY's control register stay");
  }
});

t.test("the PHY is put to sleep, but not where firmware talks by it", async (t) => {
  for (const one of chips) {
    const { model, chip } = rig(one);
    model.phy.set(Phy.CONTROL, Phy.ENABLE_AN | 0x0040);
    await powerDownPhy(chip, one, address);
    t.equal(model.phy.get(Phy.CONTROL), Phy.ENABLE_AN | Phy.POWER_DOWN | 0x0040, "it keeps its settings");
    for (const bit of [Manc.RCV_TCO_EN, Manc.KEEP_PHY_LINK_UP]) {
      const managed = rig(one);
      managed.model.set(Reg.MANC, bit);
      await powerDownPhy(managed.chip, one, address);
      t.same(managed.chip.written(Reg.MDIC), []);
    }
  }
});

t.test("82574: firmware has the PHY for a while", async (t) => {
  const { model, chip } = rig(chip82574);
  let asked = 0;
  chip.swallow = (offset, value) =>
    offset === Reg.EXTCNF_CTRL && (value & ExtcnfCtrl.MDIO_SW_OWN) !== 0 && ++asked < 4;
  await negotiateLink(chip, chip82574, address);
  t.equal(asked, 4, "asks until it is given");
  t.ok(chip.place("write", Reg.MDIC) > 0);
  t.equal(model.get(Reg.EXTCNF_CTRL), 0, "and given back");
});

t.test("igb: another program has the semaphore for a while", async (t) => {
  const { model, chip } = rig();
  let looks = 0;
  chip.answer = (offset, value) => {
    if (offset !== Reg.SWSM || ++looks >= 6) return value;
    model.set(Reg.SWSM, 0); // as if the other had it, and not the look itself
    return value | Swsm.SMBI;
  };
  await negotiateLink(chip, chip82576, address);
  const touched = chip.place("write", Reg.SW_FW_SYNC);
  const before = chip.list
    .slice(0, touched)
    .filter(({ kind, offset }) => kind === "read" && offset === Reg.SWSM);
  t.ok(before.length >= 6, "SW_FW_SYNC is left alone until SMBI was read as 0");
  const first = chip.list[chip.place("write", Reg.SWSM)]!;
  t.equal(first.value & Swsm.SWESMBI, Swsm.SWESMBI, "nor is it taken by force");
});

t.test("igb: a program died with the semaphore", async (t) => {
  const { model, chip } = rig();
  model.set(Reg.SWSM, Swsm.SMBI);
  await negotiateLink(chip, chip82576, address);
  const freed = chip.list.findIndex(
    ({ kind, offset, value }) => kind === "write" && offset === Reg.SWSM && value === 0,
  );
  t.ok(freed >= 0 && freed < chip.place("write", Reg.SW_FW_SYNC), "it is freed first");
  t.equal(model.get(Reg.SWSM), 0, "and both halves are given back");
});

t.test("igb: firmware has the PHY for a while", async (t) => {
  const { model, chip } = rig();
  const firmware = PHY_SYNC_BITS[0] << 16;
  let looks = 0;
  chip.answer = (offset, value) => (offset === Reg.SW_FW_SYNC && ++looks < 3 ? value | firmware : value);
  await negotiateLink(chip, chip82576, address);
  const taken = chip.place("write", Reg.SW_FW_SYNC, PHY_SYNC_BITS[0]);
  const before = chip.list
    .slice(0, taken)
    .filter(({ kind, offset }) => kind === "read" && offset === Reg.SW_FW_SYNC);
  t.ok(before.length >= 3, "taken when the firmware's bit is gone");
  t.equal(model.get(Reg.SW_FW_SYNC), 0);
});

/** Registers by offset, as last written. */
function routed(
  one: typeof chip82576,
  kind: "msix" | "msi" | "intx",
  queues: number,
): Record<number, number> {
  const { chip } = rig(one);
  routeInterrupts(chip, one, kind, queues);
  const writes = chip.list.filter((access) => access.kind === "write");
  return Object.fromEntries(writes.map(({ offset, value }) => [offset, value]));
}
const zeros = (from: number, count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, k) => [from + 4 * k, 0]));

t.test("routes of interrupts, register by register", async (t) => {
  t.same(routed(chip82574, "msix", 2), {
    ...zeros(Reg.EITR_82574, 2),
    [Reg.IVAR_82574]: 0x98,
    [Reg.EIAC_82574]: 3 << 20,
    [Reg.IAM_82574]: 3 << 20,
    [Reg.CTRL_EXT]: CtrlExt.EIAME,
  });
  // NSICR, Multiple_MSIX, EIAME
  const gpie = { [Reg.GPIE]: 0x4000_0011 };
  t.same(
    routed(chip82576, "msix", 10),
    {
      ...gpie,
      ...zeros(Reg.EITR, 10),
      [Reg.IVAR0]: 0x0088_0080,
      [Reg.IVAR0 + 4]: 0x0089_0081,
      ...Object.fromEntries([2, 3, 4, 5, 6, 7].map((queue) => [Reg.IVAR0 + 4 * queue, 0x80 | queue])),
      [Reg.EIAC]: 0x3ff,
      [Reg.EIAM]: 0x3ff,
    },
    "82576: queue 8 is in queue 0's register",
  );
  t.same(
    routed(chipI350, "msix", 3),
    {
      ...gpie,
      ...zeros(Reg.EITR, 3),
      [Reg.IVAR0]: 0x0081_0080,
      [Reg.IVAR0 + 4]: 0x82,
      [Reg.EIAC]: 7,
      [Reg.EIAM]: 7,
    },
    "I350: two neighbours a register",
  );
  for (const kind of ["msi", "intx"] as const) {
    t.same(routed(chip82574, kind, 1), { [Reg.ITR_82574]: 0 }, kind);
    t.same(routed(chip82576, kind, 1), { [Reg.EITR]: 0 }, kind);
  }
  t.same(armRegister(chip82574, "msix", 1), { offset: Reg.IMS, value: 1 << 21 });
  t.same(armRegister(chipI350, "msix", 2), { offset: Reg.EIMS, value: 4 });
});

t.test("statistics: no register that the chip has not, and none is left from a reset", async (t) => {
  const { chip } = rig(chip82574);
  new Statistics(chip, chip82574).update(2);
  for (const queue of [0, 1]) {
    t.equal(chip.reads(chip82574.rings.rx + queue * chip82574.rings.stride + RingReg.RQDPC), 0);
  }
  const other = rig();
  const stats = new Statistics(other.chip, chip82576);
  other.model.set(STATISTICS.GPRC, 77);
  stats.discard(1);
  stats.update(1);
  t.equal(stats.values.GPRC, 0);
});
