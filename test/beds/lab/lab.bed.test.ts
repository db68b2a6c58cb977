// Proves the lab by itself: its guest's devices, IOMMU groups, drivers and virtual functions, how commands run in it,
// and that a guest that dies or hangs is a clear error. Then `npm run lab` as a program.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { OwnedProcess } from "../child.ts";
import { bootMsMax, Lab, labBed } from "./lab.ts";

const missing = labBed.missing();
const skip = missing ?? false;
t.setTimeout(600_000);
const folder = mkdtempSync(join(tmpdir(), "pollmode-lab-test-"));
t.teardown(() => rmSync(folder, { recursive: true }));
const program = fileURLToPath(new URL("./main.js", import.meta.url));
if (!missing) await labBed.setup();

const pci = "/sys/bus/pci/devices";

/** Waits for a network interface of a PCI function, and names it. */
function netdev(lab: Lab, address: string): Promise<string> {
  const script = `for _ in {1..100}; do
    cd ${pci}/${address}/net 2> /dev/null || cd ${pci}/${address}/virtio*/net && { ls; exit; }
    sleep 0.1
  done; exit 1`;
  return lab.run(script).then((text) => text.trim());
}

/** One boot for all tests up to the one that ends it. */
const nics = [{ model: "e1000e" }, { model: "igb" }, { model: "virtio" }] as const;
const lab = missing ? undefined! : await Lab.boot({ nics: [...nics] });
t.teardown(() => lab?.[Symbol.asyncDispose]());
const [e1000e, igb, virtio] = ["0000:00:03.0", "0000:00:04.0", "0000:00:05.0"] as const;

t.test("the NICs are where they are said to be", { skip }, async (t) => {
  t.comment(`up after ${Math.round(lab.bootMs)} ms`);
  t.same(
    lab.nics.map(({ address }) => address),
    [e1000e, igb, virtio],
  );
  const ids = [];
  for (const address of [e1000e, igb, virtio])
    ids.push((await lab.readFile(`${pci}/${address}/device`)).trim());
  t.same(ids, ["0x10d3", "0x10c9", "0x1041"]);
  const { stdout } = await lab.exec("ls /sys/class/net");
  t.equal(stdout.trim(), "lo", "no network driver is loaded");
});

t.test("commands", { skip }, async (t) => {
  const { code, stdout, stderr } = await lab.exec("cat; echo $WORD $PWD; echo no >&2; exit 3", {
    input: "a\nb\n",
    env: { WORD: "x" },
    cwd: "/usr/lib",
  });
  t.same([code, stdout, stderr], [3, "a\nb\nx /usr/lib\n", "no\n"]);
  t.match(await lab.exec("kill -9 $$"), { code: null, signal: "SIGKILL" });
  await t.rejects(lab.exec(["no-such-program"]), { code: "BED_PROCESS_FAILED", message: /ENOENT/ });
  await t.rejects(lab.run("echo because >&2; false"), { code: "COMMAND_FAILED", message: /because/ });
  await t.rejects(lab.exec("echo slow; sleep 60", { timeoutMs: 2000 }), { message: /within 2000 ms.*slow/s });
  const big = await lab.run("seq 200000");
  t.equal(big.length, 1_288_895, "no output is lost");
  const script = join(folder, "versions.mjs");
  await lab.writeFile(script, "console.log(process.version, ...process.argv.slice(2))");
  t.equal((await lab.node(script, ["a b"])).stdout, `${process.version} a b\n`);
  t.same(readdirSync(folder), [], "what the guest writes stays in the guest");
  await t.rejects(lab.readFile("/no/such"), { code: "BED_FILE", message: /ENOENT/ });
});

t.test("users and limits", { skip }, async (t) => {
  const show = "id -u; id -g; ulimit -l; grep CapEff /proc/self/status";
  const limited = await lab.run(show, { user: 1234, memlockBytes: 2 ** 20 });
  t.match(limited, /^1234\n1234\n1024\nCapEff:\s*0+\n$/);
  t.match(await lab.run(show, { user: "nobody" }), /^65534\n65534\n8192\nCapEff:\s*0+\n$/);
  t.match(await lab.run(show), /^0\n0\n/);
});

t.test("several programs at a time", { skip }, async (t) => {
  await using echo = lab.start(["cat"]);
  await using trap = lab.start("trap 'echo caught; exit 5' INT; echo waiting; while :; do sleep 0.1; done");
  echo.write("one\n");
  await echo.waitFor(/one/);
  await trap.waitFor(/waiting/);
  trap.signal("SIGINT");
  t.same(await trap.exited, { code: 5, signal: null });
  t.match(trap.stdout, /caught/);
  await t.rejects(trap.waitFor(/never/), {
    message: /ended \(with exit code 5\) before it printed \/never\//,
  });
  t.same(await echo.stop("SIGTERM", 5000), { code: null, signal: "SIGTERM" });
});

