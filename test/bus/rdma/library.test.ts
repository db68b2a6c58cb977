// Libraries that are missing, broken or too old. Each in a process of its own, whose loader finds ours first.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

const compiler = spawnSync("gcc", ["--version"]).status === 0;
const module = fileURLToPath(import.meta.resolve("../../../src/bus/rdma/library.js"));

/** Calls `load` with libraries of `folder`; prints what it throws. */
function load(call: string, folder: string): Record<"code" | "message" | "fix", string> {
  const script = `
    const library = await import(${JSON.stringify(module)});
    try { library.${call}("net_rdma0"); console.log("{}"); }
    catch ({ code, message, fix }) { console.log(JSON.stringify({ code, message, fix })); }`;
  const env = { ...process.env, LD_LIBRARY_PATH: folder, NODE_OPTIONS: "" };
  const args = ["--input-type=module", "-e", script];
  return JSON.parse(execFileSync(process.execPath, args, { env, encoding: "utf8" }));
}

function folder(t: { teardown(done: () => void): unknown }): string {
  const made = mkdtempSync(join(tmpdir(), "pollmode-rdma-lib-"));
  t.teardown(() => rmSync(made, { recursive: true }));
  mkdirSync(join(made, "lib"));
  return join(made, "lib");
}

t.test("without an RDMA port no library is loaded", async (t) => {
  const context = fileURLToPath(import.meta.resolve("../../../src/bus/rdma/context.js"));
  const script = `await import(${JSON.stringify(context)});
    console.log((await import("node:fs")).readFileSync("/proc/self/maps", "utf8"))`;
  const maps = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  t.match(maps, /libc\.so/);
  t.notMatch(maps, /libibverbs|libmlx5/);
});

t.test("a library that cannot be loaded", async (t) => {
  const at = folder(t);
  writeFileSync(join(at, "libibverbs.so.1"), "no library at all");
  t.match(load("loadIbVerbs", at), {
    code: "RDMA_NO_LIBRARY",
    message: /^net_rdma0: libibverbs\.so\.1 cannot be loaded: ./,
    fix: /apt-get install ibverbs-providers libibverbs1/,
  });
  writeFileSync(join(at, "libmlx5.so.1"), "");
  t.match(load("loadMlx5dv", at), { code: "RDMA_NO_LIBRARY", message: /^net_rdma0: libmlx5\.so\.1 / });
});

t.test("a library that lacks a function", { skip: !compiler && "no gcc" }, async (t) => {
  const at = folder(t);
  const build = (name: string, source: string) => {
    writeFileSync(join(at, "lib.c"), source);
    execFileSync("gcc", ["-shared", "-fPIC", "-o", join(at, name), join(at, "lib.c")]);
  };
  build("libibverbs.so.1", "void *ibv_get_device_list(int *n) { return 0; }");
  t.match(load("loadIbVerbs", at), {
    code: "RDMA_LIBRARY_OLD",
    message: "net_rdma0: this libibverbs.so.1 has no ibv_free_device_list",
    fix: /rdma-core to version 28/,
  });
  build("libmlx5.so.1", "int mlx5dv_query_device(void *c, void *a) { return 0; }");
  t.match(load("loadMlx5dv", at), {
    code: "RDMA_LIBRARY_OLD",
    message: "net_rdma0: this libmlx5.so.1 has no mlx5dv_is_supported",
  });
});
