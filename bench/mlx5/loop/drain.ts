// The loop that is measured, in the hot dialect: pmd/mlx5's own bursts, the packets of one into the other. WebAssembly
// and TypeScript alike.
import { mlx5RxBurst } from "../../../pmd/mlx5/hot-receive.ts";
import { mlx5TxBurst } from "../../../pmd/mlx5/hot-transmit.ts";
import { Queue } from "../../../src/hot/layout.ts";
import { mbufFreeBulk } from "../../../src/hot/mbuf.ts";
import { r32 } from "../../../src/hot/mem.ts";

/** Polls until nothing comes any more. Returns the packets that came. */
export function drain(rxq: u32, txq: u32, pkts: u32, batch: u32): u32 {
  let total: u32 = 0;
  let got: u32 = 0;
  do {
    got = mlx5RxBurst(rxq, pkts, batch);
    const sent: u32 = got == 0 ? 0 : mlx5TxBurst(txq, pkts, got);
    if (sent < got) mbufFreeBulk(r32(rxq + Queue.CACHE), pkts + (sent << 2), got - sent);
    total = total + got;
  } while (got != 0);
  return total;
}
