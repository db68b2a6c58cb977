// What is shown and cleared.
import { configCores, configFwd, configRxtx, configTxpkts, fwdStats } from "../display-fwd.ts";
import { portInfo, portSummary, rssText } from "../display-port.ts";
import { portStats, portXstats } from "../display-stats.ts";
import type { PortChoice } from "../ports.ts";
import type { Session } from "../session.ts";
import { redirectionMasks, redirectionText } from "./redirection.ts";
import { type Command, command } from "./table.ts";
import { integer } from "./types.ts";

const section = "display";

type PortView = "info" | "summary" | "stats" | "xstats";

const ofPort = { info: portInfo, stats: portStats, xstats: portXstats };
const ofConfig = { rxtx: configRxtx, cores: configCores, fwd: configFwd, txpkts: configTxpkts };

function portText(session: Session, what: PortView, choice: PortChoice): string {
  const ids = session.ports.chosen(choice).map(({ id }) => id);
  if (what === "summary") return portSummary(session, ids);
  return ids.map((id) => ofPort[what](session, id)).join("\n");
}

export const displayCommands: readonly Command[] = [
  command<[PortView, PortChoice]>({
    grammar: "show port (info|summary|stats|xstats) (port_id|all)",
    section,
    help: "Display information for port_id, or all.",
    example: "show port info 0",
    run: ({ session, say }, [what, id]) => say(portText(session, what, id)),
  }),
  command<[number, string | undefined]>({
    grammar: "show port (port_id) rss-hash [(key)]",
    section,
    help: "Display the RSS hash functions and RSS hash key of port.",
    example: "show port 0 rss-hash key",
    run: ({ session, say }, [id, key]) => say(rssText(session, id, key !== undefined)),
  }),
  command<[number, number, bigint[]]>({
    grammar: "show port (port_id) rss reta (size) (masks)",
    section,
    help: "Display the rss redirection table entries indicated by masks: of 64 entries each.",
    example: "show port 0 rss reta 128 (0x3,0x0)",
    types: { size: integer(1, 512), masks: redirectionMasks },
    run: ({ session, say }, [id, size, masks]) => say(redirectionText(session, id, size, masks)),
  }),
  command<["stats" | "xstats", PortChoice]>({
    grammar: "clear port (stats|xstats) (port_id|all)",
    section,
    help: "Clear information for port_id, or all.",
    example: "clear port stats all",
    run: ({ session }, [what, id]) => (what === "stats" ? session.clearStats(id) : session.clearXstats(id)),
  }),
  command<[keyof typeof ofConfig]>({
    grammar: "show config (rxtx|cores|fwd|txpkts)",
    section,
    help: "Display the given configuration.",
    example: "show config fwd",
    run: ({ session, say }, [what]) => say(ofConfig[what](session)),
  }),
  command({
    grammar: "show fwd stats all",
    section,
    help: "Display statistics for all fwd engines.",
    example: "show fwd stats all",
    run: ({ session, say }) => say(fwdStats(session)),
  }),
  command({
    grammar: "clear fwd stats all",
    section,
    help: "Clear statistics for all fwd engines.",
    example: "clear fwd stats all",
    run: ({ session }) => session.clearFwdStats(),
  }),
  command<[number]>({
    grammar: "set stats_period (seconds)",
    section,
    help: "Display the ports' statistics so often; 0: no more. Not in DPDK.",
    example: "set stats_period 0",
    types: { seconds: integer(0, 86_400) },
    run: ({ repeatStats }, [seconds]) => repeatStats(seconds),
  }),
];
