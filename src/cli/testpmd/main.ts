// `pollmode testpmd`: forwards packets between ports, by DPDK testpmd's command line and with its words.
//
//   options.ts -> session.ts (open.ts: engine; ports.ts; forwarder.ts: lcores) -> display-*.ts -> stdout
//                      ^ console/ (-i, --cmdline-file)                 --http: src/telemetry
import { constants } from "node:os";
import { describeError, PollmodeError } from "../../errors.ts";
import { threadCpus } from "../../libc/libc.ts";
import { serveTelemetry, type TelemetryServer } from "../../telemetry/http.ts";
import { packageVersion } from "../version.ts";
import { runConsole, runFile } from "./console/console.ts";
import { periodicStats } from "./display-stats.ts";
import { LiveView } from "./live-view.ts";
import { help, parseTestpmd, type TestpmdOptions } from "./options.ts";
import { Session } from "./session.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** Exit codes: something failed, and a command line that cannot be. */
const FAILED = 1;
const BAD_INPUT = 2;

/** What is painted on the terminal, if anything is: messages belong into it, or the next painting wipes them away. */
let view: LiveView | undefined;
const say = (text: string) => void (view?.note(text) || process.stdout.write(`${text}\n`));
const warn = (text: string) => void (view?.note(text) || process.stderr.write(`${text}\n`));

/** Returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  // whoever reads our output may leave early, as `| head` does: nothing is left to do then
  process.stdout.once("error", () => process.exit(FAILED));
  try {
    const parsed = parseTestpmd(argv, { allowedCpus: new Set(threadCpus()) });
    if (parsed.what === "run") return await run(parsed.options);
    process.stdout.write(
      parsed.what === "help" ? help(process.stdout.columns) : `pollmode ${packageVersion()}\n`,
    );
    return 0;
  } catch (error) {
    warn(`testpmd: ${describeError(error)}`);
    return isBadInput(error) ? BAD_INPUT : FAILED;
  }
}

/** Mistakes in the command line, also those that only the engine or a driver can see. */
function isBadInput(error: unknown): boolean {
  const lcores = "LCORE_(COUNT|LIST|MASK|UNKNOWN|TOO|DUPL)|CPU_";
  const codes = new RegExp(
    `^(OPTION_|DEVARGS|DRIVER_UNKNOWN|FORWARD_|${lcores}|PCI_UNKNOWN|POOL_OPTION|PORT_UNKNOWN|QUEUE_COUNT|RING_SIZE)`,
  );
  return error instanceof PollmodeError && codes.test(error.code);
}

async function run(options: TestpmdOptions): Promise<number> {
  for (const text of options.notes) say(text);
  const leave = leaveOnSignal();
  let http: TelemetryServer | undefined;
  let session: Session | undefined;
  try {
    session = await Session.open(options, say, warn, leave);
    let failures = 0;
    session.engine.on("lcoreFailed", () => failures++);
    if (options.http) {
      http = await serveTelemetry(session.engine, { ...options.http, warn });
      warn(`statistics at ${http.url}`);
    }
    await work(session, options, leave);
    await http?.close();
    http = undefined;
    await session.close();
    return failures > 0 ? FAILED : 0;
  } finally {
    await http?.close();
    await session?.close();
    leave.end();
  }
}

/** What is done between start and end. */
async function work(session: Session, options: TestpmdOptions, leave: Leave): Promise<void> {
  const { cmdlineFile } = options;
  if (cmdlineFile !== undefined && !(await runFile(session, cmdlineFile, say, leave))) return;
  if (leave.asked) return;
  if (options.interactive) {
    if (options.autoStart) {
      say("Start automatic packet forwarding");
      await session.start();
    }
    const terminal = { input: process.stdin, output: process.stdout };
    await Promise.race([runConsole(session, { ...terminal, leave }), leave.signal]);
    process.stdin.pause();
    return;
  }
  say("No commandline core given, start packet forwarding");
  if (session.forwarding) warn("Packet forwarding already started");
  else await session.start(options.txFirst ? 1 : 0);
  if (options.statsPeriod > 0) {
    const painted = new LiveView(session.engine, process.stdout);
    view = painted;
    await repeat(options.statsPeriod, leave.signal, () => painted.show(periodicStats(session)));
    painted.end();
    return;
  }
  say("Press enter to exit");
  await Promise.race([inputOrEnd(), leave.signal]);
  process.stdin.pause();
}

/** At once and then every so many seconds; until a signal, as testpmd: it reads no input meanwhile. */
async function repeat(seconds: number, until: Promise<void>, show: () => void): Promise<void> {
  show();
  const timer = setInterval(show, seconds * 1000);
  await until;
  clearInterval(timer);
}

/** Enter, or the end of the input. */
function inputOrEnd(): Promise<void> {
  return new Promise((resolve) => {
    for (const event of ["data", "end", "close", "error"]) process.stdin.once(event, () => resolve());
    process.stdin.resume();
  });
}

interface Leave {
  /** Settles with the first signal. */
  readonly signal: Promise<void>;
  readonly asked: boolean;
  end(): void;
}

/** The first signal ends forwarding in order, the second the process. */
function leaveOnSignal(): Leave {
  let asked = false;
  let settle = () => {};
  const signal = new Promise<void>((resolve) => {
    settle = resolve;
  });
  const onSignal = (name: (typeof SIGNALS)[number]) => {
    if (asked) process.exit(128 + constants.signals[name]);
    asked = true;
    warn(`\nSignal ${constants.signals[name]} received, preparing to exit...`);
    settle();
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  return {
    signal,
    get asked() {
      return asked;
    },
    end: () => {
      for (const name of SIGNALS) process.off(name, onSignal);
    },
  };
}
