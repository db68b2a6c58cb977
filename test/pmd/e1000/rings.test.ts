// What a chip is told of its rings: addresses, sizes, buffers, thresholds, in which order; and that rings begin empty.
import t from "tap";
import { type Chip, chipOf } from "../../../pmd/e1000/chips.ts";
import { Dctl, Rctl, Reg, RingReg } from "../../../pmd/e1000/registers.ts";
import { Rings } from "../../../pmd/e1000/rings.ts";
import { IntelQueue, IntelQueueFlag } from "../../../pmd/intel/layout.ts";
import type { PciFunction } from "../../../src/bus/pci-function.ts";
import type { DeviceConfig, DriverContext } from "../../../src/ethdev/driver.ts";
import { Rig as Memory } from "../../support/engines.ts";
import { ChipModel } from "./chip-model.ts";
import { Recorder } from "./recorder.ts";

const address = "0000:01:00.0";
const chip82574 = chipOf(0x10d3)!;
const chip82576 = chipOf(0x10c9)!;
const chipI350 = chipOf(0x1521)!;
const BAR = 1 << 20;
const FRAME_BYTES = 1518;

async function rig(chip: Chip, dataRoom = 2048) {
  const memory = await Memory.make("ts", { mbufs: 64, dataRoom });
  const model = new ChipModel(chip);
  const registers = new Recorder(model);
  const { arena, dma, pool } = memory;
  const context = { arena, dma, pool, private: memory.private } as unknown as DriverContext;
  const fn = { address, iova: memory.iova } as unknown as PciFunction;
  return { memory, model, registers, rings: new Rings({ context, fn, registers, chip, bar: BAR }) };
}

const two: DeviceConfig = { rxQueues: 2, txQueues: 2, rxDescriptors: 128, txDescriptors: 256 };

for (const chip of [chip82574, chip82576, chipI350]) {
  const igb = chip.family === "igb";

  t.test(`${chip.name}: each register of a queue`, async (t) => {
    const { memory, model, registers, rings } = await rig(chip);
    rings.configure(two, FRAME_BYTES);
    for (const queue of [0, 1]) {
      for (const register of [RingReg.HEAD, RingReg.TAIL]) {
        model.set(model.rx(queue, register), 7); // left by another driver
        model.set(model.tx(queue, register), 7);
      }
    }
    await rings.startReceive();
    await rings.startTransmit();
    const ways = [
      ["rx", rings.rxOffsets, 128, igb ? 0x0201_0808 : 0x0101_0808] as const,
      ["tx", rings.txOffsets, 256, igb ? 0x0201_0808 : 0x0141_0808] as const,
    ];
    const places = new Set<number>();
    for (const [way, blocks, size, control] of ways) {
      for (const [queue, block] of blocks.entries()) {
        const at = (register: RingReg) => model[way](queue, register);
        const base = memory.iova.of(memory.word(block + IntelQueue.RING));
        t.equal(model.get(at(RingReg.BAL)), Number(base & 0xffff_ffffn), `${way} ${queue} BAL`);
        t.equal(model.get(at(RingReg.BAH)), Number(base >> 32n), `${way} ${queue} BAH`);
        t.equal(model.get(at(RingReg.LEN)), 16 * size, `${way} ${queue} LEN`);
        t.same([model.get(at(RingReg.HEAD)), model.get(at(RingReg.TAIL))], [0, 0], `${way} ${queue} empty`);
        t.equal(model.get(at(RingReg.DCTL)), control, `${way} ${queue} DCTL`);
        const enabled = registers.place("write", at(RingReg.DCTL));
        const told = [RingReg.BAL, RingReg.BAH, RingReg.LEN, RingReg.HEAD, RingReg.TAIL].map((register) =>
          registers.place("write", at(register)),
        );
        t.ok(
          told.every((place) => place >= 0 && place < enabled),
          `${way} ${queue}: told before it is enabled`,
        );
        if (igb) t.ok(registers.place("read", at(RingReg.DCTL), Dctl.ENABLE) > enabled, "and looked at");
        places.add(model.get(at(RingReg.BAL)));
      }
    }
    t.equal(places.size, 4, "each has memory of its own");
    if (!igb) t.equal(registers.written(model.rx(0, RingReg.SRRCTL)).length, 0);
    rings.free();
  });

  t.test(`${chip.name}: a ring begins empty, whatever was in it`, async (t) => {
    const { memory, rings } = await rig(chip);
    rings.configure(two, FRAME_BYTES);
    for (const block of [...rings.rxOffsets, ...rings.txOffsets]) {
      memory.put(memory.word(block + IntelQueue.RING) + 12, 1); // a descriptor that seems done
      memory.put(block + IntelQueue.HEAD, 5);
      memory.put(block + IntelQueue.TAIL, 9);
    }
    await rings.startReceive();
    await rings.startTransmit();
    for (const block of [...rings.rxOffsets, ...rings.txOffsets]) {
      t.equal(memory.word(memory.word(block + IntelQueue.RING) + 12), 0);
      t.same([memory.word(block + IntelQueue.HEAD), memory.word(block + IntelQueue.TAIL)], [0, 0]);
    }
    rings.free();
  });
}

