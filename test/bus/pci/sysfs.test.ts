// Sysfs itself: what a failure says, what a dry run shows.
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import t from "tap";
import { Sysfs, type SysfsWrite } from "../../../src/bus/pci/sysfs.ts";
import { FakeSysfs } from "../../support/fake-sysfs.ts";

t.test("attributes, links and folders", async (t) => {
  const sysfs = new FakeSysfs(t);
  sysfs.put("a/value", "0x8086\n");
  sysfs.link("a/driver", "b/e1000e");
  t.equal(sysfs.read("a/value"), "0x8086");
  t.equal(sysfs.readOptional("a/other"), undefined);
  t.equal(sysfs.readOptional("a/value/below"), undefined);
  t.equal(sysfs.linkName("a/driver"), "e1000e", "of a link whose target is not there, too");
  t.equal(sysfs.linkName("a/other"), undefined);
  t.same(sysfs.list("a"), ["driver", "value"]);
  t.same(sysfs.list("none"), []);
  t.ok(sysfs.exists("a/value"));
  t.notOk(sysfs.exists("a/other"));
});

t.test("a failure names path, value and errno, and how to mend it", async (t) => {
  const sysfs = new FakeSysfs(t);
  t.throws(() => sysfs.read("a/vendor"), {
    code: "ENOENT",
    message: `read(${sysfs.root}/a/vendor): ENOENT, No such file or directory`,
    fix: /ls \/sys\/bus\/pci\/devices/,
  });
  t.throws(() => sysfs.read("bus"), { code: "EISDIR" });
  t.throws(() => sysfs.readOptional("bus"), { code: "EISDIR" }, "another failure than that there is none");
  t.throws(() => sysfs.linkName("bus/pci/drivers_probe"), { code: "EINVAL" });
  t.throws(() => sysfs.open("a/config", 0), { code: "ENOENT", message: /^open\(.*\/a\/config\)/ });
  t.throws(() => sysfs.write("a/unbind", "x"), {
    code: "ENOENT",
    message: /^write\(.*\/a\/unbind, "x"\): ENOENT/,
  });
  t.notOk(sysfs.exists("a/unbind"), "nothing is made that was not there");
  for (const [errno, fix] of [
    ["EACCES", /run as root/],
    ["EROFS", /docker run --privileged/],
    ["EBUSY", /dmesg/],
    ["EINVAL", /dmesg/],
  ] as const) {
    sysfs.faults.length = 0;
    sysfs.failWrites(/drivers_probe/, errno);
    t.throws(() => sysfs.write("bus/pci/drivers_probe", "0000:00:03.0\n"), {
      code: errno,
      message: new RegExp(`drivers_probe, "0000:00:03\\.0\\\\n"\\): ${errno}`),
      fix,
    });
  }
});

t.test("a failure of the real kernel", async (t) => {
  const sysfs = new Sysfs("/dev");
  t.throws(() => sysfs.write("full", "1"), { code: "ENOSPC", message: /^write\(\/dev\/full, "1"\): ENOSPC/ });
});

t.test("a dry run hands writes over, does none, and reads them back", async (t) => {
  const { root } = new FakeSysfs(t).addDevice("0000:00:03.0");
  const writes: SysfsWrite[] = [];
  const sysfs = new Sysfs(root, (write) => writes.push(write));
  t.ok(sysfs.isDryRun);
  const path = "bus/pci/devices/0000:00:03.0/driver_override";
  sysfs.write(path, "vfio-pci\n");
  t.same(writes, [{ path: `${root}/${path}`, value: "vfio-pci\n" }]);
  t.equal(sysfs.readOptional(path), "vfio-pci");
  t.equal(new Sysfs(root).read(path), "(null)");
  t.notOk(new Sysfs(root).isDryRun);
});

t.test("a write that sleeps in the kernel holds up another thread, not this one", async (t) => {
  const { root } = new FakeSysfs(t);
  execFileSync("mkfifo", [`${root}/numvfs`]); // a writer waits in open(2) until somebody reads
  const sysfs = new Sysfs(root);
  let isWritten = false;
  const written = sysfs.writeAside("numvfs", "4").then(() => {
    isWritten = true;
  });
  for (let k = 0; k < 5; k++) await new Promise(setImmediate);
  t.notOk(isWritten);
  t.equal(await readFile(`${root}/numvfs`, "utf8"), "4");
  await written;
  await t.rejects(new Sysfs("/dev").writeAside("full", "1"), {
    code: "ENOSPC",
    message: /^write\(\/dev\/full, "1"\): ENOSPC/,
  });
  const writes: SysfsWrite[] = [];
  const dry = new Sysfs(root, (write) => writes.push(write));
  await dry.writeAside("numvfs", "5");
  t.same([writes, dry.readOptional("numvfs")], [[{ path: `${root}/numvfs`, value: "5" }], "5"]);
});
