// Forwarding modes as testpmd names them.
import { pathToFileURL } from "node:url";
import { nearest } from "../../eal/nearest.ts";
import { PollmodeError } from "../../errors.ts";
import { type ModeName, modeNames } from "../../forward/streams.ts";
import type { ForwardMode } from "./config.ts";

/** Modes that measure pollmode itself: rx-pps and tests have them. */
const INTERNAL: readonly string[] = ["count", "touch", "seq-send", "seq-check"];

const DPDK_ONLY: Readonly<Record<string, string>> = {
  ieee1588: "no driver stamps PTP frames: use another mode",
  "shared-rxq": "queues belong to one port: use rxonly",
};

/** The names that `--forward-mode` and `set fwd` take; beside them app=FILE. */
export function modeWords(): ModeName[] {
  return modeNames.filter((name) => !INTERNAL.includes(name));
}

/** `macswap`, `app=echo.ts`. `option` is where it was given, for messages. */
export function parseMode(option: string, text: string): ForwardMode {
  if (text.startsWith("app=")) {
    if (text.length > "app=".length) return text as ForwardMode;
    throw new PollmodeError("FORWARD_MODE", `${option} ${text}: no file`, `write ${option} app=./echo.ts`);
  }
  const words = modeWords();
  const mode = words.find((name) => name === text);
  if (mode !== undefined) return mode;
  if (Object.hasOwn(DPDK_ONLY, text)) {
    throw new PollmodeError(
      "FORWARD_MODE",
      `${option}: DPDK's mode ${text} is not supported`,
      DPDK_ONLY[text]!,
    );
  }
  const near = nearest(text, words);
  const fix = `${near ? `did you mean ${near}? ` : ""}modes: ${words.join(", ")}, app=FILE`;
  throw new PollmodeError("FORWARD_MODE", `${option}: there is no forwarding mode ${text}`, fix);
}

/** The application's module, for `app=FILE`. */
export function appOf(mode: ForwardMode): URL | undefined {
  return mode.startsWith("app=") ? pathToFileURL(mode.slice("app=".length)) : undefined;
}
