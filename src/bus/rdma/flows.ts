// Steering: rules that lead frames to a queue pair, drop them, or give them back to the kernel.
import { PollmodeError } from "../../errors.ts";
import * as abi from "./abi.ts";
import type { Core } from "./core.ts";
import { deviceMatch, dropSpec, tagSpec, verbsSpec } from "./match.ts";
import { Structs } from "./memory.ts";
import * as dv from "./mlx5dv-abi.ts";
import { Flow, Matcher, type Qp } from "./objects.ts";
import * as prm from "./prm.ts";
import type { DvFlow, VerbsFlow } from "./types.ts";

const FLOW_TYPES = {
  normal: abi.IBV_FLOW_ATTR_NORMAL,
  "all-default": abi.IBV_FLOW_ATTR_ALL_DEFAULT,
  "mc-default": abi.IBV_FLOW_ATTR_MC_DEFAULT,
} as const;

const TAG_MAX = 0xff_ffff;
const PRIORITY_MAX = 0xffff;

/** Throws RDMA_FLOW for a rule that cannot be, RDMA_RAW_PERMISSION, RDMA_FAILED where the kernel refuses it. */
export function createFlow(core: Core, qp: Qp, rule: VerbsFlow): Flow {
  const { priority, type = "normal", dontTrap = false, specs = [], drop = false, tag } = rule;
  checkPriority(core, priority);
  if (type !== "normal" && specs.length > 0) {
    throw wrongRule(core, `a rule of the type ${type} that matches headers`, "leave the headers out");
  }
  if (tag !== undefined && !(Number.isInteger(tag) && tag >= 0 && tag <= TAG_MAX)) {
    throw wrongRule(core, `a rule with the tag ${tag}`, `choose a tag from 0 to ${TAG_MAX}`);
  }
  const parts = specs.map(verbsSpec);
  if (tag !== undefined) parts.push(tagSpec(tag));
  if (drop) parts.push(dropSpec());
  const attribute = Buffer.alloc(abi.IBV_FLOW_ATTR_BYTES);
  const all = Buffer.concat([attribute, ...parts]);
  all.writeUInt32LE(FLOW_TYPES[type], abi.IBV_FLOW_ATTR_TYPE);
  all.writeUInt16LE(all.length, abi.IBV_FLOW_ATTR_SIZE);
  all.writeUInt16LE(priority, abi.IBV_FLOW_ATTR_PRIORITY);
  all[abi.IBV_FLOW_ATTR_NUM_OF_SPECS] = parts.length;
  all[abi.IBV_FLOW_ATTR_PORT] = 1;
  all.writeUInt32LE(dontTrap ? abi.IBV_FLOW_ATTR_FLAGS_DONT_TRAP : 0, abi.IBV_FLOW_ATTR_FLAGS);
  const what = `a flow rule of priority ${priority} (${describe(rule)})`;
  const handle = core.made({ call: "ibv_create_flow", what }, () =>
    core.verbs.call("create_flow", qp.handle, all),
  );
  return new Flow(core, handle, what, destroyer(core));
}

/** A rule of direct verbs; it has a matcher of its own, which goes with it. Throws RDMA_NOT_MLX5, RDMA_FLOW. */
export function createDvFlow(core: Core, rule: DvFlow): Flow {
  const { priority, specs, action } = rule;
  checkPriority(core, priority);
  const library = core.dv;
  const { value, mask } = deviceMatch(core.who, specs);
  const matcher = createMatcher(core, priority, mask);
  const what = `a flow rule of priority ${priority} (${action})`;
  const match = matchParameters(value);
  const actions = Buffer.alloc(dv.MLX5DV_FLOW_ACTION_ATTR_BYTES);
  const type = action === "drop" ? dv.MLX5DV_FLOW_ACTION_DROP : dv.MLX5DV_FLOW_ACTION_DEFAULT_MISS;
  actions.writeUInt32LE(type, dv.MLX5DV_FLOW_ACTION_ATTR_TYPE);
  let handle: bigint;
  try {
    const verb = { call: "mlx5dv_create_flow", what };
    handle = core.made(verb, () => library.mlx5dv_create_flow(matcher.handle, match, 1, actions));
  } catch (error) {
    matcher.destroy();
    throw error;
  }
  return new Flow(core, handle, what, destroyer(core), matcher);
}

function createMatcher(core: Core, priority: number, mask: Buffer): Matcher {
  const library = core.dv;
  const parameters = matchParameters(mask);
  const structs = new Structs(dv.MLX5DV_FLOW_MATCHER_ATTR_BYTES, parameters.length);
  structs.at(1).set(parameters);
  const { bytes } = structs;
  bytes.writeUInt16LE(priority, dv.MLX5DV_FLOW_MATCHER_ATTR_PRIORITY);
  bytes[dv.MLX5DV_FLOW_MATCHER_ATTR_MATCH_CRITERIA_ENABLE] = mask.some((byte) => byte !== 0)
    ? prm.MATCH_OUTER_HEADERS
    : 0;
  structs.point(dv.MLX5DV_FLOW_MATCHER_ATTR_MATCH_MASK, 1);
  const what = `a matcher of priority ${priority}`;
  const verb = { call: "mlx5dv_create_flow_matcher", what };
  const handle = core.made(verb, () => library.mlx5dv_create_flow_matcher(core.address, bytes));
  const run = (matcher: bigint) => library.mlx5dv_destroy_flow_matcher(matcher);
  return new Matcher(core, handle, what, { call: "mlx5dv_destroy_flow_matcher", run });
}

/** struct mlx5dv_flow_match_parameters. */
function matchParameters(match: Buffer): Buffer {
  const to = Buffer.alloc(dv.MLX5DV_FLOW_MATCH_PARAMETERS_MATCH_BUF + match.length);
  to.writeBigUInt64LE(BigInt(match.length), dv.MLX5DV_FLOW_MATCH_PARAMETERS_MATCH_SZ);
  to.set(match, dv.MLX5DV_FLOW_MATCH_PARAMETERS_MATCH_BUF);
  return to;
}

function destroyer(core: Core) {
  return {
    call: "ibv_destroy_flow",
    run: (flow: bigint) => core.verbs.call<number>("destroy_flow", flow),
  };
}

function checkPriority(core: Core, priority: number): void {
  if (Number.isInteger(priority) && priority >= 0 && priority <= PRIORITY_MAX) return;
  throw wrongRule(core, `a rule of priority ${priority}`, `choose a priority from 0 to ${PRIORITY_MAX}`);
}

function wrongRule(core: Core, what: string, fix: string): PollmodeError {
  return new PollmodeError("RDMA_FLOW", `${core.who}: ${what}`, fix);
}

function describe({ type = "normal", specs = [], drop, dontTrap }: VerbsFlow): string {
  const headers = specs.length === 0 ? "all frames" : specs.map(({ kind }) => kind).join("/");
  const matches = type === "normal" ? headers : type;
  return `${matches}${drop ? ", dropped" : ""}${dontTrap ? ", with a copy for others" : ""}`;
}
