// CPUs, containers, the kernel's log: what makes the doctor warn.
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import t from "tap";
import { kernelLog } from "../../src/doctor/kernel-log.ts";
import { explain } from "../../src/doctor/messages.ts";
import { examined, failed, healthy, lineOf, nic, router } from "./made.ts";

t.test("isolated CPUs", async (t) => {
  const made = healthy(t);
  const line = async () => lineOf(await examined(made), "isolated");
  t.match(await line(), { state: "ok", text: "CPUs 16-31, without ticks (nohz_full) 16-31" });
  made.put("/sys/devices/system/cpu/nohz_full", "(null)\n");
  t.equal((await line()).text, "CPUs 16-31");
  made.put("/sys/devices/system/cpu/isolated", "\n");
  t.match(await line(), {
    state: "warn",
    fix: [
      "add isolcpus=16-31 nohz_full=16-31 rcu_nocbs=16-31 to the kernel's command line, in the boot loader's " +
        "configuration; then reboot, and run the lcores there: -l 16-31",
    ],
  });
  made.put("/sys/devices/system/cpu/online", "0-1\n");
  t.match((await line()).fix[0], "isolcpus=1 nohz_full=1 rcu_nocbs=1 ");
  made.put("/sys/devices/system/cpu/online", "0\n");
  t.match(await line(), { state: "skipped" });
});

