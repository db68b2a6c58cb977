// rx-pps: receives packets and says how many a second, at what cost, in what bursts.
//
//   main.ts -> options.ts -> session.ts (engine, ports, lcores) -> measure.ts -> report.ts -> stdout
//                                                        live.ts -> stderr       plot.ts -> FILE.svg
import { packageVersion } from "../../src/cli/version.ts";
import { describeError, PollmodeError } from "../../src/errors.ts";
import { threadCpus } from "../../src/libc/libc.ts";
import { describeMachine } from "../machine.ts";
import { Live } from "./live.ts";
import { measure } from "./measure.ts";
import { help, parseSettings, type Settings } from "./options.ts";
import { describeLcore } from "./placement.ts";
import { formatReport, makeReport, type Setting } from "./report.ts";
import { openSession, type Session } from "./session.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** Exit codes: a measurement that failed, and a command line that cannot be. */
const FAILED = 1;
const BAD_INPUT = 2;

/** Returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const live = new Live(process.stderr);
  const fail = (error: unknown, code: number) => {
    live.say(`rx-pps: ${describeError(error)}`);
    return code;
  };
  let settings: Settings;
  try {
    settings = parseSettings(argv, { allowedCpus: new Set(threadCpus()) });
  } catch (error) {
    return fail(error, BAD_INPUT);
  }
  if (settings.eal.help) return print(help(process.stdout.columns));
  if (settings.eal.version) return print(`pollmode ${packageVersion()}\n`);
  // whoever reads our output may leave early, as `| head` does: nothing is left to do then
  process.stdout.once("error", () => process.exit(FAILED));
  try {
    return await run(settings, live);
  } catch (error) {
    return fail(error, isBadInput(error) ? BAD_INPUT : FAILED);
  }
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

/** Mistakes that only the engine or a driver can see, but that lie in the command line. */
function isBadInput(error: unknown): boolean {
  const codes = /^(DEVARGS|DRIVER_UNKNOWN|PCI_UNKNOWN|QUEUE_COUNT|FORWARD_OPTION|POOL_OPTION|OPTION_)/;
  return error instanceof PollmodeError && codes.test(error.code);
}

async function run(settings: Settings, live: Live): Promise<number> {
  const plotter = settings.plot === undefined ? undefined : await import("./plot.ts");
  await plotter?.prepare(); // what is missing for it is said now
  const machine = describeMachine();
  const stop = stopOnSignal();
  const say = (text: string) => live.say(`rx-pps: ${text}`);
  const session = await openSession(settings, say);
  try {
    const watch = watchSession(session, stop, say);
    const measured = await measure(session, settings, {
      stop: stop.signal,
      say,
      events: watch,
      progress: (progress) => live.progress(progress),
    });
    watch.end();
    live.clear();
    const report = makeReport(describeSetting(session, settings), measured, machine);
    process.stdout.write(settings.json ? `${JSON.stringify(report)}\n` : formatReport(report));
    await plotter?.plot(settings.plot!, report, measured);
    return watch.faults > 0 || watch.failures > 0 ? FAILED : 0;
  } finally {
    live.clear();
    await session.close();
    stop.end();
  }
}

/** The first signal ends the measurement, the second the process. */
function stopOnSignal(): { signal: AbortSignal; abort: () => void; end: () => void } {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(FAILED);
    controller.abort();
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  const end = () => {
    for (const name of SIGNALS) process.off(name, onSignal);
  };
  return { signal: controller.signal, abort: () => controller.abort(), end };
}

interface SessionWatch {
  readonly faults: number;
  readonly linkDowns: number;
  readonly failures: number;
  end(): void;
}

/** Says at once what goes wrong with ports and lcores, and counts it. Ends the run when an lcore fails. */
function watchSession(
  { engine, ports, generator }: Session,
  stop: { abort: () => void },
  say: (text: string) => void,
): SessionWatch {
  const watch = { faults: 0, linkDowns: 0, failures: 0, ended: false, end: () => void (watch.ended = true) };
  for (const port of generator ? [...ports, generator] : ports) {
    port.on("link", ({ up }) => {
      if (watch.ended) return;
      if (!up) watch.linkDowns++;
      say(`port ${port.id} (${port.name}): link ${up ? "up" : "down"}`);
    });
    port.on("error", (error) => {
      if (watch.ended) return;
      if (error.code.startsWith("QUEUE_")) watch.faults++;
      say(describeError(error));
    });
  }
  engine.on("lcoreStalled", (status) => say(`lcore ${status.lcore} stalls: ${status.reason}`));
  engine.on("lcoreRecovered", (status) => say(`lcore ${status.lcore} goes on`));
  engine.on("lcoreFailed", (status, error) => {
    watch.failures++;
    say(`lcore ${status.lcore} stopped: ${error.message}`);
    stop.abort();
  });
  return watch;
}

function describeSetting(session: Session, settings: Settings): Setting {
  const { ports, generator, placement, clockNs } = session;
  const { engine, app, burst, queues, frameBytes } = settings;
  return {
    port: ports.map((port) => port.name).join(" "),
    generator: generator?.name ?? null,
    engine,
    app,
    burst,
    queues,
    frameSize: generator ? frameBytes : null,
    receivers: placement.receivers.map(describeLcore),
    generatorLcore: placement.generator ? describeLcore(placement.generator) : null,
    clockNs,
  };
}
