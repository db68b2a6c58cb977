// What host (lab.ts) and guest (agent.ts) say to each other through a virtio-serial port: one JSON object a line.
// `id` is the host's number of the request; bytes are in base64.

export interface StartRequest {
  readonly op: "start";
  readonly id: number;
  readonly command: readonly string[];
  readonly cwd: string;
  /** Added to the agent's own environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Gives it a terminal of its own: its stderr is then in its stdout. */
  readonly terminal: boolean;
}

export type Request =
  | StartRequest
  /** Bytes for its stdin; an empty one ends it. */
  | { readonly op: "input"; readonly id: number; readonly bytes: string }
  /** To the process alone, or to its process group, as a terminal's Ctrl-C. */
  | { readonly op: "signal"; readonly id: number; readonly signal: NodeJS.Signals; readonly group: boolean }
  | { readonly op: "read"; readonly id: number; readonly path: string }
  | { readonly op: "write"; readonly id: number; readonly path: string; readonly bytes: string };

export type Reply =
  /** Once, before the host may ask for anything. */
  | { readonly op: "ready" }
  | { readonly op: "started"; readonly id: number; readonly pid: number }
  | {
      readonly op: "output";
      readonly id: number;
      readonly stream: "stdout" | "stderr";
      readonly bytes: string;
    }
  | {
      readonly op: "exit";
      readonly id: number;
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
    }
  | { readonly op: "read"; readonly id: number; readonly bytes: string }
  | { readonly op: "written"; readonly id: number }
  /** What was asked for could not be done. */
  | { readonly op: "failed"; readonly id: number; readonly message: string };

/** Cuts a stream of text into lines, whatever its chunks are. */
export function lineSplitter(onLine: (line: string) => void): (text: string) => void {
  let rest = "";
  return (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) onLine(line);
  };
}
