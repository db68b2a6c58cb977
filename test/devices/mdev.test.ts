// Mediated devices on a made-up machine whose kernel makes and removes them: what is listed, found, refused, and that a
// create that fails at any step leaves nothing behind.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { Sysfsdev } from "../../src/bus/vfio/sysfsdev.ts";
import { type Change, Machine } from "../../src/devices/machine.ts";
import { createMdev, findMdev, mdevHolders, mdevParents, mdevs, removeMdev } from "../../src/devices/mdev.ts";
import { FakeSysfs } from "../support/fake-sysfs.ts";

/** Of an error. */
type Wanted = { code: string; message?: string | RegExp; fix?: string | RegExp };
type Test = { teardown(done: () => void): unknown };
const [A, B] = ["83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"];
const gpu = "0000:00:02.0";

/** mtty's two types, which share 24 ports, and a GPU with a type of its own. */
class MdevSysfs extends FakeSysfs {
  ports = 3;
  /** What a broken kernel does not do. */
  lacks: "driver" | "device" | undefined;
  private group = 10;

  constructor(t: Test) {
    super(t);
    this.type("mtty", "mtty-1", { name: "Single port serial", device_api: "vfio-pci" });
    this.type("mtty", "mtty-2", { name: "Dual port serial", device_api: "vfio-pci" });
    this.type(gpu, "i915-GVTg_V5_4", { device_api: "vfio-pci", description: "low_gm_size: 128MB\nfence: 4" });
    this.addDriver("i915");
    this.link(`devices/${gpu}/driver`, "bus/pci/drivers/i915");
    this.put("bus/mdev/drivers/mtty/module", "");
    mkdirSync(this.path("bus/mdev/devices"), { recursive: true });
    this.count();
  }

  private type(parent: string, id: string, attributes: Record<string, string>): void {
    const folder = `devices/${parent}/mdev_supported_types/${id}`;
    for (const [name, text] of Object.entries(attributes)) this.put(`${folder}/${name}`, `${text}\n`);
    this.put(`${folder}/create`, "");
    this.put(`${folder}/available_instances`, "1\n");
    mkdirSync(this.path(`${folder}/devices`));
    if (!this.exists(`class/mdev_bus/${parent}`)) this.link(`class/mdev_bus/${parent}`, `devices/${parent}`);
  }

  private count(): void {
    const folder = "devices/mtty/mdev_supported_types";
    this.put(`${folder}/mtty-1/available_instances`, `${this.ports}\n`);
    this.put(`${folder}/mtty-2/available_instances`, `${this.ports >> 1}\n`);
  }

  protected override store(path: string, value: string): void {
    super.store(path, value);
    const [, parent, type] = /^class\/mdev_bus\/(.*)\/mdev_supported_types\/(.*)\/create$/.exec(path) ?? [];
    if (parent && type) this.create(parent, type, value);
    const [, uuid] = /^bus\/mdev\/devices\/(.*)\/remove$/.exec(path) ?? [];
    if (uuid) this.removeInstance(uuid);
  }

  private create(parent: string, type: string, uuid: string): void {
    const ports = Number(/mtty-(\d)/.exec(type)?.[1] ?? 0);
    if (ports > this.ports) throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
    if (this.lacks === "device") return;
    this.ports -= ports;
    this.count();
    const folder = `devices/${parent}/${uuid}`;
    const group = this.group++;
    this.put(`${folder}/remove`, "");
    this.put(`${folder}/vfio-dev/vfio${group - 10}/dev`, "511:0\n");
    this.put(`kernel/iommu_groups/${group}/name`, "vfio-noiommu\n");
    this.link(`${folder}/iommu_group`, `kernel/iommu_groups/${group}`);
    if (this.lacks !== "driver") this.link(`${folder}/driver`, "bus/mdev/drivers/mtty");
    this.link(`bus/mdev/devices/${uuid}`, folder);
    this.link(`devices/${parent}/mdev_supported_types/${type}/devices/${uuid}`, folder);
  }

  removeInstance(uuid: string): void {
    const types = `devices/mtty/mdev_supported_types`;
    const type = this.list(types).find((type) => this.exists(`${types}/${type}/devices/${uuid}`));
    this.drop(`bus/mdev/devices/${uuid}`);
    this.drop(`${types}/${type}/devices/${uuid}`);
    rmSync(this.path(`devices/mtty/${uuid}`), { recursive: true });
    this.ports += Number(type!.at(-1));
    this.count();
  }

  /** All that create and remove change. */
  instances(): string[] {
    return ["bus/mdev/devices", "devices/mtty"].flatMap((path) => readdirSync(this.path(path)).sort());
  }
}

interface Fake {
  sysfs: MdevSysfs;
  machine: Machine;
  commands: string[];
  /** A program that has nodes open. */
  program(pid: number, name: string, ...nodes: string[]): void;
}

