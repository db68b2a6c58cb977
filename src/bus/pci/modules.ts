// Kernel modules: whether a driver's is there, and which ones a device could have. From /sys/module and the lists that
// depmod leaves in /lib/modules/RELEASE, see modules.dep(5).
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { fnmatch } from "../../eal/fnmatch.ts";
import { driverPath, Sysfs } from "./sysfs.ts";

/** `loaded` says that its driver is there, be it built in; `available`, that modprobe finds it. */
export type ModuleState = "loaded" | "available" | "missing";

interface Alias {
  /** As fnmatch(3) has it. */
  readonly pattern: string;
  readonly module: string;
}

export class KernelModules {
  readonly #sysfs: Sysfs;
  readonly #folder: string;
  #aliases: Alias[] | undefined;

  constructor(sysfs = new Sysfs(), folder = `/lib/modules/${release()}`) {
    this.#sysfs = sysfs;
    this.#folder = folder;
  }

  /** Of a driver of the PCI bus, whose module has its name: `vfio-pci`. */
  state(driver: string): ModuleState {
    if (this.#sysfs.exists(driverPath(driver)) || this.#sysfs.exists(`module/${plain(driver)}`))
      return "loaded";
    const listed = `${this.#read("modules.dep")}\n${this.#read("modules.builtin")}`;
    const files = listed.split("\n").map((line) => /([^/:]+)\.ko[.a-z]*(:|$)/.exec(line)?.[1]);
    return files.some((file) => file && plain(file) === plain(driver)) ? "available" : "missing";
  }

  /** Modules that say they know the device with this modalias, loaded or not: what lspci -k calls kernel modules. */
  candidates(modalias: string): string[] {
    if (modalias === "") return [];
    this.#aliases ??= [...this.#loadable(), ...this.#builtIn()];
    const fitting = this.#aliases.filter(({ pattern }) => fnmatch(pattern, modalias));
    return [...new Set(fitting.map(({ module }) => module))];
  }

  /** Lines of `alias PATTERN MODULE`. */
  #loadable(): Alias[] {
    return [...this.#read("modules.alias").matchAll(/^alias (pci:\S+) (\S+)$/gm)].map(
      ([, pattern, module]) => ({ pattern: pattern!, module: module! }),
    );
  }

  /** Texts of `MODULE.alias=PATTERN`, each with a zero byte at its end. */
  #builtIn(): Alias[] {
    const found = this.#read("modules.builtin.modinfo").matchAll(/(?:^|\0)([\w-]+)\.alias=(pci:[^\0]+)/g);
    return [...found].map(([, module, pattern]) => ({ pattern: pattern!, module: module! }));
  }

  #read(file: string): string {
    try {
      return readFileSync(join(this.#folder, file), "latin1");
    } catch {
      return ""; // a kernel without modules, or a container without the host's
    }
  }
}

/** The kernel takes "-" and "_" of a module's name for the same. */
const plain = (module: string) => module.replaceAll("-", "_");
