// Which lcores run on which CPUs: DPDK's `-l`/`--lcores` list and its older `-c` mask, parsed without any I/O.
//
//   list    = item {"," item}
//   item    = set ["@" set]            lcores, then the CPUs each of them may run on
//   set     = element | "(" element {"," element} ")"
//   element = number | number "-" number
//
// Without "@" a number or a range puts each lcore on the CPU of the same number, and a group puts each of its lcores
// on all of the group's CPUs. Blanks may stand between any two words.
import { PollmodeError } from "../errors.ts";
import { LCORES_MAX } from "../limits.ts";

/** An lcore and where its thread may run. */
export interface LcoreCpus {
  /** Its number, by which programs name it. */
  readonly lcore: number;
  /** The CPUs it may run on, ascending; one of them in the usual case. */
  readonly cpus: readonly number[];
}

export interface LcoreLimits {
  /** The CPUs this process may use (its affinity mask). Absent: any CPU number is taken. */
  readonly allowedCpus?: ReadonlySet<number>;
  /** How many lcores there may be; LCORES_MAX, below which lcores are numbered, when absent. */
  readonly lcoresMax?: number;
  /** The option the list was given with, for messages. */
  readonly option?: string;
}

/** The size of the kernel's cpu_set_t, in CPUs. */
const cpuCount = 1024;

interface NumberSet {
  readonly numbers: number[];
  readonly grouped: boolean;
  /** Where it starts in the text, for messages. */
  readonly at: number;
}

/** Parses a list such as `0-3,5` or `1,2@(5-7),(3-5)@(0,2)`. The result is in ascending order of lcores. */
export function parseLcoreList(text: string, limits: LcoreLimits = {}): LcoreCpus[] {
  return new LcoreListParser(text, limits).parse();
}

/** Parses DPDK's older `-c` mask, such as `0x3` or `f0`: bit N stands for lcore N on CPU N. */
export function parseCoremask(text: string, limits: LcoreLimits = {}): LcoreCpus[] {
  const option = limits.option ?? "-c";
  const digits = /^\s*(?:0[xX])?([0-9a-fA-F]+)\s*$/.exec(text)?.[1];
  if (digits === undefined || BigInt(`0x${digits}`) === 0n) {
    const what = digits === undefined ? "is not a hexadecimal number" : "names no core";
    throw new PollmodeError(
      "LCORE_MASK",
      `${option}: "${text}" ${what}`,
      `give a mask such as ${option} 0x3, or -l 0-1`,
    );
  }
  const cores: number[] = [];
  for (let bits = BigInt(`0x${digits}`), core = 0; bits > 0n; bits >>= 1n, core++) {
    if (bits & 1n) cores.push(core);
  }
  return parseLcoreList(cores.join(","), { ...limits, option: `${option} ${text}` });
}

/** `0-3,5`: the shortest way to write a set of CPUs, for messages. */
export function formatCpus(cpus: Iterable<number>): string {
  const sorted = [...new Set(cpus)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    const first = sorted[i]!;
    let last = first;
    while (sorted[++i] === last + 1) last++;
    parts.push(first === last ? `${first}` : `${first}-${last}`);
  }
  return parts.join(",");
}

class LcoreListParser {
  readonly #text: string;
  readonly #limits: LcoreLimits;
  readonly #result = new Map<number, readonly number[]>();
  #at = 0;

  constructor(text: string, limits: LcoreLimits) {
    this.#text = text;
    this.#limits = limits;
  }

