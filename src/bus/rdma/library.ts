// libibverbs and libmlx5, loaded when the first RDMA device is opened and never otherwise. Calls are made on the main
// thread: libmlx5 calls its allocators back on the thread that calls it, and they are JavaScript.
//
// Half of the verbs are inline functions of infiniband/verbs.h, which call through pointers in and around the struct
// ibv_context: verbs.ts has those.
import koffi from "koffi";
import { PollmodeError } from "../../errors.ts";

const INSTALL =
  "as root: apt-get install ibverbs-providers libibverbs1 (elsewhere the packages rdma-core, libibverbs)";

const IBVERBS = {
  ibv_get_device_list: "void *ibv_get_device_list(void *)",
  ibv_free_device_list: "void ibv_free_device_list(void *)",
  ibv_get_device_name: "const char *ibv_get_device_name(void *)",
  ibv_open_device: "void *ibv_open_device(void *)",
  ibv_close_device: "int ibv_close_device(void *)",
  ibv_get_async_event: "int ibv_get_async_event(void *, void *)",
  ibv_ack_async_event: "void ibv_ack_async_event(void *)",
  ibv_alloc_pd: "void *ibv_alloc_pd(void *)",
  ibv_dealloc_pd: "int ibv_dealloc_pd(void *)",
  ibv_reg_mr: "void *ibv_reg_mr(void *, uint64_t, size_t, int)",
  ibv_dereg_mr: "int ibv_dereg_mr(void *)",
  ibv_create_comp_channel: "void *ibv_create_comp_channel(void *)",
  ibv_destroy_comp_channel: "int ibv_destroy_comp_channel(void *)",
  ibv_create_cq: "void *ibv_create_cq(void *, int, void *, void *, int)",
  ibv_destroy_cq: "int ibv_destroy_cq(void *)",
  ibv_create_qp: "void *ibv_create_qp(void *, void *)",
  ibv_modify_qp: "int ibv_modify_qp(void *, void *, int)",
  ibv_destroy_qp: "int ibv_destroy_qp(void *)",
} as const;

const MLX5 = {
  mlx5dv_is_supported: "bool mlx5dv_is_supported(void *)",
  mlx5dv_query_device: "int mlx5dv_query_device(void *, void *)",
  mlx5dv_set_context_attr: "int mlx5dv_set_context_attr(void *, int, void *)",
  mlx5dv_init_obj: "int mlx5dv_init_obj(void *, uint64_t)",
  mlx5dv_devx_alloc_uar: "void *mlx5dv_devx_alloc_uar(void *, uint32_t)",
  mlx5dv_devx_free_uar: "void mlx5dv_devx_free_uar(void *)",
  mlx5dv_create_cq: "void *mlx5dv_create_cq(void *, void *, void *)",
  mlx5dv_create_wq: "void *mlx5dv_create_wq(void *, void *, void *)",
  mlx5dv_create_flow_matcher: "void *mlx5dv_create_flow_matcher(void *, void *)",
  mlx5dv_destroy_flow_matcher: "int mlx5dv_destroy_flow_matcher(void *)",
  mlx5dv_create_flow: "void *mlx5dv_create_flow(void *, void *, size_t, void *)",
} as const;

/** Those that hot code calls itself, by their addresses. */
const ADDRESSES = ["ibv_get_cq_event", "ibv_ack_cq_events"] as const;

/** Addresses are bigints, null pointers null; structures are Buffers. */
type Address = bigint | null;
type Pointer = bigint | Buffer | null;

