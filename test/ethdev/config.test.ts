// What a port is asked for, held against what its device says it has.
import t from "tap";
import { checkConfig, checkRss } from "../../src/ethdev/config.ts";
import type { DeviceConfig, DeviceInfo } from "../../src/ethdev/driver.ts";

const plain: DeviceInfo = { driver: "net_plain", rxQueuesMax: 2, txQueuesMax: 4, frameBytesMax: 1514 };
const rich: DeviceInfo = {
  ...plain,
  driver: "net_rich",
  descriptors: { min: 64, max: 4096, multiple: 8 },
  offloads: ["rxChecksum", "vlanStrip"],
  rss: { keyBytes: 40, tableEntries: 128, types: ["ipv4", "ipv4-tcp"] },
  rxInterrupts: true,
};
const pair: DeviceConfig = { rxQueues: 1, txQueues: 1 };

t.test("what a device has is let through", async (t) => {
  checkConfig("port 0", plain, { rxQueues: 2, txQueues: 4 });
  checkConfig("port 0", rich, {
    ...pair,
    rxDescriptors: 64,
    txDescriptors: 4096,
    offloads: ["vlanStrip"],
    rxInterrupts: true,
    rss: { key: new Uint8Array(40), table: [0], types: ["ipv4"] },
  });
  t.pass("nothing was thrown");
});

t.test("what it has not is named, with what it has", async (t) => {
  const refused = (
    info: DeviceInfo,
    more: Partial<DeviceConfig>,
    expected: { code: string; message?: RegExp; fix?: RegExp },
  ) => t.throws(() => checkConfig("port 3 (x)", info, { ...pair, ...more }), expected);
  refused(plain, { rxQueues: 3 }, { code: "QUEUE_COUNT", message: /^port 3 \(x\): rxQueues 3.*1 to 2/ });
  refused(plain, { txQueues: 0.5 }, { code: "QUEUE_COUNT", fix: /between 1 and 4/ });
  refused(
    plain,
    { rxDescriptors: 512 },
    { code: "NOT_SUPPORTED", message: /net_plain has no rxDescriptors/ },
  );
  for (const count of [63, 32, 8192, 1000, Number.NaN]) {
    refused(rich, { txDescriptors: count }, { code: "RING_SIZE", message: /powers of two from 64 to 4096/ });
  }
  refused(plain, { offloads: ["rxChecksum"] }, { code: "NOT_SUPPORTED", fix: /among: none/ });
  refused(rich, { offloads: ["txChecksum"] }, { code: "NOT_SUPPORTED", fix: /rxChecksum, vlanStrip/ });
  refused(plain, { rxInterrupts: true }, { code: "NOT_SUPPORTED", message: /no receive interrupts/ });
  refused(plain, { rss: {} }, { code: "NOT_SUPPORTED", message: /receive-side scaling/ });
});

t.test("RSS: key, table and types", async (t) => {
  const refused = (rss: object, expected: { code: string; message?: RegExp; fix?: RegExp }) =>
    t.throws(() => checkRss("p", rich, rss, 2), expected);
  refused({ key: new Uint8Array(39) }, { code: "RSS", message: /39 bytes/, fix: /40 bytes/ });
  refused({ table: [] }, { code: "RSS", message: /0 entries/ });
  refused({ table: new Array(129).fill(0) }, { code: "RSS", fix: /1 to 128/ });
  refused({ table: [0, 2] }, { code: "RSS", message: /queue 2/, fix: /0 to 1/ });
  refused({ table: [-1] }, { code: "RSS" });
  refused({ types: ["ipv6"] }, { code: "NOT_SUPPORTED", fix: /ipv4, ipv4-tcp/ });
  checkRss("p", rich, { table: [1, 0] }, 2);
});
