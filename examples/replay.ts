// Sends the packets of a capture file out of a port, as often as you like.
//
//   node dist/examples/replay.js file.pcap net_af_packet0,iface=eth0       # as root
//   node dist/examples/replay.js file.pcapng net_pcap1,tx_pcap=copy.pcap   # anywhere: into another file
//
// The whole work is done in WebAssembly: the mode io between the file's port and the other one.
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { describeError, Pollmode, PollmodeError } from "pollmode";

async function main(file: string | undefined, vdev: string | undefined): Promise<void> {
  if (!file || !vdev) {
    const fix = "node dist/examples/replay.js file.pcapng net_pcap1,tx_pcap=copy.pcap";
    throw new PollmodeError("USAGE", "name a capture file and the port to send it by", fix);
  }
  await using engine = await Pollmode.start({
    lcores: "0",
    noHuge: true,
    vdev: [`net_pcap0,rx_pcap=${file}`, vdev],
  });
  const [input, output] = [engine.port(0), engine.port(1)];
  for (const port of engine.ports) await port.configure();
  await output.start();
  await engine.forward(0, [{ mode: "io", rx: { port: input, queue: 0 }, tx: { port: output, queue: 0 } }]);
  const ended = once(input, "end");
  await input.start();
  await ended;
  while (output.stats().txPackets + output.stats().txRefused < input.stats().rxPackets) await setTimeout(1);
  await engine.stop(0);
  console.log(`${input.stats().rxPackets} packets read, ${output.stats().txPackets} sent`);
}

await main(process.argv[2], process.argv[3]).catch((error: unknown) => {
  console.error(describeError(error));
  process.exitCode = 1;
});
