// Answers pings on its NIC until SIGTERM or SIGINT, the way a program of pollmode's users would end; by SIGUSR2 it ends
// as a faulty one.
import { type NicSettings, openNics, report, say, settings } from "./ports.ts";

export interface EchoSettings extends NicSettings {
  rxInterrupt?: boolean;
}

const asked = settings<EchoSettings>();
const pm = await openNics(asked);
const links: boolean[] = [];
for (const port of pm.ports) port.on("link", ({ up }) => links.push(up));
await pm.forward(
  0,
  pm.ports.flatMap((port) =>
    port.rxQueues.map((_, queue) => ({
      mode: "icmpecho" as const,
      rx: { port, queue },
      tx: { port, queue },
    })),
  ),
  { rxInterrupt: asked.rxInterrupt ?? false },
);
say("ready");
process.once("SIGUSR2", () => {
  throw new Error("nobody catches this");
});
const keep = setInterval(() => {}, 1000);
const end = async () => {
  clearInterval(keep);
  const { sleeps, polls } = pm.lcores.byId(0).status();
  const stats = pm.ports.map((port) => port.stats());
  const queues = pm.ports.map((port) => port.xstats());
  await pm.close();
  report({ stats, queues, links, sleeps, polls });
};
process.once("SIGTERM", end);
process.once("SIGINT", end);