t.test("the kernel's drivers carry frames between the NICs", { skip }, async (t) => {
  await lab.bind(e1000e, "e1000e");
  await lab.bind(virtio, "virtio-pci");
  const [first, second] = [await netdev(lab, e1000e), await netdev(lab, virtio)];
  // Two stacks: within one, Linux would deliver to its own address without any wire.
  await lab.run(`ip netns add peer && ip link set ${second} netns peer
    ip addr add 10.1.0.1/24 dev ${first} && ip link set ${first} up
    ip -n peer addr add 10.1.0.2/24 dev ${second} && ip -n peer link set ${second} up`);
  t.match(await lab.run("ping -c 3 -i 0.2 -w 20 10.1.0.2"), / [3-9] received/);
  const carrier = () => lab.run(`for _ in {1..50}; do cat /sys/class/net/${first}/carrier; sleep 0.1; done`);
  await lab.setLink(lab.nics[0]!, false);
  t.match(await carrier(), /0\n$/, "the cable is pulled");
  await lab.setLink(lab.nics[0]!, true);
  t.match(await carrier(), /1\n$/, "and plugged in");
  await lab.run("ip netns del peer");
});

t.test("vfio-pci: each NIC is alone in a group that can be used", { skip }, async (t) => {
  await lab.bind(e1000e, "vfio-pci");
  const [group, ...more] = (await lab.run(`ls ${pci}/${e1000e}/iommu_group/devices`)).trim().split("\n");
  t.same([group, ...more], [e1000e]);
  const number = (await lab.run(`basename $(readlink ${pci}/${e1000e}/iommu_group)`)).trim();
  const opened = await lab.run(["bash", "-c", `exec 3<>/dev/vfio/${number}; ls -l /proc/$$/fd/3`]);
  t.match(opened, new RegExp(`/dev/vfio/${number}$`, "m"));
  await t.rejects(lab.bind("0000:00:1c.0", "vfio-pci"), { message: /no PCI device 0000:00:1c.0/ });
  await t.rejects(lab.bind(e1000e, "no_such"), { message: /modprobe no_such failed/ });
});

t.test("virtual functions with their PF on the kernel's driver", { skip }, async (t) => {
  await lab.bind(igb, "igb");
  const pf = await netdev(lab, igb);
  await lab.run(`ip link set ${pf} up`);
  await lab.writeFile(`${pci}/${igb}/sriov_numvfs`, "2");
  const links = [
    await lab.run(`readlink ${pci}/${igb}/virtfn0`),
    await lab.run(`readlink ${pci}/${igb}/virtfn1`),
  ];
  t.same(
    links.map((link) => link.trim()),
    ["../0000:00:14.0", "../0000:00:14.2"],
  );
  await lab.bind("0000:00:14.0", "vfio-pci");
  await lab.bind("0000:00:14.2", "igbvf");
  t.equal((await lab.run(`ls ${pci}/0000:00:14.0/iommu_group/devices`)).trim(), "0000:00:14.0");
  t.match(await netdev(lab, "0000:00:14.2"), /\w/);
});

t.test("modules that Debian does not ship", { skip }, async (t) => {
  await lab.run("modprobe -a mtty macvlan bridge veth");
  t.match(await lab.run("ls /sys/class/mdev_bus"), /mtty/);
  t.match(await lab.dmesg(), /DMAR: IOMMU enabled/);
});

t.test("a guest that dies fails all that waits for it", { skip }, async (t) => {
  const waiting = lab.exec("sleep 50");
  const crash = lab.exec("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger");
  await t.rejects(waiting, { code: "BED_CRASHED", message: /QEMU has ended[\s\S]*Kernel panic/ });
  await t.rejects(crash, { code: "BED_CRASHED" });
  await t.rejects(lab.exec("true"), { code: "BED_CRASHED" });
  await t.rejects(lab.readFile("/proc/uptime"), { code: "BED_CRASHED" });
});

t.test("without an IOMMU", { skip }, async (t) => {
  // A socket in place of the hub: the host is the NIC's peer.
  const path = join(folder, "wire");
  const server = createServer().listen(path);
  t.teardown(() => server.close());
  const wire = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const nics = [
    { model: "e1000e", wire: { socket: path }, mac: "52:54:00:00:00:77" },
    { model: "igb" },
  ] as const;
  await using lab = await Lab.boot({
    iommu: false,
    nics: [...nics],
    memoryMib: 1024,
    hugepages: 16,
    cpus: 1,
  });
  const [e1000e, igb] = lab.nics.map(({ address }) => address) as [string, string];

  await t.test("no-IOMMU mode and UIO", async (t) => {
    await lab.bind(e1000e, "vfio-pci");
    t.match(await lab.run("ls /dev/vfio"), /^noiommu-0$/m);
    for (const driver of ["uio_pci_generic", "igb_uio"]) {
      await lab.bind(igb, driver);
      t.match(await lab.run(`ls ${pci}/${igb}/uio`), /^uio\d+$/m);
      await lab.bind(igb, "none");
    }
    t.equal((await lab.run("nproc; cat /proc/sys/vm/nr_hugepages")).trim(), "1\n16");
  });

  await t.test("a NIC wired to a socket", async (t) => {
    const socket = await wire;
    const received = new Promise<Buffer>((resolve) => socket.once("data", resolve));
    await lab.bind(e1000e, "e1000e");
    const name = await netdev(lab, e1000e);
    await lab.run(`ip link set ${name} up`); // and IPv6 greets its neighbours
    const bytes = await received;
    t.equal(bytes.readUInt32BE(0) > 59, true, "the frame's length");
    t.equal(bytes.subarray(10, 16).toString("hex"), "525400000077", "sent from the NIC's address");
    socket.destroy();
  });

  await t.test("a guest that hangs fails all that waits for it", async (t) => {
    const waiting = lab.exec("sleep 50");
    const hang = lab.exec("kill -STOP $PPID; sleep 50", { timeoutMs: 2000 }); // the agent, which answers no more
    await t.rejects(hang, { code: "BED_CRASHED", message: /the guest hangs/ });
    await t.rejects(waiting, { code: "BED_CRASHED" });
    await t.rejects(lab.exec("true"), { code: "BED_CRASHED" });
  });
});