t.test("governor", async (t) => {
  const made = healthy(t);
  const line = async () => lineOf(await examined(made), "governor");
  t.match(await line(), { state: "ok", text: "performance" });
  made.put("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "schedutil\n");
  t.match(await line(), {
    state: "warn",
    text: "performance, schedutil: the CPUs slow down between bursts",
    fix: [
      "as root: for file in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do echo performance > $file; done",
    ],
  });
  made.drop("/sys/devices/system/cpu/cpu0").drop("/sys/devices/system/cpu/cpu1");
  t.match(await line(), { state: "skipped" });
});

t.test("a container", async (t) => {
  const made = healthy(t);
  const line = async (options = {}) => lineOf(await examined(made, options), "container");
  t.match(await line(), { state: "ok", text: "not in a container" });
  made.put("/proc/1/cgroup", "0::/kubepods/besteffort/pod1\n");
  t.match(await line(), { state: "ok", text: /which takes away nothing that pollmode needs$/ });
  made.put(
    "/proc/self/mountinfo",
    "1 0 0:1 / /sys rw - sysfs sysfs rw\n2 0 0:2 / /sys ro,nosuid - sysfs sysfs ro\n",
  );
  t.match(await line(), { state: "ok" }, "what is bound needs no writable /sys");
  t.match(await line({ devices: ["01:00.1"] }), {
    state: "warn",
    text: "in a container: /sys is read-only, so that no NIC can be bound from inside",
    fix: ["bind NICs on the host; or start the container with --privileged"],
  });
  const devices = "/sys/fs/cgroup/devices/devices.list";
  made.put("/proc/self/cgroup", "9:devices:/docker/4711\n8:cpu,cpuacct:/docker/4711\n");
  for (const [list, state] of [
    ["a *:* rwm\n", "ok"],
    ["c 1:3 rwm\nc 10:196 rwm\n", "ok"],
    ["c 1:3 rwm\nc *:* m\n", "warn"],
    ["b *:* rwm\nc 10:200 rwm\n", "warn"],
  ] as const) {
    made.put(devices, list);
    t.equal((await line()).state, state, JSON.stringify(list));
  }
  t.match(await line(), {
    text: "in a container: its device rules (cgroup) forbid /dev/vfio/vfio",
    fix: ["docker run --device /dev/vfio/vfio, and --device with the group's node"],
  });

  const ns = { cgroup: 4026531835, pid: 4026531836, uts: 4026531838, ipc: 4026531839 };
  const namespace = (name: string, inode: number) =>
    symlinkSync(`${name}:[${inode}]`, `${made.root}/proc/self/ns/${name}`);
  mkdirSync(`${made.root}/proc/self/ns`);
  for (const [name, inode] of Object.entries(ns)) namespace(name, inode);
  t.match(
    await line(),
    { state: "ok", text: "not in a container" },
    "a mark is left, all namespaces are the machine's",
  );
  rmSync(`${made.root}/proc/self/ns/uts`);
  namespace("uts", 4026532000);
  t.match(await line(), { state: "warn" });

  const physical = router(t).put("/run/.containerenv", "");
  physical.put("/proc/self/status", "Seccomp:\t2\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n");
  t.match(lineOf(await examined(physical, { user: "alice" }), "container"), {
    state: "warn",
    text: /^in a container: nobody in it can have SYS_RAWIO, SYS_ADMIN; its seccomp filter may forbid io_uring/,
    fix: ["docker run --cap-add SYS_RAWIO --cap-add SYS_ADMIN", /^docker run --security-opt seccomp=FILE/],
  });
});

/** As kernels wrote them. */
const messages: readonly (readonly [line: string, device: string | undefined, meaning: RegExp])[] = [
  ["vfio-pci: probe of 0000:01:00.2 failed with error -22", nic, /has no IOMMU group/],
  ["vfio-pci 0000:01:00.2: probe with driver vfio-pci failed with error -22", nic, /has no IOMMU group/],
  ["vfio-pci: probe of 0000:01:00.2 failed with error -16", nic, /something still has the device/],
  ["uio_pci_generic: probe of 0000:01:00.2 failed with error -19", nic, /INTx interrupt/],
  [
    "uio_pci_generic 0000:01:00.2: No IRQ assigned to device: no support for interrupts?",
    nic,
    /INTx interrupt/,
  ],
  ["igb_uio: probe of 0000:01:00.2 failed with error -12", nic, /igb_uio found/],
  [
    "vfio-pci 0000:01:00.2: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  " +
      "Contact your platform vendor.",
    nic,
    /the firmware keeps using memory/,
  ],
  [
    'vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "allow_unsafe_interrupts" ' +
      "to enable VFIO IOMMU support on this platform",
    undefined,
    /does not check interrupts/,
  ],
  ["vfio_pin_pages_remote: RLIMIT_MEMLOCK (8388608) exceeded", undefined, /more memory/],
  ["igb 0000:01:00.2: not enough MMIO resources for SR-IOV", nic, /no room for the virtual functions/],
  ["igb 0000:01:00.2: SR-IOV: bus number out of range", nic, /no bus numbers/],
  ["ixgbe 0000:01:00.2: can't enable 63 VFs (bus 04 out of range of [bus 01-03])", nic, /no bus numbers/],
  ["vfio-pci 0000:01:00.2: BAR 0: can't reserve [mem 0xf7000000-0xf70fffff]", nic, /another driver/],
  ["pci 0000:01:00.2: BAR 7: no space for [mem size 0x00020000 64bit]", nic, /no address/],
  ["pci 0000:01:00.2: BAR 7 [mem size 0x00020000 64bit]: can't assign; no space", nic, /no address/],
  [
    "Lockdown: node: direct PCI access is restricted; see man kernel_lockdown.7",
    undefined,
    /lockdown forbids UIO/,
  ],
  ["Loading of unsigned module is rejected", undefined, /signed modules alone/],
  ["vfio-pci 0000:01:00.2: Adding kernel taint for vfio-noiommu group on device", nic, /without an IOMMU/],
  [
    "DMAR: [DMA Read NO_PASID] Request device [01:00.2] fault addr 0x12345000 " +
      "[fault reason 0x06] PTE Read access is not set",
    nic,
    /stopped a read of 0000:01:00.2 at 0x12345000/,
  ],
];

t.test("messages of the kernel", async (t) => {
  for (const [line, device, meaning] of messages) {
    const found = explain(line);
    t.equal(found?.device, device, line);
    t.match(found?.text, meaning);
    t.ok(found?.fix.command ?? found?.fix.setting);
  }
  t.equal(explain("vfio-pci 0000:01:00.2: enabling device (0000 -> 0003)"), undefined);
});

t.test("the kernel's log", async (t) => {
  const made = healthy(t);
  const line = async () => lineOf(await examined(made), "log");
  t.match(await line(), { state: "ok" });
  const told = "vfio-pci: probe of 0000:01:00.2 failed with error -22";
  const other = "4,7,8,-;vfio-pci: probe of 0000:77:00.2 failed with error -22";
  made.put("/dev/kmsg", [`4,5,6,-;${told}`, " SUBSYSTEM=pci", `4,6,7,-;${told}`, other, ""].join("\n"));
  const found = await examined(made);
  t.same(failed(found), [], "it may be mended since");
  t.match(lineOf(found, "log"), {
    state: "warn",
    text: `the kernel's log says, be it mended or not: "${told}": the device has no IOMMU group`,
    fix: [/^turn the IOMMU on/],
  });
  made.drop("/dev/kmsg");
  t.match(await line(), { state: "skipped", text: /^the copy has no kernel's log: dmesg > / });
  made.put("/var/log/kern.log", `Jan  1 00:00:00 host kernel: [    1.0] ${told}\n`);
  t.match((await line()).text, told);
  t.same(kernelLog(made.machine())?.length, 2);
});
