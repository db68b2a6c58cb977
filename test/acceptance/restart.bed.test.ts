// Engines on hugepages, started and stopped again and again: each has its pages, and gives them all back.
import t from "tap";
import { Pollmode } from "../../src/index.ts";
import { hugepagesMissing, reserveHugepages } from "../beds/hugepages.ts";
import { holdings } from "./leaks.ts";

const memoryMib = 64;
const pages = memoryMib / 2;
const missing = hugepagesMissing(pages);
t.setTimeout(120_000);

t.test("20 starts and stops on hugepages", { skip: missing ?? false }, async (t) => {
  using _hugepages = reserveHugepages(pages);
  const warnings: string[] = [];
  t.equal(holdings().hugetlbKib, 0);
  for (let k = 0; k < 20; k++) {
    const pm = await Pollmode.start({ lcores: "0", memoryMib, warn: (text) => warnings.push(text) });
    const during = holdings();
    const port = await pm.attach("net_null0");
    await port.configure({ rxQueues: 1, txQueues: 1 });
    await port.start();
    await pm.forward(0, [{ mode: "touch", rx: { port, queue: 0 } }]);
    await pm.close();
    const after = holdings();
    t.same([during.hugetlbKib, after.hugetlbKib, after.memfds], [memoryMib * 1024, 0, 0]);
  }
  t.same(warnings, [], "none had to do without");
});
