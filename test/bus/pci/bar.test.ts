// BARs laid over the arena: a file stands in for the device's registers, and a sealed one for what cannot be mapped.
import { closeSync, readFileSync, symlinkSync } from "node:fs";
import t from "tap";
import { mapBar, openBar, refused } from "../../../src/bus/pci/bar.ts";
import { PollmodeError } from "../../../src/errors.ts";
import { F_SEAL_WRITE, MFD_ALLOW_SEALING, MFD_CLOEXEC } from "../../../src/libc/abi.ts";
import { addSeals, ftruncate, memfdCreate } from "../../../src/libc/libc.ts";
import { MIB } from "../../../src/limits.ts";
import { Arena } from "../../../src/memory/arena.ts";
import { FakeSysfs, zeroBar } from "../../support/fake-sysfs.ts";

const address = "0000:00:03.0";
const folder = `devices/pci0000:00/${address}`;

function fake(t: { teardown(done: () => void): unknown }): FakeSysfs {
  const sysfs = new FakeSysfs(t).addDriver("igb_uio").addDevice(address, {
    driver: "igb_uio",
    resource: [
      "0x00000000febc0000 0x00000000febdffff 0x0000000000040200",
      "0x000000000000c040 0x000000000000c05f 0x0000000000040101",
      zeroBar,
      "0x00000000febe0100 0x00000000febe017f 0x0000000000040200",
      "0x0000000000000000 0x0000000000003fff 0x0000000020000200",
    ],
  });
  const registers = Buffer.alloc(0x20000);
  registers.writeUInt32LE(0x80080783, 8);
  sysfs.put(`${folder}/resource0`, registers);
  sysfs.put(`${folder}/resource3`, Buffer.alloc(0x80));
  return sysfs;
}

t.test("registers are read and written through the arena", async (t) => {
  const sysfs = fake(t);
  const arena = new Arena(16 * MIB);
  t.teardown(() => arena.close());
  const { bar, range } = mapBar(arena, address, 0, sysfs);
  t.equal(bar.bytes, 0x20000);
  t.equal(bar.offset % 4096, 0);
  t.equal(arena.u32[(bar.offset + 8) >> 2], 0x80080783);
  arena.u32[bar.offset >> 2] = 0x1234;
  t.equal(readFileSync(sysfs.path(`${folder}/resource0`)).readUInt32LE(0), 0x1234);
  arena.release(range);
  t.equal(arena.u32[(bar.offset + 8) >> 2], 0, "nothing is left mapped");
});

t.test("a BAR smaller than a page begins within its page", async (t) => {
  const { fd, bytes, start } = openBar(address, 3, fake(t));
  closeSync(fd);
  t.equal(bytes, 0x80);
  t.equal(start, 0x100);
});

t.test("BARs that cannot be mapped", async (t) => {
  const sysfs = fake(t);
  const open = (index: number) => () => closeSync(openBar(address, index, sysfs).fd);
  t.throws(open(1), {
    code: "PCI_BAR",
    message: /BAR1 of 0000:00:03.0: it is of I\/O ports/,
    fix: /BAR0, BAR3/,
  });
  t.throws(open(2), { code: "PCI_BAR", message: /has none/ });
  t.throws(open(6), { code: "PCI_BAR", message: /has none/ });
  t.throws(open(-1), { code: "PCI_BAR" });
  t.throws(open(4), { code: "PCI_BAR", message: /no address for its 16384 bytes/, fix: /pci=realloc/ });
  sysfs.put(`${folder}/resource0`, Buffer.alloc(0x1000));
  t.throws(open(0), { code: "PCI_BAR", message: /its file has 4096 bytes, the BAR 131072/ });
  sysfs.drop(`${folder}/resource0`);
  t.throws(open(0), { code: "ENOENT", message: /resource0/ });
  t.throws(() => openBar("0000:00:04.0", 0, sysfs), { code: "PCI_UNKNOWN" });
  const bare = new FakeSysfs(t).addDevice(address);
  t.throws(() => openBar(address, 0, bare), { code: "PCI_BAR", fix: /no memory BAR/ });
});

t.test("the kernel refuses to map it", async (t) => {
  const sysfs = fake(t);
  const arena = new Arena(16 * MIB);
  const sealed = memfdCreate("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  t.teardown(() => {
    closeSync(sealed);
    arena.close();
  });
  ftruncate(sealed, 0x20000);
  addSeals(sealed, F_SEAL_WRITE); // a shared writable mapping is EPERM then, as under lockdown
  sysfs.drop(`${folder}/resource0`);
  symlinkSync(`/proc/self/fd/${sealed}`, sysfs.path(`${folder}/resource0`));
  const map = () => mapBar(arena, address, 0, sysfs);
  t.throws(map, {
    code: "PCI_BAR_REFUSED",
    message: /BAR0 of 0000:00:03.0: kernel lockdown lets/,
    fix: /vfio-pci/,
  });
  sysfs.put("kernel/security/lockdown", "none [integrity] confidentiality\n");
  t.throws(map, { message: /lockdown \(integrity\)/, fix: /secure boot/ });
  const range = arena.reserve("all", 15 * MIB, 4096);
  arena.u8.fill(1, range.start, range.start + range.bytes);
  t.pass("nothing of the arena is taken, and it has no hole");
});

t.test("what a failure of mmap means", async (t) => {
  const sysfs = fake(t);
  const explain = (errno: string) => refused("BAR0", address, new PollmodeError(errno, "mmap", ""), sysfs);
  t.match(explain("EINVAL"), {
    code: "PCI_BAR_REFUSED",
    message: "BAR0: igb_uio has claimed the region, and the kernel then lets nobody map it",
    fix: /iomem=relaxed/,
  });
  t.match(explain("ENOMEM"), { code: "ENOMEM" }, "any other stays what it is");
  t.match(refused("BAR0", address, new TypeError("x"), sysfs), { name: "TypeError" });
});
