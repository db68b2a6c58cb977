// Configuration space through a file: reads, writes, the bits of PCI_COMMAND, and what stands in the way.
import { existsSync, readFileSync } from "node:fs";
import t from "tap";
import { ConfigFile, readConfigImage } from "../../../src/bus/pci/config-file.ts";
import { parseConfigSpace } from "../../../src/bus/pci/config-space.ts";
import { scanPci } from "../../../src/bus/pci/scan.ts";
import { FakeSysfs } from "../../support/fake-sysfs.ts";

const address = "0000:00:03.0";

function fake(t: { teardown(done: () => void): unknown }, bytes = 256) {
  const config = Buffer.alloc(bytes);
  config.writeUInt32LE(0x10d38086, 0);
  config.writeUInt16LE(0x0003, 4);
  const sysfs = new FakeSysfs(t).addDevice(address, { config });
  const command = () => readFileSync(sysfs.path(`bus/pci/devices/${address}/config`)).readUInt16LE(4);
  return { sysfs, command };
}

t.test("an image has as many bytes as this user may see", async (t) => {
  for (const bytes of [64, 256, 4096]) {
    const image = readConfigImage(address, fake(t, bytes).sysfs);
    t.equal(image.length, bytes);
    t.equal(parseConfigSpace(image).device, 0x10d3);
  }
  t.throws(() => readConfigImage("0000:00:04.0", fake(t).sysfs), {
    code: "ENOENT",
    message: /^open\(.*config\)/,
  });
});

t.test("bus mastering, memory and INTx, one bit each", async (t) => {
  const { sysfs, command } = fake(t);
  const config = new ConfigFile(address, sysfs);
  t.equal(config.read(0, 4), 0x10d38086);
  t.equal(config.read(2, 2), 0x10d3);
  t.equal(config.read(1, 1), 0x80);
  config.setBusMaster(true);
  t.equal(command(), 0x0007);
  config.setIntx(false);
  t.equal(command(), 0x0407);
  config.setMemory(false);
  t.equal(command(), 0x0405);
  config.setBusMaster(false);
  config.setIntx(true);
  config.setMemory(true);
  t.equal(command(), 0x0003);
  config.write(0x40, 4, 0xffff_fffe);
  t.equal(config.read(0x40, 4), 0xffff_fffe);
  config.close();
  config.close();
});

t.test("outside, across and beyond what is there", async (t) => {
  const { sysfs } = fake(t, 64);
  const config = new ConfigFile(address, sysfs);
  t.teardown(() => config.close());
  const wrong = [
    [-4, 4],
    [2, 4],
    [1, 2],
    [4096, 4],
    [0.5, 1],
    [64, 4],
  ] as const;
  for (const [offset, bytes] of wrong) {
    t.throws(() => config.read(offset, bytes), {
      code: "PCI_CONFIG",
      message: new RegExp(`^${address}: read of ${bytes} bytes of configuration space at ${offset}`),
    });
  }
  t.throws(() => config.write(4096, 4, 0), { code: "PCI_CONFIG" });
  t.throws(() => new ConfigFile("0000:00:04.0", sysfs), { code: "ENOENT" });
});

t.test("after it was closed", async (t) => {
  const config = new ConfigFile(address, fake(t).sysfs);
  config.close();
  t.throws(() => config.read(0, 4), { code: "PCI_CONFIG", message: /read of 4 bytes .* is closed/ });
});

const none = { skip: !existsSync("/sys/bus/pci/devices") && "this machine has no /sys/bus/pci" };

t.test("this machine's own devices, read only", none, async (t) => {
  for (const device of scanPci()) {
    const space = parseConfigSpace(readConfigImage(device.address));
    t.equal(space.vendor, device.vendor, device.address);
    t.equal(space.class, device.class);
  }
});
