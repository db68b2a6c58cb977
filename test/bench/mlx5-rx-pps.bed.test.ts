// rx-pps on a port of the software ConnectX, in both modes, as on any other port. The kernel sends: its half of the
// port is a TAP, and the wire brings the frames back.
import { fileURLToPath } from "node:url";
import t from "tap";
import type { Report } from "../../bench/rx-pps/report.ts";
import { netnsBed } from "../beds/netns.ts";
import { softMlx5Bed } from "../beds/softmlx5.ts";
import { Host, kernelTap } from "../softmlx5/verify/host.ts";

t.setTimeout(900_000); // packages may have to be installed first
const skip = softMlx5Bed.missing() ?? netnsBed.missing() ?? false;
const cli = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));

/** UDP to an address on the interface's network, as fast as the kernel takes it. */
const sender = `
  const socket = require("node:dgram").createSocket("udp4");
  const more = () => socket.send(Buffer.alloc(22, "pollmode"), 9, "10.77.0.2", more);
  for (let k = 0; k < 8; k++) more();
`;

t.test("rx-pps", { skip }, async (t) => {
  await softMlx5Bed.setup();
  await netnsBed.setup();
  await using host = await Host.create({ ports: [{ wire: "loop", kernel: `tap:${kernelTap}` }] });
  const [port] = host.nic.ports;
  await host.netns.ip(`address add 10.77.0.1/24 dev ${kernelTap}`);
  await host.netns.ip(`neighbor add 10.77.0.2 lladdr ${port!.mac} dev ${kernelTap}`);
  for (const mode of ["dv", "ibv"]) {
    await using send = host.netns.spawn("sender", process.execPath, ["-e", sender]);
    const vdev = `--vdev=net_rdma0,host-if=${kernelTap},mode=${mode}`;
    const args = ["rx-pps", vdev, "--seconds", "1", "--json", "--app", "touch"];
    const line = (await host.run(process.execPath, [cli, ...args])).trim().split("\n").at(-1)!;
    t.equal(send.status, undefined, "the sender has not ended");
    const report: Report = JSON.parse(line);
    t.ok(report.packets > 1000, `${mode}: ${report.packets} packets`);
    t.ok(Math.abs(report.bytes / report.packets - 64) < 8, `${report.bytes} bytes`);
    t.ok(report.busyNsPerPacket! > 0);
    t.match(report.port, /net_rdma0/);
    t.equal(report.linkDowns, 0);
    await send.kill();
  }
});
