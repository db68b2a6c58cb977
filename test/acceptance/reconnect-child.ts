// Run by reconnect.test.ts, which kills it: a process with our net_vhost at a socket, or with our net_virtio_user
// connected to one, that sends back what it receives.
import { Pollmode } from "../../src/index.ts";

const [, , vdev, lcores] = process.argv as [string, string, string, string];
const pm = await Pollmode.start({ lcores, noHuge: true, warn: () => {} });
const port = await pm.attach(vdev);
await port.configure({ rxQueues: 1, txQueues: 1 });
await port.start();
await pm.forward(Number(lcores), [{ mode: "io", rx: { port, queue: 0 }, tx: { port, queue: 0 } }]);
console.log("at work");
