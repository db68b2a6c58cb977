// The project's style, held by a test: sizes, layers, dead code, leftovers. The rules are in tidy/rules.ts; here is
// what they are applied to, and that each of them can fail.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import t from "tap";
import { repositoryRoot } from "./beds/paths.ts";
import * as rules from "./tidy/rules.ts";
import { functionsOf, importsOf, maskSource, type SourceFile } from "./tidy/source.ts";

/** Ground floor first: a layer imports from itself and from the lines before its own. */
const layers: rules.Layers = {
  order: [
    ["src/errors.ts", "src/limits.ts"],
    ["src/packet/"],
    ["src/pcap/"],
    ["src/hot/"],
    ["src/libc/"],
    ["src/eal/"], // the command line and devargs, which drivers read too
    ["src/memory/"],
    ["src/vhostuser/"],
    ["src/bus/"],
    ["src/devices/"],
    ["src/doctor/"],
    ["src/ethdev/"],
    ["pmd/"],
    ["src/lcore/"],
    ["src/forward/"],
    ["src/capture/"],
    ["src/telemetry/"],
    ["src/engine/", "src/pollmode.ts"],
    ["src/streams/"],
    ["src/cli/"],
  ],
  hot: /^src\/hot\/|^(pmd\/[^/]+|src\/capture)\/(hot[^/]*|simd(\.as)?)\.ts$/,
  hotMayImport:
    /^src\/(forward\/(?!streams)|pcap\/format\.)|^(pmd\/\w+|src\/capture)\/(.*layout|.qe|registers|descriptors)\.ts$/,
};

/** What users and programs load: it belongs to no layer, and its exports are for the world outside. */
const publicFiles = ["src/index.ts", "src/cli/pollmode.ts", "src/hot/entry.ts"];

const entries = [
  /^src\/lcore\/worker[^/]*\.ts$/,
  /^bench\/.*main\.ts$/,
  /^src\/cli\/[^/]+\/main\.ts$/, // src/cli/pollmode.ts loads the command that is asked for
  /^(test|scripts|examples)\/.*\.ts$/,
  /^src\/telemetry\/page\/main\.ts$/, // what a browser runs: scripts/build-page.ts
  /^src\/engine\/assembly\//, // what applications in AssemblyScript import: the build copies it
  /\.d\.ts$/, // ambient: the compiler finds them by itself
];
const isEntry = (path: string) => publicFiles.includes(path) || entries.some((entry) => entry.test(path));
const isPublic = (path: string) =>
  publicFiles.includes(path) || /^src\/(lcore\/worker[^/]*|cli\/[^/]+\/main)\.ts$/.test(path);

/** A private build may link to package.json: the files are where it really is. */
const root = dirname(realpathSync(join(repositoryRoot, "package.json")));
const binary = /\.(wasm|png|jpg|gif|ico|gz|tgz|xz|pcap|bin)$/;

function listFiles(): string[] {
  try {
    const args = ["-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    const listed = execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return listed.split("\0").filter((path) => path && existsSync(join(root, path)));
  } catch {
    return walk(root).sort(); // no git: a source archive
  }
}

function walk(folder: string): string[] {
  const skip = new Set([".git", "node_modules", "dist", ".tap", "out", ".beds"]);
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (skip.has(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [relative(root, path)];
  });
}

const files: SourceFile[] = listFiles()
  .filter((path) => !binary.test(path))
  .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));

function none(t: { equal(found: string, wanted: string): boolean }, findings: readonly string[]): void {
  t.equal(findings.join("\n"), "");
}

t.test("the repository", async (t) => {
  t.ok(files.length > 10, "there are files to look at");
  const check = (name: string, findings: readonly string[]) => t.test(name, async (t) => none(t, findings));
  check("files are under 400 lines", rules.longFiles(files));
  check("functions are under 70 lines", rules.longFunctions(files));
  check("lines have at most 120 characters", rules.longLines(files));
  check("no unfinished work", rules.unfinishedWork(files));
  check("no paths of one machine", rules.machinePaths(files));
  check("no registry in package-lock.json", rules.registryHosts(files));
  check("relative imports end in .ts", rules.importEndings(files));
  check("layers import downwards", rules.layering(files, layers));
  check("every folder has a layer", rules.unlayered(files, layers, publicFiles));
  check("no dead files", rules.deadFiles(files, isEntry));
  check("no unused exports", rules.unusedExports(files, isPublic));
});

const ts = (path: string, text: string): SourceFile => ({ path, text });
const lines = (count: number) => "x;\n".repeat(count);

t.test("sizes", async (t) => {
  t.same(
    rules.longFiles([ts("a.ts", lines(399)), ts("pmd/x/registers.ts", lines(900)), ts("a.json", lines(900))]),
    [],
  );
  t.same(rules.longFiles([ts("a.ts", lines(400))]), ["a.ts: 400 lines, at most 399"]);
  t.same(rules.longLines([ts("a.ts", "x".repeat(120)), ts("a.md", `|${"x".repeat(200)}`)]), []);
  t.match(rules.longLines([ts("a.c", `\n${"x".repeat(121)}`)]), [/^a\.c:2: 121 characters/]);
  const body = (count: number) =>
    `function f(a: number): Map<string, { b: number }> {\n${lines(count - 2)}}\n`;
  t.same(rules.longFunctions([ts("a.ts", body(69))]), []);
  t.match(rules.longFunctions([ts("a.ts", `const a = 1;\n${body(70)}`)]), [
    /^a\.ts:2: a function of 70 lines/,
  ]);
});

