// The verbs that are inline functions in infiniband/verbs.h: called through function pointers in the struct ibv_context
// and in the struct verbs_context around it, after the same checks (verbs_get_ctx_op).
import koffi from "koffi";
import type { PollmodeError } from "../../errors.ts";
import * as abi from "./abi.ts";
import { tooOld } from "./library.ts";
import { readPointer, readU64 } from "./memory.ts";

const pointer = "void *";
const takesOne = koffi.proto("int", [pointer]);
const makes = koffi.proto(pointer, [pointer, pointer]);
const changes = koffi.proto("int", [pointer, pointer]);

const VERBS = {
  create_qp_ex: { offset: abi.VERBS_CONTEXT_CREATE_QP_EX, type: makes },
  create_flow: { offset: abi.VERBS_CONTEXT_IBV_CREATE_FLOW, type: makes },
  destroy_flow: { offset: abi.VERBS_CONTEXT_IBV_DESTROY_FLOW, type: takesOne },
  query_device_ex: {
    offset: abi.VERBS_CONTEXT_QUERY_DEVICE_EX,
    type: koffi.proto("int", [pointer, pointer, pointer, "size_t"]),
  },
  create_wq: { offset: abi.VERBS_CONTEXT_CREATE_WQ, type: makes },
  modify_wq: { offset: abi.VERBS_CONTEXT_MODIFY_WQ, type: changes },
  destroy_wq: { offset: abi.VERBS_CONTEXT_DESTROY_WQ, type: takesOne },
  create_rwq_ind_table: { offset: abi.VERBS_CONTEXT_CREATE_RWQ_IND_TABLE, type: makes },
  destroy_rwq_ind_table: { offset: abi.VERBS_CONTEXT_DESTROY_RWQ_IND_TABLE, type: takesOne },
  query_port: {
    offset: abi.VERBS_CONTEXT_QUERY_PORT,
    type: koffi.proto("int", [pointer, "uint8_t", pointer, "size_t"]),
  },
} as const;

export type InlineVerb = keyof typeof VERBS;

/** __VERBS_ABI_IS_EXTENDED: (void *)UINTPTR_MAX, there is a struct verbs_context around it. */
const ABI_IS_EXTENDED = 0xffff_ffff_ffff_ffffn;

/** The inline verbs of one context. */
export class InlineVerbs {
  private readonly context: bigint;
  private readonly who: string;

  constructor(context: bigint, who: string) {
    this.context = context;
    this.who = who;
  }

  /** Calls a verb; throws RDMA_LIBRARY_OLD if the library or its provider does not have it. */
  call<T extends number | bigint | null>(verb: InlineVerb, ...values: unknown[]): T {
    const { offset, type } = VERBS[verb];
    return koffi.call(this.find(verb, offset), type, ...values);
  }

  /** The address of a verb of struct ibv_context_ops: `offset` from the context's beginning. */
  operation(name: string, offset: number): bigint {
    const found = readPointer(this.context, offset);
    if (found === undefined) throw this.missing(name);
    return found;
  }

  private find(verb: InlineVerb, offset: number): bigint {
    if (readU64(this.context, abi.IBV_CONTEXT_ABI_COMPAT) !== ABI_IS_EXTENDED) throw this.missing(verb);
    // sz counts from the field to the end of struct ibv_context: a shorter structure has no such field
    const bytes = Number(readU64(this.context, abi.VERBS_CONTEXT_SZ));
    if (bytes < abi.IBV_CONTEXT_BYTES - offset) throw this.missing(verb);
    return this.operation(verb, offset);
  }

  private missing(verb: string): PollmodeError {
    return tooOld(`${this.who}: libibverbs or the device's provider does not have the verb ${verb}`);
  }
}
