// Configuration spaces: what an 82574L and an 82576 have, and what a broken device or an ordinary user shows.
import t from "tap";
import { parseConfigSpace } from "../../../src/bus/pci/config-space.ts";

/** Little-endian values of 1, 2 or 4 bytes at offsets. */
function image(
  bytes: number,
  values: readonly (readonly [at: number, bytes: 1 | 2 | 4, value: number])[],
): Buffer {
  const space = Buffer.alloc(bytes);
  for (const [at, width, value] of values) space.writeUIntLE(value, at, width);
  return space;
}

const header = [
  [0x00, 2, 0x8086],
  [0x02, 2, 0x10d3],
  [0x04, 2, 0x0406], // memory, bus master, INTx off
  [0x06, 2, 0x0010], // has capabilities
  [0x08, 4, 0x0200_0003],
  [0x0e, 1, 0x80], // more functions
  [0x34, 1, 0xc8 + 3], // reserved bits set
  [0x3d, 1, 1],
] as const;

/** PM at 0xc8, MSI at 0xd0, PCI Express at 0xe0, MSI-X at 0xa0: as the 82574L has them. */
const chain = [
  [0xc8, 2, 0xd001],
  [0xd0, 2, 0xe005],
  [0xd2, 2, 0x0187], // enabled, 8 vectors, 64 bits, masks
  [0xe0, 2, 0xa010],
  [0xe2, 2, 0x0001], // endpoint
  [0xe4, 4, 0x1000_8000], // FLR
  [0xec, 4, 0x0003_9c11], // 2.5 GT/s, x1
  [0xf2, 2, 0x1011],
  [0xa0, 2, 0x0011],
  [0xa2, 2, 0x8004], // enabled, 5 vectors
  [0xa4, 4, 0x0000_0003],
  [0xa8, 4, 0x0000_2003],
] as const;

t.test("an 82574L", async (t) => {
  const space = parseConfigSpace(image(4096, [...header, ...chain]));
  t.same(space.capabilities, [
    { id: 0x01, offset: 0xc8 },
    { id: 0x05, offset: 0xd0 },
    { id: 0x10, offset: 0xe0 },
    { id: 0x11, offset: 0xa0 },
  ]);
  t.match(space, {
    vendor: 0x8086,
    device: 0x10d3,
    command: 0x0406,
    memoryEnabled: true,
    busMaster: true,
    intxDisabled: true,
    class: 0x020000,
    revision: 3,
    headerType: 0,
    interruptPin: 1,
    hasFlr: true,
    isComplete: true,
  });
  t.same(space.msi, { offset: 0xd0, vectors: 8, is64Bit: true, hasMask: true, isEnabled: true });
  t.same(space.msix, {
    offset: 0xa0,
    vectors: 5,
    tableBar: 3,
    tableOffset: 0,
    pbaBar: 3,
    pbaOffset: 0x2000,
    isEnabled: true,
    isMasked: false,
  });
  t.same(space.express, {
    offset: 0xe0,
    type: 0,
    hasFlr: true,
    linkSpeedMax: 1,
    linkSpeed: 1,
    linkWidthMax: 1,
    linkWidth: 1,
  });
  t.same(space.extendedCapabilities, []);
  t.equal(space.sriov, undefined);
});

t.test("SR-IOV behind two other extended capabilities", async (t) => {
  const extended = [
    [0x100, 4, 0x1401_0001], // AER
    [0x140, 4, 0x1601_000d], // ACS
    [0x144, 2, 0x1f],
    [0x146, 2, 0x1d],
    [0x160, 4, 0x0001_0010],
    [0x168, 2, 0x0009], // VF Enable
    [0x16e, 2, 8],
    [0x170, 2, 7],
    [0x174, 2, 0x180],
    [0x176, 2, 2],
    [0x17a, 2, 0x10ca],
  ] as const;
  const space = parseConfigSpace(image(4096, [...header, ...chain, ...extended]));
  t.same(
    space.extendedCapabilities.map(({ id }) => id),
    [0x01, 0x0d, 0x10],
  );
  t.same(space.acs, { offset: 0x140, capabilities: 0x1f, control: 0x1d });
  t.same(space.sriov, {
    offset: 0x160,
    totalVfs: 8,
    numVfs: 7,
    vfOffset: 0x180,
    vfStride: 2,
    vfDevice: 0x10ca,
    isEnabled: true,
  });
  const short = parseConfigSpace(image(4096, [...header, ...chain, ...extended]).subarray(0, 256));
  t.equal(short.sriov, undefined);
  t.equal(short.isComplete, false, "a PCI Express device has more");
});

