// An engine in a process of its own, for a test to kill: forwards on net_null0 until then. Argument: its file prefix.
import { Pollmode } from "../../src/pollmode.ts";

const engine = await Pollmode.start({
  filePrefix: process.argv[2]!,
  noHuge: true,
  memoryMib: 16,
  mbufs: 2048,
  vdev: ["net_null0"],
});
const port = engine.port(0);
await port.configure();
await port.start();
await engine.forward(0, [{ mode: "io", rx: { port, queue: 0 }, tx: { port, queue: 0 } }]);
process.stdout.write("ready\n");
