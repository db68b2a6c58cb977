// The IOMMU drivers' texts in debugfs, as Linux' Documentation/ABI/testing/debugfs-intel-iommu and debugfs-amd-iommu
// show them and its drivers print them.
import t from "tap";
import {
  parseAmdDevice,
  parseAmdQueue,
  parseDmarTranslation,
  parseDomainTranslation,
  parseInvalidationQueue,
  parseLatency,
  parseRegisters,
} from "../../src/devices/iommu-tables.ts";

const zeros = "0x0000000000000000:0x0000000000000000:0x0000000000000000";

t.test("dmar_translation_struct since Linux 5.2", async (t) => {
  const heading = "B.D.F\tRoot_entry\t\t\t\tContext_entry\t\t\t\tPASID\tPASID_table_entry";
  const text = [
    "IOMMU dmar1: Root Table Address: 0x103027000",
    heading,
    `00:02.0\t0x0000000000000000:0x000000010303e001\t0x0000000000000102:0x000000010303f005\t-1    \t${zeros}`,
    `00:14.0\t0x0000000000000000:0x000000010303e001\t0x0000000000000202:0x0000000000000009\t-1    \t${zeros}`,
    "",
    "IOMMU dmar0: Root Table Address: 0x103028000",
    heading,
    "00:0a.0\t0x0000000000000000:0x00000001038a7001\t0x0000000000000000:0x0000000103220e7d\t0     \t" +
      "0x0000000000000000:0x0000000000800002:0x00000001038a5089",
    "00:0a.0\t0x0000000000000000:0x00000001038a7001\t0x0000000000000000:0x0000000103220e7d\t7     \t" +
      "0x00000001044b1000:0x0000000000000003:0x0000000000000049",
    "00:0b.0\t0x0000000000000000:0x00000001038a7001\t0x0000000000000000:0x0000000103220e7d\t0     \t" +
      "0x0000000000000000:0x0000000000000001:0x0000000000000109",
    "",
    "DMA Remapping is not enabled on dmar2",
  ].join("\n");
  t.same(parseDmarTranslation(text), [
    {
      device: "00:02.0",
      unit: "dmar1",
      pasid: undefined,
      domain: 1,
      mode: "translated",
      pageTable: "0x10303f000",
    },
    {
      device: "00:14.0",
      unit: "dmar1",
      pasid: undefined,
      domain: 2,
      mode: "pass-through",
      pageTable: undefined,
    },
    {
      device: "00:0a.0",
      unit: "dmar0",
      pasid: undefined,
      domain: 2,
      mode: "translated",
      pageTable: "0x1038a5000",
    },
    { device: "00:0a.0", unit: "dmar0", pasid: 7, domain: 3, mode: "translated", pageTable: "0x1044b1000" },
    {
      device: "00:0b.0",
      unit: "dmar0",
      pasid: undefined,
      domain: 1,
      mode: "pass-through",
      pageTable: undefined,
    },
  ]);
});

t.test("dmar_translation_struct before", async (t) => {
  const text = [
    "IOMMU dmar2: Root Table Address:4362cc000",
    "Root Table Entries:",
    " Bus: 0 H: 0 L: 4362f0001",
    " Context Table Entries for Bus: 0",
    "  Entry\tB:D.F\tHigh\tLow",
    "  160  \t00:14.0\t102   \t4362ef001",
    "  248  \t00:1f.0\t202   \t436300001",
  ].join("\n");
  t.same(parseDmarTranslation(text), [
    {
      device: "00:14.0",
      unit: "dmar2",
      pasid: undefined,
      domain: 1,
      mode: "translated",
      pageTable: "0x4362ef000",
    },
    {
      device: "00:1f.0",
      unit: "dmar2",
      pasid: undefined,
      domain: 2,
      mode: "translated",
      pageTable: "0x436300000",
    },
  ]);
});

t.test("domain_translation_struct: of all devices, of one, of a PASID", async (t) => {
  const path = "0x0000000000000000\t0x00000001017f9003\t0x00000001017fa003";
  const old = [
    "Device 0000:00:02.0 @0x1017f8000",
    "IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE",
    `0x000000008d800 |\t${path}\t0x00000001017fb003\t0x000000008d800003`,
    `0x000000008d801 |\t${path}\t0x00000001017fb003\t0x000000008d801003`,
    `0x0000000100200 |\t${path}\t0x0000000120000083\t0x0000000000000000`,
    "",
    "Device 0000:03:00.0 @0x105500000",
    "IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE",
    "0x0000000140000 |\t0x0000000000000000\t0x00000001017f9003\t0x0000000140000083\t" +
      "0x0000000000000000\t0x0000000000000000",
    "",
    "Device 0000:04:00.0 @0x105600000",
    "IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE",
  ].join("\n");
  const MIB = 2 ** 20;
  t.same(parseDomainTranslation(old), [
    { device: "0000:00:02.0", pasid: undefined, pageTable: "0x1017f8000", entries: 3, bytes: 2 * MIB + 8192 },
    { device: "0000:03:00.0", pasid: undefined, pageTable: "0x105500000", entries: 1, bytes: 1024 * MIB },
    { device: "0000:04:00.0", pasid: undefined, pageTable: "0x105600000", entries: 0, bytes: 0 },
  ]);
  const since = [
    "Device 0000:00:0a.0 with pasid 1f @0x10c112000",
    "IOVA_PFN         \tPML5E             \tPML4E             \tPDPE              \tPDE               \tPTE",
    `0x0000000000000 |\t${path}\t0x0000000104b38003\t0x0000000147c00803`,
  ].join("\n");
  t.same(parseDomainTranslation(since), [
    { device: "0000:00:0a.0", pasid: 31, pageTable: "0x10c112000", entries: 1, bytes: 4096 },
  ]);
  t.same(parseDomainTranslation("Invalid device or pasid!\n"), []);
});

