// A made-up machine whose kernel also makes nodes in /dev and no-IOMMU groups, with an owner for each node; and whose
// changes can be made to fail, one by one, whichever way they take: sysfs, a program, a file.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { scanPci } from "../../src/bus/pci/scan.ts";
import { devicePath } from "../../src/bus/pci/sysfs.ts";
import { Machine } from "../../src/devices/machine.ts";
import { PollmodeError } from "../../src/errors.ts";
import { type FakeDevice, FakeSysfs } from "./fake-sysfs.ts";

type Test = { teardown(done: () => void): unknown };

const PARAMETER = "module/vfio/parameters/enable_unsafe_noiommu_mode";

export class FakeKernel extends FakeSysfs {
  /** Called before each write. */
  onStore: (path: string, value: string) => void = () => {};
  private readonly dev: string;

  constructor(t: Test, dev: string) {
    super(t);
    this.dev = dev;
    this.put("module/vfio_pci/refcnt", "0\n");
    this.put(PARAMETER, "N\n");
  }

  override addDevice(address: string, device: FakeDevice = {}): this {
    super.addDevice(address, device);
    this.makeNodes();
    return this;
  }

  protected override store(path: string, value: string): void {
    this.onStore(path, value);
    const action = /drivers\/(.+)\/(un)?bind$/.exec(path);
    if (action?.[1] === "vfio-pci" && !action[2]) this.needGroup(value);
    super.store(path, value);
    if (action || path === "bus/pci/drivers_probe") this.makeNodes();
  }

  /** vfio_pci_core_register_device: without a group, EINVAL; in no-IOMMU mode it gets one. */
  private needGroup(address: string): void {
    if (this.linkName(devicePath(address, "iommu_group")) !== undefined) return;
    if (this.read(PARAMETER) !== "Y") throw Object.assign(new Error("EINVAL"), { code: "EINVAL" });
    const group = "kernel/iommu_groups/0";
    this.put(`${group}/name`, "vfio-noiommu\n");
    this.link(`devices/pci0000:00/${address}/iommu_group`, group);
  }

  /** devtmpfs has a node for each group with a device of vfio-pci's, and for each device of UIO's. */
  private makeNodes(): void {
    const wanted = new Set<string>();
    for (const { address, driver, iommuGroup } of scanPci(this)) {
      const noIommu = iommuGroup !== undefined && this.exists(`kernel/iommu_groups/${iommuGroup}/name`);
      if (driver === "vfio-pci") wanted.add(`vfio/${noIommu ? "noiommu-" : ""}${iommuGroup}`);
      else if (noIommu) this.drop(`${devicePath(address)}/iommu_group`);
      const folder = this.path(devicePath(address, "uio"));
      if (driver === "uio_pci_generic") {
        mkdirSync(join(folder, "uio0"), { recursive: true });
        wanted.add("uio0");
      } else rmSync(folder, { recursive: true, force: true });
    }
    for (const node of this.nodes()) if (!wanted.has(node)) unlinkSync(join(this.dev, node));
    for (const node of wanted) this.makeNode(node);
  }

  private makeNode(node: string): void {
    const path = join(this.dev, node);
    mkdirSync(dirname(path), { recursive: true });
    if (!existsSync(path)) writeFileSync(path, "");
  }

  /** Below /dev. */
  nodes(): string[] {
    if (!existsSync(this.dev)) return [];
    const files = readdirSync(this.dev, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    return files.map(({ name }) => (/^uio/.test(name) ? name : `vfio/${name}`)).sort();
  }
}

/** All changes that were tried, in order, and the one that is made to fail. */
class ChangeLog {
  readonly changes: string[] = [];
  /** What chown was told, by node. */
  readonly owners = new Map<string, string>();
  failAt = Number.POSITIVE_INFINITY;

  step(what: string, isSysfs = false): void {
    this.changes.push(what);
    if (this.changes.length - 1 !== this.failAt) return;
    if (isSysfs) throw Object.assign(new Error("EIO"), { code: "EIO" });
    throw new PollmodeError("COMMAND_FAILED", `${what} failed: made to fail`, "try again");
  }

  chown(owner: string, node: string): void {
    const [uid, gid] = (this.owners.get(node) ?? self).split(":");
    const [newUid, newGid] = owner.split(":");
    this.owners.set(node, `${newUid || uid}:${newGid ?? gid}`);
  }
}

/** To whom files belong that a test makes. */
const self = `${process.getuid?.()}:${process.getgid?.()}`;

export class FakeMachine extends Machine {
  readonly kernel: FakeKernel;
  readonly log: ChangeLog;

  private constructor(kernel: FakeKernel, root: string, log: ChangeLog) {
    super({
      root,
      sysfs: kernel,
      run: (command) => {
        log.step(command.join(" "));
        const [program, first = "", second = ""] = command;
        if (program === "chown") log.chown(first, second);
        if (program === "modprobe") kernel.addDriver(first);
        return "";
      },
    });
    this.kernel = kernel;
    this.log = log;
    kernel.onStore = (path, value) => log.step(`${path} ${JSON.stringify(value)}`, true);
  }

  static make(t: Test): FakeMachine {
    const root = mkdtempSync(join(tmpdir(), "pollmode-machine-"));
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    mkdirSync(join(root, "proc/sys/kernel/random"), { recursive: true });
    writeFileSync(join(root, "proc/sys/kernel/random/boot_id"), "8d5b7f8e-9a0c-4b43-8a39-5f3d3a8a0c11\n");
    writeFileSync(join(root, "proc/sys/kernel/osrelease"), "6.1.0\n");
    return new FakeMachine(new FakeKernel(t, join(root, "dev")), root, new ChangeLog());
  }

  /** A file below the root. */
  put(absolute: string, text: string): void {
    mkdirSync(dirname(this.path(absolute)), { recursive: true });
    writeFileSync(this.path(absolute), text);
  }

  /** The n-th change from now on fails; 0 is the next one. */
  failFromNow(n: number): void {
    this.log.failAt = this.log.changes.length + n;
  }

  override writeFile(absolute: string, text: string, mode?: number): void {
    this.log.step(`file ${absolute}`);
    super.writeFile(absolute, text, mode);
  }

  override remove(absolute: string): void {
    if (this.exists(absolute)) this.log.step(`remove ${absolute}`);
    super.remove(absolute);
  }

  /** All that devbind may change. */
  state(): Record<string, string> {
    const nodes = this.kernel.nodes().map((node): [string, string] => {
      return [node, this.log.owners.get(`/dev/${node}`) ?? self];
    });
    const noIommu = this.kernel.read(PARAMETER);
    const journal = String(this.exists("/run/pollmode/bindings.json"));
    return { ...this.kernel.state(), ...Object.fromEntries(nodes), noIommu, journal };
  }
}
