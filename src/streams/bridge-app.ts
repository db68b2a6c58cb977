// The lcore's side of a PacketStream: copies what comes into one ring, sends what lies in another.
import { Mbuf } from "../hot/layout.ts";
import type { AppContext, AppPoll } from "../lcore/task.ts";
import { FrameRing } from "./frame-ring.ts";

export interface BridgeOptions {
  readonly received: SharedArrayBuffer;
  readonly toSend: SharedArrayBuffer;
}

const BURST = 32;

export default function bridge(context: AppContext): AppPoll {
  const { queues, options, pkts, u8, u32, rxBurst, txBurst, free, alloc, data, length, setLength } = context;
  const { received, toSend } = options as BridgeOptions;
  const [input, output] = [new FrameRing(received), new FrameRing(toSend)];
  const room = (mbuf: number) =>
    u32[(mbuf + Mbuf.BUF) >>> 2]! + u32[(mbuf + Mbuf.BUF_LEN) >>> 2]! - data(mbuf);

  const send = (tx: number) => {
    const next = output.peek();
    if (!next || queues[tx]!.tx === 0 || alloc(1) === 0) return 0;
    const mbuf = pkts[0]!;
    const fits = next.bytes <= room(mbuf);
    if (fits) {
      u8.set(output.frames.subarray(next.at, next.at + next.bytes), data(mbuf));
      setLength(mbuf, next.bytes);
      if (txBurst(queues[tx]!, 1) === 0) {
        free(1); // the queue is full: the frame waits
        return 0;
      }
    } else {
      free(1);
      output.drop();
    }
    output.skip(next.bytes);
    return 1;
  };

  return () => {
    let packets = 0;
    for (const queue of queues) {
      if (queue.rx === 0) continue;
      const n = rxBurst(queue, BURST);
      let pushed = 0;
      for (let k = 0; k < n; k++) {
        const mbuf = pkts[k]!;
        const whole = u32[(mbuf + Mbuf.DATA_LEN) >>> 2] === length(mbuf); // no chain: those are longer than an mbuf
        if (whole && input.push(u8, data(mbuf), length(mbuf))) pushed++;
        else input.drop();
      }
      free(n);
      if (pushed > 0) input.notify();
      packets += n;
    }
    for (let k = 0; k < BURST && send(0) > 0; k++) packets++;
    return packets;
  };
}
