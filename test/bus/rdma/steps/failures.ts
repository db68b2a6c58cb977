// Every command that the kernel is sent fails once, in turn: an error by name, and nothing that stays behind.
import koffi from "koffi";
import { PollmodeError } from "../../../../src/errors.ts";
import { Bench, build, control, openFiles } from "./device.ts";

export interface ErrorText {
  readonly code: string;
  readonly message: string;
}

/** Of what `run` throws, or of an error; "none" if nothing was thrown. */
export function errorOf(run: unknown): ErrorText {
  try {
    if (typeof run !== "function") throw run;
    run();
  } catch (error) {
    const { message } = error as Error;
    return { code: error instanceof PollmodeError ? error.code : "no PollmodeError", message };
  }
  return { code: "none", message: "" };
}

/** Codes of what each of them throws. */
export function errorsOf(runs: Record<string, () => unknown>): Record<string, string> {
  return Object.fromEntries(Object.entries(runs).map(([name, run]) => [name, errorOf(run).code]));
}

const EEXIST = 17;

/** So many commands may fail one after another, and nobody minds: the library asks for what it can do without. */
const CONTENT_MAX = 6;

export async function failures() {
  warmUp();
  await control("fail none"); // the first connection opens files that stay
  const before = openFiles();
  const sweeps: Record<string, unknown> = {};
  for (const errno of ["ENOMEM", "EPERM", "EIO", "EOPNOTSUPP"]) sweeps[errno] = await sweep(errno);
  return { sweeps, files: openFiles() - before, named: await named(), noRoom: noRoom() };
}

/** Sockets and files that stay open for good come with the first device. */
function warmUp(): void {
  const bench = new Bench();
  build(bench);
  bench.close();
}

async function sweep(errno: string) {
  const codes: Record<string, number> = {};
  const wrong: unknown[] = [];
  let content = 0;
  let commands = 0;
  while (content < CONTENT_MAX) {
    commands++;
    await control(`fail ${commands} ${errno}`);
    const { code, message, left } = attempt();
    content = code === "none" ? content + 1 : 0;
    codes[code] = (codes[code] ?? 0) + 1;
    if (left !== 0 || (code !== "none" && !code.startsWith("RDMA_")))
      wrong.push({ commands, code, message, left });
  }
  await control("fail none");
  return { commands: commands - CONTENT_MAX, codes, wrong };
}

/** Opens, builds and closes; `left`: rings that nobody has given back. */
function attempt(): ErrorText & { left: number; destroyed: readonly string[] } {
  let bench: Bench | undefined;
  const error = errorOf(() => {
    bench = new Bench();
    build(bench);
  });
  const { rings = 0, destroyed = [] } = bench?.close() ?? {};
  return { ...error, left: rings, destroyed };
}

/** What certain commands' failures mean. */
async function named() {
  const found: Record<string, ErrorText & { destroyed: readonly string[] }> = {};
  const cases = [
    ["open", "EACCES"],
    ["open", "EPERM"],
    ["open", "EIO"],
    ["get_context", "EIO"],
    ["reg_mr", "ENOMEM"],
    ["create_qp", "EPERM"],
    ["create_flow", "EPERM"],
    ["create_flow", "EINVAL"],
    ["create_wq", "EOPNOTSUPP"],
    ["create_comp_channel", "ENOMEM"],
    ["modify_qp", "EINVAL"],
    ["modify_wq", "EINVAL"],
    ["create_matched_flow", "EINVAL"],
  ] as const;
  for (const [command, errno] of cases) {
    await control(`fail ${command} ${errno}`);
    const { code, message, destroyed } = attempt();
    found[`${command} ${errno}`] = { code, message, destroyed };
  }
  await control("fail none");
  return found;
}

/** The arena has no room for the rings: what libmlx5 is told is ENOMEM, what the user is told says why. */
function noRoom() {
  const bench = new Bench("mlx5_0", 4096);
  koffi.errno(EEXIST); // of something before; libmlx5 says nothing of its own here
  const error = errorOf(() => bench.context.createCq({ entries: 256 }));
  return { ...error, left: bench.close().rings };
}
