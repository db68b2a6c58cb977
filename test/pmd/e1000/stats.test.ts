// Statistics that reading clears: nothing is lost, nothing is counted twice, whoever asks and however often.
import t from "tap";
import { chipOf } from "../../../pmd/e1000/chips.ts";
import {
  RingReg,
  STATISTICS,
  STATISTICS_64,
  STATISTICS_82574,
  STATISTICS_IGB,
} from "../../../pmd/e1000/registers.ts";
import { Statistics } from "../../../pmd/e1000/stats.ts";
import { ChipModel } from "./chip-model.ts";

const chip82574 = chipOf(0x10d3)!;
const chip82576 = chipOf(0x10c9)!;

t.test("every register is added up under its name", async (t) => {
  for (const chip of [chip82574, chip82576]) {
    const model = new ChipModel(chip);
    const stats = new Statistics(model, chip);
    const own = { ...STATISTICS, ...(chip === chip82574 ? STATISTICS_82574 : STATISTICS_IGB) };
    for (let round = 1; round <= 2; round++) {
      for (const [k, offset] of Object.values(own).entries()) model.set(offset, k + 1);
      stats.update(1);
      for (const [k, name] of Object.keys(own).entries()) t.equal(stats.values[name], (k + 1) * round, name);
      stats.update(1);
    }
  }
});

t.test("64 bits, read in the order that clears both halves", async (t) => {
  const model = new ChipModel(chip82576);
  const stats = new Statistics(model, chip82576);
  model.set(STATISTICS_64.GORC, 0xffff_ffff);
  model.set(STATISTICS_64.GORC + 4, 3);
  stats.update(1);
  t.equal(stats.values.GORC, 4 * 2 ** 32 - 1, "more than 4 GiB between two looks");
  t.same([model.get(STATISTICS_64.GORC), model.get(STATISTICS_64.GORC + 4)], [0, 0]);
  model.set(STATISTICS_64.GORC, 1);
  stats.update(1);
  t.equal(stats.values.GORC, 4 * 2 ** 32);
});

t.test("what was missed is the sum over the queues", async (t) => {
  const model = new ChipModel(chip82576);
  const stats = new Statistics(model, chip82576);
  model.set(STATISTICS.MPC, 5);
  model.set(model.rx(0, RingReg.RQDPC), 1);
  model.set(model.rx(3, RingReg.RQDPC), 2);
  stats.update(4);
  t.equal(stats.summary.rxMissed, 8);
  t.equal(stats.values.RQDPC, 3);
});

t.test("errors, each once", async (t) => {
  const model = new ChipModel(chip82574);
  const stats = new Statistics(model, chip82574);
  model.set(STATISTICS.CRCERRS, 1);
  model.set(STATISTICS.RUC, 2);
  model.set(STATISTICS.RLEC, 2);
  model.set(STATISTICS.ECOL, 4);
  stats.update(1);
  t.same(stats.summary, { rxMissed: 0, rxErrors: 3, txErrors: 4 });
});

t.test("cleared, discarded, gone", async (t) => {
  const model = new ChipModel(chip82576);
  const stats = new Statistics(model, chip82576);
  model.set(STATISTICS.GPRC, 5);
  stats.update(1);
  model.set(STATISTICS.GPRC, 77);
  stats.discard(1);
  t.equal(stats.values.GPRC, 5, "what a reset left there does not count");
  model.set(STATISTICS.GPRC, 2);
  model.faults.gone = true;
  stats.update(1);
  t.equal(stats.values.GPRC, 5, "all ones are no count");
  model.faults.gone = false;
  stats.clear(1);
  t.equal(stats.values.GPRC, 0);
  stats.update(1);
  t.equal(stats.values.GPRC, 0);
});
