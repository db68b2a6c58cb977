// The bench's applications once more, as a user writes them in AssemblyScript (app=FILE.as.ts, docs/applications.md):
// compiled apart, it calls the engine's rx and tx from module to module. What is to be done stands in scratch().
import { burst, cache, free, Mbuf, r32, rxBurst, rxQueue, scratch, swapMacs, txBurst, txQueue, w32 } from "pollmode";
import { App, Queue, Scratch } from "./layout.ts";

let rx: u32 = 0;
let tx: u32 = 0;
let pkts: u32 = 0;
let settings: u32 = 0;

export function init(): void {
  rx = rxQueue(0);
  tx = txQueue(0);
  pkts = burst();
  settings = scratch();
}

export function poll(): u32 {
  const n = rxBurst(rx, pkts, r32(settings + Scratch.BATCH));
  if (n == 0) return 0;
  const app = r32(settings + Scratch.APP);
  const end = pkts + (n << 2);
  if (app == <u32>App.TOUCH) {
    let sum = r32(rx + Queue.SUM);
    for (let at = pkts; at < end; at += 4) sum += r32(r32(r32(at) + Mbuf.DATA));
    w32(rx + Queue.SUM, sum);
  } else if (app == <u32>App.MACSWAP) {
    for (let at = pkts; at < end; at += 4) swapMacs(r32(r32(at) + Mbuf.DATA));
  }
  const sent = txBurst(tx, pkts, n);
  if (sent < n) free(cache(), pkts + (sent << 2), n - sent);
  return n;
}