t.test("a guest that does not come up", { skip }, async (t) => {
  const none = { socket: join(folder, "nobody") };
  await t.rejects(Lab.boot({ nics: [{ model: "igb", wire: none }] }), { message: /no socket .*nobody/ });
  const broken = Lab.boot({ kernelArguments: ["lab.modules=/nowhere"] });
  await t.rejects(broken, { message: /@lab failed: no modules in \/nowhere/ });
  const nine = Array.from({ length: 9 }, () => ({ model: "igb" }) as const);
  await t.rejects(Lab.boot({ nics: nine }), { code: "BED_UNSUPPORTED" });
});

const start = (args: string[]) => new OwnedProcess("npm run lab", process.execPath, [program, ...args]);

/** The QEMU that the program has started: its only child. */
function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
}

t.test("npm run lab", { skip }, async (t) => {
  await t.test("passes input, output and the exit code through", async (t) => {
    const script = 'read line; echo "got $line"; echo no >&2; ls -l /dev/vfio; exit 7';
    await using lab = start(["--nic", "igb", "--bind", "vfio-pci", "--", "bash", "-c", script]);
    lab.write("something\n");
    t.same(await lab.exited, { code: 7, signal: null });
    t.match(lab.stdout, /^got something\n[\s\S]* 0\n[\s\S]* vfio\n$/);
    t.match(lab.output, /lab: 0000:00:03.0 igb 52:54:00:1a:b0:01 \(vfio-pci\)\n/);
  });

  await t.test("Ctrl-C reaches the command", async (t) => {
    const script = "trap 'echo caught; exit 5' INT; echo waiting; while :; do sleep 0.1; done";
    await using lab = start(["--wire", "none", "--quiet", "--", "bash", "-c", script]);
    await lab.waitFor(/waiting/, bootMsMax);
    const qemu = childOf(lab.pid!);
    lab.signal("SIGINT");
    t.same(await lab.exited, { code: 5, signal: null });
    t.equal(lab.stdout, "waiting\ncaught\n");
    t.throws(() => process.kill(qemu, 0), { code: "ESRCH" }, "QEMU has ended");
  });

  await t.test("a shell on a terminal", async (t) => {
    const command = `${process.execPath} ${program} --nic virtio`;
    await using lab = new OwnedProcess("script", "script", ["-qefc", command, "/dev/null"]);
    await lab.waitFor(/lab:.*[#$] /s, bootMsMax);
    // In a shell of its own: the interactive one may drop a Ctrl-C while it is starting a program.
    lab.write("sh -c 'tty; exec sleep 50'\n");
    await lab.waitFor(/\/dev\/pts\/\d/, 20_000);
    lab.write("\x03");
    await lab.waitFor(/\^C[\s\S]*[#$] /, 20_000);
    lab.write("exit 9\n");
    t.same(await lab.exited, { code: 9, signal: null });
  });

  await t.test("killed, it takes QEMU along", async (t) => {
    await using lab = start(["--quiet", "--", "bash", "-c", "echo waiting; sleep 60"]);
    await lab.waitFor(/waiting/, bootMsMax);
    const qemu = childOf(lab.pid!);
    t.match(readFileSync(`/proc/${qemu}/comm`, "utf8"), /^qemu/);
    await lab.kill();
    for (let left = 50; left > 0 && isAlive(qemu); left--) await new Promise((done) => setTimeout(done, 100));
    t.notOk(isAlive(qemu));
  });

  await t.test("bad options", async (t) => {
    for (const [args, message] of [
      [["--nic", "e1000"], /there is no model "e1000"[\s\S]*e1000e/],
      [["--wire", "cable"], /"cable" is neither hub, none nor socket:PATH/],
      [["--memory", "lots"], /"lots" is no whole number/],
      [["ls"], /unexpected "ls"[\s\S]*"--"/],
      [["--wire", `socket:${join(folder, "nobody")}`], /no socket .*nobody/],
    ] as const) {
      await using lab = start([...args]);
      t.match(await lab.exited, { code: 1 });
      t.match(lab.output, message);
    }
    await using help = start(["--help"]);
    t.match(await help.exited, { code: 0 });
    t.match(help.stdout, /--no-iommu/);
  });
});

function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
