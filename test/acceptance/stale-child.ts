// Run by restart.test.ts and exit.test.ts: an engine with a file prefix and a listening port, at work. Its first line
// says so; then it leaves as its third argument says.
import { Pollmode } from "../../src/index.ts";

const [, , socket, filePrefix, way] = process.argv as [string, string, string, string, string];
const pm = await Pollmode.start({ lcores: "0-1", noHuge: true, filePrefix, warn: () => {} });
const [backend, frontend] = [await pm.attach(`net_vhost0,iface=${socket}`), await pm.attach("net_null0")];
for (const port of [backend, frontend]) {
  await port.configure({ rxQueues: 1, txQueues: 1 });
  await port.start();
}
const peer = await pm.attach(`net_virtio_user0,path=${socket}`);
await peer.configure({ rxQueues: 1, txQueues: 1 });
await peer.start();
await pm.forward(0, [{ mode: "txonly", tx: { port: backend, queue: 0 } }]);
await pm.forward(1, [{ mode: "touch", rx: { port: peer, queue: 0 } }]);
while (peer.stats().rxPackets < 1_000) await new Promise((done) => setTimeout(done, 1));
console.log("at work");
if (way === "exit") setTimeout(() => process.exit(7), 50);
if (way === "throw") {
  setTimeout(() => {
    throw new Error("an embedding program's own mistake");
  }, 50);
}
if (way === "reject") setTimeout(() => void Promise.reject(new Error("a forgotten rejection")), 50);
if (way === "close") setTimeout(() => void pm.close(), 50);
if (way !== "close") setTimeout(() => {}, 60_000); // something of its own keeps it alive, as programs have
