// A made-up /sys in a temporary folder, with a kernel behind it: what is written to `bind`, `unbind`,
// `driver_override`, `drivers_probe` and `sriov_numvfs` has the effect that it has in Linux, and any write can be made
// to fail. Layout: Documentation/ABI/testing/sysfs-bus-pci of the kernel.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { formatPciAddress, parsePciAddress } from "../../src/bus/pci/address.ts";
import { scanPci } from "../../src/bus/pci/scan.ts";
import { devicePath, driverPath, Sysfs, type SysfsWrite } from "../../src/bus/pci/sysfs.ts";

export interface FakeDevice {
  vendor?: number;
  device?: number;
  subsystem?: [vendor: number, device: number];
  class?: number;
  revision?: number;
  driver?: string;
  override?: string;
  group?: number;
  numaNode?: number;
  interfaces?: string[];
  /** Lines of `resource`. */
  resource?: string[];
  config?: Buffer;
  totalVfs?: number;
  uio?: string;
  vfioDevice?: string;
}

export interface FakeDriver {
  /** `8086:10d3`; a driver without any takes by driver_override alone. */
  ids?: string[];
  /** What its probe function returns. */
  probeErrno?: string;
  /** It makes virtual functions. */
  hasSriov?: boolean;
  /** suppress_bind_attrs. */
  hidesBind?: boolean;
}

interface Fault {
  readonly path: RegExp;
  readonly value: string | undefined;
  readonly errno: string;
  /** So many writes fail yet. */
  times: number;
}

export const zeroBar = "0x0000000000000000 0x0000000000000000 0x0000000000000000";

export class FakeSysfs extends Sysfs {
  /** All writes that were tried. */
  readonly writes: SysfsWrite[] = [];
  readonly faults: Fault[] = [];
  /** Called with the path of each attribute before it is read. */
  beforeRead: ((path: string) => void) | undefined;
  /** What a write waits for that another thread does. */
  asideUntil: Promise<void> | undefined;
  private readonly drivers = new Map<string, FakeDriver>();
  private readonly devices = new Map<string, FakeDevice>();

  constructor(t: { teardown(done: () => void): unknown }) {
    const root = mkdtempSync(join(tmpdir(), "pollmode-sysfs-"));
    super(root);
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    for (const folder of ["bus/pci/devices", "bus/pci/drivers"])
      mkdirSync(join(root, folder), { recursive: true });
    this.put("bus/pci/drivers_probe", "");
  }

  put(path: string, content: string | Buffer): void {
    mkdirSync(dirname(this.path(path)), { recursive: true });
    writeFileSync(this.path(path), content);
  }

  drop(path: string): void {
    unlinkSync(this.path(path));
  }

  link(path: string, target: string): void {
    const at = this.path(path);
    mkdirSync(dirname(at), { recursive: true });
    symlinkSync(relative(dirname(at), this.path(target)), at);
  }

  addDriver(name: string, driver: FakeDriver = {}): this {
    this.drivers.set(name, driver);
    mkdirSync(this.path(driverPath(name)), { recursive: true });
    this.put(driverPath(name, "unbind"), "");
    if (!driver.hidesBind) this.put(driverPath(name, "bind"), "");
    return this;
  }

  /** By default an 82574L without a driver. */
  addDevice(address: string, device: FakeDevice = {}): this {
    const { vendor = 0x8086, device: id = 0x10d3, subsystem = [0x8086, 0], interfaces = [] } = device;
    this.devices.set(address, { ...device, vendor, device: id });
    const folder = this.folder(address);
    const put = (attribute: string, text: string) => this.put(join(folder, attribute), `${text}\n`);
    put("vendor", hex(vendor));
    put("device", hex(id));
    put("subsystem_vendor", hex(subsystem[0]));
    put("subsystem_device", hex(subsystem[1]));
    put("class", hex(device.class ?? 0x020000, 6));
    put("revision", hex(device.revision ?? 0, 2));
    put(
      "modalias",
      `pci:v${long(vendor)}d${long(id)}sv${long(subsystem[0])}sd${long(subsystem[1])}bc02sc00i00`,
    );
    put("driver_override", device.override ?? "(null)");
    put("numa_node", `${device.numaNode ?? -1}`);
    put("resource", (device.resource ?? [zeroBar]).join("\n"));
    if (device.config) this.put(join(folder, "config"), device.config);
    for (const name of interfaces) put(`net/${name}/address`, "52:54:00:00:00:01");
    if (device.uio) put(`uio/${device.uio}/name`, "igb_uio");
    if (device.vfioDevice) put(`vfio-dev/${device.vfioDevice}/dev`, "511:0");
    if (device.totalVfs !== undefined) {
      put("sriov_totalvfs", `${device.totalVfs}`);
      put("sriov_numvfs", "0");
      put("sriov_drivers_autoprobe", "1");
    }
    this.link(devicePath(address), folder);
    if (device.group !== undefined) {
      const group = `kernel/iommu_groups/${device.group}`;
      this.link(`${group}/devices/${address}`, folder);
      this.link(join(folder, "iommu_group"), group);
    }
    if (device.driver !== undefined) this.attach(address, device.driver);
    return this;
  }

  /** As when it is pulled out. */
  removeDevice(address: string): void {
    this.detach(address);
    this.devices.delete(address);
    unlinkSync(this.path(devicePath(address)));
    rmSync(this.path(this.folder(address)), { recursive: true });
  }

  /** The next writes to such a path, of this value if there is one, fail. */
  failWrites(path: RegExp, errno: string, value?: string, times = Infinity): this {
    this.faults.push({ path, errno, value, times });
    return this;
  }

