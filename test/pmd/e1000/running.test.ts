// What a physical function changes while it runs: its link, and whether VLAN tags are taken off. On a modelled chip.
import t from "tap";
import { Ctrl, Phy, Rctl, Reg, Rxcsum, Tctl } from "../../../pmd/e1000/registers.ts";
import { IntelQueue, IntelQueueFlag } from "../../../pmd/intel/layout.ts";
import { names, Rig, until } from "./device-rig.ts";

for (const name of names) {
  t.test(`${name}: the link is taken down and up`, async (t) => {
    await using rig = await Rig.make(name);
    const { model, device, links } = rig;
    await rig.start();
    model.linkUp();
    await until("up", () => links.length === 1);
    const runs = () => [model.get(Reg.RCTL) & Rctl.EN, model.get(Reg.TCTL) & Tctl.EN].map(Boolean);
    await device.setLink(false);
    t.same([device.link().up, runs()], [false, [false, false]], "said at once, whatever the PHY says");
    t.equal((model.phy.get(Phy.CONTROL) ?? 0) & Phy.POWER_DOWN, Phy.POWER_DOWN);
    await device.setPromiscuous(true);
    await device.setMtu(9000);
    t.same(runs(), [false, false]);
    await device.setLink(true);
    t.same([device.link().up, runs()], [true, [true, true]]);
    t.equal((model.phy.get(Phy.CONTROL) ?? 0) & Phy.POWER_DOWN, 0);
    const accesses = model.writes.length;
    await device.setLink(true);
    t.equal(model.writes.length, accesses, "a link that is up does not flap");
    await device.setLink(false);
    await device.stop();
    await device.start();
    t.same([device.link().up, runs()], [true, [true, true]], "a start brings it up");
    await until("that is told", () => links.length === 5);
    await device.stop();
    await device.setLink(false);
    t.equal(model.get(Reg.RCTL) & Rctl.EN, 0);
    await device.setLink(true);
    t.equal(model.get(Reg.RCTL) & Rctl.EN, 0, "a port that is stopped stays so");
    t.same(
      links.map(({ up }) => up),
      [true, false, true, false, true, false],
    );
  });

  t.test(`${name}: VLAN stripping is switched while it runs`, async (t) => {
    await using rig = await Rig.make(name);
    const { model, device } = rig;
    await rig.start({ rxQueues: 2, offloads: ["rxChecksum"] });
    const expects = () =>
      device.rxQueues.map((queue) => rig.queueWord(queue, IntelQueue.FLAGS) & IntelQueueFlag.VLAN_STRIP);
    const vme = () => (model.get(Reg.CTRL) & Ctrl.VME) !== 0;
    t.same([vme(), expects()], [false, [0, 0]]);
    await device.setVlanStrip(true);
    t.same([vme(), expects()], [true, [2, 2]]);
    await device.stop();
    await device.start();
    t.same([vme(), expects()], [true, [2, 2]], "it stays so over a stop");
    await device.setVlanStrip(false);
    t.same([vme(), expects()], [false, [2, 2]], "frames in the rings may have lost their tags");
    await device.stop();
    await device.setVlanStrip(true);
    await device.setVlanStrip(false);
    await device.start();
    t.equal(vme(), false);
    t.ok(model.get(Reg.RXCSUM) & Rxcsum.IPOFLD, "other offloads stay");
  });
}
