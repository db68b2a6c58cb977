// Whether lcores have their CPUs to themselves, and at full speed. None of it keeps packets from flowing.
import type { Machine } from "../../devices/machine.ts";
import type { MachineCheck } from "../check.ts";
import { ok, skipped, warn } from "../finding.ts";
import { addKernelArguments } from "../kernel-config.ts";

const CPUS = "devices/system/cpu";

const isolated: MachineCheck = {
  id: "isolated",
  needs: [],
  look({ machine }) {
    const read = (name: string) => machine.sysfs.readOptional(`${CPUS}/${name}`)?.replace("(null)", "") ?? "";
    const [list, tickless] = [read("isolated"), read("nohz_full")];
    if (list !== "")
      return ok(`CPUs ${list}${tickless === "" ? "" : `, without ticks (nohz_full) ${tickless}`}`);
    const online = count(read("online"));
    if (online < 2) return skipped("the machine has one CPU");
    const half = `${Math.ceil(online / 2)}${online > 2 ? `-${online - 1}` : ""}`;
    const words = `isolcpus=${half} nohz_full=${half} rcu_nocbs=${half}`;
    return warn("no CPU is kept free of other work: now and then an lcore will lose packets", {
      ...addKernelArguments(machine, words),
      after: `reboot, and run the lcores there: -l ${half}`,
    });
  },
};

/** Of `0-3,8-11`. */
function count(list: string): number {
  const ends = list.split(",").map((part) => part.split("-").map(Number));
  return ends.reduce((sum, [first = 0, last = first]) => sum + last - first + 1, 0);
}

const governor: MachineCheck = {
  id: "governor",
  needs: [],
  look({ machine }) {
    const found = governors(machine);
    if (found.length === 0) return skipped("the kernel does not choose the CPUs' frequency here");
    if (found.every((name) => name === "performance")) return ok("performance");
    const names = [...new Set(found)].join(", ");
    const command = `for file in /sys/${CPUS}/cpu*/cpufreq/scaling_governor; do echo performance > $file; done`;
    return warn(`${names}: the CPUs slow down between bursts`, { command });
  },
};

function governors({ sysfs }: Machine): string[] {
  const cpus = sysfs.list(CPUS).filter((name) => /^cpu\d+$/.test(name));
  return cpus.flatMap((cpu) => sysfs.readOptional(`${CPUS}/${cpu}/cpufreq/scaling_governor`) ?? []);
}

export const cpuChecks = [isolated, governor];
