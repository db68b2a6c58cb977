// Which frames a chip is told to receive: addresses, groups, VLANs, modes; also after a reset.
import t from "tap";
import { chipOf } from "../../../pmd/e1000/chips.ts";
import { Filters } from "../../../pmd/e1000/filters.ts";
import { Rctl, Reg } from "../../../pmd/e1000/registers.ts";
import { ChipModel } from "./chip-model.ts";

const chip82574 = chipOf(0x10d3)!;
const chip82576 = chipOf(0x10c9)!;
const own = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const mac = (last: number) => Uint8Array.of(2, 0, 0, 0, 0, last);
const VALID = 0x8000_0000;

function rig(chip = chip82576) {
  const model = new ChipModel(chip);
  const filters = new Filters(model, chip, "0000:01:00.0", own);
  filters.restore();
  model.writes.length = 0;
  return { model, filters };
}

t.test("unicast addresses", async (t) => {
  const { model, filters } = rig();
  t.same([model.get(Reg.RAL), model.get(Reg.RAH)], [0x12005452, (0x5634 | VALID) >>> 0]);
  filters.addMac(mac(1));
  filters.addMac(mac(1));
  t.same([model.get(Reg.RAL + 8), model.get(Reg.RAH + 8)], [2, (0x0100 | VALID) >>> 0]);
  t.same(model.written(Reg.RAH), [], "its own is not touched meanwhile");
  filters.addMac(mac(2));
  filters.removeMac(mac(1));
  t.same([model.get(Reg.RAH + 8), model.get(Reg.RAH + 16)], [(0x0200 | VALID) >>> 0, 0]);
  filters.removeMac(mac(9));
  filters.setMac(mac(7));
  t.equal(model.get(Reg.RAH), (0x0700 | VALID) >>> 0);
  t.same(filters.mac, mac(7));
  t.throws(() => filters.removeMac(mac(7)), { code: "MAC_OWN" });
  for (const wrong of [Uint8Array.of(1, 0, 0, 0, 0, 1), new Uint8Array(6), new Uint8Array(5).fill(2)]) {
    t.throws(() => filters.setMac(wrong), { code: "MAC_ADDRESS" });
    t.throws(() => filters.addMac(wrong), { code: "MAC_ADDRESS" });
  }
});

t.test("as many as the chip compares; those from the 17th on are elsewhere", async (t) => {
  for (const chip of [chip82574, chip82576]) {
    const { model, filters } = rig(chip);
    for (let k = 1; k < chip.macs; k++) filters.addMac(mac(k));
    t.throws(() => filters.addMac(mac(200)), { code: "MAC_COUNT", fix: /promiscuous/ });
    const last = chip.macs > 16 ? Reg.RAL_HIGH + 8 * (chip.macs - 17) : Reg.RAL + 8 * (chip.macs - 1);
    t.equal(model.get(last + 4), (((chip.macs - 1) << 8) | VALID) >>> 0, chip.name);
  }
});

t.test("groups: the hash of the datasheet", async (t) => {
  const { model, filters } = rig();
  filters.setMulticast([Uint8Array.of(0x01, 0, 0x5e, 0, 0, 0xfb)]);
  // bits 47:36: 0xfb0; word 125, bit 16
  t.equal(model.get(Reg.MTA + 4 * 125), 1 << 16);
  filters.setMulticast([]);
  t.equal(model.get(Reg.MTA + 4 * 125), 0);
  filters.setMulticast([Uint8Array.of(0x33, 0x33, 0, 0, 0xab, 0xcd)]);
  t.equal(model.get(Reg.MTA + 4 * (0xcda >>> 5)), (1 << (0xcda & 31)) >>> 0);
});

t.test("VLANs", async (t) => {
  const { model, filters } = rig();
  filters.setVlan(100, true);
  filters.setVlan(4095, true);
  t.equal(model.get(Reg.VFTA + 4 * 3), 1 << 4);
  t.equal(model.get(Reg.VFTA + 4 * 127), 0x8000_0000);
  filters.setVlan(100, false);
  t.equal(model.get(Reg.VFTA + 4 * 3), 0);
  t.equal(model.get(Reg.RCTL) & Rctl.VFE, 0, "no filter yet");
  filters.setVlanFilter(true);
  t.ok(model.get(Reg.RCTL) & Rctl.VFE);
});

t.test("modes change at one blow, and leave the rest of RCTL alone", async (t) => {
  const { model, filters } = rig();
  model.set(Reg.RCTL, Rctl.BAM);
  filters.setVlanFilter(true);
  filters.setPromiscuous(true);
  t.equal(model.get(Reg.RCTL), Rctl.BAM | Rctl.UPE | Rctl.MPE, "every VLAN, too");
  filters.setAllMulticast(true);
  filters.setPromiscuous(false);
  t.equal(model.get(Reg.RCTL), Rctl.BAM | Rctl.MPE | Rctl.VFE);
  t.equal(model.written(Reg.RCTL).length, 4, "one write each");
});

t.test("after a reset all is as it was", async (t) => {
  const { model, filters } = rig();
  filters.addMac(mac(1));
  filters.setMulticast([Uint8Array.of(0x01, 0, 0x5e, 0, 0, 0xfb)]);
  filters.setVlan(100, true);
  filters.setVlanFilter(true);
  filters.setAllMulticast(true);
  const before = new Map([...model.values].filter(([, value]) => value !== 0));
  model.write(Reg.CTRL, 1 << 26);
  model.read(Reg.CTRL);
  for (let k = 0; k < 5; k++) model.read(Reg.CTRL);
  filters.restore();
  const after = new Map([...model.values].filter(([, value]) => value !== 0));
  for (const [offset, value] of before) t.equal(after.get(offset), value, offset.toString(16));
});
