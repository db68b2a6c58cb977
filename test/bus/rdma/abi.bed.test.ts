// The numbers in src/bus/rdma/abi.ts and mlx5dv-abi.ts, against what the C compiler makes of the libraries' headers.
import { readFileSync } from "node:fs";
import t from "tap";
import * as verbs from "../../../src/bus/rdma/abi.ts";
import * as mlx5dv from "../../../src/bus/rdma/mlx5dv-abi.ts";
import { RX_HASH } from "../../../src/bus/rdma/types.ts";
import { softMlx5Bed } from "../../beds/softmlx5.ts";
import { runC } from "./headers.ts";

const missing = softMlx5Bed.missing();
t.setTimeout(900_000); // packages may have to be installed first
if (!missing) await softMlx5Bed.setup();
const skip = missing ?? false;

/** Structures whose fields are named as `STRUCT_FIELD`: all whose names a constant's may begin with. */
const structs = [
  "ibv_context",
  "verbs_context",
  "ibv_mr",
  "ibv_qp",
  "ibv_wq",
  "ibv_cq",
  "ibv_comp_channel",
  "ibv_device_attr",
  "ibv_device_attr_ex",
  "ibv_port_attr",
  "ibv_qp_init_attr",
  "ibv_qp_init_attr_ex",
  "ibv_qp_attr",
  "ibv_wq_init_attr",
  "ibv_wq_attr",
  "ibv_rwq_ind_table_init_attr",
  "ibv_cq_init_attr_ex",
  "ibv_flow_attr",
  "ibv_flow_spec_eth",
  "ibv_flow_eth_filter",
  "ibv_flow_spec_ipv4_ext",
  "ibv_flow_ipv4_ext_filter",
  "ibv_flow_spec_ipv6",
  "ibv_flow_ipv6_filter",
  "ibv_flow_spec_tcp_udp",
  "ibv_flow_tcp_udp_filter",
  "ibv_flow_spec_action_tag",
  "ibv_flow_spec_action_drop",
  "ibv_async_event",
  "mlx5dv_context",
  "mlx5dv_cq_init_attr",
  "mlx5dv_wq_init_attr",
  "mlx5dv_ctx_allocators",
  "mlx5dv_obj",
  "mlx5dv_qp",
  "mlx5dv_cq",
  "mlx5dv_rwq",
  "mlx5dv_devx_uar",
  "mlx5dv_flow_matcher_attr",
  "mlx5dv_flow_match_parameters",
  "mlx5dv_flow_action_attr",
];

/** Members that are structures themselves: `cap_max_send_wr` is cap.max_send_wr. */
const nested = [
  "ops",
  "cap",
  "rx_hash_conf",
  "tso_caps",
  "rss_caps",
  "cqe_comp_caps",
  "striding_rq_caps",
  "striding_rq_attrs",
];
/** As short names that other members begin with too: in these structures alone. */
const nestedIn: Record<string, readonly string[]> = {
  mlx5dv_qp: ["sq", "bf"],
  mlx5dv_obj: ["qp", "cq", "rwq"],
};

/** Where an enumerator has the name that the offset would have, or is looked for in vain. */
const expressions: Record<string, string> = {
  IBV_WQ_ATTR_FLAGS_OFFSET: "offsetof(struct ibv_wq_attr, flags)",
  // of mlx5_api.h, which mlx5dv.h includes
  MLX5DV_UAR_ALLOC_TYPE_NC: "MLX5DV_UAR_ALLOC_TYPE_NC",
};

const headerText = () =>
  ["verbs", "mlx5dv"].map((name) => readFileSync(`/usr/include/infiniband/${name}.h`, "utf8")).join("\n");

function expression(name: string, identifiers: ReadonlySet<string>): string {
  if (name in expressions) return expressions[name]!;
  if (identifiers.has(name)) return name; // an enumerator
  const lower = name.toLowerCase();
  const fitting = structs.filter((struct) => lower.startsWith(`${struct}_`));
  const struct = fitting.sort((a, b) => b.length - a.length)[0];
  if (struct === undefined) throw new Error(`${name} is of no structure`);
  const rest = lower.slice(struct.length + 1);
  if (rest === "bytes") return `sizeof(struct ${struct})`;
  const outer = [...nested, ...(nestedIn[struct] ?? [])].find((member) => rest.startsWith(`${member}_`));
  const field = outer === undefined ? rest : `${outer}.${rest.slice(outer.length + 1)}`;
  const offset = `(long)offsetof(struct ${struct}, ${field})`;
  return struct === "verbs_context" ? `${offset} - (long)offsetof(struct verbs_context, context)` : offset;
}

t.test("abi.ts and mlx5dv-abi.ts have C's numbers", { skip }, async (t) => {
  const identifiers = new Set(headerText().match(/\b(?:IBV|MLX5DV)_[A-Z0-9_]+\b/g));
  const ours = { ...verbs, ...mlx5dv } as Record<string, number>;
  const names = Object.keys(ours);
  t.ok(names.length > 200, "there are numbers to compare");
  const values = runC(names.map((name) => `printf("%ld\\n", (long)(${expression(name, identifiers)}));`));
  // later versions append fields, which a mask or a size that the caller gives tells apart
  const isSize = (name: string) => name.endsWith("_BYTES");
  const fits = (name: string, at: number) => isSize(name) && Number(values[at]) >= ours[name]!;
  t.same(
    names.map((name) => `${name} ${ours[name]}`),
    names.map((name, at) => `${name} ${fits(name, at) ? ours[name] : values[at]}`),
  );
});

t.test("the bits of RX_HASH are C's", { skip }, async (t) => {
  const names = Object.keys(RX_HASH) as (keyof typeof RX_HASH)[];
  const values = runC(names.map((name) => `printf("%d\\n", IBV_RX_HASH_${name});`));
  t.same(
    names.map((name) => `${name} ${RX_HASH[name]}`),
    names.map((name, at) => `${name} ${values[at]}`),
  );
});
