// Where ibv mode believes the fields of libibverbs' structs to be, against what a C compiler makes of the header.
import t from "tap";
import { RecvWr, SendFlag, SendWr, Sge, Wc, WcStatus, WrOpcode } from "../../../pmd/mlx5/verbs-layout.ts";
import { softMlx5Bed } from "../../beds/softmlx5.ts";
import { runC } from "../../bus/rdma/headers.ts";

const offsets: readonly [struct: string, field: string, offset: number][] = [
  ["ibv_wc", "wr_id", Wc.WR_ID],
  ["ibv_wc", "status", Wc.STATUS],
  ["ibv_wc", "byte_len", Wc.BYTE_LEN],
  ["ibv_sge", "addr", Sge.ADDR],
  ["ibv_sge", "length", Sge.LENGTH],
  ["ibv_sge", "lkey", Sge.LKEY],
  ["ibv_recv_wr", "wr_id", RecvWr.WR_ID],
  ["ibv_recv_wr", "next", RecvWr.NEXT],
  ["ibv_recv_wr", "sg_list", RecvWr.SG_LIST],
  ["ibv_recv_wr", "num_sge", RecvWr.NUM_SGE],
  ["ibv_send_wr", "wr_id", SendWr.WR_ID],
  ["ibv_send_wr", "next", SendWr.NEXT],
  ["ibv_send_wr", "sg_list", SendWr.SG_LIST],
  ["ibv_send_wr", "num_sge", SendWr.NUM_SGE],
  ["ibv_send_wr", "opcode", SendWr.OPCODE],
  ["ibv_send_wr", "send_flags", SendWr.SEND_FLAGS],
];

const values: readonly [expression: string, value: number][] = [
  ["sizeof(struct ibv_wc)", Wc.BYTES],
  ["sizeof(struct ibv_sge)", 1 << Sge.SHIFT],
  ["sizeof(struct ibv_recv_wr)", 1 << RecvWr.SHIFT],
  ["sizeof(struct ibv_send_wr)", 1 << SendWr.SHIFT],
  ["sizeof(((struct ibv_wc *)0)->wr_id)", Wc.STATUS],
  ["IBV_WC_SUCCESS", WcStatus.SUCCESS],
  ["IBV_WC_LOC_LEN_ERR", WcStatus.LOC_LEN_ERR],
  ["IBV_WR_SEND", WrOpcode.SEND],
  ["IBV_SEND_SIGNALED", SendFlag.SIGNALED],
  ["IBV_SEND_IP_CSUM", SendFlag.IP_CSUM],
];

t.setTimeout(900_000); // packages may have to be installed first

t.test("verbs-layout.ts has C's numbers", { skip: softMlx5Bed.missing() ?? false }, async (t) => {
  await softMlx5Bed.setup();
  const all = [
    ...offsets.map(([struct, field, offset]) => [`offsetof(struct ${struct}, ${field})`, offset] as const),
    ...values,
  ];
  const printed = runC(all.map(([expression]) => `printf("%ld\\n", (long)(${expression}));`));
  t.same(
    all.map(([expression, value]) => `${expression} = ${value}`),
    all.map(([expression], k) => `${expression} = ${printed[k]}`),
  );
});
