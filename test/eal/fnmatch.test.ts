import t from "tap";
import { fnmatch } from "../../src/eal/fnmatch.ts";

t.test("patterns as fnmatch(3) has them", async (t) => {
  const cases: [pattern: string, yes: string[], no: string[]][] = [
    ["abc", ["abc"], ["ab", "abcd", "ABC"]],
    ["a*c", ["ac", "abc", "abbc"], ["acd", "bac"]],
    ["a?c", ["abc"], ["ac", "abbc"]],
    ["0000:03:00.[01]", ["0000:03:00.0", "0000:03:00.1"], ["0000:03:00.2", "0000:03:00x0"]],
    ["x[0-3]", ["x0", "x3"], ["x4", "x-"]],
    ["x[!0-3]", ["x4", "x!"], ["x0", "x"]],
    ["x[^a]", ["x^", "xa"], ["xb"]],
    ["x[\\]", ["x\\"], ["x"]],
    ["*", ["", "x"], []],
    ["a.b(c)*", ["a.b(c)", "a.b(c)d"], ["axb(c)"]],
    ["[", ["["], ["x"]],
    ["a[", ["a["], ["a"]],
    ["[]", ["[]"], [""]],
    ["[z-a]", [], ["b", "[z-a]"]],
    ["pci:v*d000010D3sv*", ["pci:v00008086d000010D3sv0"], ["pci:v00008086d000010D4sv0"]],
  ];
  for (const [pattern, yes, no] of cases) {
    for (const text of yes) t.ok(fnmatch(pattern, text), `${pattern} fits "${text}"`);
    for (const text of no) t.notOk(fnmatch(pattern, text), `${pattern} does not fit "${text}"`);
  }
});
