// Wrong behaviours of the mlx5 driver, each as an exact replacement in a source: what a slip of its author, or a
// misread manual, would make of it. Each must be caught (mutations.bed.test.ts).
import type { Mutation } from "./mutant.ts";
import { interruptMutations } from "./mutations-interrupt.ts";
import { receiveMutations } from "./mutations-receive.ts";
import { transmitMutations } from "./mutations-transmit.ts";

const verbs = "pmd/mlx5/hot-verbs.ts";
const vector = "pmd/mlx5/simd.as.ts";
const spread = "pmd/mlx5/rss.ts";
const steering = "pmd/mlx5/steering.ts";
const rules = "pmd/mlx5/rules.ts";

const others: Mutation[] = [
  {
    name: "verbs: a frame's number is not that of its buffer",
    file: verbs,
    find: "w32(wrs + (k << RecvWr.SHIFT) + RecvWr.WR_ID, slot);",
    put: "w32(wrs + (k << RecvWr.SHIFT) + RecvWr.WR_ID, k);",
    first: ["verbs"],
  },
  {
    name: "verbs: no completion is asked for",
    file: verbs,
    find: "r32(last + SendWr.SEND_FLAGS) | SendFlag.SIGNALED",
    put: "r32(last + SendWr.SEND_FLAGS)",
    first: ["verbs"],
  },
  {
    name: "verbs: what a packet asked for, those of the next lot ask for as well",
    file: verbs,
    find: "if (special != 0) makePlain(wrs, count);",
    put: "",
    first: ["verbs"],
  },
  {
    name: "verbs, vectors: the second packet of four goes out twice",
    file: vector,
    find: "    v128.store(at, entry(ma, base, lkey));",
    put: "    v128.store(at, entry(mb, base, lkey));",
    first: ["verbs"],
  },
  {
    name: "verbs: a completion in error is taken for a packet",
    file: verbs,
    find: "if (status == <u32>WcStatus.SUCCESS) return 0;",
    put: "if (status != 99) return 0;",
    first: ["verbsFaults"],
  },
  {
    name: "verbs: packets that the queue did not take are not given back",
    file: verbs,
    find: "  w32(next, 0);\n  w32(next + 4, 0);",
    put: "",
    first: ["verbs"],
  },
  {
    name: "the RSS key is not the one that was asked for",
    file: spread,
    find: "key: (rss.key ?? TOEPLITZ_KEY).slice(),",
    put: "key: TOEPLITZ_KEY.slice(),",
    first: ["spread"],
  },
  {
    name: "the redirection table is filled in another order",
    file: spread,
    find: "table[at % table.length]!),",
    put: "table[(at + 1) % table.length]!),",
    first: ["spread"],
  },
  {
    name: "ports are not hashed",
    file: spread,
    find: '"ipv4-udp": { fields: IPV4 | UDP,',
    put: '"ipv4-udp": { fields: IPV4,',
    first: ["spread"],
  },
  {
    name: "the kernel gets no copy of groups and broadcasts",
    file: rules,
    find: "{ priority, specs, dontTrap: true }",
    put: "{ priority, specs }",
    first: ["steering"],
  },
  {
    name: "the kernel gets a copy of what is ours alone",
    file: rules,
    find: "if (!copy) return this.context.createFlow(qp, { priority, specs, drop });",
    put: "",
    first: ["steering"],
  },
  {
    name: "a removed address is received on",
    file: steering,
    find: "return { macs: macs.filter((one) => !same(one, mac)) };",
    put: "return { macs };",
    first: ["steering"],
  },
  {
    name: "promiscuous mode changes nothing",
    file: steering,
    find: "if (state.promiscuous) return",
    put: "if (state.promiscuous && state.isolated) return",
    first: ["steering"],
  },
];

const vectors: Mutation[] = [
  {
    name: "vectors: lengths of two of four packets are exchanged",
    file: vector,
    find: "v128.load(cqe, 32), v128.load(cqe, 96)",
    put: "v128.load(cqe, 96), v128.load(cqe, 32)",
    first: ["cyclic"],
  },
  {
    name: "vectors: buffers of two of four WQEs are exchanged",
    file: vector,
    find: "v128.store64_lane(at, one, 0);\n    v128.store64_lane(at + (1 << shift), one, 1);",
    put: "v128.store64_lane(at, one, 1);\n    v128.store64_lane(at + (1 << shift), one, 0);",
    first: ["cyclic"],
  },
  {
    name: "vectors: lengths of two of four mini CQEs are exchanged",
    file: vector,
    find: "v128.load(at), v128.load(at, 16), 1, 3, 5, 7",
    put: "v128.load(at), v128.load(at, 16), 3, 1, 5, 7",
    first: ["runs"],
  },
  {
    name: "vectors: the lkey stands where the length does",
    file: vector,
    find: "i32x4.replace_lane(i32x4.splat(0), 1, r32(q + Mlx5Queue.LKEY))",
    put: "i32x4.replace_lane(i32x4.splat(0), 0, r32(q + Mlx5Queue.LKEY))",
    first: ["cyclic"],
  },
];

export const mutations: readonly Mutation[] = [
  ...receiveMutations,
  ...transmitMutations,
  ...interruptMutations,
  ...others,
  ...vectors,
];
