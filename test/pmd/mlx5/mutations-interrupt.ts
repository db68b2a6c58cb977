// Wrong behaviours of the mlx5 driver's receive interrupts: mutations.ts. That a queue is looked at once more after it
// was armed is not among them: a ConnectX tells of what is there already, so nothing comes of leaving it out.
import type { Mutation } from "./mutant.ts";

const interrupt = "pmd/mlx5/hot-interrupt.ts";

export const interruptMutations: readonly Mutation[] = [
  {
    name: "a completion queue is armed by its record alone",
    file: interrupt,
    find: "w64(register, command, r32(q + Mlx5Interrupt.CQN));",
    put: "",
    first: ["wake"],
  },
  {
    name: "a completion queue is armed by the register alone",
    file: interrupt,
    find: "publish32(r32(q + Mlx5Queue.CQ_RECORD) + CqRecord.ARM, command);",
    put: "",
    first: ["wake"],
  },
  {
    name: "the events of a completion queue are not counted",
    file: interrupt,
    find: "w32(q + Mlx5Interrupt.EVENTS_TAKEN, taken);",
    put: "",
    first: ["wake"],
  },
  {
    name: "a completion queue is armed with an index of long ago",
    file: interrupt,
    find: "(r32(q + Mlx5Queue.CQ_INDEX) & CqRecord.INDEX)",
    put: "0",
    first: ["wake"],
  },
  {
    name: "events stay in the completion channel",
    file: interrupt,
    find: "verbsEvents(q + Mlx5Interrupt.EVENTS)",
    put: "0",
    first: ["wake"],
  },
  {
    name: "verbs: a completion queue is not armed",
    file: interrupt,
    find: "const error: u32 = verbsNotify(notify);",
    put: "const error: u32 = 0;",
    first: ["verbsWake"],
  },
  {
    name: "a completion queue has no channel",
    file: "pmd/mlx5/queues.ts",
    find: "channel ? { channel, vector: index } : {}",
    put: "channel ? { vector: index } : {}",
    first: ["wake"],
  },
];