t.test("igb: each queue that does not become enabled is noticed", async (t) => {
  for (const way of ["rx", "tx"] as const) {
    const { model, registers, rings } = await rig(chip82576);
    rings.configure(two, FRAME_BYTES);
    registers.swallow = (offset) => offset === model[way](1, RingReg.DCTL);
    const start = way === "rx" ? rings.startReceive() : rings.startTransmit();
    await t.rejects(start, { code: "CHIP_TIMEOUT", message: /queue/ }, way);
    rings.free();
  }
});

t.test("igb: drops where others would wait, and waits where it is alone", async (t) => {
  for (const [rxQueues, srrctl] of [
    [1, 0x0200_0002],
    [2, 0x8200_0002],
  ] as const) {
    const { model, rings } = await rig(chip82576);
    rings.configure({ rxQueues, txQueues: 1 }, FRAME_BYTES);
    await rings.startReceive();
    t.equal(model.get(model.rx(0, RingReg.SRRCTL)), srrctl, `${rxQueues} queues`);
    rings.free();
  }
});

t.test("82574: buffers are told by RCTL, in sizes that it knows", async (t) => {
  // datasheet 10.2.5.1: BSEX, BSIZE; pools round up to 64 bytes
  const sizes = [
    [16384, 16384, (1 << 25) | (1 << 16)],
    [10048, 8192, (1 << 25) | (2 << 16)],
    [8128, 4096, (1 << 25) | (3 << 16)],
    [4032, 2048, 0],
    [2048, 2048, 0],
    [1984, 1024, 1 << 16],
    [960, 512, 2 << 16],
    [256, 256, 3 << 16],
  ] as const;
  for (const [dataRoom, room, bits] of sizes) {
    const { rings } = await rig(chip82574, dataRoom);
    t.same([rings.room, rings.bufferBits], [room, bits], `mbufs of ${dataRoom} bytes`);
  }
  const { rings } = await rig(chip82574, 192);
  t.throws(() => rings.room, { code: "MBUF_ROOM", message: /192 bytes.*82574L.*256/, fix: /2048/ });
});

t.test("igb: buffers are told by SRRCTL, in KiB", async (t) => {
  for (const [dataRoom, kib] of [
    [1024, 1],
    [3008, 2],
    [9216, 9],
  ] as const) {
    const { model, memory, rings } = await rig(chipI350, dataRoom);
    t.equal(rings.bufferBits & (Rctl.BSEX | Rctl.BSIZE_256), 0);
    rings.configure({ rxQueues: 1, txQueues: 1 }, FRAME_BYTES);
    await rings.startReceive();
    t.equal(model.get(model.rx(0, RingReg.SRRCTL)) & 0x7f, kib);
    t.equal(memory.word(rings.rxOffsets[0]! + IntelQueue.ROOM), 1024 * kib);
    rings.free();
  }
  const { rings } = await rig(chipI350, 960);
  t.throws(() => rings.configure({ rxQueues: 1, txQueues: 1 }, FRAME_BYTES), { code: "MBUF_ROOM" });
});

