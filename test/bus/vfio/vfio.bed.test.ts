// VFIO behind an IOMMU, in the lab: what containers, devices and interrupts do.
import { fileURLToPath } from "node:url";
import t from "tap";
import { Lab, labBed } from "../../beds/lab/lab.ts";
import { examine, type Findings } from "./findings.ts";
import { guestJson, openError, tryOpen } from "./guest-run.ts";

const skip = labBed.missing() ?? false;
t.setTimeout(300_000);

const [e1000e, igb] = ["0000:00:03.0", "0000:00:04.0"];

const boot = async () => {
  await labBed.setup();
  return Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }], cpus: 1 });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) {
  t.teardown(() => lab[Symbol.asyncDispose]());
  for (const { address } of lab.nics) await lab.bind(address, "vfio-pci");
}

t.test("two NICs at once, over one container", { skip }, async (t) => {
  const found = await guestJson<{ functions: Findings[]; open: string[]; left: string[] }>(lab, "functions", [
    e1000e,
    igb,
  ]);
  t.same(
    found.open,
    ["/dev/vfio/1", "/dev/vfio/2", "/dev/vfio/vfio", "anon_inode:[vfio-device]", "anon_inode:[vfio-device]"],
    "two groups, two devices, one container",
  );
  t.same(found.left, [], "and nothing after close()");
  const chips = [
    { vendor: 0x8086, device: 0x10d3, vectors: { msix: 5, msi: 1, intx: 1 } },
    { vendor: 0x8086, device: 0x10c9, vectors: { msix: 10, msi: 1, intx: 1 } },
  ];
  t.match(found.functions, chips);
  found.functions.forEach((one, at) => {
    t.test(["e1000e", "igb"][at]!, (t) => examine(t, one, [e1000e, igb][at]!));
  });
});

t.test("what a container maps, and what it refuses", { skip }, async (t) => {
  const found = await guestJson<Record<string, unknown> & { left: number[]; locked: number[] }>(
    lab,
    "mappings",
    [e1000e],
  );
  const refused = (code: string, message: RegExp) => ({ error: { code, message } });
  t.match(found, {
    unattached: refused("EINVAL", /VFIO_IOMMU_MAP_DMA/),
    twice: refused("EEXIST", /zone dma, 8388608 bytes/),
    partial: refused("EINVAL", /VFIO_IOMMU_UNMAP_DMA\(a part of the zone\)/),
    partialOfOurs: refused("VFIO_MAPPING", /no mapping begins at IOVA 0x1/),
    crooked: refused("VFIO_MAPPING", /^crooked: 4096 bytes at/),
    nothing: refused("VFIO_MAPPING", /^nothing: 0 bytes at/),
    reserved: refused(
      "VFIO_IOVA_RANGE",
      /0xfedff000 … 0xfee00fff touch .* usable: 0x0 … 0xfedfffff, 0xfef00000 … /,
    ),
    beyond: refused("VFIO_IOVA_RANGE", /0x4000000000000000/),
    kernelSays: refused("EINVAL", /as the kernel refuses it/),
  });
  t.same(found.left, [65535, 65534, 65535], "one mapping for a whole zone");
  t.same(found.locked, [8192, 0, 0], "KiB pinned: mapped, unmapped, group taken out");
});

t.test("physical addresses behind an IOMMU: hugepages are mapped as they lie", { skip }, async (t) => {
  const result = await tryOpen(lab, [e1000e], { iova: "pa", noHuge: false, memoryMib: 16 });
  t.match(result, { tries: [{ value: { access: "vfio" } }] });
  t.same([result.warnings, result.left, result.lockedKib], [[], [], 0]);
});

t.test("a failed open gives back everything", { skip }, async (t) => {
  const result = await tryOpen(lab, [e1000e], { bar: 5 });
  t.match(result, { tries: [{ error: { code: "PCI_BAR" } }] });
  t.same([result.left, result.lockedKib], [[], 0]);
  const error = await openError(lab, e1000e, { vfToken: "no-uuid" }).catch(String);
  t.match(error, /--vfio-vf-token no-uuid: this is no UUID/);
});

t.test("what is not mapped, the device does not reach, and the kernel says so", { skip }, async (t) => {
  const found = await guestJson<{ inside: unknown[]; firstUnmapped: string }>(lab, "fault", [e1000e]);
  t.same(found.inside, [], "descriptors in the zone are read");
  t.match(
    found,
    { beyond: [{ device: e1000e, address: found.firstUnmapped, access: "read" }] },
    "behind it not",
  );
});

t.test("examples/read-bar0.ts", { skip }, async (t) => {
  const example = fileURLToPath(new URL("../../../examples/read-bar0.js", import.meta.url));
  const { stdout, stderr } = await lab.node(example, [e1000e]);
  t.equal(stderr, "");
  const lines = stdout.trim().split("\n");
  t.equal(lines[0], "0000:00:03.0 is 8086:10d3");
  t.match(lines[1], /^it finds our 2 MiB at 0x1[0-9a-f]{8}$/);
  t.equal(lines.length, 10);
  t.match(lines[4], /^BAR0 \+ 0x0008: 0x0008[0-9a-f]{4}$/, "STATUS: bit 19 is GIO Master Enable Status");
  const failed = await lab.node(example, ["0000:00:1e.0"]);
  t.match(failed, {
    code: 1,
    stdout: "",
    stderr: /has the driver virtio-pci, not vfio-pci\n {2}fix: as root: /,
  });
});

t.test("a function that is reset with its bus alone", { skip }, async (t) => {
  // Behind a bridge of conventional PCI both have one IOMMU group. QEMU's root ports do not come back from a bus reset.
  const nic = (slot: number) => `e1000e,bus=bridge,addr=${slot}.0,romfile=`;
  const devices = ["pcie-pci-bridge,id=bridge,addr=8.0", nic(1), nic(2)];
  await lab[Symbol.asyncDispose](); // one guest at a time
  await using bridged = await Lab.boot({ devices });
  const addresses = ["0000:01:01.0", "0000:01:02.0"];
  for (const address of addresses) {
    await bridged.run(`echo > /sys/bus/pci/devices/${address}/reset_method`); // else it could do it by itself
    await bridged.bind(address, "vfio-pci");
  }
  t.same(await guestJson(bridged, "hot-reset", addresses), {
    alone: { done: true, back: true },
    together: { done: false, back: false }, // the other one is at work
    aloneAgain: { done: true, back: true },
  });
});