export interface IbVerbs {
  readonly addresses: Readonly<Record<(typeof ADDRESSES)[number], bigint>>;
  ibv_get_device_list(count: Pointer): Address;
  ibv_free_device_list(list: Pointer): void;
  ibv_get_device_name(device: Pointer): string;
  ibv_open_device(device: Pointer): Address;
  ibv_close_device(context: Pointer): number;
  ibv_get_async_event(context: Pointer, event: Pointer): number;
  ibv_ack_async_event(event: Pointer): void;
  ibv_alloc_pd(context: Pointer): Address;
  ibv_dealloc_pd(pd: Pointer): number;
  ibv_reg_mr(pd: Pointer, address: bigint, bytes: number, access: number): Address;
  ibv_dereg_mr(mr: Pointer): number;
  ibv_create_comp_channel(context: Pointer): Address;
  ibv_destroy_comp_channel(channel: Pointer): number;
  ibv_create_cq(context: Pointer, cqe: number, own: Pointer, channel: Pointer, vector: number): Address;
  ibv_destroy_cq(cq: Pointer): number;
  ibv_create_qp(pd: Pointer, attributes: Pointer): Address;
  ibv_modify_qp(qp: Pointer, attributes: Pointer, mask: number): number;
  ibv_destroy_qp(qp: Pointer): number;
}

export interface Mlx5dv {
  mlx5dv_is_supported(device: Pointer): boolean;
  mlx5dv_query_device(context: Pointer, attributes: Pointer): number;
  mlx5dv_set_context_attr(context: Pointer, type: number, attribute: Pointer): number;
  mlx5dv_init_obj(object: Pointer, types: number): number;
  mlx5dv_devx_alloc_uar(context: Pointer, flags: number): Address;
  mlx5dv_devx_free_uar(uar: Pointer): void;
  mlx5dv_create_cq(context: Pointer, attributes: Pointer, own: Pointer): Address;
  mlx5dv_create_wq(context: Pointer, attributes: Pointer, own: Pointer): Address;
  mlx5dv_create_flow_matcher(context: Pointer, attributes: Pointer): Address;
  mlx5dv_destroy_flow_matcher(matcher: Pointer): number;
  mlx5dv_create_flow(matcher: Pointer, value: Pointer, count: number, actions: Pointer): Address;
}

let ibverbs: IbVerbs | undefined;
let mlx5dv: Mlx5dv | undefined;

/** Throws RDMA_NO_LIBRARY, RDMA_LIBRARY_OLD. `what` is named in messages. */
export function loadIbVerbs(what: string): IbVerbs {
  ibverbs ??= load<IbVerbs>("libibverbs.so.1", IBVERBS, what, ADDRESSES);
  return ibverbs;
}

export function loadMlx5dv(what: string): Mlx5dv {
  mlx5dv ??= load<Mlx5dv>("libmlx5.so.1", MLX5, what);
  return mlx5dv;
}

function load<T>(
  file: string,
  prototypes: Record<string, string>,
  what: string,
  symbols: readonly string[] = [],
): T {
  const library = open(file, what);
  const found = <R>(name: string, look: () => R): [string, R] => {
    try {
      return [name, look()];
    } catch (cause) {
      throw tooOld(`${what}: this ${file} has no ${name}`, cause);
    }
  };
  const functions = Object.entries(prototypes).map(([name, prototype]) =>
    found(name, () => library.func(prototype)),
  );
  const addresses = symbols.map((name) => found(name, () => library.symbol(name, "int")));
  return { ...Object.fromEntries(functions), addresses: Object.fromEntries(addresses) } as T;
}

function open(file: string, what: string): ReturnType<typeof koffi.load> {
  try {
    return koffi.load(file);
  } catch (cause) {
    const reason = (cause as Error).message.replace(/^Failed to load shared library: /, "");
    throw new PollmodeError("RDMA_NO_LIBRARY", `${what}: ${file} cannot be loaded: ${reason}`, INSTALL, {
      cause,
    });
  }
}

/** rdma-core 28 has all that is called here. */
export function tooOld(message: string, cause?: unknown): PollmodeError {
  const fix = `update rdma-core to version 28 or later; ${INSTALL}`;
  return new PollmodeError("RDMA_LIBRARY_OLD", message, fix, { cause });
}
