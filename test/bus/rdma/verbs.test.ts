// The checks before an inline verb is called: over a made-up context, in memory of ours.
import koffi from "koffi";
import t from "tap";
import * as abi from "../../../src/bus/rdma/abi.ts";
import { InlineVerbs } from "../../../src/bus/rdma/verbs.ts";
import { addressOf } from "../../../src/libc/libc.ts";

/** Where the struct ibv_context begins within the memory: the struct verbs_context is around it. */
const CONTEXT = 320;

function made({ sz = 648, compatible = true }: { sz?: number; compatible?: boolean } = {}) {
  const memory = Buffer.alloc(CONTEXT + abi.IBV_CONTEXT_BYTES);
  memory.writeBigUInt64LE(compatible ? 2n ** 64n - 1n : 0n, CONTEXT + abi.IBV_CONTEXT_ABI_COMPAT);
  memory.writeBigUInt64LE(BigInt(sz), CONTEXT + abi.VERBS_CONTEXT_SZ);
  // int (*)(void *): any function of one word will do
  const abs = koffi.load("libc.so.6").func("void *dlsym(uint64_t, const char *)")(0n, "abs");
  memory.writeBigUInt64LE(abs, CONTEXT + abi.VERBS_CONTEXT_DESTROY_WQ);
  memory.writeBigUInt64LE(abs, CONTEXT + abi.IBV_CONTEXT_OPS_POLL_CQ);
  const verbs = new InlineVerbs(addressOf(memory) + BigInt(CONTEXT), "port 0, mlx5_0");
  return { memory, verbs, abs };
}

t.test("a verb is called through its pointer", async (t) => {
  const { verbs, abs } = made();
  t.equal(verbs.call("destroy_wq", 42n), 42);
  t.equal(verbs.operation("poll_cq", abi.IBV_CONTEXT_OPS_POLL_CQ), abs);
});

t.test("what the library does not have is not called", async (t) => {
  const missing = (verb: string) => ({
    code: "RDMA_LIBRARY_OLD",
    message: `port 0, mlx5_0: libibverbs or the device's provider does not have the verb ${verb}`,
  });
  const { verbs } = made();
  t.throws(() => verbs.call("destroy_flow", 42n), missing("destroy_flow"), "a null pointer");
  t.throws(() => verbs.operation("post_send", abi.IBV_CONTEXT_OPS_POST_SEND), missing("post_send"));
  const old = made({ compatible: false });
  t.throws(() => old.verbs.call("destroy_wq", 42n), missing("destroy_wq"), "no struct verbs_context");
  // the structure ends just before the field, counted from its end, and just behind
  const bytes = abi.IBV_CONTEXT_BYTES - abi.VERBS_CONTEXT_DESTROY_WQ;
  t.throws(() => made({ sz: bytes - 8 }).verbs.call("destroy_wq", 42n), missing("destroy_wq"));
  t.equal(made({ sz: bytes }).verbs.call("destroy_wq", 42n), 42);
});