  /** Everything that binding and SR-IOV change. */
  state(): Record<string, string> {
    const entries = scanPci(this).map(({ address, driver, driverOverride, sriov }): [string, string] => {
      const autoprobe = this.readOptional(devicePath(address, "sriov_drivers_autoprobe")) ?? "";
      const vfs = sriov ? ` vfs=${sriov.numVfs} autoprobe=${autoprobe}` : "";
      return [address, `driver=${driver} override=${driverOverride}${vfs}`];
    });
    return Object.fromEntries(entries);
  }

  override read(path: string): string {
    this.beforeRead?.(path);
    return super.read(path);
  }

  protected override store(path: string, value: string): void {
    this.writes.push({ path, value });
    const fault = this.faults.find(
      (fault) => fault.times > 0 && fault.path.test(path) && (fault.value ?? value) === value,
    );
    if (fault) {
      fault.times--;
      throw errnoError(fault.errno);
    }
    super.store(path, value); // fails where there is no such file
    const [, address = "", attribute] = /^bus\/pci\/devices\/([^/]+)\/(.*)$/.exec(path) ?? [];
    const [, driver = "", action] = /^bus\/pci\/drivers\/([^/]+)\/(.*)$/.exec(path) ?? [];
    if (attribute === "driver_override") super.store(path, `${value.trimEnd() || "(null)"}\n`);
    if (attribute === "sriov_numvfs") this.setNumVfs(address, Number(value));
    if (action === "unbind") this.unbind(value, driver);
    if (action === "bind") this.bind(value, driver);
    if (path === "bus/pci/drivers_probe") this.probe(value);
  }

  /** As long as the kernel takes; `store` is what it does then. */
  protected override async storeAside(path: string, value: string): Promise<void> {
    await this.asideUntil;
    this.store(path, value);
  }

  private folder(address: string): string {
    return join("devices/pci0000:00", address);
  }

  private driverOf(address: string): string | undefined {
    return this.linkName(devicePath(address, "driver"));
  }

  private unbind(address: string, driver: string): void {
    if (this.driverOf(address) !== driver) throw errnoError("ENODEV");
    this.detach(address);
  }

  private bind(address: string, driver: string): void {
    if (!this.devices.has(address) || !this.fits(address, driver)) throw errnoError("ENODEV");
    if (this.driverOf(address) !== undefined) throw errnoError("EBUSY");
    const { probeErrno } = this.drivers.get(driver)!;
    if (probeErrno) throw errnoError(probeErrno);
    this.attach(address, driver);
  }

  /** Probe's failures are not told. */
  private probe(address: string): void {
    if (!this.devices.has(address)) throw errnoError("ENODEV");
    if (this.driverOf(address) !== undefined) return;
    const fitting = [...this.drivers.keys()].find((name) => {
      return this.fits(address, name) && !this.drivers.get(name)!.probeErrno;
    });
    if (fitting !== undefined) this.attach(address, fitting);
  }

  private fits(address: string, driver: string): boolean {
    const override = super.read(devicePath(address, "driver_override"));
    if (override !== "(null)") return override === driver;
    const { vendor = 0, device = 0 } = this.devices.get(address)!;
    return this.drivers.get(driver)?.ids?.includes(`${bare(vendor)}:${bare(device)}`) ?? false;
  }

  private attach(address: string, driver: string): void {
    this.link(join(this.folder(address), "driver"), driverPath(driver));
    this.link(driverPath(driver, address), this.folder(address));
  }

  private detach(address: string): void {
    const driver = this.driverOf(address);
    if (driver === undefined) return;
    unlinkSync(this.path(join(this.folder(address), "driver")));
    unlinkSync(this.path(driverPath(driver, address)));
  }

  private setNumVfs(address: string, count: number): void {
    const path = devicePath(address, "sriov_numvfs");
    const { totalVfs = 0, vendor } = this.devices.get(address)!;
    const vfs = this.list(devicePath(address)).filter((name) => name.startsWith("virtfn"));
    super.store(path, `${vfs.length}\n`);
    if (count > totalVfs) throw errnoError("ERANGE");
    if (count === vfs.length) return;
    if (!this.drivers.get(this.driverOf(address) ?? "")?.hasSriov) throw errnoError("ENOENT");
    if (count > 0 && vfs.length > 0) throw errnoError("EBUSY");
    super.store(path, `${count}\n`);
    for (const link of vfs) {
      this.removeDevice(this.linkName(devicePath(address, link))!);
      unlinkSync(this.path(join(this.folder(address), link)));
    }
    const autoprobe = super.read(devicePath(address, "sriov_drivers_autoprobe")) === "1";
    for (let k = 0; k < count; k++) {
      const vf = this.vfAddress(address, k);
      this.addDevice(vf, { vendor: vendor!, device: 0x10ca, class: 0x020000 });
      this.link(join(this.folder(vf), "physfn"), this.folder(address));
      this.link(join(this.folder(address), `virtfn${k}`), this.folder(vf));
      if (autoprobe) this.probe(vf);
    }
  }

  /** As the 82576: First VF Offset 0x180, VF Stride 2. */
  vfAddress(pf: string, index: number): string {
    const { domain, bus, device, function: fn } = parsePciAddress(pf)!;
    const routing = (bus << 8) + (device << 3) + fn + 0x180 + 2 * index;
    const at = { domain, bus: routing >> 8, device: (routing >> 3) & 31, function: routing & 7 };
    return formatPciAddress(at);
  }
}

/** As node's file functions throw it. */
function errnoError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

const bare = (value: number) => value.toString(16).padStart(4, "0");
const hex = (value: number, digits = 4) => `0x${value.toString(16).padStart(digits, "0")}`;
const long = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");
