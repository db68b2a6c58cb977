// Which lcores there are, and what each of them does.
import { formatCpus, type LcoreCpus } from "../../src/eal/lcore-list.ts";

export interface Placement {
  /** All lcores, receivers first. */
  readonly lcores: readonly LcoreCpus[];
  readonly receivers: readonly LcoreCpus[];
  readonly generator: LcoreCpus | undefined;
  /** What the user should know. */
  readonly note: string | undefined;
}

export interface Wanted {
  /** -l, if given. */
  readonly lcores: readonly LcoreCpus[] | undefined;
  /** CPUs that this process may use. */
  readonly cpus: readonly number[];
  /** Receive queues of all ports. */
  readonly queues: number;
  readonly generator: boolean;
}

/**
 * The first CPU is where the main thread goes, and other programs by habit: the generator shares it, which only waits
 * for ring space anyway, and the receivers, which are measured, get the others.
 */
export function place(wanted: Wanted): Placement {
  const { lcores, generator } = wanted;
  if (!lcores) return byDefault(wanted);
  const receivers = (generator && lcores.length > 1 ? lcores.slice(0, -1) : lcores).slice(0, wanted.queues);
  if (!generator) return placed(receivers, undefined, undefined);
  if (lcores.length > 1) return placed(receivers, lcores.at(-1), undefined);
  const [only] = receivers as [LcoreCpus];
  const others = wanted.cpus.filter((cpu) => !only.cpus.includes(cpu));
  const cpu = others[0] ?? only.cpus[0]!;
  return placed(
    receivers,
    { lcore: unusedLcore(receivers, cpu), cpus: [cpu] },
    others.length ? undefined : shared(cpu),
  );
}

function byDefault({ cpus, queues, generator }: Wanted): Placement {
  const [first, ...more] = cpus as [number, ...number[]];
  const free = more.length > 0 ? more : [first];
  const receivers = free.slice(0, queues).map((cpu) => ({ lcore: cpu, cpus: [cpu] }));
  if (!generator) return placed(receivers, undefined, undefined);
  const note = more.length > 0 ? undefined : shared(first);
  return placed(receivers, { lcore: unusedLcore(receivers, first), cpus: [first] }, note);
}

function placed(
  receivers: readonly LcoreCpus[],
  generator: LcoreCpus | undefined,
  note: string | undefined,
): Placement {
  return { lcores: generator ? [...receivers, generator] : receivers, receivers, generator, note };
}

/** An lcore is numbered as its CPU where that number is free. */
function unusedLcore(taken: readonly LcoreCpus[], wish: number): number {
  const numbers = new Set(taken.map(({ lcore }) => lcore));
  if (!numbers.has(wish)) return wish;
  let number = 0;
  while (numbers.has(number)) number++;
  return number;
}

function shared(cpu: number): string {
  return `generator and receiver take turns on CPU ${cpu}: the rate says little, two CPUs are needed`;
}

/** The CPUs for the main thread: those where nothing is measured, if there are any. */
export function mainCpus(cpus: readonly number[], { receivers }: Placement): readonly number[] {
  const busy = new Set(receivers.flatMap((lcore) => lcore.cpus));
  const quiet = cpus.filter((cpu) => !busy.has(cpu));
  return quiet.length > 0 ? quiet : cpus;
}

/** `lcore 1`, or `lcore 1 (CPU 3)`. */
export function describeLcore({ lcore, cpus }: LcoreCpus): string {
  const same = cpus.length === 1 && cpus[0] === lcore;
  return same ? `lcore ${lcore}` : `lcore ${lcore} (CPU ${formatCpus(cpus)})`;
}
