// Writes docs/api.md, the reference of what `import … from "pollmode"` gives, from the docstrings in the sources.
//
// TypeDoc reads them, which needs the compiler's API. The project's own TypeScript has none for JavaScript, so TypeDoc
// and a TypeScript that it can use live in a folder of their own, scripts/api-docs, and are installed when they are
// needed. TypeDoc's warnings are errors: a type that is named but not exported is one.
import { execFileSync } from "node:child_process";
import { existsSync, realpathSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** A private build may link to package.json: the sources are where it really is. */
const root = dirname(realpathSync(fileURLToPath(new URL("../../package.json", import.meta.url))));
const tools = join(root, "scripts/api-docs");

/** TypeDoc's reflections, as far as they are read here. */
interface Type {
  toString(): string;
  /** Of an object's type. */
  readonly declaration?: Reflection;
}
interface Signature {
  readonly comment?: Comment;
  readonly parameters?: readonly {
    readonly name: string;
    readonly type?: Type;
    readonly defaultValue?: string;
    readonly flags: { readonly isOptional: boolean; readonly isRest: boolean };
  }[];
  readonly type?: Type;
}
interface Comment {
  readonly summary: readonly { readonly text: string }[];
}
interface Reflection {
  readonly name: string;
  readonly kind: number;
  readonly comment?: Comment;
  readonly flags: { readonly isOptional: boolean; readonly isReadonly: boolean; readonly isStatic: boolean };
  readonly children?: readonly Reflection[];
  readonly signatures?: readonly Signature[];
  readonly getSignature?: Signature;
  readonly setSignature?: Signature;
  readonly type?: Type;
  readonly typeParameters?: readonly { readonly name: string }[];
  readonly extendedTypes?: readonly Type[];
  readonly inheritedFrom?: unknown;
}
interface TypeDoc {
  readonly Application: {
    bootstrap(options: object): Promise<{
      convert(): Promise<Reflection | undefined>;
      validate(project: Reflection): void;
      readonly logger: { hasErrors(): boolean; hasWarnings(): boolean };
    }>;
  };
  readonly ReflectionKind: Readonly<Record<string, number>>;
}

const introduction = `# API reference
What \`import … from "pollmode"\` gives. [embedding.md](embedding.md) and [applications.md](applications.md) explain it
and have examples, [errors.md](errors.md) the codes of errors. Written by \`npm run docs\` from the sources.
`;

const kinds = {
  Class: "Classes",
  Function: "Functions",
  Interface: "Interfaces",
  TypeAlias: "Types",
  Variable: "Constants",
} as const;

const exported = (await import(new URL("../src/index.js", import.meta.url).href)) as Readonly<
  Record<string, unknown>
>;

function text(comment: Comment | undefined): string {
  return (comment?.summary ?? [])
    .map((part) => part.text)
    .join("")
    .trim();
}

/** In a table, where a line is a row and `|` ends a cell. */
const cell = (words: string) => words.replace(/\s*\n\s*/g, " ").replaceAll("|", "\\|");

function call(name: string, { parameters = [], type }: Signature): string {
  const list = parameters.map(({ name, type, flags, defaultValue }) => {
    const mark = flags.isOptional || defaultValue !== undefined ? "?" : "";
    return `${flags.isRest ? "..." : ""}${name === "__namedParameters" ? "options" : name}${mark}: ${type}`;
  });
  return `${name}(${list.join(", ")})${type ? `: ${type}` : ""}`;
}

/** Rows of a member: how it is written, what it is. */
function rows(member: Reflection, owner: string): [code: string, meaning: string][] {
  const { name, flags, signatures, getSignature, setSignature, type } = member;
  const before = flags.isStatic ? "static " : "";
  if (signatures && name === "constructor") {
    return signatures.map((one) => [
      `new ${call(owner, { ...one, type: undefined } as Signature)}`,
      text(one.comment),
    ]);
  }
  if (signatures) return signatures.map((one) => [before + call(name, one), text(one.comment)]);
  if (getSignature) {
    const mark = setSignature ? "" : "readonly ";
    return [[`${before}${mark}${name}: ${getSignature.type}`, text(getSignature.comment)]];
  }
  const code = `${before}${flags.isReadonly ? "readonly " : ""}${name}${flags.isOptional ? "?" : ""}`;
  const inner = type?.declaration?.signatures?.[0]; // a function that is a property
  return [[inner ? call(code, inner) : `${code}: ${type}`, text(member.comment) || text(inner?.comment)]];
}

function membersOf(reflection: Reflection): string {
  const own = (reflection.children ?? []).filter((member) => !member.inheritedFrom);
  const all = own.flatMap((member) => rows(member, reflection.name));
  if (all.length === 0) return "";
  const lines = all.map(([code, meaning]) => `| \`${cell(code)}\` | ${cell(meaning)} |`);
  return ["| | |", "|---|---|", ...lines].join("\n");
}

/** An object of constants: their values. */
function constants(reflection: Reflection, value: object): string {
  const children = reflection.type?.declaration?.children ?? [];
  const docs = new Map(children.map((child) => [child.name, text(child.comment)]));
  const number = (n: unknown) =>
    typeof n === "number" && n > 255 ? `0x${n.toString(16).padStart(4, "0")}` : `${n}`;
  const lines = Object.entries(value).map(
    ([name, one]) => `| \`${reflection.name}.${name}\` | ${number(one)} | ${cell(docs.get(name) ?? "")} |`,
  );
  return ["| | value | |", "|---|---|---|", ...lines].join("\n");
}

function section(reflection: Reflection, kind: keyof typeof kinds): string {
  const { name, comment, extendedTypes = [], typeParameters = [] } = reflection;
  const generic = typeParameters.length > 0 ? `<${typeParameters.map((one) => one.name).join(", ")}>` : "";
  const parts = [`### ${name}`];
  const value = exported[name];
  const code = (words: string) => parts.push(`\`\`\`ts\n${words}\n\`\`\``);
  if (kind === "Function") for (const one of reflection.signatures ?? []) code(`function ${call(name, one)}`);
  if (kind === "TypeAlias") code(`type ${name}${generic} = ${typeText(reflection)}`);
  parts.push(text(kind === "Function" ? reflection.signatures?.[0]?.comment : comment));
  if (extendedTypes.length > 0) {
    const link = (base: string) => (base in exported ? `[${base}](#${base.toLowerCase()})` : `\`${base}\``);
    parts.push(`Extends ${extendedTypes.map((base) => link(`${base}`)).join(", ")}.`);
  }
  if (kind === "Class" || kind === "Interface") parts.push(membersOf(reflection));
  if (kind === "Variable") {
    if (typeof value === "object" && value?.constructor === Object) parts.push(constants(reflection, value));
    else if (Array.isArray(value)) parts.push(value.map((one) => `\`${one}\``).join(", "));
    else code(`const ${name}: ${reflection.type}`);
  }
  return parts.filter((part) => part !== "").join("\n\n");
}

function typeText({ type }: Reflection): string {
  const signature = type?.declaration?.signatures?.[0];
  return signature ? call("", signature).replace(/\): /, ") => ") : `${type}`;
}

if (!existsSync(join(tools, "node_modules/typedoc"))) {
  execFileSync("npm", ["ci"], { cwd: tools, stdio: "inherit" });
}
const entry = createRequire(join(tools, "package.json")).resolve("typedoc");
const { Application, ReflectionKind } = (await import(pathToFileURL(entry).href)) as TypeDoc;
const app = await Application.bootstrap({ options: join(tools, "typedoc.json") });
const project = await app.convert();
if (project) app.validate(project);
if (!project || app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
const groups = (Object.keys(kinds) as (keyof typeof kinds)[]).map((kind) => {
  const all = (project.children ?? []).filter((one) => one.kind === ReflectionKind[kind]);
  const links = all.map(({ name }) => `[${name}](#${name.toLowerCase()})`);
  const index = links.join(",\n");
  return [`## ${kinds[kind]}\n${index}`, ...all.map((one) => section(one, kind))].join("\n\n");
});
writeFileSync(join(root, "docs/api.md"), `${introduction}\n${groups.join("\n\n")}\n`);