t.test("what a queue block says of the chip", async (t) => {
  const flags = async (chip: Chip, config: Partial<DeviceConfig>) => {
    const { memory, rings } = await rig(chip);
    rings.configure({ rxQueues: 1, txQueues: 1, ...config }, FRAME_BYTES);
    const word = (block: number) => memory.word(block + IntelQueue.FLAGS);
    const found = [word(rings.rxOffsets[0]!), word(rings.txOffsets[0]!)];
    t.equal(memory.word(rings.txOffsets[0]! + IntelQueue.BYTES_MAX), FRAME_BYTES);
    rings.free();
    return found;
  };
  const { EXTENDED, KEEPS_CONTEXT, RSS, CHECKSUM, VLAN_STRIP, LOOPBACK_VLAN_SWAPPED } = {
    EXTENDED: IntelQueueFlag.EXTENDED,
    KEEPS_CONTEXT: IntelQueueFlag.KEEPS_CONTEXT,
    RSS: IntelQueueFlag.RSS,
    CHECKSUM: IntelQueueFlag.CHECKSUM,
    VLAN_STRIP: IntelQueueFlag.VLAN_STRIP,
    LOOPBACK_VLAN_SWAPPED: IntelQueueFlag.LOOPBACK_VLAN_SWAPPED,
  };
  t.same(await flags(chip82574, {}), [0, EXTENDED | KEEPS_CONTEXT]);
  t.same(await flags(chip82574, { txQueues: 2 }), [0, EXTENDED], "the 82574 has one context for both queues");
  t.same(await flags(chip82576, { rxQueues: 2 }), [RSS, KEEPS_CONTEXT]);
  t.same(await flags(chip82576, { rss: {} }), [RSS, KEEPS_CONTEXT], "RSS of one queue: for the hash");
  t.same(await flags(chipI350, { offloads: ["rxChecksum", "vlanStrip", "vlanInsert"] }), [
    CHECKSUM | VLAN_STRIP | LOOPBACK_VLAN_SWAPPED,
    KEEPS_CONTEXT,
  ]);
});

t.test("stop: every queue is turned off, and waited for", async (t) => {
  const { model, registers, rings } = await rig(chip82576);
  rings.configure(two, FRAME_BYTES);
  await rings.startReceive();
  await rings.startTransmit();
  let looks = 0;
  const slow = model.tx(1, RingReg.DCTL);
  registers.answer = (offset, value) => (offset === slow && ++looks < 4 ? value | Dctl.ENABLE : value);
  await rings.disable();
  t.equal(looks, 4, "until the last is off");
  for (const queue of [0, 1]) {
    t.same([model.get(model.rx(queue, RingReg.DCTL)), model.get(model.tx(queue, RingReg.DCTL))], [0, 0]);
  }
  t.equal(registers.written(Reg.RCTL).length, 0);
  rings.free();
});

t.test("where the chip is in the transmit rings, and the longest frame", async (t) => {
  const { memory, model, rings } = await rig(chip82574);
  rings.configure(two, FRAME_BYTES);
  for (const [queue, head, tail] of [
    [0, 3, 7],
    [1, 5, 5],
  ] as const) {
    model.set(model.tx(queue, RingReg.HEAD), head);
    model.set(model.tx(queue, RingReg.TAIL), tail);
  }
  t.same(
    rings.transmitPositions().map(({ head, tail }) => [head, tail]),
    [
      [3, 7],
      [5, 5],
    ],
  );
  rings.setFrameBytes(9018);
  for (const block of rings.txOffsets) t.equal(memory.word(block + IntelQueue.BYTES_MAX), 9018);
  rings.free();
});

t.test("rings that are made anew leave nothing behind", async (t) => {
  const { rings } = await rig(chip82574);
  const large = { rxQueues: 2, txQueues: 2, rxDescriptors: 1024, txDescriptors: 1024 };
  for (let k = 0; k < 100; k++) rings.configure(large, FRAME_BYTES); // more than the zones have
  t.same([rings.rxOffsets.length, rings.txOffsets.length], [2, 2]);
  rings.free();
  rings.free();
  t.same([rings.rxOffsets, rings.txOffsets], [[], []]);
});
