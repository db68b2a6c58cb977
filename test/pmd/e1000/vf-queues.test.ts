// A virtual function's rings: what its registers are told, interrupts, tags that the PF strips, and a VF that does not
// leave its rings.
import t from "tap";
import { RingReg } from "../../../pmd/e1000/registers.ts";
import { VfQueues } from "../../../pmd/e1000/vf-queues.ts";
import { VfReg } from "../../../pmd/e1000/vf-registers.ts";
import { IntelQueue, IntelQueueFlag } from "../../../pmd/intel/layout.ts";
import type { PciFunction } from "../../../src/bus/pci-function.ts";
import type { DriverContext } from "../../../src/ethdev/driver.ts";
import { Queue } from "../../../src/hot/layout.ts";
import { Rig } from "../../support/engines.ts";
import { VfModel } from "./vf-model.ts";

const [rx0, tx0, tx1] = [0x2800, 0x3800, 0x3900];
const enabled = (1 << 25) | (1 << 16);
const bar = 0x10000;

function make(rig: Rig, model = new VfModel()) {
  const calls: string[] = [];
  const line = { fd: 9, readBytes: 8, rearm: undefined } as const;
  const fn = {
    address: "0000:01:10.0",
    iova: rig.iova,
    setBusMaster: (on: boolean) => void calls.push(`master ${on}`),
    enableInterrupts: (kind: string, count: number) => {
      calls.push(`${kind} ${count}`);
      return [line];
    },
    disableInterrupts: () => void calls.push("no interrupts"),
  } as unknown as PciFunction;
  const context = rig as unknown as DriverContext;
  const queues = new VfQueues({ context, fn, registers: model, bar, loopbackVlanSwapped: false });
  return { queues, model, calls, line };
}

t.test("one receive and two transmit rings", async (t) => {
  const rig = await Rig.make("ts");
  const { queues, model, calls } = make(rig);
  const used = rig.dma.usedBytes;
  queues.configure({ rxQueues: 1, txQueues: 2, rxDescriptors: 128, txDescriptors: 64 });
  queues.start();
  const told = (at: number) => model.values.get(at);
  const ring = rig.iova.of(rig.word(queues.rxOffsets[0]! + IntelQueue.RING));
  t.same(
    [told(rx0 + RingReg.BAL), told(rx0 + RingReg.BAH)],
    [Number(ring & 0xffff_ffffn), Number(ring >> 32n)],
  );
  t.equal(told(rx0 + RingReg.LEN), 128 * 16);
  t.equal(told(rx0 + RingReg.SRRCTL), 0x8200_0002, "2 KiB buffers, advanced descriptors, DROP_EN");
  t.same(
    [told(rx0 + RingReg.DCTL), told(tx0 + RingReg.DCTL), told(tx1 + RingReg.DCTL)],
    Array(3).fill(enabled),
  );
  t.not(told(tx0 + RingReg.BAL), told(tx1 + RingReg.BAL));
  const tails = [...queues.rxOffsets, ...queues.txOffsets].map(
    (q) => rig.word(q + IntelQueue.TAIL_REG) - bar,
  );
  t.same(tails, [0x2818, 0x3818, 0x3918]);
  queues.halt();
  await queues.disable();
  t.equal(told(rx0 + RingReg.DCTL), 0);
  t.same(calls, ["master true", "master false"]);
  queues.drain();
  queues.free();
  t.same([rig.dma.usedBytes, queues.rxOffsets, queues.txOffsets], [used, [], []]);
  rig.close();
});

t.test("receive interrupts", async (t) => {
  const rig = await Rig.make("ts");
  const { queues, model, calls, line } = make(rig);
  queues.configure({ rxQueues: 1, txQueues: 1 });
  t.throws(() => queues.rxInterrupt(0), { code: "NOT_SUPPORTED", fix: /rxInterrupts/ });
  queues.configure({ rxQueues: 1, txQueues: 1, rxInterrupts: true });
  queues.start();
  t.equal(queues.rxInterrupt(0), line);
  t.equal(model.values.get(VfReg.VTIVAR), 0x80, "receive queue 0 has vector 0");
  t.same(
    [VfReg.VTEIAC, VfReg.VTEIAM].map((at) => model.values.get(at)),
    [1, 1],
  );
  const queue = queues.rxOffsets[0]!;
  t.same(
    [rig.word(queue + IntelQueue.ARM_REG), rig.word(queue + IntelQueue.ARM_VALUE)],
    [bar + VfReg.VTEIMS, 1],
  );
  queues.halt();
  queues.free();
  t.same(calls, ["msix 1", "master true", "no interrupts"]);
  rig.close();
});

t.test("tags are told of from the first VLAN on, in rings made later, too", async (t) => {
  const rig = await Rig.make("ts");
  const { queues } = make(rig);
  const strips = () => rig.word(queues.rxOffsets[0]! + IntelQueue.FLAGS) & IntelQueueFlag.VLAN_STRIP;
  queues.configure({ rxQueues: 1, txQueues: 1 });
  t.equal(strips(), 0);
  queues.expectTags();
  t.equal(strips(), IntelQueueFlag.VLAN_STRIP);
  queues.configure({ rxQueues: 1, txQueues: 1 });
  t.equal(strips(), IntelQueueFlag.VLAN_STRIP);
  queues.free();
  rig.close();
});

t.test("a VF that does not leave its rings loses the bus", async (t) => {
  const rig = await Rig.make("ts");
  class Stuck extends VfModel {
    override write(offset: number, value: number): void {
      if (offset !== rx0 + RingReg.DCTL || value !== 0) super.write(offset, value);
    }
  }
  const { queues, calls } = make(rig, new Stuck());
  queues.configure({ rxQueues: 1, txQueues: 1 });
  queues.start();
  t.equal(rig.word(queues.rxOffsets[0]! + Queue.RUN), 1);
  queues.halt();
  await queues.disable();
  t.equal(calls.at(-1), "master false");
  queues.free();
  rig.close();
});

t.test("buffers smaller than the chip can be told of", async (t) => {
  const rig = await Rig.make("ts", { dataRoom: 512 });
  const { queues } = make(rig);
  t.throws(() => queues.configure({ rxQueues: 1, txQueues: 1 }), {
    code: "MBUF_ROOM",
    message: /^0000:01:10.0: an mbuf holds 5\d\d bytes/,
  });
  rig.close();
});
