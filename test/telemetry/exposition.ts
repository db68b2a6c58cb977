// A small reader of Prometheus' text format 0.0.4, independent of the library that writes it.

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Exposition {
  readonly samples: readonly Sample[];
  readonly types: ReadonlyMap<string, string>;
  readonly helps: ReadonlyMap<string, string>;
}

const sampleLine = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y;

/** Throws on the first line that is none. */
export function parseExposition(text: string): Exposition {
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  const helps = new Map<string, string>();
  for (const line of text.split("\n")) {
    const comment = /^# (TYPE|HELP) (\S+) (.+)$/.exec(line);
    if (comment) {
      const into = comment[1] === "TYPE" ? types : helps;
      if (into.has(comment[2]!)) throw new Error(`twice: ${line}`);
      into.set(comment[2]!, comment[3]!);
    } else if (line !== "") samples.push(parseSample(line));
  }
  const keys = samples.map(({ name, labels }) => `${name} ${JSON.stringify(Object.entries(labels).sort())}`);
  const twice = keys.find((key, k) => keys.indexOf(key) !== k);
  if (twice) throw new Error(`twice: ${twice}`);
  return { samples, types, helps };
}

function parseSample(line: string): Sample {
  const [, name, inner = "", number] = sampleLine.exec(line) ?? [];
  if (name === undefined || Number.isNaN(Number(number))) throw new Error(`no sample: ${line}`);
  const labels: Record<string, string> = {};
  label.lastIndex = 0;
  while (label.lastIndex < inner.length) {
    const at = label.lastIndex;
    const found = label.exec(inner);
    if (!found) throw new Error(`no label at ${at}: ${line}`);
    labels[found[1]!] = found[2]!.replace(/\\(.)/g, (_, char) => (char === "n" ? "\n" : char));
  }
  return { name, labels, value: Number(number) };
}