  parse(): LcoreCpus[] {
    do {
      this.#item();
    } while (this.#take(","));
    if (this.#peek() !== "") this.#malformed('expected "," or the end of the list');
    const lcores = [...this.#result].map(([lcore, cpus]) => ({ lcore, cpus }));
    return lcores.sort((a, b) => a.lcore - b.lcore);
  }

  #item(): void {
    const lcores = this.#set("the number of an lcore");
    const cpus = this.#take("@") ? this.#set("the number of a CPU") : undefined;
    if (cpus) this.#checkCpus(cpus);
    for (const lcore of lcores.numbers) {
      const own = !cpus && !lcores.grouped ? [lcore] : (cpus ?? lcores).numbers;
      if (!cpus) this.#checkCpus({ ...lcores, numbers: own });
      this.#add(lcore, own, lcores.at);
    }
  }

  #add(lcore: number, cpus: number[], at: number): void {
    const { lcoresMax = LCORES_MAX } = this.#limits;
    if (lcore >= LCORES_MAX) {
      const why = `lcore ${lcore} is too high: lcores are numbered 0 to ${LCORES_MAX - 1}`;
      this.#fail("LCORE_TOO_HIGH", why, `map a lower lcore to that CPU: --lcores 0@${lcore}`, at);
    }
    if (this.#result.has(lcore)) {
      this.#fail("LCORE_DUPLICATE", `lcore ${lcore} is named twice`, "name each lcore once", at);
    }
    if (this.#result.size >= lcoresMax) {
      this.#fail("LCORE_TOO_MANY", `more than ${lcoresMax} lcores`, `name at most ${lcoresMax} lcores`, at);
    }
    this.#result.set(lcore, cpus);
  }

  #checkCpus(set: NumberSet): void {
    const allowed = this.#limits.allowedCpus;
    const bad = set.numbers.find((cpu) => cpu >= cpuCount || (allowed && !allowed.has(cpu)));
    if (bad === undefined) return;
    const have = allowed ? formatCpus(allowed) : `0-${cpuCount - 1}`;
    const fix = `choose from the CPUs ${have}; \`taskset -p $$\` and the cpuset decide which these are`;
    this.#fail("CPU_UNAVAILABLE", `CPU ${bad} is not online, or this process may not use it`, fix, set.at);
  }

  /** A number, a range or a group. */
  #set(what: string): NumberSet {
    this.#skipBlanks();
    const at = this.#at;
    const numbers = new Set<number>();
    const grouped = this.#take("(");
    do {
      for (const number of this.#element(what)) numbers.add(number);
    } while (grouped && this.#take(","));
    if (grouped && !this.#take(")")) this.#malformed('expected "," or ")" to end the group', this.#at);
    return { numbers: [...numbers].sort((a, b) => a - b), grouped, at };
  }

  #element(what: string): number[] {
    const first = this.#number(what);
    const last = this.#take("-") ? this.#number("the number that ends the range") : first;
    const [low, high] = first <= last ? [first, last] : [last, first]; // DPDK takes 3-0 for 0-3
    return Array.from({ length: high - low + 1 }, (_, i) => low + i);
  }

  #number(what: string): number {
    this.#skipBlanks();
    const digits = /^[0-9]+/.exec(this.#text.slice(this.#at))?.[0];
    if (digits === undefined) this.#malformed(`expected ${what}`);
    const number = Number(digits);
    // Ranges are written out below: a wild number must not become a wild allocation.
    if (number >= cpuCount)
      this.#fail("LCORE_TOO_HIGH", `${digits} is too high`, `stay below ${cpuCount}`, this.#at);
    this.#at += digits.length;
    return number;
  }

  #skipBlanks(): void {
    while (this.#text[this.#at] === " " || this.#text[this.#at] === "\t") this.#at++;
  }

  #peek(): string {
    this.#skipBlanks();
    return this.#text[this.#at] ?? "";
  }

  #take(symbol: string): boolean {
    if (this.#peek() !== symbol) return false;
    this.#at++;
    return true;
  }

  #malformed(expected: string, at = this.#at): never {
    const found = this.#text[at] === undefined ? "the list ends" : `there is "${this.#text[at]}"`;
    const fix = "write it as in -l 0-3,5 or --lcores '0@0,(1,2)@(4-7)'";
    this.#fail("LCORE_LIST", `${expected}, but ${found}`, fix, at);
  }

  /** Every failure names the option, the whole list, the word at fault and its place (counted from 1). */
  #fail(code: string, why: string, fix: string, at: number): never {
    const { option = "--lcores" } = this.#limits;
    const word = /^(\([^)]*\)?|[^,@()\s]+)/.exec(this.#text.slice(at))?.[0];
    const place = word === undefined ? `position ${at + 1}` : `"${word}", position ${at + 1}`;
    throw new PollmodeError(code, `${option} "${this.#text}": ${why} (at ${place})`, fix);
  }
}
