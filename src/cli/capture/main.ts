// `pollmode capture`: packets of a running engine's port into a file or a pipe.
//
// The engine hands over its rings' memory (a memfd) through its control socket. From then on this process reads them by
// itself; the engine hears of it again when the capture ends, or notices that the connection is gone.

import { compileFilter } from "../../capture/filter.ts";
import { type CaptureOutput, FileOutput, StandardOutput } from "../../capture/output.ts";
import { RingReader } from "../../capture/reader.ts";
import { type CaptureOrigin, Recorder } from "../../capture/recorder.ts";
import { planBytes, type RingPlan } from "../../capture/taps.ts";
import { describeError, PollmodeError } from "../../errors.ts";
import { MAP_SHARED } from "../../libc/abi.ts";
import { close } from "../../libc/libc.ts";
import { ARENA_GUARD_BYTES, MIB, PAGE_BYTES } from "../../limits.ts";
import { Arena } from "../../memory/arena.ts";
import { alignUp } from "../../memory/ranges.ts";
import { ControlConnection } from "../../telemetry/control-client.ts";
import { type CaptureCommand, captureHelp, parseCapture } from "./options.ts";

/** Until the engine has answered and the last packets are written; a second signal does not wait. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export async function main(argv: readonly string[]): Promise<number> {
  try {
    const command = parseCapture(argv);
    if (command.help) process.stdout.write(captureHelp());
    else if (command.list) await list(command.filePrefix);
    else await capture(command);
    return 0;
  } catch (error) {
    process.stderr.write(`pollmode capture: ${describeError(error)}\n`);
    return error instanceof PollmodeError && error.code.startsWith("OPTION_") ? 2 : 1;
  }
}

interface ListedPort {
  readonly id: number;
  readonly name: string;
  readonly driver: string;
  readonly started: boolean;
  readonly up: boolean;
}

async function list(filePrefix: string): Promise<void> {
  const control = new ControlConnection(filePrefix, { onEvent: () => {}, onClose: () => {} });
  try {
    const { result } = await control.ask("ports");
    for (const { id, name, driver, started, up } of result as ListedPort[]) {
      const state = started ? (up ? "up" : "started, link down") : "stopped";
      process.stdout.write(`${id}.${name} (${driver}) [${state}]\n`);
    }
  } finally {
    control.close();
  }
}

interface Started {
  readonly capture: number;
  readonly plan: RingPlan;
  readonly origin: CaptureOrigin;
}

async function capture(command: CaptureCommand): Promise<void> {
  const { filter, write, count, snaplen, direction, queue, ringBytes } = command;
  const program = filter === undefined ? undefined : compileFilter(filter);
  const output = write === "-" ? new StandardOutput() : new FileOutput(write, command.ring);
  let recorder: Recorder | undefined;
  let why: string | undefined;
  const control = new ControlConnection(command.filePrefix, {
    onEvent: (event) => {
      if (event.event !== "capture.end") return;
      why = String(event.reason);
      recorder?.end();
    },
    onClose: (reason) => {
      if (reason) why ??= "the engine has ended";
      recorder?.end();
    },
  });
  try {
    const params = { port: command.port, program, snaplen, direction, queue, ringBytes };
    const { result, fds } = await control.ask("capture.start", params);
    const started = result as Started;
    const { plan, origin } = started;
    const reader = mapRings(plan, fds);
    const stopTaps = async () => {
      await control.ask("capture.stop", { capture: started.capture }).catch(() => {});
    };
    recorder = new Recorder({ reader, output, origin, filter, count, stopTaps });
    const where = `${origin.port} (${origin.name})`;
    say(`listening on ${where}, link-type EN10MB (Ethernet), snapshot length ${origin.snaplen} bytes`);
    if (why !== undefined) recorder.end();
    await untilEnd(recorder, output);
    report(recorder, why);
  } finally {
    control.close();
  }
}

function say(text: string): void {
  process.stderr.write(`pollmode capture: ${text}\n`);
}

/** In tcpdump's words, for who reads its last lines. */
function report(recorder: Recorder, why: string | undefined): void {
  const { captured, received, dropped } = recorder.stats;
  const plural = (n: number) => `${n} packet${n === 1 ? "" : "s"}`;
  if (why !== undefined) say(`ended: ${why}`);
  process.stderr.write(`${plural(captured)} captured\n`);
  process.stderr.write(`${plural(received)} received by filter\n`);
  process.stderr.write(`${plural(dropped)} dropped by ring\n`);
}

async function untilEnd(recorder: Recorder, output: CaptureOutput): Promise<void> {
  let asked = false;
  const stop = () => {
    if (asked && output instanceof StandardOutput) output.abandon();
    asked = true;
    recorder.end();
  };
  for (const signal of signals) process.on(signal, stop);
  try {
    await recorder.run();
  } finally {
    for (const signal of signals) process.off(signal, stop);
  }
}

/** The engine's rings, laid over an arena of this process. The mapping lasts until the process ends. */
function mapRings(plan: RingPlan, fds: number[]): RingReader {
  const [fd, ...more] = fds;
  more.forEach(close);
  if (fd === undefined) {
    const fix = "use the same release of pollmode for both";
    throw new PollmodeError("CONTROL_PROTOCOL", "the engine has sent no memory with its answer", fix);
  }
  try {
    const bytes = planBytes(plan);
    const arena = new Arena(alignUp(bytes + ARENA_GUARD_BYTES + PAGE_BYTES, MIB));
    const range = arena.reserve("capture rings", bytes, PAGE_BYTES);
    arena.overlay(range, fd, 0, MAP_SHARED);
    return new RingReader({ u8: arena.u8, u32: arena.u32, f64: arena.f64, base: range.start }, plan);
  } finally {
    close(fd);
  }
}
