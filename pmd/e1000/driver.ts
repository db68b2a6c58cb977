// net_e1000: Intel's 82574, 82576 and I350, and the virtual functions of the latter two.
import { DevargsReader } from "../../src/eal/devargs.ts";
import type { Driver } from "../../src/ethdev/driver.ts";
import { chipIds, chipOf } from "./chips.ts";
import { ChipDevice } from "./device.ts";
import { BarRegisters } from "./registers-io.ts";
import { isVf, openVf, refuseWithVfs, vfIds } from "./vf-probe.ts";

export const e1000Driver: Driver = {
  name: "net_e1000",
  usage: "mac=ADDRESS",
  ids: [...chipIds, ...vfIds],
  probe: async (devargs, context, events) => {
    const reader = new DevargsReader(devargs);
    const mac = reader.mac("mac");
    reader.end();
    refuseWithVfs(devargs.name);
    const fn = context.openPci(devargs.name);
    try {
      if (isVf(fn.device)) return await openVf(fn, mac, context, events);
      const bar = fn.mapBar(0);
      const registers = new BarRegisters(context.arena, bar);
      const chip = chipOf(fn.device)!;
      return await ChipDevice.probe({ fn, registers, chip, bar: bar.offset, mac }, context, events);
    } catch (error) {
      fn.close();
      throw error;
    }
  },
};
