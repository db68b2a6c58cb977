// What the package exports is documented: in the sources, and in docs/api.md, which is made of them.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { repositoryRoot } from "./beds/paths.ts";
import { declarationsOf, exportsOf, undocumented } from "./support/declarations.ts";

const exported = exportsOf(new URL("../src/index.d.ts", import.meta.url));

t.test("every export and every public member of it has a docstring", async (t) => {
  t.ok(exported.size > 100, `${exported.size} exports`);
  const members = [...exported.values()].reduce((sum, one) => sum + one.members.length, 0);
  t.ok(members > 400, `${members} members`);
  t.same(undocumented(exported), []);
});

t.test("what is not documented is found", async (t) => {
  const text = `
/** A class. */
export declare class A extends Base<X, Y> {
    readonly bare: string;
    private secret;
    /** A method. */
    method(a: {
        b: number;
    }): void;
    get value(): number;
    /** Too late: the getter is what counts. */
    set value(value: number);
    /** @internal */
    hidden(): void;
    inherited(): void;
    [Symbol.asyncDispose](): Promise<void>;
}
export interface B {
    /**
     * Two lines,
     * one comment.
     */
    documented?: number;
}
/** A base. */
export declare abstract class Base<T, U = string> {
    /** In the base. */
    abstract inherited(): void;
    protected inner: number;
}
export type C = {
    field: string;
};
`;
  t.same(undocumented(declarationsOf(text)), ["A.bare", "A.value", "A.[Symbol.asyncDispose]", "B", "C"]);
});

/** A docstring's or a section's words: without marks of comments and tables, in one line. */
const words = (text: string) =>
  text
    .replace(/^\s*\/\*\*|\*\/$/g, "")
    .replace(/^\s*\* ?/gm, " ")
    .replaceAll("\\|", "|")
    .replace(/\s+/g, " ")
    .trim();

t.test("docs/api.md is of this version", async (t) => {
  const text = readFileSync(join(repositoryRoot, "docs/api.md"), "utf8");
  const [, ...parts] = text.split(/^### /m);
  const sections = new Map(parts.map((part) => [/^\w+/.exec(part)![0], words(part)]));
  const missing = [...exported.keys()].filter((name) => !sections.has(name));
  const gone = [...sections.keys()].filter((name) => !exported.has(name));
  const stale = [...exported.values()].flatMap(({ name, docs, members }) => {
    const section = sections.get(name) ?? "";
    const own = members.filter((one) => one.docs !== "" && !one.docs.includes("@internal"));
    const parts = own.filter(
      (one) => !section.includes(words(one.docs)) || !section.includes(bare(one.name)),
    );
    return [...(section.includes(words(docs)) ? [] : [name]), ...parts.map((one) => `${name}.${one.name}`)];
  });
  t.same({ missing, gone, stale }, { missing: [], gone: [], stale: [] }, "npm run docs writes it");
});

/** `[Symbol.asyncDispose]` stands there as [asyncDispose], a constructor by the class's name. */
const bare = (member: string) => member.replace(/^\[Symbol\.|\]$|^constructor$/g, "");
