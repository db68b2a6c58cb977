// A machine of test/fixtures/machines as a tree of files in a temporary folder, for `new Machine({ root })` and
// `pollmode … --root`. The manifests are texts made by hand after the kernel's documentation of sysfs; their grammar:
//
//   # a comment
//   /path = one line                   a file; the newline is added
//   /path <<                           a file of the lines after it that begin with "| "
//   /path hex 44 4d …                  a file of bytes
//   /path -> /target                   a link; targets are the machine's own paths
//   /path/                             an empty folder
//   module NAME [PARAMETER=VALUE …]    /sys/module/NAME
//   driver NAME …                      drivers of the PCI bus without a device; module as "-" is "_"
//   pci ADDRESS VENDOR:DEVICE SUBVENDOR:SUBDEVICE CLASS REVISION
//
// and below a pci line, indented:
//
//     below ADDRESS     the bridge above it        driver NAME    override NAME    node N    group N
//     bar FIRST LAST FLAGS                         a line of `resource`; `bar -`: there is none
//     bridge SECONDARY SUBORDINATE                 it is a bridge: bus numbers, hexadecimal
//     multi                                        one function of several
//     caps 40                                      where its chain of capabilities begins
//     50: 05 70 82 00 …                            configuration space as lspci -xxxx shows it; the rest is zero, the
//                                                  header is made of what stands above
//     config 64|256|4096                           its length, where the lines do not tell
//     sriov TOTAL      vf INDEX of ADDRESS         virtio N: what follows is below a virtio device
//     net NAME MAC [ATTRIBUTE=VALUE …]             class CLASS NAME [ATTRIBUTE=VALUE …]
//     NAME = VALUE                                 any other attribute
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { Machine, type MachineOptions } from "../../src/devices/machine.ts";
import { repositoryRoot } from "../beds/paths.ts";
import { configImage, type RecordedDevice, readDevice } from "./recorded-device.ts";

const fixtures = join(repositoryRoot, "test/fixtures/machines");

/** All of them. */
export const recordedNames: readonly string[] = readdirSync(fixtures).sort();

export interface RecordedOptions {
  /** Configuration space as an ordinary user sees it: 64 bytes. */
  readonly asUser?: boolean;
}

export class RecordedMachine {
  readonly root: string;
  readonly #options: RecordedOptions;
  readonly #folders = new Map<string, string>();
  #interfaces = 1; // lo

  constructor(t: { teardown(done: () => void): unknown }, name: string, options: RecordedOptions = {}) {
    this.root = realpathSync(mkdtempSync(join(tmpdir(), "pollmode-machine-")));
    this.#options = options;
    t.teardown(() => rmSync(this.root, { recursive: true, force: true }));
    for (const folder of [
      "sys/bus/pci/devices",
      "sys/bus/pci/drivers",
      "sys/class/net",
      "sys/kernel",
      "proc",
      "dev",
    ])
      mkdirSync(join(this.root, folder), { recursive: true });
    for (const file of ["drivers_probe", "rescan"]) this.put(`/sys/bus/pci/${file}`, "");
    this.#build(readFileSync(join(fixtures, name), "utf8").split("\n"));
  }

  machine(options: Omit<MachineOptions, "root"> = {}): Machine {
    return new Machine({ root: this.root, ...options });
  }

  /** All paths are those of the real machine. */
  put(path: string, content: string | Buffer): this {
    const at = join(this.root, path);
    mkdirSync(dirname(at), { recursive: true });
    writeFileSync(at, content);
    return this;
  }

  link(path: string, target: string): this {
    const at = join(this.root, path);
    mkdirSync(dirname(at), { recursive: true });
    symlinkSync(relative(realpathSync(dirname(at)), join(this.root, target)), at); // a folder may be a link itself
    return this;
  }

  /** A file, a link or a folder with all that is in it. */
  drop(path: string): this {
    rmSync(join(this.root, path), { recursive: true });
    return this;
  }

  /** Gives a device another driver, or none, as if it had always had it. */
  bind(address: string, driver: string | undefined): this {
    const folder = this.#folders.get(address)!;
    const now = this.machine().sysfs.linkName(`bus/pci/devices/${address}/driver`);
    if (now !== undefined) this.drop(`${folder}/driver`).drop(`/sys/bus/pci/drivers/${now}/${address}`);
    if (driver !== undefined) this.#attach(address, folder, driver);
    return this;
  }

