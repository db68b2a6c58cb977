// What a package exports and how it is documented, read out of the declarations that tsc makes (.d.ts): there a
// declaration begins in the first column, a member of it behind four blanks, and comments stand before them.
import { readFileSync } from "node:fs";

export interface Member {
  readonly name: string;
  readonly docs: string;
}

export interface Declaration {
  readonly name: string;
  readonly kind: "class" | "interface" | "type" | "const" | "function";
  readonly docs: string;
  /** Of classes and interfaces: public ones. */
  readonly members: readonly Member[];
  /** What it extends, without type arguments. */
  readonly bases: readonly string[];
}

const HEAD =
  /^export (?:declare )?(?:abstract )?(class|interface|type|const|function) (\w+)(?:<.*?>)?(?: extends ([^{]+))?/;
/** A member that others see, or a continuation of one (undefined name): those begin with a bracket. */
const MEMBER = /^ {4}(?:(?:static|readonly|abstract|override|get|set) )*(\[?[\w$.]+\]?)[?(<:]/;

/** Declarations of a file by name. */
export function declarationsOf(text: string): Map<string, Declaration> {
  const found = new Map<string, Declaration>();
  let open: { declaration: Declaration; members: Map<string, string> } | undefined;
  let docs = "";
  for (const line of joinComments(text)) {
    const comment = /^ *\/\*\*.*\*\/$/s.test(line);
    if (comment) {
      docs = line;
      continue;
    }
    const head = HEAD.exec(line);
    if (head) {
      const [, kind, name, bases = ""] = head as unknown as [string, Declaration["kind"], string, string?];
      const members: Member[] = [];
      const declaration = { name, kind, docs, members, bases: bases.split(/, (?![^<]*>)/).map(bare) };
      found.set(name, declaration);
      const holds = (kind === "class" || kind === "interface") && line.endsWith("{");
      open = holds ? { declaration, members: new Map() } : undefined;
    } else if (line === "}" && open) {
      const members = [...open.members].map(([name, docs]) => ({ name, docs }));
      found.set(open.declaration.name, { ...open.declaration, members });
      open = undefined;
    } else if (open && !/^ {4}(private|protected|#)/.test(line)) {
      const name = MEMBER.exec(line)?.[1];
      // a setter, or one more signature: the first one has the words
      if (name !== undefined && !open.members.has(name)) open.members.set(name, docs);
    }
    docs = "";
  }
  return found;
}

const bare = (type: string) => type.replace(/<.*/s, "").trim();

/** Lines, a comment of several as one. */
function joinComments(text: string): string[] {
  return text.match(/^ *\/\*\*[\s\S]*?\*\/$|^.*$/gm) ?? [];
}

/** All that the module at `url` (a .d.ts) exports, with the declarations' own. */
export function exportsOf(url: URL): Map<string, Declaration> {
  const text = readFileSync(url, "utf8");
  const own = declarationsOf(text);
  const found = new Map(own);
  for (const [, names, specifier] of text.matchAll(/^export (?:type )?(\*|\{[^}]*\}) from "(\.[^"]+)";$/gm)) {
    const from = exportsOf(new URL(specifier!.replace(/\.ts$/, ".d.ts"), url));
    const wanted = names === "*" ? [...from.keys()] : names!.slice(1, -1).split(",");
    for (const entry of wanted) {
      const name = entry.trim().replace(/^type /, "");
      const declaration = from.get(name);
      if (declaration) found.set(name, declaration);
      else if (name !== "") throw new Error(`${url.pathname}: ${name} is not declared in ${specifier}`);
    }
  }
  return found;
}

/** What has no docstring, `Port.stop`. A member may have it from what the class or interface extends. */
export function undocumented(exports: ReadonlyMap<string, Declaration>): string[] {
  const isInternal = ({ docs }: Member) => docs.includes("@internal");
  const inherited = (declaration: Declaration, member: string): boolean =>
    declaration.bases.some((base) => {
      const from = exports.get(base);
      if (!from) return false;
      return from.members.some(({ name, docs }) => name === member && docs !== "") || inherited(from, member);
    });
  return [...exports.values()].flatMap((declaration) => {
    const { name, docs, members } = declaration;
    const bare = members.filter((one) => one.docs === "" && !isInternal(one));
    const missing = bare
      .filter((one) => !inherited(declaration, one.name))
      .map((one) => `${name}.${one.name}`);
    return docs === "" ? [name, ...missing] : missing;
  });
}