t.test("registers", async (t) => {
  const unit = (name: string, gsts: string, fsts: string) =>
    [
      `IOMMU: ${name} Register Base Address: 26be37000`,
      "Name\t\t\tOffset\t\tContents",
      "VER             \t0x00\t\t0x0000000000000010",
      `GSTS            \t0x1c\t\t${gsts}`,
      `FSTS            \t0x34\t\t${fsts}`,
      "",
    ].join("\n");
  const text =
    unit("dmar0", "0x00000000c7000000", "0x0000000000000000") +
    unit("dmar1", "0x0000000045000000", "0x0000000000000002");
  t.same(parseRegisters(text), [
    { unit: "dmar0", isTranslating: true, isRemappingInterrupts: true, hasFaults: false },
    { unit: "dmar1", isTranslating: false, isRemappingInterrupts: false, hasFaults: true },
  ]);
});

t.test("queues", async (t) => {
  const intel = [
    "Invalidation queue on IOMMU: dmar0",
    " Base: 0x10022e000\tHead: 20\tTail: 20",
    "Index\t\tqw0\t\t\tqw1\t\t\tqw2\t\t\tqw3\t\t\tstatus",
    "    0\t0000000000000014\t0000000000000000\t0000000000000000\t0000000000000000\t0000000000000000",
    "",
    "Invalidation queue on IOMMU: dmar1",
    " Base: 0x10026e000\tHead: 254\tTail: 3",
  ].join("\n");
  t.same(parseInvalidationQueue(intel), [
    { unit: "dmar0", waiting: 0 },
    { unit: "dmar1", waiting: 5 },
  ]);
  const amd = "CMD Buffer Head Offset:339 Tail Offset:341\n  0: 00835001 10000001 00003c00 00000000\n";
  t.same(parseAmdQueue("iommu00", amd), [{ unit: "iommu00", waiting: 2 }]);
  t.same(parseAmdQueue("iommu00", ""), []);
});

t.test("latencies: none, or rows of what is sampled", async (t) => {
  const heading =
    "                  <0.1us   0.1us-1us    1us-10us  10us-100us   100us-1ms    1ms-10ms      >=10ms     min(us)" +
    "     max(us) average(us)";
  const row = `   inv_iotlb${[0, 2, 18, 1, 0, 0, 0, 1, 12, 3].map((n) => `${n}`.padStart(12)).join("")}`;
  const text = [
    "IOMMU: dmar0 Register Base Address: 26be37000",
    heading,
    "IOMMU: dmar2 Register Base Address: fed91000",
    heading,
    row,
    "",
  ].join("\n");
  t.same(parseLatency(text), [
    { unit: "dmar2", command: "inv_iotlb", count: 21, minUs: 1, averageUs: 3, maxUs: 12 },
  ]);
});

t.test("AMD's device table", async (t) => {
  const heading = "DeviceId             QWORD[3]         QWORD[2]         QWORD[1]         QWORD[0] iommu";
  const entry = (words: string) => parseAmdDevice(`${heading}\n0000:01:00.0 ${words} iommu3\n`);
  const common = { device: "0000:01:00.0", unit: "iommu3", pasid: undefined };
  t.same(entry("0000000000000000 20000001373b8013 0000000000000038 6000000114d7b603"), {
    ...common,
    domain: 0x38,
    mode: "translated",
    pageTable: "0x114d7b000",
  });
  t.same(
    entry("0000000000000000 20000001373b8013 0000000000000001 6000000000000003"),
    { ...common, domain: 1, mode: "pass-through", pageTable: undefined },
    "mode 0, reads and writes let through",
  );
  t.match(entry("0000000000000000 0000000000000000 0000000000000000 0000000000000003"), { mode: "blocked" });
  t.equal(parseAmdDevice("Enter a valid device ID to 'devid' file\n"), undefined);
});

t.test("texts that are something else", async (t) => {
  for (const text of ["", "\n\n", "no such thing: 12:34.5 x", "IOMMU: "]) {
    t.same(parseDmarTranslation(text), []);
    t.same(parseDomainTranslation(text), []);
    t.same(parseRegisters(text), []);
    t.same(parseInvalidationQueue(text), []);
    t.same(parseLatency(text), []);
  }
});