t.test("finding functions", async (t) => {
  const spans = (text: string) => functionsOf(text).map(({ line, lines }) => `${line}+${lines}`);
  const source = (text: TemplateStringsArray) => spans(text.raw[0]!);
  t.same(
    source`class A extends mix(B) {
    #x = 1;
    method(a = {}): void {
      if (a) { b(); } else if (c) { d(); }
      for (let i = 0; i < 3; i++) { e(); }
    }
    get x() { return this.#x; }
  }`,
    ["3+4", "7+1"],
  );
  t.same(
    source`const f = async (t) => {
    g({ a: 1 }, () => { h(); });
  };
  function k(): { a: number } { return { a: 1 }; }
  function l(): Promise<{ a: number } | undefined> {
    switch (x) { case 1: { y(); } }
    try { z(); } catch (e) { w(); }
  }`,
    ["2+1", "1+3", "4+1", "5+4"],
  );
  t.same(
    spans("static int\nf(int a)\n{\n  while (a) { a--; }\n  return 0;\n}\nstruct s { int a; };\n"),
    ["2+5"].map(() => "1+6"),
  );
  t.same(spans('const a = { b: 1 };\nconst re = /[{(]/;\nconst s = "{";\n// {\nfunction f() {\n}\n'), [
    "5+2",
  ]);
});

t.test("masking", async (t) => {
  t.equal(maskSource('a = "b//c"; // d'), "a =       ;     ");
  t.equal(maskSource('a = "b//c"; // d', false), 'a = "b//c";     ');
  t.equal(maskSource("`a $" + "{b(`c`)} d` + e"), "     b(   )     + e");
  t.equal(maskSource("x = a / b / c; y = /[/]`/g;"), `x = a / b / c; y = ${" ".repeat(7)};`);
  t.equal(maskSource("/* a\nb */ c"), "    \n     c");
});

t.test("imports", async (t) => {
  const text = [
    'import a, { b, type C as D } from "./x.ts";',
    'import type { E } from "./e.ts";',
    'import * as f from "./f.ts";',
    'export * from "./g.ts";',
    'export {\n  h,\n} from "./h.ts";',
    'import "./side.ts";',
    'const i = await import("./i.ts");',
    '// import { no } from "./comment.ts";',
  ].join("\n");
  const found = importsOf(text).map(({ specifier, names }) => `${specifier} ${names.join(",")}`);
  const expected = [
    "./x.ts default,b,C",
    "./e.ts E",
    "./f.ts *",
    "./g.ts *",
    "./h.ts h",
    "./side.ts ",
    "./i.ts *",
  ];
  t.same(found, expected);
  t.same(rules.importEndings([ts("a.ts", `import "./b.js";\nimport "tap";\nexport * from "../c";`)]), [
    'a.ts:1: "./b.js" should end in .ts',
    'a.ts:3: "../c" should end in .ts',
  ]);
});

t.test("layers", async (t) => {
  const check = (path: string, specifier: string) =>
    rules.layering([ts(path, `import "${specifier}";`)], layers);
  t.same(check("src/memory/a.ts", "../libc/b.ts"), []);
  t.same(check("src/memory/a.ts", "./b.ts"), []);
  t.same(check("pmd/x/hot.ts", "./registers.ts"), []);
  t.same(check("src/hot/entry.ts", "../../pmd/x/hot.ts"), []);
  t.match(check("src/libc/a.ts", "../memory/b.ts"), [/src\/memory\/b\.ts from a layer above/]);
  t.match(check("pmd/x/hot-tx.ts", "./device.ts"), [/a hot file imports pmd\/x\/device\.ts/]);
  t.match(check("src/cli/a.ts", "../../test/b.ts"), [/no part of the library/]);
  const stranger = [ts("src/new/a.ts", ""), ts("src/index.ts", "")];
  t.match(rules.unlayered(stranger, layers, publicFiles), [/^src\/new\/a\.ts: no layer/]);
});

t.test("dead files and unused exports", async (t) => {
  const tree = [
    ts("src/index.ts", 'export { a } from "./a.ts";\nexport const version = 1;'),
    ts(
      "src/a.ts",
      'import type { T } from "./t.ts";\nexport const a = 1, z = 2;\nexport function unused() {}',
    ),
    ts("src/a.as.ts", "export const b = 1;"),
    ts("src/t.ts", "export interface T { u: U }\nexport type U = 1;\nexport type V = 2;"),
    ts("src/dead.ts", 'import "./index.ts";'),
    ts("src/all.d.ts", ""),
  ];
  t.same(rules.deadFiles(tree, isEntry), ["src/dead.ts: no entry point reaches it"]);
  t.same(rules.unusedExports(tree, isPublic), [
    "src/a.ts:3: unused is exported but imported nowhere",
    "src/t.ts:3: V is exported but imported nowhere",
  ]);
});

t.test("leftovers", async (t) => {
  const marks = ["TO", "FIX", "X"].map((start, i) => start + ["DO", "ME", "XX"][i]);
  t.equal(rules.unfinishedWork(marks.map((mark) => ts("a.md", `// ${mark}: later`))).length, 3);
  t.same(rules.unfinishedWork([ts("a.md", "a todo list")]), []);
  const home = ["", "home", "me"].join("/");
  t.match(rules.machinePaths([ts("a.json", `"${home}/x"`)]), [/^a\.json:1: a path under/]);
  t.same(rules.machinePaths([ts("a.md", `https://a.example${home}/x`)]), []);
  const lock = ts("package-lock.json", '{\n"resolved": "https://registry.npmjs.org/x"\n}');
  t.match(rules.registryHosts([lock]), [/^package-lock\.json:2: /]);
  t.match(rules.registryHosts([{ ...lock, path: "scripts/a/package-lock.json" }]), [
    /^scripts\/a\/package-lock/,
  ]);
});