t.test("FLR by Advanced Features", async (t) => {
  const af = (capability: number) =>
    parseConfigSpace(
      image(256, [...header, [0x34, 1, 0x40], [0x40, 2, 0x0013], [0x42, 1, 6], [0x43, 1, capability]]),
    );
  t.equal(af(3).hasFlr, true);
  t.equal(af(2).hasFlr, false, "it cannot tell that nothing is pending");
  t.equal(af(0).hasFlr, false);
  t.equal(af(3).isComplete, true, "a conventional device has 256 bytes");
});

t.test("an ordinary user's 64 bytes", async (t) => {
  const space = parseConfigSpace(image(4096, [...header, ...chain]).subarray(0, 64));
  t.same(space.capabilities, []);
  t.equal(space.isComplete, false);
  t.equal(space.busMaster, true);
  const plain = parseConfigSpace(image(64, [...header, [0x06, 2, 0]]));
  t.equal(plain.isComplete, true, "it has none, though its list's pointer is set");
});

t.test("chains that loop, leave the image or run into the header", async (t) => {
  const offsets = (next: number) =>
    parseConfigSpace(
      image(256, [...header, [0x34, 1, 0x40], [0x40, 2, 0x5001], [0x50, 2, (next << 8) | 9]]),
    ).capabilities.map(({ offset }) => offset);
  t.same(offsets(0), [0x40, 0x50]);
  t.same(offsets(0x40), [0x40, 0x50], "back to the first");
  t.same(offsets(0x50), [0x40, 0x50], "to itself");
  t.same(offsets(0x3c), [0x40, 0x50], "into the header");
  t.same(offsets(0xfc), [0x40, 0x50, 0xfc], "the last word is inside");
  const loop = parseConfigSpace(image(4096, [...header, [0x100, 4, 0x2001_0001], [0x200, 4, 0x1001_0003]]));
  t.same(
    loop.extendedCapabilities.map(({ offset }) => offset),
    [0x100, 0x200],
  );
  const beyond = parseConfigSpace(image(512, [...header, [0x100, 4, 0xffc1_0001]]));
  t.equal(beyond.extendedCapabilities.length, 1);
});

t.test("a capability that the image cuts off is not read", async (t) => {
  const space = parseConfigSpace(image(256, [...header, [0x34, 1, 0xfc], [0xfc, 2, 0x0011]]));
  t.same(space.capabilities, [{ id: 0x11, offset: 0xfc }]);
  t.equal(space.msix, undefined);
});

t.test("a device that is gone, and any other bytes", async (t) => {
  const gone = parseConfigSpace(Buffer.alloc(4096, 0xff));
  t.equal(gone.vendor, 0xffff);
  t.same(gone.capabilities, []);
  t.same(gone.extendedCapabilities, []);
  t.equal(gone.hasFlr, false);
  for (let round = 0; round < 2000; round++) {
    const bytes = Buffer.alloc([64, 128, 256, 4096][round % 4]!);
    for (let at = 0; at < bytes.length; at++)
      bytes[at] = (Math.imul(at + round * 4099, 2654435761) >>> 13) & 0xff;
    const space = parseConfigSpace(bytes);
    if (space.capabilities.length > 48) t.fail("more capabilities than fit");
    if (space.extendedCapabilities.length > 960) t.fail("more extended capabilities than fit");
  }
  t.throws(() => parseConfigSpace(Buffer.alloc(63)), { code: "PCI_CONFIG", message: /63 bytes/ });
  t.throws(() => parseConfigSpace(Buffer.alloc(0)), { code: "PCI_CONFIG" });
});
