// The register tables: no two names of a chip share a word, tables of several words included.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  MENDED_82574,
  MRQC_FIELDS,
  MRQC_FIELDS_82574,
  RINGS_82574,
  RINGS_IGB,
  STATISTICS,
  STATISTICS_64,
  STATISTICS_82574,
  STATISTICS_IGB,
  STATISTICS_IGB_64,
} from "../../../pmd/e1000/registers.ts";
import { repositoryRoot } from "../../beds/paths.ts";

const source = readFileSync(join(repositoryRoot, "pmd/e1000/registers.ts"), "utf8");

/** The members of a const enum, which tsc leaves nothing of. */
function members(name: string): Record<string, number> {
  const body = new RegExp(`export const enum ${name} \\{([^}]*)\\}`).exec(source)![1]!;
  const found = body.matchAll(/^ {2}(\w+) = (0x[0-9a-f]+|\d+),/gm);
  return Object.fromEntries([...found].map(([, key, value]) => [key!, Number(value)]));
}

const registers = members("Reg");
const ringRegisters = members("RingReg");

/** Tables: how many words. All others are one. */
const tables: Record<string, number> = {
  EITR: 25,
  EITR_82574: 5,
  IVAR0: 8,
  MTA: 128,
  VFTA: 128,
  RETA: 32,
  RSSRK: 10,
};
const only82574 = /_82574$|^(EXTCNF_CTRL|GCR2|TARC0)$/;
const onlyIgb = /^(SW_FW_SYNC|GPIE|EIMS|EIMC|EIAC|EIAM|EICR|EITR|IVAR0|RLPML|RAL_HIGH)$/;

type Words = { name: string; offset: number; words: number }[];

function wordsOf(family: "82574" | "igb"): Words {
  const own = family === "igb" ? STATISTICS_IGB : STATISTICS_82574;
  const own64 = family === "igb" ? STATISTICS_IGB_64 : {};
  const rings = family === "igb" ? RINGS_IGB : RINGS_82574;
  const list: Words = [];
  const add = (name: string, offset: number, words: number) => list.push({ name, offset, words });
  for (const [name, offset] of Object.entries(registers)) {
    if ((family === "igb" ? only82574 : onlyIgb).test(name)) continue;
    if (name === "RAL" || name === "RAH") continue;
    if (name === "RAL_HIGH") add(name, offset, 32);
    else add(name, offset, tables[name] ?? 1);
  }
  add("RAL", registers.RAL!, 32);
  for (const [name, offset] of Object.entries({ ...STATISTICS, ...own })) add(name, offset, 1);
  for (const [name, offset] of Object.entries({ ...STATISTICS_64, ...own64 })) add(name, offset, 2);
  for (let queue = 0; queue < (family === "igb" ? 16 : 2); queue++) {
    for (const [name, offset] of Object.entries(ringRegisters)) {
      add(`R${name}(${queue})`, rings.rx + queue * rings.stride + offset, 1);
      add(`T${name}(${queue})`, rings.tx + queue * rings.stride + offset, 1);
    }
  }
  return list;
}

for (const family of ["82574", "igb"] as const) {
  t.test(`${family}: no two registers share a word`, async (t) => {
    const owner = new Map<number, string>();
    const list = wordsOf(family);
    t.ok(list.length > 100, "the table was read");
    for (const { name, offset, words } of list) {
      t.equal(offset % 4, 0, `${name} is at a whole word`);
      for (let k = 0; k < words; k++) {
        const at = offset + 4 * k;
        if (owner.has(at)) t.fail(`${name} and ${owner.get(at)} share 0x${at.toString(16)}`);
        owner.set(at, name);
      }
    }
    t.ok(
      [...owner.keys()].every((at) => at < 0x20000),
      "within BAR 0",
    );
  });
}

t.test("RAH follows RAL, and the second block of addresses has its own place", async (t) => {
  t.equal(registers.RAH, registers.RAL! + 4);
  t.equal(registers.RAL_HIGH, 0x54e0);
});

t.test("bits of what is hashed are each one thing's", async (t) => {
  for (const fields of [MRQC_FIELDS, MRQC_FIELDS_82574]) {
    let all = 0;
    for (const [type, bits] of Object.entries(fields)) {
      t.equal(all & bits, 0, type);
      all |= bits;
    }
  }
});

t.test("what is mended sets no bit that it clears", async (t) => {
  for (const { register, set, clear } of MENDED_82574) t.equal(set & clear, 0, register.toString(16));
});