  #build(lines: readonly string[]): void {
    for (let k = 0; k < lines.length; k++) {
      const line = lines[k]!;
      if (line.trim() === "" || line.startsWith("#")) continue;
      const body: string[] = [];
      const isBody = line.startsWith("pci ") ? /^\s+\S/ : line.endsWith(" <<") ? /^\|/ : undefined;
      while (isBody?.test(lines[k + 1] ?? "")) body.push(lines[++k]!);
      if (line.startsWith("pci ")) this.#device(readDevice(line, body));
      else if (line.startsWith("/")) this.#file(line, body);
      else this.#kernel(line);
    }
  }

  #file(line: string, body: readonly string[]): void {
    const [, path = "", how, rest = ""] = /^(\S+)(?: (=|<<|hex|->) ?(.*))?$/.exec(line) ?? [];
    if (how === "=") this.put(path, `${rest}\n`);
    else if (how === "<<") this.put(path, body.map((text) => `${text.replace(/^\| ?/, "")}\n`).join(""));
    else if (how === "hex") this.put(path, Buffer.from(rest.replaceAll(" ", ""), "hex"));
    else if (how === "->") this.link(path, rest);
    else if (path.endsWith("/")) mkdirSync(join(this.root, path), { recursive: true });
    else throw new Error(`no line of a manifest: ${line}`);
  }

  #kernel(line: string): void {
    const [kind, ...words] = line.trim().split(/\s+/);
    if (kind === "driver") for (const name of words) this.#driver(name);
    else if (kind === "module") this.#module(words[0]!, words.slice(1));
    else throw new Error(`no line of a manifest: ${line}`);
  }

  #module(name: string, parameters: readonly string[] = []): void {
    const folder = `/sys/module/${name.replaceAll("-", "_")}`;
    this.put(`${folder}/refcnt`, "0\n");
    for (const [key, value] of pairs(parameters)) this.put(`${folder}/parameters/${key}`, `${value}\n`);
  }

  #driver(name: string): void {
    const folder = `/sys/bus/pci/drivers/${name}`;
    if (this.machine().exists(folder)) return;
    for (const attribute of ["bind", "unbind", "new_id", "remove_id"]) this.put(`${folder}/${attribute}`, "");
    const isBuiltIn = name === "pcieport";
    if (isBuiltIn) return;
    const module = `/sys/module/${name.replaceAll("-", "_")}`;
    if (!this.machine().exists(module)) this.#module(name);
    this.link(`${folder}/module`, module);
  }

  #attach(address: string, folder: string, driver: string): void {
    this.#driver(driver);
    this.link(`${folder}/driver`, `/sys/bus/pci/drivers/${driver}`);
    this.link(`/sys/bus/pci/drivers/${driver}/${address}`, folder);
  }

  #device(device: RecordedDevice): void {
    const { address, below } = device;
    const top = below === undefined ? `/sys/devices/pci${address.slice(0, -5)}` : this.#folders.get(below);
    if (top === undefined) throw new Error(`${address} is below ${below}, which comes later or not at all`);
    const folder = `${top}/${address}`;
    this.#folders.set(address, folder);
    for (const [name, text] of device.attributes) this.put(`${folder}/${name}`, `${text}\n`);
    const image = configImage(device);
    this.put(`${folder}/config`, this.#options.asUser ? image.subarray(0, 64) : image);
    this.link(`/sys/bus/pci/devices/${address}`, folder);
    if (device.driver !== undefined) this.#attach(address, folder, device.driver);
    if (device.group !== undefined) this.#join(device.group, address, folder);
    if (device.vf) {
      const pf = this.#folders.get(device.vf.of)!;
      this.link(`${folder}/physfn`, pf).link(`${pf}/virtfn${device.vf.index}`, folder);
    }
    const holder = device.virtio === undefined ? folder : `${folder}/virtio${device.virtio}`;
    for (const { className, name, attributes } of device.classes) {
      const at = `${holder}/${className}/${name}`;
      const isNet = className === "net";
      const all = { ...(isNet && netDefaults(++this.#interfaces)), ...Object.fromEntries(pairs(attributes)) };
      for (const [key, value] of Object.entries(all)) this.put(`${at}/${key}`, `${value}\n`);
      this.link(`${at}/device`, holder).link(`/sys/class/${className}/${name}`, at);
    }
  }

  /** The kernel's defaults for a group; lines of the manifest after the device may say otherwise. */
  #join(group: number, address: string, folder: string): void {
    const at = `/sys/kernel/iommu_groups/${group}`;
    this.link(`${folder}/iommu_group`, at).link(`${at}/devices/${address}`, folder);
    this.put(`${at}/type`, "DMA-FQ\n");
    this.put(`${at}/reserved_regions`, "0x00000000fee00000 0x00000000feefffff msi\n");
  }
}

/** Documentation/ABI/testing/sysfs-class-net. */
function netDefaults(ifindex: number): Record<string, string> {
  return { ifindex: `${ifindex}`, type: "1", mtu: "1500", operstate: "down", carrier: "0", flags: "0x1002" };
}

/** Words of `NAME=VALUE`. */
function pairs(words: readonly string[]): [string, string][] {
  return words.map((word) => {
    const at = word.indexOf("=");
    return [word.slice(0, at), word.slice(at + 1)];
  });
}
