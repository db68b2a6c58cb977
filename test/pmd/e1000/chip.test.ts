// Reset, EEPROM and PHY against a modelled chip, and each of its faults by name.
import t from "tap";
import { chipOf } from "../../../pmd/e1000/chips.ts";
import { checkNvm, readMac } from "../../../pmd/e1000/nvm.ts";
import { negotiateLink, requireCopper } from "../../../pmd/e1000/phy.ts";
import { CtrlExt, ExtcnfCtrl, PHY_SYNC_BITS, Phy, Reg, Status, Swsm } from "../../../pmd/e1000/registers.ts";
import { resetChip } from "../../../pmd/e1000/reset.ts";
import { ChipModel } from "./chip-model.ts";

const address = "0000:01:00.0";
const chips = [chipOf(0x10d3)!, chipOf(0x10c9)!, chipOf(0x1521)!];

for (const chip of chips) {
  const igb = chip.family === "igb";

  t.test(`${chip.name}: a reset leaves no DMA, no interrupts`, async (t) => {
    const model = new ChipModel(chip);
    model.set(Reg.RCTL, 2);
    model.set(Reg.IMS, 0xff);
    model.set(Reg.ICR, 0x4);
    await resetChip(model, chip, address);
    t.equal(model.resets, 1);
    const order = model.writes.map(({ offset }) => offset);
    t.ok(order.indexOf(Reg.RCTL) < order.indexOf(Reg.CTRL), "receive off before the bus is left");
    t.same(model.written(Reg.RCTL)[0], 0);
    t.equal(model.get(Reg.IMS), 0);
    t.equal(model.get(Reg.ICR), 0);
    if (!igb) t.equal(model.get(Reg.TARC0) & (1 << 26), 1 << 26);
  });

  t.test(
    `${chip.name}: a master that does not stop is reset nevertheless; a reset that hangs has a name`,
    async (t) => {
      const model = new ChipModel(chip);
      model.faults.masterNeverStops = true;
      await resetChip(model, chip, address);
      t.equal(model.resets, 1);
      model.faults.resetNeverEnds = true;
      await t.rejects(resetChip(model, chip, address), {
        code: "CHIP_TIMEOUT",
        message: /^0000:01:00.0: its reset \(CTRL.RST\) does not end within \d+ ms/,
        fix: /reset/,
      });
    },
  );

  t.test(`${chip.name}: EEPROM`, async (t) => {
    const model = new ChipModel(chip);
    t.equal(await checkNvm(model, address), true);
    model.nvm[9] = 1;
    t.equal(await checkNvm(model, address), false);
    t.same([...(await readMac(model, address))], [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    model.set(Reg.RAH, 0);
    t.same([...(await readMac(model, address))], [0x52, 0x54, 0, 0x12, 0x34, 0x56], "from its words");
    model.nvm.fill(0, 0, 3);
    await t.rejects(readMac(model, address), { code: "NVM_MAC", fix: /mac=/ });
    model.nvm[0] = 0xff01; // a group
    await t.rejects(readMac(model, address), { code: "NVM_MAC" });
    model.faults.nvmSilent = true;
    await t.rejects(checkNvm(model, address), { code: "CHIP_TIMEOUT", message: /EEPROM.*word 0/ });
  });

  t.test(`${chip.name}: PHY`, async (t) => {
    const model = new ChipModel(chip);
    await negotiateLink(model, chip, address);
    t.equal(model.phy.get(Phy.CONTROL), Phy.ENABLE_AN | Phy.RESTART_AN, "awake, and negotiating");
    const given = igb ? model.get(Reg.SW_FW_SYNC) : model.get(Reg.EXTCNF_CTRL) & ExtcnfCtrl.MDIO_SW_OWN;
    t.equal(given, 0, "the semaphore is given back");
    if (igb) t.equal(model.get(Reg.SWSM) & Swsm.SWESMBI, 0);
    model.faults.phyError = true;
    await t.rejects(negotiateLink(model, chip, address), { code: "CHIP_TIMEOUT", message: /PHY.*MDIC/ });
    model.faults.phyError = false;
    model.faults.phySilent = true;
    await t.rejects(negotiateLink(model, chip, address), { code: "CHIP_TIMEOUT", message: /PHY/ });
    if (igb) t.equal(model.get(Reg.SW_FW_SYNC), 0, "after a failure, too");
  });
}

t.test(
  "igb: whose PHY it is says STATUS, not the PCI address, which a virtual machine may change",
  async (t) => {
    const chip = chips[2]!;
    const model = new ChipModel(chip);
    model.set(Reg.STATUS, model.get(Reg.STATUS) | (2 << Status.LAN_ID_SHIFT));
    await negotiateLink(model, chip, address);
    t.ok(model.written(Reg.SW_FW_SYNC).includes(PHY_SYNC_BITS[2]));
  },
);

t.test("igb: semaphores that nobody gives back", async (t) => {
  const chip = chips[1]!;
  const model = new ChipModel(chip);
  model.set(Reg.SWSM, Swsm.SMBI); // a program died with it
  model.set(Reg.SW_FW_SYNC, PHY_SYNC_BITS[0]);
  await negotiateLink(model, chip, address);
  t.equal(model.get(Reg.SW_FW_SYNC), 0);
  model.faults.firmwareKeepsSemaphore = true;
  await t.rejects(negotiateLink(model, chip, address), {
    code: "CHIP_TIMEOUT",
    message: /firmware.*SWESMBI/,
  });
});

t.test("igb: a port that is not copper is refused", async (t) => {
  const chip = chips[1]!;
  const model = new ChipModel(chip);
  requireCopper(model, chip, address);
  model.set(Reg.CTRL_EXT, 3 << CtrlExt.LINK_MODE_SHIFT);
  t.throws(() => requireCopper(model, chip, address), { code: "NOT_SUPPORTED", message: /SerDes/ });
  model.set(Reg.CTRL_EXT, CtrlExt.EIAME);
  requireCopper(model, chips[0]!, address);
});