function fake(t: Test, onRun: () => void = () => {}): Fake {
  const sysfs = new MdevSysfs(t);
  const root = mkdtempSync(join(tmpdir(), "pollmode-mdev-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  const commands: string[] = [];
  const run = (command: readonly string[]) => {
    commands.push(command.join(" "));
    onRun();
    return "";
  };
  const program = (pid: number, name: string, ...nodes: string[]) => {
    const folder = join(root, `proc/${pid}`);
    mkdirSync(join(folder, "fd"), { recursive: true });
    writeFileSync(join(folder, "comm"), `${name}\n`);
    for (const [fd, node] of nodes.entries()) symlinkSync(node, join(folder, `fd/${fd}`));
  };
  return { sysfs, machine: new Machine({ root, sysfs, run }), commands, program };
}

t.test("parents and types", async (t) => {
  const { machine } = fake(t);
  t.match(mdevParents(machine), [
    {
      name: gpu,
      driver: "i915",
      types: [{ id: "i915-GVTg_V5_4", description: "low_gm_size: 128MB\nfence: 4" }],
    },
    {
      name: "mtty",
      driver: undefined,
      types: [
        {
          id: "mtty-1",
          name: "Single port serial",
          deviceApi: "vfio-pci",
          availableInstances: 3,
          instances: [],
        },
        { id: "mtty-2", name: "Dual port serial", availableInstances: 1 },
      ],
    },
  ]);
  t.same(mdevs(machine), []);
});

t.test("create, by each way to name a type; list; remove", async (t) => {
  const { machine, sysfs, program } = fake(t);
  const start = sysfs.instances();
  const made = createMdev(machine, { parent: "mtty", type: "mtty-2", uuid: A.toUpperCase() });
  t.same(made, {
    uuid: A,
    sysfsdev: `/sys/bus/mdev/devices/${A}`,
    parent: "mtty",
    type: "mtty-2",
    typeName: "Dual port serial",
    deviceApi: "vfio-pci",
    driver: "mtty",
    iommuGroup: 10,
    nodes: ["/dev/vfio/10", "/dev/vfio/devices/vfio0"],
  });
  const { uuid } = createMdev(machine, { parent: "mtty", type: "Single port serial" });
  t.match(uuid, /^[0-9a-f-]{36}$/);
  t.equal(mdevs(machine).length, 2);
  program(7, "qemu", "/dev/vfio/vfio", "/dev/vfio/11");
  t.same(mdevHolders(machine, made), []);
  t.match(mdevHolders(machine, findMdev(machine, uuid)), [{ pid: 7, name: "qemu" }]);
  await removeMdev(machine, A, false);
  sysfs.removeInstance(uuid);
  t.same(sysfs.instances(), start);
  t.equal(createMdev(machine, { parent: "mtty", type: "1" }).type, "mtty-1");
  t.equal(createMdev(machine, { parent: "00:02.0", type: "GVTg_V5_4" }).parent, gpu);
});

t.test("what cannot be made", async (t) => {
  const { machine, sysfs } = fake(t);
  createMdev(machine, { parent: "mtty", type: "mtty-2", uuid: A });
  sysfs.writes.length = 0;
  const fails = (parent: string, type: string, uuid: string | undefined, error: Wanted) =>
    t.throws(() => createMdev(machine, { parent, type, uuid }), error);
  fails("mty", "mtty-1", B, { code: "MDEV_PARENT", fix: `did you mean mtty? parents: ${gpu}, mtty` });
  fails("mtty", "mtty-3", B, {
    code: "MDEV_TYPE",
    fix: /types: mtty-1 \(Single port serial, 1 left\), mtty-2/,
  });
  fails("mtty", "mtty-1", "x", { code: "OPTION_VALUE", message: '"x" is no UUID' });
  fails("mtty", "mtty-1", `${A}0`, { code: "OPTION_VALUE" });
  fails("mtty", "mtty-1", A, { code: "MDEV_EXISTS", message: /1001 already/ });
  fails("mtty", "mtty-2", B, {
    code: "MDEV_NONE_LEFT",
    message: "mtty can make no more mediated devices of type mtty-2",
    fix: `take another type: mtty-1; or remove one: pollmode mdev remove ${A}`,
  });
  t.same(sysfs.writes, []);
  const none = new FakeSysfs(t);
  const empty = new Machine({ root: none.root, sysfs: none });
  t.throws(() => createMdev(empty, { parent: "mtty", type: "1" }), { code: "MDEV_PARENT", fix: /dmesg/ });
});

t.test("a create that fails at any step leaves nothing", async (t) => {
  const faults: [string, (sysfs: MdevSysfs) => void, Wanted][] = [
    [
      "the kernel refuses",
      (sysfs) => sysfs.failWrites(/create/, "EINVAL"),
      { code: "MDEV_CREATE", message: /EINVAL/ },
    ],
    ["somebody was faster", (sysfs) => sysfs.failWrites(/create/, "ENOSPC"), { code: "MDEV_NONE_LEFT" }],
    [
      "no driver",
      (sysfs) => {
        sysfs.lacks = "driver";
      },
      {
        code: "MDEV_CREATE",
        message: /no driver has bound it; all is as it was before$/,
        fix: /modprobe vfio_mdev/,
      },
    ],
    [
      "no device",
      (sysfs) => {
        sysfs.lacks = "device";
      },
      { code: "MDEV_CREATE", message: /no such device/ },
    ],
  ];
  for (const [name, break_, error] of faults) {
    const { machine, sysfs } = fake(t);
    const start = sysfs.instances();
    break_(sysfs);
    t.throws(() => createMdev(machine, { parent: "mtty", type: "mtty-1", uuid: A }), error, name);
    t.same(sysfs.instances(), start, name);
    t.equal(mdevParents(machine)[1]?.types[0]?.availableInstances, 3);
  }
  const { machine, sysfs } = fake(t);
  sysfs.lacks = "driver";
  sysfs.failWrites(/remove/, "EBUSY");
  t.throws(() => createMdev(machine, { parent: "mtty", type: "mtty-1", uuid: A }), {
    code: "MDEV_NOT_RESTORED",
    fix: new RegExp(`as root: pollmode mdev remove ${A}$`),
  });
});

t.test("remove: refused while it is open, and then by force", async (t) => {
  let sysfs: MdevSysfs;
  let lets = false;
  const made = fake(t, () => lets && sysfs.removeInstance(A));
  const { machine, program, commands } = made;
  sysfs = made.sysfs;
  createMdev(machine, { parent: "mtty", type: "mtty-1", uuid: A });
  program(42, "qemu", "/dev/vfio/10");
  const start = sysfs.instances();
  await t.rejects(removeMdev(machine, A, false), {
    code: "MDEV_IN_USE",
    message: `${A} is open in qemu (process 42): the kernel would wait for that to end`,
  });
  t.same(commands, []);
  await t.rejects(removeMdev(machine, A, true), {
    code: "MDEV_PENDING",
    message: /waits for qemu \(process 42\)/,
  });
  t.same(sysfs.instances(), start);
  t.equal(commands.length, 1);
  t.match(commands[0], new RegExp(`^sh -c .*echo 1 > "\\$0".* \\S+/bus/mdev/devices/${A}/remove$`));
  lets = true;
  await removeMdev(machine, A, true);
  t.same(mdevs(machine), []);
});

t.test("what cannot be removed", async (t) => {
  const { machine, sysfs } = fake(t);
  await t.rejects(removeMdev(machine, A, false), { code: "MDEV_UNKNOWN", fix: /there are none/ });
  await t.rejects(removeMdev(machine, "mtty", false), { code: "OPTION_VALUE" });
  createMdev(machine, { parent: "mtty", type: "mtty-1", uuid: A });
  await t.rejects(removeMdev(machine, B, false), { code: "MDEV_UNKNOWN", fix: `did you mean ${A}?` });
  sysfs.failWrites(/remove/, "EAGAIN");
  const start = sysfs.instances();
  await t.rejects(removeMdev(machine, A, false), {
    code: "MDEV_REMOVE",
    message: /cannot be removed: .*EAGAIN/,
  });
  t.same(sysfs.instances(), start);
});

t.test("a dry run", async (t) => {
  const { machine, sysfs } = fake(t);
  createMdev(machine, { parent: "mtty", type: "mtty-1", uuid: A });
  const root = mkdtempSync(join(tmpdir(), "pollmode-mdev-"));
  t.teardown(() => rmSync(root, { recursive: true }));
  symlinkSync(sysfs.root, join(root, "sys"));
  const changes: Change[] = [];
  const dry = new Machine({ root, record: (change) => changes.push(change) });
  const start = sysfs.instances();
  createMdev(dry, { parent: "mtty", type: "mtty-2", uuid: B });
  await removeMdev(dry, A, true);
  t.same(changes, [
    {
      kind: "write",
      path: join(root, "sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create"),
      value: B,
    },
    { kind: "write", path: join(root, `sys/bus/mdev/devices/${A}/remove`), value: "1" },
  ]);
  t.same(sysfs.instances(), start);
});

t.test("opening by sysfsdev: what is not there", async (t) => {
  const { machine, sysfs } = fake(t);
  const open = (uuid: string) => () => Sysfsdev.open(`/sys/bus/mdev/devices/${uuid}`, machine.system);
  t.throws(open(A), {
    code: "VFIO_SYSFSDEV",
    message: /there is no device \/sys\/bus\/mdev/,
    fix: /mdev create/,
  });
  createMdev(machine, { parent: "mtty", type: "mtty-1", uuid: A });
  t.throws(open(B), { code: "VFIO_SYSFSDEV", fix: `there are: ${A}` });
  t.throws(open(A), { code: "VFIO_NO_NODE", message: new RegExp(`^${A}: there is no .*/dev/vfio/10$`) });
  sysfs.drop(`devices/mtty/${A}/iommu_group`);
  t.throws(open(A), {
    code: "VFIO_SYSFSDEV",
    message: /no IOMMU group \(driver: mtty\)/,
    fix: /CONFIG_VFIO_GROUP/,
  });
  sysfs.drop(`devices/mtty/${A}/driver`);
  t.throws(open(A), { code: "VFIO_SYSFSDEV", fix: /modprobe vfio_mdev/ });
});
